"""`solve`: the optimum that scikit-learn and plain formulas know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from decaf.errors import SettingError
from decaf.heads.solver import LOSSES, Problem, solve, training

# Fewer rows than dimensions; many more (no matrix of rows by rows); two classes.
SHAPES = {"wide": (70, 120, 5), "tall": (300, 12, 4), "two": (60, 90, 2)}


def made(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    X = rng.normal(size=(n, d))
    X[np.arange(n), codes] += 1.5
    return X.astype(np.float32), codes


def objective(problem: Problem, loss: str, C: float, coef: np.ndarray, b: np.ndarray) -> float:
    """½‖w‖² + C Σ loss, as a formula."""
    decisions = problem.X.astype(np.float64) @ coef.T + b
    rows = np.arange(len(decisions))
    weight = np.ones(len(rows)) if problem.row_weight is None else problem.row_weight
    norm = 0.5 * (coef**2).sum()
    if loss == "multinomial" and problem.n_classes > 2:
        lost = logsumexp(decisions, 1) - decisions[rows, problem.codes]
        return float(norm + C * (weight * lost).sum())
    positive = 1 if problem.n_classes == 2 else np.arange(problem.n_classes)
    margin = np.where(problem.codes[:, None] == positive, decisions, -decisions)
    if loss in ("logistic", "multinomial"):
        return float(norm + C * (weight[:, None] * np.logaddexp(0, -margin)).sum())
    hinge = np.maximum(0, 1 - margin) ** (2 if loss == "squared_hinge" else 1)
    return float(norm + 0.5 * (b**2).sum() + C * (weight[:, None] * hinge).sum())


def theirs(problem: Problem, loss: str, C: float) -> float:
    """Return the objective that scikit-learn reaches, LIBLINEAR and L-BFGS pressed to their end."""
    X, codes, k = problem.X.astype(np.float64), problem.codes, problem.n_classes
    if loss == "multinomial" and k > 2:
        model = LogisticRegression(C=C, tol=1e-9, max_iter=20_000)
        model.fit(X, codes, problem.row_weight)
        return objective(problem, loss, C, model.coef_, model.intercept_)
    coef, b = [], []
    for positive in [1] if k == 2 else range(k):
        if loss in ("logistic", "multinomial"):
            model = LogisticRegression(C=C, tol=1e-9, max_iter=20_000)
        else:
            model = LinearSVC(C=C, loss=loss, dual=True, tol=1e-7, max_iter=400_000)
        model.fit(X, codes == positive, problem.row_weight)
        coef.append(model.coef_[0])
        b.append(model.intercept_[0])
    return objective(problem, loss, C, np.array(coef), np.array(b))


@pytest.mark.slow
@pytest.mark.parametrize(  # each loss with each shape and with each C, each shape with both
    ("shape", "loss", "C"),
    [
        (shape, loss, (0.01, 1.0)[(place + number) % 2])
        for number, loss in enumerate(LOSSES)
        for place, shape in enumerate(SHAPES)
    ],
)
def test_reaches_the_optimum(shape: str, loss: str, C: float) -> None:
    problem = Problem(*made(*SHAPES[shape]), SHAPES[shape][2])
    found = solve(problem, loss, C)
    ours = objective(problem, loss, C, found.coef, found.intercept)
    best = theirs(problem, loss, C)
    assert found.converged
    assert found.gap <= 1e-5
    assert found.objective == pytest.approx(ours, rel=1e-10)
    assert ours <= best * (1 + 1e-5)
    # Theirs is an upper bound of the optimum, so the gap that is claimed must hold against it.
    assert ours * (1 - found.gap) <= best * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_row_weights_multiply_c(shape: str, loss: str) -> None:
    n, d, k = SHAPES[shape]
    X, codes = made(n, d, k)
    weight = np.random.default_rng(1).integers(0, 4, n).astype(np.float64)
    weight[:k] = 1
    found = solve(Problem(X, codes, k, row_weight=weight), loss, 0.3, tol=1e-7)
    again = np.repeat(np.arange(n), weight.astype(int))
    copies = solve(Problem(X[again], codes[again], k), loss, 0.3, tol=1e-7)
    assert found.objective == pytest.approx(copies.objective, rel=1e-6)
    np.testing.assert_allclose(found.coef, copies.coef, atol=3e-3 * np.abs(copies.coef).max())


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("C", [1e-6, 1e5])
def test_extreme_c_on_awkward_rows_is_solved_or_says_so(loss: str, C: float) -> None:
    X, codes = made(40, 30, 3)
    X = np.concatenate([X, X[:20], np.zeros((4, 30), np.float32)])  # repeated rows, zero rows
    codes = np.concatenate([codes, codes[:20], [0, 1, 2, 0]])
    X = np.concatenate([X, np.ones((len(X), 2), np.float32), X[:, :5]], axis=1)  # constant, copied
    found = solve(Problem(X, codes, 3), loss, C)
    assert np.isfinite(found.coef).all()
    assert found.converged == (found.gap <= 1e-5)
    assert found.gap < 1e-3
    at_zero = objective(Problem(X, codes, 3), loss, C, 0 * found.coef, 0 * found.intercept)
    assert found.objective <= at_zero * (1 + 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_two_rows_and_one_feature(loss: str) -> None:
    X = np.array([[0.0], [1.0]])
    found = solve(Problem(X, np.array([0, 1]), 2), loss, 1.0, tol=1e-8)
    best = minimize(
        lambda v: objective(Problem(X, np.array([0, 1]), 2), loss, 1.0, v[None, :1], v[1:]),
        [0.1, 0.1],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12},
    ).fun
    assert found.coef.shape == (1, 1)
    assert found.objective == pytest.approx(best, rel=1e-6)


def test_contradicting_rows_leave_nothing_to_learn() -> None:
    X = np.ones((6, 3), np.float32)
    found = solve(Problem(X, np.array([0, 1] * 3), 2), "logistic", 10.0)
    np.testing.assert_allclose(found.coef, 0, atol=1e-6)
    assert found.objective == pytest.approx(60 * np.log(2))


@pytest.mark.parametrize("loss", ["squared_hinge", "multinomial", "logistic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_large_problems_begin_in_float32_and_reach_the_same(
    shape: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(*made(*SHAPES[shape]), SHAPES[shape][2])
    monkeypatch.setattr(training, "SMALL", 0)
    found = solve(problem, loss, 0.5)
    exact = solve(problem, loss, 0.5, tol=1e-9)
    assert found.converged
    assert exact.objective <= found.objective * (1 + 1e-9)
    assert found.objective <= exact.objective * (1 + 1e-5)


def test_products_that_are_too_coarse_in_float32_are_made_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that share most of their length: the mean that is taken off leaves rounding."""
    generator = np.random.default_rng(0)
    X = 30 + 0.1 * generator.standard_normal((200, 5)) @ generator.standard_normal((5, 300))
    X = (X / np.sqrt((X**2).sum(1).mean())).astype(np.float32)
    problem = Problem(X=X, codes=np.arange(200) % 20, n_classes=20)
    exact = solve(problem, "multinomial", 2.0**24)  # small enough to begin in float64
    monkeypatch.setattr(training, "SMALL", 0)
    solution = solve(problem, "multinomial", 2.0**24)
    assert solution.converged
    assert solution.objective == pytest.approx(exact.objective, rel=1e-3)


def test_what_did_not_converge_says_so() -> None:
    problem = Problem(*made(*SHAPES["wide"]), 5)
    found = solve(problem, "multinomial", 100.0, max_iter=3)
    assert not found.converged
    assert found.gap > 1e-5
    assert found.n_iter == 3


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_input_gives_the_same_bits(loss: str) -> None:
    problem = Problem(*made(*SHAPES["wide"]), 5, dropout=0.5)
    plain = Problem(problem.X, problem.codes, 5)
    state = torch.get_rng_state()
    for each in (problem, plain):
        first, second = (solve(each, loss, 1.0, tol=1e-4) for _ in range(2))
        np.testing.assert_array_equal(first.coef, second.coef)
        np.testing.assert_array_equal(first.intercept, second.intercept)
    assert torch.equal(torch.get_rng_state(), state)


def test_refuses_all_wrong_settings_at_once() -> None:
    problem = Problem(np.zeros((3, 2)), np.array([0, 1, 5]), 2, np.array([1, -1, 1]), dropout=1.0)
    with pytest.raises(SettingError) as caught:
        solve(problem, "ridge", -1.0)
    text = str(caught.value)
    for part in ("`loss` is 'ridge'", "`C` is [-1.0]", "codes", "row_weight", "`dropout` is 1.0"):
        assert part in text


def test_refuses_a_class_without_rows() -> None:
    with pytest.raises(SettingError, match=r"no row .* is of class 1"):
        solve(Problem(np.eye(3), np.array([0, 2, 2]), 3), "multinomial", 1.0)

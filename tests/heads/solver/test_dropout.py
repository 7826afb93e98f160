"""Training under dropout: the expected losses, their gradients, and what the fit comes to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from decaf.heads.solver import LOSSES, Problem, solve
from decaf.heads.solver.dropout import leading_directions
from decaf.heads.solver.dropout_objective import (
    DropoutObjective,
    expected_hinge,
    expected_logistic,
    expected_squared_hinge,
)
from decaf.heads.solver.training import DropoutRows

PLAIN = {
    expected_hinge: lambda z: np.maximum(0, 1 - z),
    expected_squared_hinge: lambda z: np.maximum(0, 1 - z) ** 2,
    expected_logistic: lambda z: np.logaddexp(0, -z),
}
MARGINS = [-6.0, -0.5, 0.9, 1.0, 2.5, 8.0]


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [1e-3, 0.2, 1.0, 4.0])
@pytest.mark.parametrize("expected", PLAIN)
def test_expected_losses_are_the_integrals(expected, deviation: float) -> None:
    margin = torch.tensor(MARGINS, dtype=torch.float64)
    value, _, _ = expected(margin, torch.full_like(margin, deviation**2))
    for m, v in zip(MARGINS, value.tolist(), strict=True):
        t0 = (1 - m) / deviation  # the corner of the hinges
        cuts = sorted({-12.0, 12.0, min(max(t0, -12), 12)})
        integral = sum(
            quad(
                lambda t, m=m: PLAIN[expected](m + deviation * t) * norm.pdf(t),
                a,
                b,
                epsabs=1e-11,
                limit=200,
            )[0]
            for a, b in pairwise(cuts)
        )
        assert v == pytest.approx(integral, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("expected", PLAIN)
def test_derivatives_of_the_expected_losses(expected) -> None:
    margin = torch.tensor(MARGINS, dtype=torch.float64).repeat(3)
    variance = torch.tensor([0.05, 0.6, 0.9], dtype=torch.float64).repeat_interleave(6)
    _, by_margin, by_variance = expected(margin, variance)
    h = 1e-5
    up, down = expected(margin + h, variance)[0], expected(margin - h, variance)[0]
    np.testing.assert_allclose(by_margin, (up - down) / (2 * h), atol=1e-6)
    up, down = expected(margin, variance + h)[0], expected(margin, variance - h)[0]
    np.testing.assert_allclose(by_variance, (up - down) / (2 * h), atol=1e-5)


@pytest.mark.parametrize("expected", PLAIN)
def test_without_variance_the_loss_is_the_plain_one(expected) -> None:
    margin = torch.linspace(-4, 4, 42)  # float32, and 1 is not among them
    value, by_margin, by_variance = expected(margin, torch.zeros(42))
    np.testing.assert_allclose(value, PLAIN[expected](margin.numpy()), atol=2e-5)
    assert torch.isfinite(by_margin).all()
    assert torch.isfinite(by_variance).all()


def case(name: str, k: int = 4, n: int = 24, d: int = 300) -> tuple[DropoutObjective, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(n, d, generator=generator, dtype=torch.float64)
    codes = torch.arange(n) % k
    cost = torch.rand(n, 1, generator=generator, dtype=torch.float64) + 0.5
    objective = DropoutObjective(name, X, X.square(), codes, k, cost, odds=1.0)
    columns = 1 if k == 2 else k
    weights = torch.randn(d + 1, columns, generator=generator, dtype=torch.float64) * 0.05
    return objective, weights


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_agrees_with_differences(name: str, k: int) -> None:
    objective, weights = case(name, k)
    columns = torch.arange(weights.shape[1])
    gradient = objective.at(weights, columns).gradient
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        way = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        up, down = (objective.at(weights + h * way, columns).value.sum() for h in (1e-5, -1e-5))
        assert float((gradient * way).sum()) == pytest.approx(float(up - down) / 2e-5, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_agrees_with_the_mean_over_true_masks(name: str) -> None:
    """Gaussian margins are near the truth of Monte Carlo; the multinomial form is a bound."""
    objective, weights = case(name)
    w, b = weights[:-1].numpy(), weights[-1].numpy()
    X, codes, cost = objective.X.numpy(), objective.codes.numpy(), objective.cost.numpy()[:, 0]
    rng, draws = np.random.default_rng(0), 4000
    losses = np.empty(draws)
    sign = np.where(codes[:, None] == np.arange(4), 1, -1)
    for draw in range(draws):
        decisions = (X * rng.integers(0, 2, X.shape) * 2) @ w + b
        margin = sign * decisions
        if name == "multinomial":
            top = decisions - decisions[np.arange(len(X)), codes][:, None]
            each = np.log(np.exp(top).sum(1))
        elif name == "logistic":
            each = np.logaddexp(0, -margin).sum(1)
        else:
            each = (np.maximum(0, 1 - margin) ** (1 + (name == "squared_hinge"))).sum(1)
        losses[draw] = (cost * each).sum()
    mean, error = losses.mean(), losses.std() / np.sqrt(draws)
    penalty = 0.5 * (w**2).sum() + 0.5 * (b**2).sum() * (name in ("hinge", "squared_hinge"))
    ours = float(objective.at(weights, torch.arange(4)).value.sum()) - penalty
    if name == "multinomial":
        assert mean - 4 * error < ours < 1.3 * mean
    else:
        assert ours == pytest.approx(mean, abs=4 * error + 2e-3 * mean)


def test_leading_directions_are_eigenvectors() -> None:
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(50, 6)) @ rng.normal(size=(6, 30)))
    leading = leading_directions(X, rank=10)
    whole = torch.cat([X, torch.ones(50, 1, dtype=X.dtype)], 1)
    exact = torch.linalg.eigvalsh(whole.T @ whole)[-10:]
    np.testing.assert_allclose(leading.values, exact, atol=1e-8 * float(exact.max()))
    rest = (whole.T @ whole - leading.vectors * leading.values @ leading.vectors.T).diagonal()
    np.testing.assert_allclose(leading.rest, rest.clamp(min=0), atol=1e-8 * float(exact.max()))


def data(n: int = 60, d: int = 80, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = np.arange(n) % k
    X = np.maximum(rng.normal(size=(n, d)), 0)
    X[np.arange(n), codes] += 1.0
    return X.astype(np.float32), codes


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_gone_at_the_solution(loss: str) -> None:
    X, codes = data()
    found = solve(Problem(X, codes, 3, dropout=0.5), loss, 1.0, tol=1e-10)
    assert found.converged
    rows = torch.from_numpy(X).double()
    objective = DropoutObjective(
        loss, rows, rows.square(), torch.from_numpy(codes), 3, rows.new_ones(len(X), 1), 1.0
    )
    weights = torch.from_numpy(np.concatenate([found.coef.T, found.intercept[None]]))
    at = objective.at(weights, torch.arange(3))
    assert float(at.value.sum()) == pytest.approx(found.objective, rel=1e-9)
    # ½‖w‖² makes it 1-strongly convex, so ½‖gradient‖² bounds what could still be won.
    assert 0.5 * float(at.gradient.square().sum()) < 1e-4 * found.objective


@pytest.mark.slow
def test_matches_training_on_many_corrupted_copies() -> None:
    """scikit-learn on 300 masked copies of each row, each with a three-hundredth of C."""
    X, codes = data(40, 200, 2)
    rng, copies = np.random.default_rng(0), 300
    masked = np.concatenate([X * rng.integers(0, 2, X.shape) * 2 for _ in range(copies)])
    model = LogisticRegression(C=2 / copies, tol=1e-6, max_iter=1000)
    model.fit(masked.astype(np.float32), np.tile(codes, copies))
    found = solve(Problem(X, codes, 2, dropout=0.5), "logistic", 2.0, tol=1e-7)

    def on_copies(coef: np.ndarray, intercept: float) -> float:
        margin = np.where(np.tile(codes, copies) == 1, 1, -1) * (masked @ coef + intercept)
        return float(0.5 * coef @ coef + 2 / copies * np.logaddexp(0, -margin).sum())

    theirs = on_copies(model.coef_[0], model.intercept_[0])
    assert on_copies(found.coef[0], found.intercept[0]) < 1.02 * theirs
    assert found.objective == pytest.approx(theirs, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_hardly_any_dropout_is_none(loss: str) -> None:
    X, codes = data()
    found = solve(Problem(X, codes, 3, dropout=1e-6), loss, 0.3, tol=1e-7, max_iter=300)
    plain = solve(Problem(X, codes, 3), loss, 0.3, tol=1e-8)
    # The hinge has a corner, which so little dropout hardly rounds off.
    assert found.objective == pytest.approx(plain.objective, rel=1e-2 if loss == "hinge" else 1e-4)
    if found.converged:
        np.testing.assert_allclose(found.coef, plain.coef, atol=0.02 * np.abs(plain.coef).max())
    assert found.converged or loss == "hinge"


def test_activations_are_what_is_dropped() -> None:
    """Centred features: a shift of X is taken up by the intercept, when the mask stays the same."""
    X, codes = data()
    found = solve(Problem(X, codes, 3, dropout=0.5), "logistic", 1.0, tol=1e-9)
    moved = solve(
        Problem(X - X.mean(0), codes, 3, dropout=0.5, activations=X), "logistic", 1.0, tol=1e-9
    )
    np.testing.assert_allclose(found.coef, moved.coef, atol=1e-3 * np.abs(found.coef).max())
    shifted = moved.intercept - moved.coef @ X.mean(0)
    np.testing.assert_allclose(found.intercept, shifted, atol=5e-3)


def test_a_start_saves_work_and_changes_nothing() -> None:
    X, codes = data()
    problem = Problem(X, codes, 3, dropout=0.5)
    rows = DropoutRows(problem, "squared_hinge", torch.device("cpu"))
    found = rows.solve(1.0, None, tol=1e-8, max_iter=500)
    again = rows.solve(1.0, found, tol=1e-8, max_iter=500)
    assert again.n_iter <= 1 < found.n_iter
    assert again.objective == pytest.approx(found.objective, rel=1e-7)

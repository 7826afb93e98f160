"""`cross_decisions`: what a fit of each fold by itself would say."""

from __future__ import annotations

import numpy as np
import pytest

from decaf.heads.solver import LOSSES, Problem, cross_decisions, solve
from decaf.heads.solver.cross_validation import with_missing_classes

CS = [1.0, 0.05]


def made(n: int, d: int, k: int) -> Problem:
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.arange(k), np.arange(k), rng.integers(0, k, n - 2 * k)])
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[np.arange(n), codes] += 1.5
    return Problem(X, codes, k)


def halves(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(1).permutation(n)
    return [(order[: n // 2], order[n // 2 :]), (order[n // 2 :], order[: n // 2])]


@pytest.mark.slow
@pytest.mark.parametrize(  # each loss with each shape and with each dropout, each shape with both
    ("loss", "shape", "dropout"),
    [
        (loss, shape, 0.5 * ((number + place) % 2))
        for number, loss in enumerate(LOSSES)
        for place, shape in enumerate([(80, 100, 4), (260, 10, 3), (60, 90, 2)])
    ],
)
def test_gives_what_single_fits_give(
    loss: str, shape: tuple[int, int, int], dropout: float
) -> None:
    problem = made(*shape)
    problem = Problem(problem.X, problem.codes, problem.n_classes, dropout=dropout)
    folds = halves(shape[0])
    scores = cross_decisions(problem, loss, CS, folds, tol=1e-6)
    for (train, held), found in zip(folds, scores, strict=True):
        assert found.decisions.shape == (2, len(held), problem.n_columns)
        assert found.decisions.dtype == np.float32
        assert found.converged.all()
        for index, C in enumerate(CS):
            part = Problem(
                problem.X[train], problem.codes[train], problem.n_classes, dropout=dropout
            )
            alone = solve(part, loss, C, tol=1e-7)
            expected = problem.X[held] @ alone.coef.T + alone.intercept
            if loss == "multinomial":  # a shift of all classes together means nothing
                expected -= expected.mean(1, keepdims=True) * (problem.n_classes > 2)
                shift = found.decisions[index].mean(1, keepdims=True) * (problem.n_classes > 2)
            else:
                shift = 0
            np.testing.assert_allclose(
                found.decisions[index] - shift, expected, atol=0.02 * np.abs(expected).max()
            )


def test_row_weights_of_zero_leave_rows_out() -> None:
    problem = made(80, 100, 4)
    train, held = halves(80)[0]
    weight = np.ones(80)
    weight[train[:5]] = 0
    weighted = Problem(problem.X, problem.codes, 4, row_weight=weight)
    one = cross_decisions(weighted, "squared_hinge", CS, [(train, held)], tol=1e-8)
    other = cross_decisions(problem, "squared_hinge", CS, [(train[5:], held)], tol=1e-8)
    np.testing.assert_allclose(one[0].decisions, other[0].decisions, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_that_a_fold_lacks_is_never_chosen(loss: str, dropout: float) -> None:
    X, codes = made(80, 100, 4).X, made(80, 100, 4).codes
    train = np.flatnonzero(codes != 2)[:50]
    held = np.setdiff1d(np.arange(80), train)
    problem = Problem(X, codes, 4, dropout=dropout)
    found = cross_decisions(problem, loss, CS, [(train, held), halves(80)[0]])
    assert np.isfinite(found[0].decisions).all()
    assert found[0].decisions.shape == (2, len(held), 4)
    assert not (found[0].decisions.argmax(-1) == 2).any()
    assert (found[1].decisions.argmax(-1) == 2).any()


def test_what_is_said_of_absent_classes() -> None:
    seen = np.array([[2.0], [-1.0]])
    full = with_missing_classes(seen, np.array([0, 2]), 3, "squared_hinge", 10)
    np.testing.assert_allclose(full, [[-2, -1, 2], [1, -1, -1]])
    full = with_missing_classes(seen, np.array([0, 2]), 3, "multinomial", 10)
    p = np.exp(full) / np.exp(full).sum(1, keepdims=True)
    np.testing.assert_allclose(p[:, 1], 0.5 / 11, rtol=1e-6)  # half a row among eleven
    np.testing.assert_allclose(full[:, 2] - full[:, 0], seen[:, 0], rtol=1e-6)
    alone = with_missing_classes(np.zeros((2, 0)), np.array([1]), 3, "logistic", 10)
    assert (alone.argmax(1) == 1).all()
    assert (with_missing_classes(np.zeros((2, 0)), np.array([0]), 2, "hinge", 10) == -1).all()

"""`cross_decisions`: what a fit of each fold by itself would say."""

from __future__ import annotations

import numpy as np
import pytest

from decaf.errors import SettingError
from decaf.heads.solver import LOSSES, Problem, cross_decisions, solve

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


def test_a_fold_without_a_row_of_a_class_is_refused() -> None:
    problem = made(80, 100, 4)
    train = np.flatnonzero(problem.codes != 2)
    folds = [halves(80)[0], (train, np.setdiff1d(np.arange(80), train))]
    with pytest.raises(SettingError, match=r"no row \(of weight above 0\) is of class 2"):
        cross_decisions(problem, "squared_hinge", CS, folds)

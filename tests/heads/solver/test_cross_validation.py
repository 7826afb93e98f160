"""`cross_decisions`: what a fit of each fold by itself would say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from decaf.errors import SettingError
from decaf.heads import LinearSVM, LogisticRegression
from decaf.heads.solver import LOSSES, Problem, cross_decisions, cross_validation, solve

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


@pytest.mark.parametrize(
    ("loss", "d"),
    [
        ("multinomial", 12),
        ("logistic", 12),
        pytest.param("squared_hinge", 520, marks=pytest.mark.slow),
    ],
)
def test_folds_that_are_fitted_at_once_do_not_know_of_each_other(
    loss: str, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = made(2 * d + 60, d, 3)
    random = np.random.default_rng(2)
    n = len(problem.codes)
    weight = random.integers(0, 4, n) / 2
    problem = Problem(problem.X, problem.codes, 3, row_weight=weight, factor=0.7)
    # One with rows that are there twice, all without some of the rows.
    order = random.permutation(n)
    parts = np.array_split(order[: n - 10], 3)
    folds = [(np.concatenate([parts[i], parts[i - 1]]), parts[i - 2]) for i in range(3)]
    folds[1] = (np.concatenate([folds[1][0], parts[1][:9]]), folds[1][1])
    together = cross_decisions(problem, loss, CS, folds, tol=1e-8)
    monkeypatch.setattr(cross_validation, "SPARE", -(1 << 40))  # no room for a second fold
    for fold, found in zip(folds, together, strict=True):
        (alone,) = cross_decisions(problem, loss, CS, [fold], tol=1e-8)
        assert found.converged.all()
        np.testing.assert_allclose(found.decisions, alone.decisions, atol=1e-3)
    apart = cross_decisions(problem, loss, CS, folds, tol=1e-8)
    np.testing.assert_allclose(apart[0].decisions, together[0].decisions, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "d"), [(LogisticRegression, 40), (LinearSVM, 520)])
def test_the_choice_is_that_of_scikit_learn_fold_by_fold(head: type, d: int) -> None:
    problem = made(1100, d, 4)
    X, Cs = 3 * problem.X, [0.02, 0.1, 1.0, 10.0]
    ours = head("cv", Cs=Cs).fit(X, problem.codes).search_
    theirs = head("cv", Cs=Cs, solver="sklearn", max_iter=20_000).fit(X, problem.codes).search_
    assert theirs.accuracy.max() > theirs.accuracy.min() + 0.01
    assert ours.chosen == theirs.chosen
    np.testing.assert_allclose(ours.accuracy, theirs.accuracy, atol=0.01)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc"
)
def test_a_search_on_many_rows_takes_no_copy_of_them() -> None:
    code = """
import re
import numpy as np
from decaf.heads import LogisticRegression

def peak():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1]) / 1024

random = np.random.default_rng(0)
X = random.random((30_000, 512), np.float32)
y = random.integers(0, 3, len(X))
X[np.arange(len(X)), y] += 1
head = LogisticRegression("cv", Cs=[1.0, 4.0], device="cpu")
head.fit(X[:2000], y[:2000])
before = peak()
head.fit(X, y)
print(X.nbytes / 2**20, peak() - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    rows, grown = map(float, result.stdout.split())
    # What is kept of 15 columns and 3 matrices of features by features; copies of the rows of one
    # fold, taken and centred, were 1.6 times the rows.
    assert 5 < grown < 0.75 * rows


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

"""Coordinate descent against scikit-learn's optimum, where costs are far apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from decaf.heads.solver.active_set import Gram, coordinate_descent, hinge_multipliers


def problem(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    X = torch.from_numpy(random.normal(0, 1, (n, d)))
    signs = torch.from_numpy(np.where(random.random((n, 2)) < 0.4, 1.0, -1.0))
    cost = torch.from_numpy(np.where(random.random(n) < 0.5, 10.0, 1e-3))[:, None]
    return X, signs, cost


def objective(X: np.ndarray, y: np.ndarray, cost: np.ndarray, w: np.ndarray) -> float:
    return float(0.5 * w @ w + cost @ np.maximum(0, 1 - y * (X @ w)))


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_it_finds_the_optimum_of_scikit_learn(kept: bool) -> None:
    X, signs, cost = problem(40, 4, 0)
    gram = Gram(X @ X.T) if kept else Gram(X=X)
    alpha, done = coordinate_descent(
        gram, signs, cost, torch.zeros_like(signs), tol=1e-6, rounds=20_000
    )
    assert bool(done.all())
    assert bool((alpha >= 0).all())
    assert bool((alpha <= cost).all())
    for column in range(2):
        y, weight = signs[:, column].numpy(), cost[:, 0].numpy()
        reference = LinearSVC(loss="hinge", fit_intercept=False, tol=1e-9, max_iter=10**6)
        reference.fit(X.numpy(), y, sample_weight=weight)
        w = (X.T @ (signs * alpha)[:, column]).numpy()
        expected = objective(X.numpy(), y, weight, reference.coef_[0])
        assert objective(X.numpy(), y, weight, w) == pytest.approx(expected, rel=1e-5)


def test_it_ends_what_multipliers_begin() -> None:
    X, signs, cost = problem(50, 2, 1)
    cost = torch.where(cost > 1, 1000.0, 1e-4).double()
    signed, converged, _ = hinge_multipliers(
        Gram(X=X), signs, cost, torch.zeros_like(signs), tol=1e-6, max_iter=1000
    )
    assert converged
    alpha, done = coordinate_descent(Gram(X=X), signs, cost, signed * signs, tol=1e-6, rounds=1)
    assert bool(done.all())  # the gap that was claimed is there
    torch.testing.assert_close(alpha, signed * signs)

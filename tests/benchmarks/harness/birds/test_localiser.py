"""The localiser beside ridge regression as its formula says, with every image left out in turn."""

from __future__ import annotations

import numpy as np

from harness.birds.localiser import ALPHAS, locate_parts


def ridge(X: np.ndarray, Y: np.ndarray, X_test: np.ndarray, alpha: float) -> np.ndarray:
    """Return (X'X + alpha I)^-1 X'Y of centred rows, on other rows."""
    x, y = X.mean(0), Y.mean(0)
    W = np.linalg.solve((X - x).T @ (X - x) + alpha * np.eye(X.shape[1]), (X - x).T @ (Y - y))
    return (X_test - x) @ W + y


def best_ridge(X: np.ndarray, Y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Choose the penalty by leaving every row out in turn."""
    errors = []
    for alpha in ALPHAS:
        told = [
            ridge(np.delete(X, row, 0), np.delete(Y, row, 0), X[row : row + 1], alpha)[0]
            for row in range(len(X))
        ]
        errors.append(np.mean((np.array(told) - Y) ** 2))
    return ridge(X, Y, X_test, ALPHAS[int(np.argmin(errors))])


def test_places_are_those_of_the_formula() -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((30, 6)) + 1
    X_test = random.standard_normal((7, 6)) + 1
    places = (X @ random.standard_normal((6, 4)) + random.standard_normal((30, 4))).reshape(
        30, 2, 2
    )
    hidden = np.arange(30) % 3 == 0
    places[hidden, 1] = np.nan
    scale = np.linalg.norm(X, axis=1).mean()
    expected = np.stack(
        [
            best_ridge(X / scale, places[:, 0], X_test / scale),
            best_ridge(X[~hidden] / scale, places[~hidden, 1], X_test / scale),
        ],
        axis=1,
    )
    visible = np.isfinite(places).all(2).astype(float)
    seen = best_ridge(X / scale, visible, X_test / scale) >= 0.5
    expected[~seen] = np.nan
    located = locate_parts(X.astype(np.float32), places, X_test.astype(np.float32))
    np.testing.assert_allclose(located, expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(located[:, 0]).all()


def test_what_was_never_visible_is_not_located() -> None:
    random = np.random.default_rng(1)
    places = random.random((12, 2, 2))
    places[:, 1] = np.nan
    located = locate_parts(random.random((12, 5)), places, random.random((3, 5)))
    assert np.isfinite(located[:, 0]).all()
    assert np.isnan(located[:, 1]).all()

"""Correlation alignment against dense matrix functions, and the covariance it should produce."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from decaf.adapt import CORAL, coral
from decaf.adapt.coral import CovarianceRoot


def covariance(X: np.ndarray) -> np.ndarray:
    C: np.ndarray = np.cov(X, rowvar=False, bias=True)
    return C


def power(C: np.ndarray, p: float) -> np.ndarray:
    found: np.ndarray = np.real(scipy.linalg.fractional_matrix_power(C, p))
    return found


def rows(n: int, d: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    X: np.ndarray = random.normal(size=(n, d)) @ random.normal(size=(d, d)) / 3
    return X + random.normal(size=d)


@pytest.mark.parametrize(("n", "d"), [(200, 12), (10, 25)])
def test_source_rows_get_the_targets_covariance(n: int, d: int) -> None:
    Xs, Xt = rows(n, d, 0), rows(n + 5, d, 1)
    y = np.arange(n) % 2
    ridge = 1e-9 if n > d else 0.1
    method = CORAL(ridge=ridge, scale="none").fit(Xs, y, Xt)
    found = method.transform(Xs, "source")
    eye = method.ridge_ * np.eye(d)
    mapped = power(covariance(Xs) + eye, -0.5) @ power(covariance(Xt) + eye, 0.5)
    np.testing.assert_allclose(found - Xt.mean(0), (Xs - Xs.mean(0)) @ mapped, atol=1e-7)
    np.testing.assert_allclose(found.mean(axis=0), Xt.mean(axis=0), atol=1e-9)
    if n > d:  # the source has every direction: nothing is left but the ridge
        np.testing.assert_allclose(covariance(found), covariance(Xt), atol=1e-6)
    np.testing.assert_array_equal(method.transform(Xt), Xt)


def test_the_ridge_is_the_papers_for_standardised_features() -> None:
    Xs, Xt = rows(60, 8, 0), rows(50, 8, 1)
    assert CORAL().fit(Xs, np.arange(60) % 3, Xt).ridge_ == pytest.approx(1)
    assert CORAL(scale="none").fit(Xs, np.arange(60) % 3, 100 * Xt).ridge_ > 1000


def test_equal_covariances_change_nothing() -> None:
    Xs = rows(40, 60, 0)
    method = CORAL(scale="none").fit(Xs, np.arange(40) % 2, Xs[::-1] + 3)
    np.testing.assert_allclose(method.transform(Xs, "source"), Xs + 3, atol=1e-8)


def test_rows_twice_in_another_order_and_in_a_turned_space() -> None:
    Xs, Xt = rows(30, 40, 0), rows(35, 40, 1)
    y = np.arange(30) % 3
    plain = CORAL(scale="none").fit(Xs, y, Xt).transform(Xs, "source")
    order = np.random.default_rng(0).permutation(60)
    twice = CORAL(scale="none").fit(np.tile(Xs, (2, 1))[order], np.tile(y, 2)[order], Xt[::-1])
    np.testing.assert_allclose(twice.transform(Xs, "source"), plain, atol=1e-8)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))[0]
    turned = CORAL(scale="none").fit(Xs @ turn, y, Xt @ turn)
    np.testing.assert_allclose(turned.transform(Xs @ turn, "source"), plain @ turn, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [0.02, 1.0, 30.0])
def test_the_series_is_the_root(ridge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coral, "_DENSE", 50)
    monkeypatch.setattr(coral, "_DEFLATED", 10)
    X = rows(90, 120, 0)
    few = np.random.default_rng(1).normal(size=(4, 120))
    root = CovarianceRoot(X, ridge, dense=False)
    assert not root.complete
    expected = few @ power(covariance(X) + ridge * np.eye(120), 0.5)
    np.testing.assert_allclose(root.colour(few), expected, atol=2e-6 * np.abs(expected).max())
    complete = CovarianceRoot(X, ridge, dense=True)
    np.testing.assert_allclose(complete.colour(few), expected, atol=1e-9)
    np.testing.assert_allclose(complete.whiten(complete.colour(few)), few, atol=1e-9)

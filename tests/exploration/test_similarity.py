"""Alignment, shared neighbours and dissimilarities, beside formulas and scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group, spearmanr

import decaf
from decaf.errors import InputError, SettingError
from decaf.exploration import linear_cka
from decaf.exploration.similarity import shared_neighbours
from made_features import made_file


def cka_by_formula(X: np.ndarray, Y: np.ndarray) -> float:
    """HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), with the centring matrix written out."""
    n = len(X)
    H = np.eye(n) - 1 / n

    def hsic(K: np.ndarray, L: np.ndarray) -> float:
        return float(np.trace(K @ H @ L @ H)) / (n - 1) ** 2

    K, L = X @ X.T, Y @ Y.T
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize("shape", [(40, 6, 9), (7, 30, 50), (12, 5, 40)])
def test_cka_is_that_of_the_formula(shape: tuple[int, int, int]) -> None:
    n, p, q = shape
    random = np.random.default_rng(0)
    X = random.normal(3, 1, (n, p))
    Y = random.normal(size=(n, q)) + X[:, :1]
    assert linear_cka(X, Y) == pytest.approx(cka_by_formula(X, Y), rel=1e-10)
    turned = 3 * X @ ortho_group.rvs(p, random_state=0) + 1
    assert linear_cka(X, turned) == pytest.approx(1, abs=1e-10)
    assert np.isnan(linear_cka(X, np.ones((n, 2))))


def test_shared_neighbours_are_counted() -> None:
    a = np.array([[1, 2, 3], [0, 2, -1], [-1, -1, -1]])
    b = np.array([[3, 1, 9], [5, 6, -1], [0, 1, 2]])
    np.testing.assert_allclose(shared_neighbours(a, b), [2 / 3, 0, np.nan])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    layers = {"pool5": random.random((9, 2, 3, 3)), "fc6": random.normal(size=(9, 5))}
    layers["fc6"][3] = 0
    return made_file(tmp_path / "f.h5", layers, bad=[4])


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean"])
def test_dissimilarities_are_those_of_scipy(file: Path, metric: str) -> None:
    with decaf.open_features(file) as features:
        result = decaf.rdm(features, "pool5", metric=metric)
        X, _ = features.to_xy("pool5")
    assert (result.layer, result.metric) == ("pool5", metric)
    assert result.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert result.paths[4] == "005.jpg"
    expected = pdist(X.astype(np.float64), metric)
    np.testing.assert_allclose(result.values, squareform(expected), atol=1e-12)
    other = np.random.default_rng(1).random(len(expected))
    assert result.spearman(squareform(other)) == pytest.approx(
        spearmanr(expected, other).statistic, abs=1e-12
    )
    assert result.spearman(result) == pytest.approx(1)


def test_what_has_no_dissimilarities_is_said(file: Path) -> None:
    result = decaf.rdm(file, metric="cosine")
    assert result.layer == "fc6"
    assert np.isnan(result.values[3]).all()  # all zeros: no direction
    with pytest.raises(SettingError, match="whose features have no direction"):
        result.spearman(result)
    some = decaf.rdm(file, "fc6", rows=[8, 0, 1])
    assert some.paths == ("008.jpg", "000.jpg", "001.jpg")
    assert repr(some) == "Dissimilarities(layer='fc6', metric='correlation')"
    other = decaf.rdm(file, "pool5", rows=[8, 1, 0])
    with pytest.raises(SettingError, match=r"number 1 is '000\.jpg' in one, '001\.jpg' in"):
        some.spearman(other)
    with pytest.raises(SettingError, match=r"shape \(2, 2\), expected one of the same images, \(3"):
        some.spearman(np.zeros((2, 2)))
    assert np.isnan(some.spearman(np.zeros((3, 3))))
    with pytest.raises(SettingError, match="`metric` 'l1' is not one of correlation, cosine"):
        decaf.rdm(file, metric="l1")
    with pytest.raises(SettingError, match="row 4 is not there, or has no features"):
        decaf.rdm(file, rows=[0, 4])
    lost = made_file(file.with_name("lost.h5"), {"fc6": np.ones((2, 4))}, bad=[0, 1])
    with pytest.raises(InputError, match=r"lost\.h5: none of its 2 images could be read"):
        decaf.rdm(lost)

"""The heads on top: the nearest neighbour is scikit-learn's, the linear ones are decaf.heads'."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from decaf.adapt import head as module
from decaf.adapt.head import NearestNeighbour, TrainedLinear, fit_head
from decaf.heads import LinearSVM, LogisticRegression


def rows(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_nearest_neighbour_is_scikit_learns(
    dtype: type, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 5000)  # several blocks
    X, y, new = rows(80, 6, 0) + offset, np.arange(80) % 5, rows(200, 6, 1) + offset
    X, new = X.astype(dtype), new.astype(dtype)
    reference = KNeighborsClassifier(1, algorithm="kd_tree").fit(X.astype(float), y)
    found = NearestNeighbour().fit(X, y).predict(new)
    np.testing.assert_array_equal(found, reference.predict(new.astype(float)))


def test_of_two_rows_equally_near_the_first_class_counts() -> None:
    X, y = np.array([[1.0], [-1.0], [3.0], [-3.0]]), np.array(["b", "a", "a", "b"])
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        assert NearestNeighbour().fit(X[order], y[order]).predict(np.zeros((1, 1))) == ["a"]


@pytest.mark.parametrize(("name", "kind"), [("svm", LinearSVM), ("logreg", LogisticRegression)])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_heads_are_those_of_decaf(name: str, kind: type, classes: int) -> None:
    X, y = rows(60, 5, 0), np.arange(60) % classes
    found = fit_head(name, X, y, C=3.0, random_state=0)
    assert isinstance(found, kind)
    np.testing.assert_array_equal(found.coef_, kind(3.0).fit(X, y).coef_)
    same = TrainedLinear(found.classes_, found.coef_, found.intercept_, found.C_)
    np.testing.assert_array_equal(same.predict(X), found.predict(X))
    np.testing.assert_array_equal(same.decision_function(X), found.decision_function(X))

"""Heads as scikit-learn's own estimators."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression as PlainLogistic
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from decaf.heads import LinearSVM, LogisticRegression

RANDOM = np.random.default_rng(0)
Y = np.arange(60) % 3
X = (RANDOM.exponential(size=(60, 30)) + 3 * (RANDOM.random((3, 30)) < 0.3)[Y]).astype(np.float32)
NEW = RANDOM.exponential(size=(40, 30)).astype(np.float32) * 2
NAMES = np.array(["newt", "cat", "dog"])

CASES: list[tuple[Any, type, int]] = [
    (LogisticRegression(3.0), PlainLogistic, 3),
    (LogisticRegression(3.0), PlainLogistic, 2),
    (LogisticRegression(3.0, multi_class="ovr"), OneVsRestClassifier, 3),
    (LogisticRegression(3.0, multi_class="ovr"), PlainLogistic, 2),
    (LinearSVM(3.0), LinearSVC, 3),
    (LinearSVM(3.0, loss="hinge", tol=1e-3, max_iter=10000), LinearSVC, 2),
]


@pytest.mark.parametrize("scale", ["none", "mean-norm", "unit-norm", "standard"])
@pytest.mark.parametrize(("head", "kind", "classes"), CASES)
def test_plain_estimators_decide_the_same(head: Any, kind: type, classes: int, scale: str) -> None:
    keep = classes > Y
    C = 0.01 if scale in ("none", "standard") else 3.0
    head = clone(head).set_params(scale=scale, solver="sklearn", C=C).fit(X[keep], NAMES[Y[keep]])
    plain = pickle.loads(pickle.dumps(head.to_sklearn()))
    assert type(plain) is (Pipeline if scale == "unit-norm" else kind)
    assert type(plain).__module__.startswith("sklearn")
    np.testing.assert_array_equal(plain.classes_, head.classes_)
    assert plain.n_features_in_ == 30
    for rows in (X, NEW, NEW.astype(np.float64)):
        np.testing.assert_array_equal(plain.predict(rows), head.predict(rows))
        np.testing.assert_allclose(
            plain.decision_function(rows), head.decision_function(rows), rtol=1e-5, atol=1e-5
        )
        if hasattr(head, "predict_proba"):
            np.testing.assert_allclose(
                plain.predict_proba(rows), head.predict_proba(rows), rtol=1e-4
            )


@pytest.mark.parametrize("scale", ["none", "mean-norm", "unit-norm"])
@pytest.mark.parametrize(("head", "kind", "classes"), CASES)
def test_fitting_a_plain_estimator_again_gives_the_same_head(
    head: Any, kind: type, classes: int, scale: str
) -> None:
    keep = classes > Y
    C = 0.01 if scale == "none" else 3.0
    head = clone(head).set_params(scale=scale, solver="sklearn", C=C, tol=1e-6, max_iter=1_000_000)
    if classes == 3 and isinstance(head, LogisticRegression):
        head.set_params(class_weight={0: 1.0, 1: 4.0, 2: 0.5} if kind is PlainLogistic else None)
    head.fit(X[keep], Y[keep])
    plain = head.to_sklearn()
    expected = plain.decision_function(X)
    for name, value in plain.get_params().items():
        if name.endswith("tol"):
            plain.set_params(**{name: value * 1e-3})
    again = plain.fit(X[keep].astype(np.float64), Y[keep]).decision_function(X)
    np.testing.assert_allclose(again, expected, atol=0.01 * np.ptp(expected))


def test_the_plain_estimator_does_not_share_its_coefficients() -> None:
    head = LinearSVM(solver="sklearn").fit(X, Y)
    before = head.coef_.copy()
    head.to_sklearn().coef_ *= 2
    np.testing.assert_array_equal(head.coef_, before)


def test_only_a_fitted_head_can_be_turned() -> None:
    with pytest.raises(NotFittedError):
        LinearSVM().to_sklearn()

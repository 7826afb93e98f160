"""`SourceOnly`, `TargetOnly`, `SourceAndTarget` are one head on the rows that their names say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from decaf.adapt import SourceAndTarget, SourceOnly, TargetOnly
from decaf.adapt.head import NearestNeighbour
from decaf.errors import InputError
from decaf.heads import LinearSVM, LogisticRegression

RNG = np.random.default_rng(0)
YS, YT = np.arange(60) % 3, np.arange(30) % 3
XS = RNG.normal(size=(60, 40)) + 2 * np.eye(3, 40)[YS]
XT = 3 * RNG.normal(size=(30, 40)) + np.eye(3, 40)[YT] + 1
HIDDEN = np.where(np.arange(30) < 12, YT, -1)
ROWS = {
    SourceOnly: (XS, YS),
    TargetOnly: (XT[:12], YT[:12]),
    SourceAndTarget: (np.concatenate([XS, XT[:12]]), np.concatenate([YS, YT[:12]])),
}


class OneDomain(SourceOnly):
    """`SourceOnly` with the names of arguments that scikit-learn's checks ask for."""

    def fit(self, X: Any, y: Any) -> Any:
        return super().fit(X, y)

    @property
    def transform(self) -> Any:
        raise AttributeError("a classifier, for the checks")


@pytest.mark.slow
@parametrize_with_checks([OneDomain()])
def test_source_only_is_a_classifier_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("head", ["svm", "logreg", "1nn"])
@pytest.mark.parametrize("scale", ["none", "unit-norm", "standard"])
def test_is_the_head_on_those_rows(method: Any, head: str, scale: str) -> None:
    rows, codes = ROWS[method]
    found = method(head=head, C=0.5, scale=scale).fit(XS, YS, XT, HIDDEN)

    def scaled(X: np.ndarray) -> np.ndarray:
        if scale == "unit-norm":
            return X / np.linalg.norm(X, axis=1, keepdims=True)
        return (X - rows.mean(0)) / rows.std(0) if scale == "standard" else X

    if head == "1nn":
        reference: Any = NearestNeighbour().fit(scaled(rows), codes)
    else:
        reference = {"svm": LinearSVM, "logreg": LogisticRegression}[head](0.5)
        reference.fit(scaled(rows), codes)
        assert found.C_ == 0.5
        np.testing.assert_allclose(found.head_.coef_, reference.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found.predict(XT), reference.predict(scaled(XT)))
    np.testing.assert_allclose(found.transform(XT), scaled(XT), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::decaf.heads.CSearchWarning")
@pytest.mark.parametrize("method", ROWS)
def test_C_is_chosen_among_those_rows(method: Any) -> None:
    rows, codes = ROWS[method]
    found = method(C="cv").fit(XS, YS, XT, HIDDEN)
    assert found.C_ == LinearSVM("cv").fit(rows, codes).C_


def test_a_class_that_the_labelled_target_lacks_is_named() -> None:
    names = np.array(["ant", "bee", "cat"])
    yt = np.where(np.arange(30) % 3 == 1, names[YT], None)
    with pytest.raises(InputError, match="no labelled row of 2 of the 3 classes: ant, cat; Target"):
        TargetOnly().fit(XS, names[YS], XT, yt)
    assert SourceAndTarget().fit(XS, names[YS], XT, yt).classes_.tolist() == names.tolist()

"""`FeatureAugmentation` is Daumé's explicit augmentation, without its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from decaf.adapt import FeatureAugmentation, SourceAndTarget, SourceOnly
from decaf.adapt.feature_augmentation import pivoted_cholesky
from decaf.heads import LinearSVM, LogisticRegression


def explicit(X: np.ndarray, domain: str) -> np.ndarray:
    zeros = np.zeros_like(X)
    return np.hstack([X, X, zeros] if domain == "source" else [X, zeros, X])


def domains(
    n_s: int, n_t: int, d: int, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ys, yt = np.arange(n_s) % classes, np.arange(n_t) % classes
    centres = random.normal(size=(classes, d))
    Xs = centres[ys] + random.normal(size=(n_s, d))
    Xt = centres[yt] * np.where(np.arange(d) % 2, 1, -1) + random.normal(size=(n_t, d)) + 1
    return Xs, ys, Xt, yt


CASES = {
    "fewer rows than dimensions": (40, 15, 200, 3),
    "as many rows as shared columns": (40, 20, 60, 3),
    "more rows than dimensions": (40, 20, 23, 3),
    "more rows than all columns": (80, 40, 11, 4),
    "two classes": (40, 20, 50, 2),
}


@pytest.mark.parametrize(  # each size with both heads, each head with rows once and twice
    ("sizes", "kind", "repeated"),
    [
        (sizes, kind, (number + place) % 2 == 1)
        for number, sizes in enumerate(CASES.values())
        for place, kind in enumerate((LinearSVM, LogisticRegression))
    ],
)
def test_is_the_explicit_augmentation(
    sizes: tuple[int, int, int, int], kind: Any, repeated: bool
) -> None:
    name = "svm" if kind is LinearSVM else "logreg"
    Xs, ys, Xt, yt = domains(*sizes)
    if repeated:  # rows twice: the kernel is singular
        Xs, ys, Xt, yt = (np.concatenate([part, part[:10]]) for part in (Xs, ys, Xt, yt))
    labelled = len(Xt) // 2
    hidden = np.where(np.arange(len(Xt)) < labelled, yt, -1)
    rows = np.vstack([explicit(Xs, "source"), explicit(Xt[:labelled], "target")])
    reference = kind(2.0, tol=1e-9).fit(rows, np.concatenate([ys, yt[:labelled]]))
    found = FeatureAugmentation(head=name, C=2.0).fit(Xs, ys, Xt, hidden)
    expected = reference.decision_function(explicit(Xt, "target"))
    size = np.abs(expected).max()
    np.testing.assert_allclose(found.decision_function(Xt), expected, atol=1e-2 * size)
    np.testing.assert_array_equal(found.predict(Xt), reference.predict(explicit(Xt, "target")))
    # One linear function of target rows is the head on represented rows.
    through = found.head_.decision_function(found.transform(Xt))
    np.testing.assert_allclose(found.decision_function(Xt), through, rtol=1e-7, atol=1e-9 * size)


@settings(max_examples=50, deadline=None)
@given(
    n_s=st.integers(2, 12), n_t=st.integers(2, 12), d=st.integers(1, 30), seed=st.integers(0, 99)
)
def test_inner_products_of_rows_are_those_of_augmented_rows(
    n_s: int, n_t: int, d: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    Xs, Xt = random.normal(size=(n_s, d)), random.normal(size=(n_t, d))
    found = FeatureAugmentation(head="1nn").fit(Xs, np.arange(n_s) % 2, Xt, np.arange(n_t) % 2)
    rows = np.vstack([found.transform(Xs, "source"), found.transform(Xt)])
    wide = np.vstack([explicit(Xs, "source"), explicit(Xt, "target")])
    np.testing.assert_allclose(rows @ rows.T, wide @ wide.T, atol=1e-9 * d)
    assert rows.shape[1] <= 3 * d
    # A row that was not seen loses only what no seen row has a part in.
    new = random.normal(size=(5, d))
    np.testing.assert_allclose(
        found.transform(new) @ rows.T, explicit(new, "target") @ wide.T, atol=1e-8 * d
    )


def test_the_nearest_neighbour_is_that_of_augmented_rows() -> None:
    Xs, ys, Xt, yt = domains(40, 40, 200)
    hidden = np.where(np.arange(40) < 20, yt, -1)
    wide = np.vstack([explicit(Xs, "source"), explicit(Xt[:20], "target")])
    reference = KNeighborsClassifier(1).fit(wide, np.concatenate([ys, yt[:20]]))
    found = FeatureAugmentation(head="1nn").fit(Xs, ys, Xt, hidden)
    expected = reference.predict(explicit(Xt, "target"))
    np.testing.assert_array_equal(found.predict(Xt), expected)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 20), rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_pivoted_cholesky_factors_what_is_singular(n: int, rank: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, rank))
    factor, pivots = pivoted_cholesky(rows @ rows.T)
    assert factor.shape == (n, min(n, rank))
    np.testing.assert_allclose(factor @ factor.T, rows @ rows.T, atol=1e-8 * rank)
    np.testing.assert_array_equal(factor[pivots], np.tril(factor[pivots]))


def shifted(seed: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Domains where a share of the features tells the classes the other way round."""
    random = np.random.default_rng(seed)
    d, classes = 300, 5
    centres = 0.45 * random.normal(size=(classes, d))
    ys, yt = np.arange(150) % classes, np.arange(320) % classes
    turned = np.where(np.arange(d) < share * d, -1, 1)
    Xs = centres[ys] + random.normal(size=(len(ys), d))
    return Xs, ys, (centres[yt] + random.normal(size=(len(yt), d))) * turned, yt


@pytest.mark.slow
@pytest.mark.parametrize("head", ["svm", "logreg"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_beats_source_only_where_features_turn_and_loses_nothing_where_none_do(
    head: str, seed: int
) -> None:
    gain = {}
    for share in (0.5, 0.0):
        Xs, ys, Xt, yt = shifted(seed, share)
        hidden = np.where(np.arange(320) < 20, yt, -1)  # 4 a class
        plain, both, found = (
            method(head=head).fit(Xs, ys, Xt, hidden).score(Xt[20:], yt[20:])
            for method in (SourceOnly, SourceAndTarget, FeatureAugmentation)
        )
        gain[share] = (found - plain, found - both, both - plain)
    assert gain[0.5][0] > 0.2, gain
    assert gain[0.5][1] > 0.0, gain
    assert gain[0.0][0] > -0.02, gain
    # `SourceAndTarget` by itself: it gains too, and loses nothing.
    assert gain[0.5][2] > 0.1, gain
    assert gain[0.0][2] > -0.02, gain

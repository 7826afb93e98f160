"""Error rates against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from decaf.errors import SettingError
from decaf.heads import metrics


@pytest.mark.slow
@settings(deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(3, 12), images=st.integers(1, 40))
def test_as_scikit_learn_has_them(seed: int, classes: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    scores = generator.standard_normal((images, classes))
    places = metrics.ranks(scores, labels)
    for k in range(1, classes):
        expected = 1 - top_k_accuracy_score(labels, scores, k=k, labels=np.arange(classes))
        assert (places >= k).mean() == pytest.approx(expected, abs=1e-12)
    answers = scores.argmax(axis=1)
    there = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[answers == labels], minlength=classes)
    got = metrics.mean_per_class_accuracy(right, there)
    assert got == pytest.approx(np.mean([r / n for r, n in zip(right, there, strict=True) if n]))
    # scikit-learn warns of answers that are no label; only those that are count.
    if len(set(labels)) > 1 and set(answers) <= set(labels):
        assert got == pytest.approx(balanced_accuracy_score(labels, answers))


@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 8),
    levels=st.integers(1, 3),
)
def test_equals_are_ordered_by_number(seed: int, classes: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, (6, classes)).astype(np.float64)
    for label in range(classes):
        expected = [
            sorted(range(classes), key=lambda c: (-row[c], c)).index(label) for row in scores
        ]
        got = metrics.ranks(scores, np.full(6, label))
        assert got.tolist() == expected
        assert got.dtype == np.int64


def test_a_network_that_cannot_tell_is_right_by_chance() -> None:
    scores = np.zeros((200, 20))
    places = metrics.ranks(scores, np.arange(200) % 20)
    assert (places < 1).mean() == 0.05
    assert (places < 5).mean() == 0.25


def test_classes_count_alike() -> None:
    right, images = np.array([90, 0, 0]), np.array([90, 10, 0])
    assert metrics.mean_per_class_accuracy(right, images) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.ranks(np.zeros((2, 3)), np.array([0, 3])), "labels of 0 to 3 where there"),
        (lambda: metrics.ranks(np.zeros((2, 3)), np.array([0, -1])), "labels of -1 to 0"),
        (lambda: metrics.ranks(np.zeros((2, 3)), np.array([0])), r"shape \(2, 3\) for 1 label"),
        (lambda: metrics.ranks(np.array([[0.0, np.nan]]), np.array([0])), "hold NaN"),
        (lambda: metrics.mean_per_class_accuracy(np.zeros(2, int), np.zeros(2, int)), "no images"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        call()


@pytest.mark.parametrize(("right", "tested"), [(0, 1), (1, 1), (29, 35), (0, 200), (977, 1000)])
def test_the_interval_is_that_of_scipy(right: int, tested: int) -> None:
    expected = stats.binomtest(right, tested).proportion_ci(method="wilson")
    assert metrics.wilson_interval(right, tested) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize(("right", "tested"), [(0, 0), (2, 1), (-1, 1)])
def test_no_interval_of_no_share(right: int, tested: int) -> None:
    with pytest.raises(SettingError, match=f"{right} of {tested} is no share"):
        metrics.wilson_interval(right, tested)

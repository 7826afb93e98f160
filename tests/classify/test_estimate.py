"""The estimate of a classifier, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from decaf.classify.estimate import estimate_of, independent_images, sums_of_groups


def test_an_estimate_by_hand() -> None:
    result = estimate_of(
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 1, 1, 1, 1]),
        np.array([0.9, 0.6, 0.7, 0.8, 0.5]),
        class_names=("ant", "bee", "cat"),
        largest=1,
        paths=["0", "1", "2", "3", "4"],
        folds=1,
        choices=(),
    )
    assert result.confusion.tolist() == [[1, 2, 0], [0, 2, 0], [0, 0, 0]]
    assert (result.right, result.accuracy) == (3, 0.6)
    assert result.mean_per_class_accuracy == pytest.approx((1 / 3 + 1) / 2)
    assert (result.baseline, result.baseline_class, result.untested) == (0.4, "bee", ("cat",))
    assert [(each.path, each.truth, each.answer) for each in result.mistakes] == [
        ("2", "ant", "bee"),
        ("1", "ant", "bee"),
    ]


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_images_of_a_group_say_less_than_as_many_others(alike: float) -> None:
    random = np.random.default_rng(0)
    shares, told = [], []
    groups = [f"{row // 6}" for row in range(240)]
    for _ in range(400):
        of_group = np.repeat(random.random(40) < 0.7, 6)
        right = np.where(random.random(240) < alike, of_group, random.random(240) < 0.7)
        shares.append(right.mean())
        told.append(independent_images(right, groups))
    # As many independent images would have the spread that the shares of these have.
    truth = 0.7 * 0.3 / np.var(shares)
    assert np.median(told) == pytest.approx(truth, rel=0.2)
    assert independent_images(np.ones(6, bool), ["a", "a", "b", "b", "", ""]) == 4


def test_a_group_called_as_a_number_is_not_the_image_of_that_place() -> None:
    values = np.array([1.0, 2.0, 4.0])
    assert sorted(sums_of_groups(values, ["2", "2", ""])) == [3.0, 4.0]
    assert sums_of_groups(values, None).tolist() == values.tolist()

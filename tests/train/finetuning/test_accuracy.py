"""Intervals and the sign test against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from decaf.train.finetuning.accuracy import Accuracy, sign_test


@given(st.integers(1, 3000), st.data())
def test_the_interval_is_wilsons(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    expected = stats.binomtest(right, images).proportion_ci(method="wilson")
    found = Accuracy(right, images).interval
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300))
def test_the_test_is_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    one, other = (np.array(column) for column in zip(*pairs, strict=True))
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert sign_test(one, other) == pytest.approx(expected, rel=1e-9)
    assert sign_test(one, other) == sign_test(other, one)


def test_many_images_are_no_trouble() -> None:
    one = np.arange(40_000) % 2 == 0
    assert sign_test(one, ~one) == 1
    assert sign_test(np.ones(40_000, bool), one) < 1e-300


def test_what_is_told() -> None:
    assert str(Accuracy(29, 35)) == "82.9 % (67.3 to 91.9)"
    assert Accuracy.of(np.array([True, False, True, True])) == Accuracy(3, 4)
    assert Accuracy(3, 4).to_dict()["percent"] == 75

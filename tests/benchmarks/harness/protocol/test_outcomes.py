"""The interval of a mean, against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from harness.protocol.outcomes import mean_interval


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_interval_is_that_of_a_t_test(count: int) -> None:
    values = np.random.default_rng(count).normal(1.5, 2.0, count).tolist()
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((wanted.low, wanted.high))


def test_equal_values_have_an_interval_of_no_width_and_one_value_has_none() -> None:
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    assert mean_interval([2.0]) is None

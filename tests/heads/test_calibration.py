"""Calibration against a direct minimisation, and against data of a known temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decaf.errors import InputError
from decaf.heads.calibration import Calibration


def log_likelihood(a: float, scores: np.ndarray, codes: np.ndarray) -> float:
    scaled = a * scores
    return float(
        (scaled[np.arange(len(codes)), codes] - np.logaddexp.reduce(scaled, axis=1)).mean()
    )


def drawn(n: int, classes: int, a: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and classes drawn with the probabilities softmax(a · scores)."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n, classes))
    # The largest of scores with Gumbel noise is distributed as their softmax.
    return scores, (a * scores + random.gumbel(size=scores.shape)).argmax(axis=1)


@pytest.mark.parametrize("a", [0.3, 1.0, 6.0])
def test_the_temperature_of_drawn_classes_is_found(a: float) -> None:
    scores, codes = drawn(40000, 5, a, 0)
    assert Calibration.fit(scores, codes).a == pytest.approx(a, rel=0.05)
    two = scores[:, 1] - scores[:, 0]
    second = codes[codes < 2] == 1
    assert Calibration.fit(two[codes < 2], second.astype(int)).a == pytest.approx(a, rel=0.1)


@settings(deadline=None)
@given(st.integers(5, 60), st.integers(2, 6), st.integers(0, 10**6), st.floats(0.01, 100))
@example(n=5, classes=5, seed=16, size=1.0)  # the scores are worse than none
def test_it_is_the_most_likely_factor(n: int, classes: int, seed: int, size: float) -> None:
    scores, codes = drawn(n, classes, 2.0, seed)
    scores = scores * size
    found = Calibration.fit(scores, codes).a
    # With one row more whose class is any, in equal shares, as the formula's doubt has it.
    doubt = 1 / (n + 1)

    def target(a: float) -> float:
        mean = np.mean([log_likelihood(a, scores, np.full(n, k)) for k in range(classes)])
        return (1 - doubt) * log_likelihood(a, scores, codes) + doubt * float(mean)

    factors = found * np.geomspace(0.5, 2, 21)
    assert max(target(a) for a in factors) <= target(found) + 1e-9


@pytest.mark.parametrize("classes", [2, 4])
def test_rows_that_are_all_right_give_finite_confidence(classes: int) -> None:
    codes = np.arange(40) % classes
    scores = np.where(codes[:, None] == np.arange(classes), 1.0, -1.0)
    found = Calibration.fit(scores, codes)
    top = found.probabilities(scores).max(axis=1)
    assert (top > 0.95).all()
    assert (top < 0.999).all()


def test_scores_that_say_nothing_give_nearly_equal_probabilities_in_order() -> None:
    scores, codes = drawn(500, 3, -1.0, 0)  # worse than nothing
    found = Calibration.fit(scores, codes)
    probabilities = found.probabilities(scores)
    np.testing.assert_allclose(probabilities, 1 / 3, atol=0.01)
    np.testing.assert_array_equal(probabilities.argsort(axis=1), scores.argsort(axis=1))
    constant = Calibration.fit(np.zeros((4, 3)), np.array([0, 1, 2, 0]))
    np.testing.assert_allclose(constant.probabilities(np.zeros((1, 3))), 1 / 3)


def test_two_classes_have_one_column_or_none() -> None:
    scores = np.array([-2.0, 0.5, 3.0])
    for shape in ((3,), (3, 1)):
        found = Calibration(2.0).probabilities(scores.reshape(shape))
        np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-2 * scores)))
        np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.isfinite(Calibration(1.0).probabilities(np.array([-1e308, 1e308]))).all()


def test_rows_that_were_never_held_out_do_not_count() -> None:
    scores, codes = drawn(200, 3, 2.0, 0)
    expected = Calibration.fit(scores, codes)
    holes = np.vstack([scores, np.full((5, 3), np.nan)])
    assert Calibration.fit(holes, np.append(codes, np.zeros(5, int))) == expected


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(InputError, match="all of them are NaN"):
        Calibration.fit(np.full((3, 2), np.nan), np.zeros(3, int))
    with pytest.raises(InputError, match="3 rows of decisions, but codes of shape"):
        Calibration.fit(np.zeros((3, 2)), np.zeros(2, int))
    with pytest.raises(InputError, match="codes must lie in 0 to 1"):
        Calibration.fit(np.zeros((3, 2)), np.array([0, 1, 2]))

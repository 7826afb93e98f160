"""Intervals and the sign test against scipy's, losses against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from decaf.finetuning.keep_rule import Accuracy, Trial, sign_test


@given(st.integers(1, 3000), st.data())
def test_the_interval_is_wilsons(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    expected = stats.binomtest(right, images).proportion_ci(method="wilson")
    result = Accuracy(right, images, 1.0).interval
    assert result == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-6)


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


def test_an_accuracy_is_told_with_its_interval() -> None:
    result = Accuracy(29, 35, 0.5)
    assert str(result) == "82.9 % (67.3 to 91.9)"
    assert result.to_dict()["percent"] == pytest.approx(100 * 29 / 35)
    assert Accuracy.from_dict(result.to_dict()) == result


# -- Trials -------------------------------------------------------------------------------------


def answers(spread: float, images: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right more often than by chance, and labels."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    own = 2 * (labels[:, None] == np.arange(classes))
    return spread * (random.standard_normal((images, classes)) + own), labels


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1e-6, 0.05, 1.0, 40.0, 1e9])
@pytest.mark.parametrize("images", [300, 10])
def test_the_loss_is_that_of_the_temperature_for_smoothed_labels(
    spread: float, images: int
) -> None:
    logits, labels = answers(spread, images)
    trial = Trial.of(logits, labels)
    assert trial.accuracy.right == (logits.argmax(axis=1) == labels).sum()
    targets = np.full((images, 5), 1 / (images + 2) / 4)
    targets[np.arange(images), labels] = (images + 1) / (images + 2)

    def smoothed(sharpness: float) -> float:
        return float(-(targets * log_softmax(logits * sharpness, axis=1)).sum(axis=1).mean())

    best = min(np.geomspace(0.1, 10, 2001) / spread, key=smoothed)
    expected = log_loss(labels, softmax(logits * best, axis=1))
    assert trial.accuracy.calibrated_loss == pytest.approx(expected, rel=2e-3)
    assert trial.losses.shape == (images,)


def test_float32_is_enough() -> None:
    logits, labels = answers(1.0)
    one, other = Trial.of(logits.astype(np.float32), labels), Trial.of(logits, labels)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
    assert one.losses.dtype == np.float64


def test_how_sure_it_is_of_itself_does_not_count() -> None:
    logits, labels = answers(1.0)
    one, other = (Trial.of(factor * logits + 3, labels) for factor in (0.1, 100.0))
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-3)


@pytest.mark.parametrize(
    ("logits", "loss"),
    [
        ([[0.0, 5.0], [5.0, 0.0]], np.log(2)),  # all wrong: as hot as it gets
        ([[1.0, 1.0], [7.0, 7.0]], np.log(2)),
        # All right, with equal margins: as sure as the labels, of which each counts for 3/4.
        ([[5.0, 0.0], [0.0, 5.0]], np.log(4 / 3)),
    ],
)
def test_the_loss_of_sure_answers_right_and_wrong(logits: list[list[float]], loss: float) -> None:
    trial = Trial.of(np.array(logits), np.array([0, 1]))
    assert trial.losses.mean() == pytest.approx(loss, abs=5e-3)


def test_a_class_without_validation_images_is_no_trouble() -> None:
    logits, labels = answers(1.0, images=4)
    assert np.isfinite(Trial.of(logits, labels).losses).all()


@pytest.mark.slow
@pytest.mark.parametrize(("images", "classes"), [(20, 10), (35, 7), (100, 10)])
def test_noise_is_seldom_believed_and_a_gain_mostly(images: int, classes: int) -> None:
    """The best of 15 states that differ from the head by noise, and one that is much better."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    own = labels[:, None] == np.arange(classes)
    noise = gain = more = 0
    for _ in range(100):
        logits = random.standard_normal((images, classes)) + 3 * own
        states = logits + random.standard_normal((15, images, classes)) / 2
        right = (states.argmax(axis=2) == labels).sum(axis=1)
        head, best = Trial.of(logits, labels), Trial.of(states[right.argmax()], labels)
        more += right.max() > head.right.sum()
        noise += best.beats(head)
        gain += Trial.of(random.standard_normal((images, classes)) + 5 * own, labels).beats(head)
    assert more > 25
    assert noise < more / 3
    assert gain > 80


@pytest.mark.parametrize(
    ("right", "gains", "beats"),
    [
        (3, [0.1, 0.1, 0.1, 0.1], True),
        (3, [0.0, 0.0, 0.0, 0.0], False),
        (3, [-0.1, -0.1, -0.1, -0.1], False),
        (2, [0.1, 0.1, 0.1, 0.1], False),
        (1, [0.4, 0.4, 0.4, 0.4], False),
        # The mean is 0.1, its standard error 0.099 and 0.101.
        (3, [0.1 + 0.171, 0.1 - 0.171, 0.1 + 0.171, 0.1 - 0.171], True),
        (3, [0.1 + 0.175, 0.1 - 0.175, 0.1 + 0.175, 0.1 - 0.175], False),
    ],
)
def test_it_takes_more_images_and_a_loss_lower_by_a_standard_error(
    right: int, gains: list[float], beats: bool
) -> None:
    losses = np.array([0.5, 0.8, 0.9, 0.6])
    other = Trial(np.arange(4) < 2, losses)
    assert Trial(np.arange(4) < right, losses - gains).beats(other) is beats
    assert other.beats(other) is False


def test_of_one_image_nothing_is_believed() -> None:
    other = Trial(np.array([False]), np.array([2.0]))
    assert not Trial(np.array([True]), np.array([0.0])).beats(other)


# -- Images in groups ---------------------------------------------------------------------------


def test_images_alike_in_their_groups_count_as_groups() -> None:
    right = np.repeat([True, True, False, True], 10)
    trial = Trial(right, np.ones(40), [*"a" * 10, *"b" * 10, *"c" * 10, *"d" * 10])
    of_images, of_groups = Trial(right, np.ones(40)).accuracy, trial.accuracy
    assert of_images.independent is None
    assert of_groups.independent == pytest.approx(3)  # 4 groups, whose variance has 3 in it
    assert of_groups.percent == of_images.percent
    low, high = of_groups.interval
    assert low < of_images.interval[0] < of_images.interval[1] < high
    assert Accuracy.from_dict(of_groups.to_dict()) == of_groups


def test_a_gain_in_one_group_alone_is_not_believed() -> None:
    losses, gains = np.full(40, 0.5), np.repeat([0.4, 0.0, 0.0, 0.0], 10)
    groups = [str(row // 10) for row in range(40)]
    better = np.arange(40) < 30
    for own, believed in ((None, True), (groups, False)):
        other = Trial(np.arange(40) < 20, losses, own)
        assert Trial(better, losses - gains, own).beats(other) is believed
    even = losses - 0.1 - 0.01 * np.repeat([1, 2, 3, 4], 10)
    assert Trial(better, even, groups).beats(Trial(np.arange(40) < 20, losses, groups))


def test_the_sign_test_counts_groups() -> None:
    one, other = np.arange(12) < 12, np.arange(12) < 4
    groups = [*"aaaabbbbcccc"]
    assert sign_test(one, other) == pytest.approx(2 / 2**8)
    assert sign_test(one, other, groups) == pytest.approx(2 / 2**2)
    assert sign_test(one, other, [""] * 12) == sign_test(one, other)

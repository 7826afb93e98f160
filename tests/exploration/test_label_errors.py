"""Likely wrong labels: the rule of the paper by hand, and labels that a test has changed."""

from __future__ import annotations

import numpy as np
import pytest

from decaf.errors import InputError, SettingError
from decaf.exploration import held_out_probabilities, rank_label_errors
from decaf.heads import LogisticRegression


def test_confident_learning_by_hand() -> None:
    # Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6; class 1 (0.8 + 0.4) / 2 = 0.6.
    chances = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    found = rank_label_errors(chances, [0, 0, 0, 1, 1])
    # Row 2 reaches the threshold of class 1 alone, row 4 that of class 0.
    assert found.likely == 2
    assert found.order.tolist() == [2, 4, 1, 3, 0]
    assert found.proposed.tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_allclose(found.score, [0.2, 0.4, 0.7, 0.8, 0.9])


def test_the_confident_class_is_the_most_probable_of_those_that_reach_their_threshold() -> None:
    # Class 2 is never very sure, so that 0.3 reaches its threshold; 0.5 misses that of class 0.
    chances = np.array([[0.95, 0.03, 0.02], [0.05, 0.92, 0.03], [0.4, 0.3, 0.3], [0.5, 0.2, 0.3]])
    found = rank_label_errors(chances, [0, 1, 2, 1])
    assert found.likely == 1
    assert found.order[0] == 3
    # Self-confidence calls both of the last ones likely wrong: another class has more.
    other = rank_label_errors(chances, [0, 1, 2, 1], method="self-confidence")
    assert other.likely == 2
    assert other.order.tolist() == [3, 2, 1, 0]


def test_rows_that_were_never_held_out_are_left_out() -> None:
    chances = np.array([[0.9, 0.1], [np.nan, np.nan], [0.3, 0.7]])
    assert sorted(rank_label_errors(chances, [0, 1, 1]).order.tolist()) == [0, 2]
    with pytest.raises(InputError, match="labels must lie in 0 to 1"):
        rank_label_errors(chances, [0, 1, 2])
    with pytest.raises(InputError, match="expected"):
        rank_label_errors(chances[:, :1], [0, 0, 0])
    with pytest.raises(SettingError, match="`method` 'margin' is not one of confident-learning"):
        rank_label_errors(chances, [0, 1, 1], method="margin")  # type: ignore[arg-type]


def noisy(count: int = 240, classes: int = 4, flips: int = 12) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    truth = np.arange(count) % classes
    X = 2.2 * random.normal(size=(classes, 20))[truth] + random.normal(size=(count, 20))
    labels = truth.copy()
    flipped = random.choice(count, flips, replace=False)
    labels[flipped] = (truth[flipped] + random.integers(1, classes, flips)) % classes
    return X.astype(np.float32), truth, labels


def test_changed_labels_come_first() -> None:
    X, truth, labels = noisy()
    chances = held_out_probabilities(X, labels, like=LogisticRegression(1.0).fit(X, labels))
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    found = rank_label_errors(chances, labels)
    wrong = labels != truth
    assert wrong[found.order[:12]].mean() >= 0.9
    assert (found.proposed == truth[found.order])[:12].mean() >= 0.9


def test_a_row_is_answered_by_heads_that_have_not_seen_it() -> None:
    """A head that has seen a row says its label, right or wrong, wherever rows are far apart."""
    random = np.random.default_rng(1)
    X, labels = random.normal(size=(60, 400)).astype(np.float32), np.arange(60) % 2
    head = LogisticRegression(100.0).fit(X, labels)
    assert (head.predict(X) == labels).all()
    answers = held_out_probabilities(X, labels, like=head).argmax(axis=1)
    assert 0.2 < (answers == labels).mean() < 0.8
    # Copies would give the answer away, unless they are kept together.
    twice, of_both = np.vstack([X, X]), np.tile(labels, 2)
    seen = held_out_probabilities(twice, of_both, like=head).argmax(axis=1)
    apart = held_out_probabilities(
        twice, of_both, like=head, groups=[str(row) for row in range(60)] * 2
    ).argmax(axis=1)
    assert (seen == of_both).mean() > (apart == of_both).mean() + 0.15

"""Units that tell classes apart: the sum of all is the head's own preference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from decaf.errors import HeadError, InputError
from decaf.exploration import class_means, unit_contrasts
from decaf.heads import LinearSVM, LogisticRegression


def rows(classes: int, width: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(60) % classes
    X = random.normal(size=(classes, width))[labels] + random.normal(size=(60, width))
    return np.maximum(X, 0).astype(np.float32), labels


@pytest.mark.parametrize("scale", ["mean-norm", "unit-norm", "standard"])
@pytest.mark.parametrize(("kind", "classes"), [(LogisticRegression, 3), (LinearSVM, 2)])
def test_contributions_add_up_to_the_difference_of_decisions(
    kind: type, classes: int, scale: str
) -> None:
    X, labels = rows(classes)
    head: Any = kind(1.0, scale=scale).fit(X, labels)
    scores = head.decision_function(X).astype(np.float64)
    if classes == 2:
        scores = np.column_stack([np.zeros(len(X)), scores])
    margin = scores[:, 0] - scores[:, 1]
    truth = margin[labels == 0].mean() - margin[labels == 1].mean()
    means = class_means(head, X, labels, (24,))
    found = unit_contrasts(means, 0, 1, top=24)
    assert found.margin == pytest.approx(truth, rel=1e-4)
    assert found.contribution.sum() == pytest.approx(truth, rel=1e-4)
    assert (np.diff(found.contribution) <= 0).all()
    assert sorted(found.units.tolist()) == list(range(24))


def test_a_map_is_told_by_its_channels_and_crops_are_added() -> None:
    X, labels = rows(3)
    head = LogisticRegression(1.0).fit(X, labels)
    whole = unit_contrasts(class_means(head, X, labels, (24,)), 1, 2, top=24)
    part = dict(zip(whole.units.tolist(), whole.contribution.tolist(), strict=True))
    channels = unit_contrasts(class_means(head, X, labels, (6, 2, 2)), 1, 2, top=6)
    for unit, contribution in zip(channels.units, channels.contribution, strict=True):
        four = sum(part[4 * int(unit) + k] for k in range(4))
        assert contribution == pytest.approx(four, rel=1e-6)
    crops = unit_contrasts(class_means(head, X, labels, (3, 8)), 1, 2, top=8)
    for unit, contribution in zip(crops.units, crops.contribution, strict=True):
        three = sum(part[8 * k + int(unit)] for k in range(3))
        assert contribution == pytest.approx(three, rel=1e-6)
    of_one = X[labels == 1].reshape(20, 6, 4).mean(axis=(0, 2))
    np.testing.assert_allclose(channels.a, of_one[channels.units], rtol=1e-5)


def test_what_cannot_be_contrasted_is_said() -> None:
    X, labels = rows(3)
    head = LogisticRegression(1.0).fit(X, labels)
    with pytest.raises(HeadError, match="the head takes 24"):
        class_means(head, X[:, :6], labels, (6,))
    means = class_means(head, X, np.where(labels == 2, -1, labels), (24,))
    with pytest.raises(InputError, match="no images of one of them"):
        unit_contrasts(means, 0, 2)
    with pytest.raises(InputError, match="two different ones from 0 to 2"):
        unit_contrasts(means, 1, 1)

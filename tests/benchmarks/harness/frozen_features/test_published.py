"""Published numbers stand beside runs of their own protocol alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datasets.dataset import Dataset, make_dataset
from harness.frozen_features.published import PUBLISHED, Protocol, departures
from harness.protocol.splits import Split, draw_splits

PROTOCOL = Protocol(classes=3, train=4, images=30)


@pytest.fixture
def dataset() -> Dataset:
    counts = {"ant": 8, "bee": 10, "cat": 12}
    images = [
        (f"{name}/{n}".encode(), f"/d/{name}/{n}".encode(), name)
        for name, count in counts.items()
        for n in range(count)
    ]
    return make_dataset("d", b"/d", images)


def test_a_run_in_the_protocol(dataset: Dataset) -> None:
    splits = draw_splits(dataset, 4, n_splits=2)
    assert departures(PROTOCOL, dataset, splits) == []
    assert departures(PROTOCOL, dataset, splits[:1]) == []
    capped = replace(PROTOCOL, test=3)
    assert departures(capped, dataset, draw_splits(dataset, 4, test_per_class=3)) == []


def test_images_that_could_not_be_read_are_no_departure(dataset: Dataset) -> None:
    left = dataset.take(np.arange(1, 30))
    splits = draw_splits(left, 4)
    assert departures(PROTOCOL, left, splits, unread=1) == []
    assert departures(PROTOCOL, left, splits) == ["29 images, not 30"]
    official = [Split("s", each.train[1:], each.test) for each in draw_splits(dataset, 4)]
    assert departures(Protocol(3, 4, images=None, test=None), dataset, official, unread=1) != []
    fixed = Protocol(3, 4, test=3)
    short = [
        Split("s", each.train[1:], each.test)
        for each in draw_splits(dataset, 4, test_per_class=3, n_splits=1)
    ]
    assert departures(fixed, dataset, short, unread=1) == []
    assert departures(fixed, dataset, short) == ["3 to 4 training images a class, not 4"]


@pytest.mark.parametrize(
    ("train", "test", "rows", "messages"),
    [
        (3, None, 30, ["3 training images a class, not 4"]),
        (5, None, 30, ["5 training images a class, not 4"]),
        (4, 2, 30, ["not all other images are test images"]),
        (4, None, 18, ["2 classes, not 3", "18 images, not 30"]),
    ],
)
def test_departures(
    dataset: Dataset, train: int, test: int | None, rows: int, messages: list[str]
) -> None:
    part = dataset.take(np.arange(rows))
    splits = draw_splits(part, train, test_per_class=test)
    assert departures(PROTOCOL, part, splits) == messages


def test_every_published_number_has_its_protocol() -> None:
    result = {name: each.protocol for name, each in PUBLISHED.items()}
    assert result == {
        "Caltech-101": Protocol(102, 30, None, 9144),
        "SUN-397": Protocol(397, 50, 50, None),
        "15-Scene": Protocol(15, 100, None, 4485),
        "CUB-200-2011": Protocol(200, None, None, 11_788, n_train=5994),
    }

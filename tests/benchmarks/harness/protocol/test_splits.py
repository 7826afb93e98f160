"""Splits: disjoint, exact, the same everywhere, and refused when the data is another."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.dataset import Dataset, make_dataset
from decaf.errors import InputError, SettingError
from harness.protocol.splits import (
    Split,
    draw_splits,
    manifest,
    official_splits,
    read_splits,
    write_splits,
)


def dataset_of(counts: list[int], name: str = "things") -> Dataset:
    images = [
        (b"c%d/%03d.jpg" % (label, number), b"/data/c%d/%03d.jpg" % (label, number), f"c{label}")
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    return make_dataset(name, b"/data", images)


def names(dataset: Dataset, rows: Any) -> list[bytes]:
    return [dataset.names[row] for row in rows]


@given(
    counts=st.lists(st.integers(4, 12), min_size=2, max_size=5),
    train=st.integers(1, 3),
    test=st.one_of(st.none(), st.integers(1, 20)),
    n_splits=st.integers(1, 4),
    seed=st.integers(0, 2**40),
)
def test_disjoint_and_exact(
    counts: list[int], train: int, test: int | None, n_splits: int, seed: int
) -> None:
    dataset = dataset_of(counts)
    splits = draw_splits(dataset, train, test_per_class=test, n_splits=n_splits, seed=seed)
    assert len(splits) == n_splits
    for split in splits:
        assert not set(split.train) & set(split.test)
        assert len(set(split.train)) == len(split.train)
        assert np.bincount(dataset.labels[split.train]).tolist() == [train] * len(counts)
        left = [count - train if test is None else min(test, count - train) for count in counts]
        assert np.bincount(dataset.labels[split.test]).tolist() == left
    again = draw_splits(dataset, train, test_per_class=test, n_splits=1, seed=seed)
    assert again[0].train.tolist() == splits[0].train.tolist()


@given(seed=st.integers(0, 10), gone=st.integers(0, 9))
def test_images_that_are_missing_move_no_others(seed: int, gone: int) -> None:
    dataset = dataset_of([10, 10])
    part = dataset.take(np.delete(np.arange(20), gone))
    (whole,), (less,) = (draw_splits(d, 4, n_splits=1, seed=seed) for d in (dataset, part))
    before = names(dataset, [*whole.train, *whole.test])
    after = names(part, [*less.train, *less.test])
    assert sorted(before) == sorted([*after, dataset.names[gone]])
    for label in (0, 1):
        order = [n for n in before if n[:2] == b"c%d" % label and n != dataset.names[gone]]
        assert [n for n in after if n[:2] == b"c%d" % label] == order


def test_a_draw_is_the_same_for_ever() -> None:
    """The order of ``printf 7/0/c0/000.jpg | sha256sum``, and so on."""
    (split, other) = draw_splits(dataset_of([5, 5]), 2, n_splits=2, seed=7)
    assert split.train.tolist() == [2, 1, 8, 7]
    assert other.train.tolist() == [4, 0, 8, 6]


def test_splits_differ_by_seed_and_number() -> None:
    dataset = dataset_of([30, 30])
    drawn = [tuple(split.train) for seed in (0, 1) for split in draw_splits(dataset, 10, seed=seed)]
    assert len(set(drawn)) == 10


@given(seed=st.integers(0, 5))
def test_smaller_training_sets_are_parts_of_larger_ones(seed: int) -> None:
    dataset = dataset_of([9, 12, 7])
    (split,) = draw_splits(dataset, 6, n_splits=1, seed=seed)
    sizes = [split.first(size, dataset.labels) for size in (1, 3, 6)]
    for small, large in pairwise(sizes):
        assert set(small.train) < set(large.train)
        assert small.test is split.test
    assert [np.bincount(dataset.labels[s.train]).tolist() for s in sizes] == [
        [n] * 3 for n in (1, 3, 6)
    ]
    assert set(sizes[-1].train) == set(split.train)
    with pytest.raises(SettingError, match="class 0 has 6 training images, 7 were asked for"):
        split.first(7, dataset.labels)


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(InputError, match=r"c1 has 3 images.*fewer training images"):
        draw_splits(dataset_of([9, 3, 9]), 3)
    with pytest.raises(SettingError, match="n_splits 0"):
        draw_splits(dataset_of([9, 9]), 3, n_splits=0)


def test_official_splits() -> None:
    dataset = dataset_of([2, 2])
    with pytest.raises(SettingError, match="comes with 0 splits"):
        official_splits(dataset)
    one = Split("partition 01", np.array([0, 2]), np.array([1, 3]))
    dataset = Dataset(**{**vars(dataset), "official": (one,)})
    (split,) = official_splits(dataset, 1)
    assert (split.name, split.train.tolist()) == ("partition 01", [0, 2])
    with pytest.raises(SettingError, match="comes with 1 splits, 2 were asked for"):
        official_splits(dataset, 2)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Dataset, tuple[Split, ...], dict[bytes, str]]:
    dataset = dataset_of([6, 5])
    splits = draw_splits(dataset, 2, test_per_class=2, n_splits=2)
    digests = {name: name.hex() for name in dataset.names}
    path = tmp_path / "splits.json"
    write_splits(path, manifest(dataset, splits, digests=digests, made_by="drawn, seed 0"))
    return path, dataset, splits, digests


def test_a_manifest_gives_the_same_splits_on_another_copy(written: Any) -> None:
    path, dataset, splits, digests = written
    more = [(b"c0/extra.jpg", b"/elsewhere/c0/extra.jpg", "c0")]
    more += [
        (name, b"/elsewhere/" + name, dataset.class_names[label])
        for name, label in zip(dataset.names, dataset.labels, strict=True)
    ]
    copy = make_dataset("things", b"/elsewhere", more)
    for before, after in zip(splits, read_splits(path, copy, digests=digests), strict=True):
        assert after.name == before.name
        assert names(copy, after.train) == names(dataset, before.train)
        assert names(copy, after.test) == names(dataset, before.test)


def test_a_manifest_is_refused_where_the_data_is_another(written: Any) -> None:
    path, dataset, splits, digests = written
    used = int(splits[0].train[0])
    name = os.fsdecode(dataset.names[used])
    with pytest.raises(InputError, match=f"are not below /data, the first is '{name}'"):
        read_splits(path, dataset.take(np.delete(np.arange(11), used)))
    changed = {**digests, dataset.names[used]: "00"}
    with pytest.raises(InputError, match=f"no longer what they were, the first is '{name}'"):
        read_splits(path, dataset, digests=changed)
    with pytest.raises(InputError, match="splits of 'things', and this is 'others'"):
        read_splits(path, dataset_of([6, 5], "others"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["splits"][0]["train"].reverse(), "was changed after"),
        (lambda content: content.update(schema=9), "schema 9 found, 1 expected"),
        (lambda content: content.update(format="x"), "expected a file that a benchmark wrote"),
    ],
)
def test_a_manifest_that_was_changed(written: Any, change: Any, message: str) -> None:
    path, dataset, _, _ = written
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_splits(path, dataset)


@pytest.mark.parametrize(
    "splits",
    [
        [],
        [{"name": "a", "train": [0], "test": [0]}],
        [{"name": "a", "train": [0], "test": [99]}],
        [{"name": "a", "train": [], "test": [1]}],
        [{"name": "a", "train": [True], "test": [0]}],
        [{"train": [0], "test": [1]}],
        7,
    ],
)
def test_a_manifest_that_agrees_with_itself_and_makes_no_sense(
    written: Any, splits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, dataset, _, _ = written
    content = json.loads(path.read_bytes())
    content["splits"] = splits
    monkeypatch.setattr(
        "harness.protocol.splits.content_digest", lambda _content: content["sha256"]
    )
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no splits: each has to name"):
        read_splits(path, dataset)


def test_an_image_under_two_places_could_be_trained_and_tested_on(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, dataset, _, _ = written
    content = json.loads(path.read_bytes())
    content["files"].append(content["files"][content["splits"][0]["train"][0]])
    content["splits"][0]["test"].append(len(content["files"]) - 1)
    monkeypatch.setattr("harness.protocol.splits.content_digest", lambda _: content["sha256"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="none of them twice"):
        read_splits(path, dataset)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no splits"):
        read_splits(path, dataset_of([3, 3]))


@pytest.mark.posix("names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    images = [(b"a/\xff.jpg", b"/d/a/\xff.jpg", "a"), (b"b/1.jpg", b"/d/b/1.jpg", "b")]
    dataset = make_dataset("d", b"/d", images)
    split = Split("s", np.array([0]), np.array([1]))
    write_splits(tmp_path / "m.json", manifest(dataset, [split]))
    (back,) = read_splits(tmp_path / "m.json", dataset)
    assert back.train.tolist() == [0]

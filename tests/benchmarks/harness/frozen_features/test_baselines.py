"""Fisher vectors as a baseline: each split's own, computed late and once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.dataset import Dataset, read_class_folders
from harness.fisher_vectors import FisherVectors, FisherVectorSettings
from harness.fisher_vectors.settings import SPATIAL
from harness.frozen_features import baselines
from harness.frozen_features.baselines import UnreadImages, VectorsOfSplits
from harness.protocol.splits import Split, draw_splits


class Library:
    __version__ = "1.0"


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return read_class_folders(folder)


@pytest.fixture
def splits(dataset: Dataset) -> tuple[Split, ...]:
    return draw_splits(dataset, 2, n_splits=2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand in for what computes, and tell what it was asked for."""
    asked: list[dict[str, Any]] = []

    def compute(images: Any, **how: Any) -> FisherVectors:
        asked.append({"images": images, **how})
        rows = [np.full((len(images), 3), number, np.float32) for number in (10, 20)]
        return FisherVectors(rows, how.pop("bad", {}), "")

    monkeypatch.setattr(baselines, "fisher_vectors_of_splits", compute)
    monkeypatch.setattr(baselines, "require", lambda _name: Library)
    return asked


def test_each_split_has_its_own_and_nothing_is_computed_before_it_is_asked_for(
    dataset: Dataset, splits: tuple[Split, ...], calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    vectors = VectorsOfSplits(dataset, splits, digests={}, cache=tmp_path / "fv")
    one, other = vectors.of_split(0), vectors.of_split(1)
    assert one.fingerprint != other.fingerprint
    assert calls == []
    assert one.matrix(vectors.layer, np.array([1, 5])).tolist() == [[10.0] * 3] * 2
    assert other.matrix(vectors.layer, np.array([1])).tolist() == [[20.0] * 3]
    (call,) = calls
    assert call["images"] == dataset.files
    for rows, split in zip(call["vocabulary_rows"], splits, strict=True):
        assert not set(rows) & set(split.test)  # a vocabulary is a part of the training


def test_the_fingerprint_holds_images_settings_and_training_rows(
    dataset: Dataset, splits: tuple[Split, ...], calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    def fingerprint(**more: Any) -> str:
        settings = {"digests": {dataset.names[0]: "aa"}, "cache": tmp_path, **more}
        return VectorsOfSplits(dataset, settings.pop("splits", splits), **settings).fingerprint(0)

    same = fingerprint()
    assert same == fingerprint()
    assert same == fingerprint(cache=tmp_path / "elsewhere")
    assert same != fingerprint(digests={dataset.names[0]: "bb"})
    assert same != fingerprint(settings=FisherVectorSettings(modes=32))
    assert same != fingerprint(seed=1)
    assert same != fingerprint(splits=splits[1:])
    assert calls == []


def test_images_without_vectors_are_told_where_they_are_asked_for(
    dataset: Dataset, splits: tuple[Split, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(images: Any, **_: Any) -> FisherVectors:
        bad = {3: ("missing", "no such file"), 9: ("corrupt", "torn")}
        return FisherVectors([np.zeros((len(images), 3), np.float32)] * 2, bad, "")

    monkeypatch.setattr(baselines, "fisher_vectors_of_splits", compute)
    vectors = VectorsOfSplits(dataset, splits, digests={}, cache=tmp_path)
    with pytest.raises(
        UnreadImages,
        match=r"^2 of 28 images could not be read for .*; the first is ant/3\.png: no such file$",
    ) as caught:
        vectors.of_split(0).matrix(vectors.layer, np.array([0, 9]))
    assert caught.value.rows.tolist() == [3, 9]
    assert vectors.of_split(1).matrix(vectors.layer, np.array([0, 8])).shape == (2, 3)


@pytest.mark.parametrize("spatial", SPATIAL)
def test_every_kind_of_vector_has_a_name_in_tables(
    spatial: str, dataset: Dataset, splits: tuple[Split, ...], tmp_path: Path
) -> None:
    settings = FisherVectorSettings(spatial=spatial)
    assert VectorsOfSplits(dataset, splits, digests={}, settings=settings, cache=tmp_path).layer

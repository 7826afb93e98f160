"""SUN-397 on disk, with its partitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.sun397 import read_sun397
from decaf.errors import InputError

CLASSES = ("a/abbey", "a/apartment_building/outdoor", "z/zoo")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The official layout with three classes of four images and two partitions."""
    top = tmp_path / "SUN397"
    for name in CLASSES:
        (top / name).mkdir(parents=True)
        for number in range(4):
            (top / name / f"sun_{number}.jpg").touch()
    (top / "ClassName.txt").write_text("".join(f"/{name}\n" for name in CLASSES))
    (tmp_path / "Partitions").mkdir()
    for partition in (1, 2):
        for half, numbers in (("Training", (0, 1)), ("Testing", (2, 3))):
            shift = partition - 1
            lines = [f"/{c}/sun_{(n + shift) % 4}.jpg\n" for c in CLASSES for n in numbers]
            file = tmp_path / "Partitions" / f"{half}_{partition:02}.txt"
            file.write_text("".join(lines))
    return tmp_path


def test_classes_and_partitions(root: Path) -> None:
    dataset = read_sun397(root, allow_partial=True)
    assert dataset.class_names == ("abbey", "apartment_building/outdoor", "zoo")
    assert dataset.notes == ("an excerpt of SUN-397: 3 of 397 classes, 12 of 108,754 images",)
    assert [split.name for split in dataset.official] == ["partition 01", "partition 02"]
    second = dataset.official[1]
    assert [dataset.names[row] for row in second.train[:2]] == [
        b"a/abbey/sun_1.jpg",
        b"a/abbey/sun_2.jpg",
    ]
    assert np.bincount(dataset.labels[second.test]).tolist() == [2, 2, 2]
    assert read_sun397(root / "SUN397", allow_partial=True).names == dataset.names


def test_a_partial_data_set(root: Path) -> None:
    for image in (root / "SUN397/z/zoo").iterdir():
        image.unlink()
    with pytest.raises(InputError, match=r"2 classes \(without images: zoo\) and 8 images, expec"):
        read_sun397(root)


def test_missing_partitions(root: Path) -> None:
    for file in (root / "Partitions").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"the partitions are missing: expected Training_01\.txt"):
        read_sun397(root, allow_partial=True)


def test_a_partition_with_an_image_on_both_sides(root: Path) -> None:
    (root / "Partitions/Testing_01.txt").write_text("/a/abbey/sun_0.jpg\n")
    with pytest.raises(InputError, match=r"Testing_01\.txt: names 'a/abbey/sun_0\.jpg', which is"):
        read_sun397(root, allow_partial=True)


def test_taking_a_part_keeps_the_splits_of_what_is_left(root: Path) -> None:
    dataset = read_sun397(root, allow_partial=True)
    part = dataset.take(np.flatnonzero(dataset.labels != 0), "without abbeys")
    assert part.class_names == ("apartment_building/outdoor", "zoo")
    for before, after in zip(dataset.official, part.official, strict=True):
        names = [dataset.names[row] for row in before.train if dataset.labels[row] != 0]
        assert [part.names[row] for row in after.train] == names
    assert part.notes[-1] == "without abbeys"


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SUN-397 here"):
        read_sun397(tmp_path)

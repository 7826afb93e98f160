"""15-Scene on disk, in its usual forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.scene15 import IMAGES_OF_CLASS, read_scene15, scene_of
from decaf.errors import InputError

FIRST_RELEASE = [
    *("bedroom", "CALsuburb", "industrial", "kitchen", "livingroom", "MITcoast", "MITforest"),
    *("MIThighway", "MITinsidecity", "MITmountain", "MITopencountry", "MITstreet"),
    *("MITtallbuilding", "PARoffice", "store"),
]


def fill(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"image_{number:04}.jpg").touch()


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    for name in FIRST_RELEASE:
        scene = scene_of(name.encode())
        assert scene
        fill(root / name, range(1, IMAGES_OF_CLASS[scene] + 1))
    return root


@pytest.fixture(scope="module")
def two_halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and test folders whose names differ in upper and lower case."""
    root = tmp_path_factory.mktemp("halves")
    for name, count in IMAGES_OF_CLASS.items():
        fill(root / "data" / "train" / name.title(), range(1, 101))
        fill(root / "data" / "test" / name, range(101, count + 1))
    return root


def test_the_published_counts() -> None:
    assert sum(IMAGES_OF_CLASS.values()) == 4_485
    assert len({scene_of(name.encode()) for name in FIRST_RELEASE}) == 15


@pytest.mark.slow
def test_both_forms_are_the_same_images(one_folder: Path, two_halves: Path) -> None:
    one, two = read_scene15(one_folder), read_scene15(two_halves)
    assert len(one) == 4_485
    assert one.names == two.names
    assert one.labels.tolist() == two.labels.tolist()
    assert one.class_names == two.class_names == tuple(sorted(IMAGES_OF_CLASS))
    assert one.official == ()
    (split,) = two.official
    assert (len(split.train), len(split.test)) == (1_500, 2_985)
    assert all(b"/train/" in two.files[row] for row in split.train)
    assert all(b"/test/" in two.files[row] for row in split.test)


def test_halves_numbered_anew_keep_their_images(tmp_path: Path) -> None:
    for half in ("train", "test"):
        for name in ("coast", "store"):
            fill(tmp_path / half / name, range(1, 4))
    dataset = read_scene15(tmp_path, allow_partial=True)
    assert len(dataset) == 12
    assert dataset.names[0] == b"test/coast/image_0001.jpg"


def test_a_partial_data_set(tmp_path: Path) -> None:
    fill(tmp_path / "coast", range(1, 361))
    fill(tmp_path / "Inside City", range(1, 3))
    with pytest.raises(InputError) as caught:
        read_scene15(tmp_path)
    assert "13 of 15 classes are missing: bedroom (216 images)" in str(caught.value)
    assert "insidecity has 2 images, expected 308" in str(caught.value)


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no 15-Scene here"):
        read_scene15(tmp_path)

"""Caltech-101 on disk: found, counted, and refused with a line that says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.caltech101 import IMAGES_OF_CLASS, read_caltech101
from decaf.errors import InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All names of the data set, empty files."""
    root = tmp_path_factory.mktemp("caltech")
    for name, count in IMAGES_OF_CLASS.items():
        folder = root / "101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / f"image_{number:04}.jpg").touch()
    return root


def test_the_published_counts() -> None:
    assert len(IMAGES_OF_CLASS) == 102
    assert sum(IMAGES_OF_CLASS.values()) == 9_144
    assert min(IMAGES_OF_CLASS.items(), key=lambda item: item[1]) == ("inline_skate", 31)
    assert {"BACKGROUND_Google", "Faces", "Faces_easy"} <= IMAGES_OF_CLASS.keys()


@pytest.mark.parametrize("below", [".", "101_ObjectCategories"])
def test_a_whole_data_set_wherever_the_user_points(whole: Path, below: str) -> None:
    dataset = read_caltech101(whole / below)
    assert len(dataset) == 9_144
    assert dict(zip(dataset.class_names, dataset.counts.tolist(), strict=True)) == IMAGES_OF_CLASS
    assert dataset.names[0] == b"BACKGROUND_Google/image_0001.jpg"
    assert dataset.files[0] == bytes(whole / "101_ObjectCategories") + b"/" + dataset.names[0]
    assert dataset.notes == ()


def test_a_folder_above_it(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "caltech101").symlink_to(whole)
    assert len(read_caltech101(tmp_path)) == 9_144


def test_what_is_no_image_of_the_data_set_is_passed_over(tmp_path: Path) -> None:
    """The published archive has a JPEG ``BACKGROUND_Google/tmp`` that is none of the 9,144."""
    for name in ("ant/image_0001.jpg", "bass/image_0001.jpg", "bass/tmp", "Annotations/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0")
    dataset = read_caltech101(tmp_path, allow_partial=True)
    assert dataset.names == [b"ant/image_0001.jpg", b"bass/image_0001.jpg"]


def test_a_partial_data_set_names_classes_and_counts(tmp_path: Path) -> None:
    for name in ("ant", "bass"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image_0001.jpg").touch()
    with pytest.raises(InputError) as caught:
        read_caltech101(tmp_path)
    text = str(caught.value)
    assert "100 of 102 classes are missing: BACKGROUND_Google (467 images)" in text
    assert "ant has 1 images, expected 42" in text
    assert "https://data.caltech.edu" in text
    assert "--allow-partial" in text
    assert "\n" not in text
    (note,) = read_caltech101(tmp_path, allow_partial=True).notes
    assert note == "an excerpt of Caltech-101: 2 of 102 classes, 2 of 9,144 images"


def test_another_folder(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(InputError, match=r"no Caltech-101 here: expected the folder 101_Object"):
        read_caltech101(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_caltech101(tmp_path / "nowhere")


def test_the_excerpt(shared_data: Path) -> None:
    dataset = read_caltech101(shared_data / "caltech101-mini", allow_partial=True)
    assert len(dataset) == 630
    assert set(dataset.counts.tolist()) == {45}

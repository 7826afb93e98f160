"""CUB-200-2011 in its official layout, and what is wrong with copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bird_fixtures import PART_NAMES, Bird, draw_birds, keypoints
from datasets.cub200 import read_cub200
from decaf.errors import InputError

# Not in the order of their classes, so that rows are not numbers.
BIRDS = (
    Bird(1, True, hidden=("beak",)),
    Bird(0, True, head=(30, 14)),
    Bird(1, False),
    Bird(0, False),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_birds(tmp_path / "CUB_200_2011", BIRDS)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_what_is_annotated_stands_at_the_row_of_its_image(root: Path) -> None:
    for place in (root, root.parent):
        birds = read_cub200(place)
        assert birds.class_names == ("001.Bird_0", "002.Bird_1")
        order = [1, 3, 0, 2]  # by name
        assert [int(name[-8:-4]) - 1 for name in birds.names] == order
        assert birds.labels.tolist() == [0, 0, 1, 1]
        (split,) = birds.official
        assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [1, 3])
        assert birds.boxes is not None
        assert birds.boxes.tolist() == [[15, 10, 105, 90]] * 4  # edges, not width and height
        assert birds.sizes is not None
        assert birds.sizes.tolist() == [[120, 100]] * 4
        assert birds.part_names == PART_NAMES
        assert birds.parts is not None
        for row, number in enumerate(order):
            expected = keypoints(BIRDS[number]).astype(float)
            if BIRDS[number].hidden:
                expected[PART_NAMES.index("beak")] = np.nan
            np.testing.assert_array_equal(birds.parts[row], expected)
        assert birds.notes == ()


def test_some_of_the_images_keep_their_annotations(root: Path) -> None:
    birds = read_cub200(root)
    assert birds.parts is not None
    part = birds.take([0, 2, 3])
    assert part.parts is not None
    np.testing.assert_array_equal(part.parts, birds.parts[[0, 2, 3]])
    assert part.boxes is not None
    assert part.sizes is not None
    assert (len(part.boxes), len(part.sizes)) == (3, 3)
    assert part.official[0].train.tolist() == [0, 1]


def test_images_are_found_below_another_folder(root: Path, tmp_path: Path) -> None:
    deep = tmp_path / "elsewhere" / "data" / "CUB"
    deep.mkdir(parents=True)
    shutil.move(root / "images", deep / "images")
    with pytest.raises(InputError, match=r"images: none of the 2 class folders of images\.txt is"):
        read_cub200(root)
    assert len(read_cub200(root, images=tmp_path / "elsewhere")) == 4


def test_missing_images_are_named_and_counted(root: Path) -> None:
    (root / "images" / "001.Bird_0" / "bird_0004.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of the 4 images .* missing: 001\.Bird_0/bird_0004"):
        read_cub200(root)
    birds = read_cub200(root, allow_partial=True)
    assert birds.notes == (
        "an excerpt of CUB-200-2011: 3 of 4 images are there; missing are 001.Bird_0/bird_0004.jpg",
    )
    assert birds.official[0].test.tolist() == [2]
    (root / "images" / "002.Bird_1" / "bird_0003.jpg").unlink()
    with pytest.raises(InputError, match="all are on one side of the split"):
        read_cub200(root, allow_partial=True)


def test_images_cut_to_their_boxes_with_commas(root: Path) -> None:
    (root / "bounding_boxes.txt").unlink()
    for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt"):
        file = root / name
        file.write_text(file.read_text(encoding="utf-8").replace(" ", ", "))
    birds = read_cub200(root)
    assert birds.boxes is None
    assert birds.parts is None
    assert birds.notes[0].startswith("no bounding_boxes.txt: ")
    other = read_cub200(root, training=0)
    assert birds.official[0].train.tolist() == other.official[0].test.tolist() == [0, 2]


def test_boxes_and_parts_beyond_the_image_are_cut_off_and_counted(root: Path) -> None:
    change(root / "bounding_boxes.txt", "1 15.0 10.0 90.0", "1 15.0 10.0 190.0")
    change(root / "parts" / "part_locs.txt", "\n2 1 ", "\n2 1 -")
    birds = read_cub200(root)
    assert birds.boxes is not None
    assert birds.boxes[2].tolist() == [15, 10, 120, 90]
    assert birds.parts is not None
    assert np.isnan(birds.parts[0]).all(1).tolist() == [True] + [False] * 14
    assert birds.notes == (
        "1 of 4 boxes reach beyond their images: cut off there",
        "1 visible parts lie outside their images: taken for not visible",
    )


def test_an_image_that_cannot_be_read_stays_in_the_list(root: Path) -> None:
    (root / "images" / "001.Bird_0" / "bird_0002.jpg").write_bytes(b"no image")
    birds = read_cub200(root)
    assert birds.sizes is not None
    assert birds.sizes[0].tolist() == [0, 0]
    assert birds.notes == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("bounding_boxes.txt", " 90.0 80.0", " 0.0 80.0", "1 of 4 boxes are empty, .* of image 1"),
        ("bounding_boxes.txt", " 90.0", " ninety", "image 1: expected 4 finite numbers, got"),
        ("bounding_boxes.txt", " 90.0", " nan", "image 1: expected 4 finite numbers, got"),
        (
            "bounding_boxes.txt",
            "1 15.0 10.0",
            "1 115.0 10.0",
            r"1 of 4 boxes lie outside .* 115, 10, 205, 90 in 120 x 100 pixels; are the .* size\?",
        ),
        ("bounding_boxes.txt", "\n4 ", "\n5 ", "lists 4 images, and images.txt beside it 4: both"),
        ("train_test_split.txt", "4 0\n", "", "lists 3 images, and images.txt beside it 4"),
        ("train_test_split.txt", "4 0", "4 2", "image 4 has neither 0 nor 1"),
        (
            "image_class_labels.txt",
            "4 1",
            "4 2",
            "image 4, 001.Bird_0/bird_0004.jpg, has the class",
        ),
        ("images.txt", "\n4 001.Bird_0/", "\n3 001.Bird_0/", "line 4: image 3 is listed twice"),
        ("images.txt", "1 002.Bird_1/", "1 ", "image 1, bird_0001.jpg, is in no class folder"),
        ("images.txt", "1 002", "one 002", "line 1: expected a number and 1 more, got 'one 002"),
        ("parts/part_locs.txt", "\n4 15 ", "\n4 16 ", "line 60: expected a part of parts.txt"),
        (
            "parts/part_locs.txt",
            "\n4 15 ",
            "\n4 14 ",
            "line 60: part 14 of image 4 is listed twice",
        ),
        ("parts/parts.txt", "15 throat", "15 throat\n16 crest", "60 lines, expected one for each"),
    ],
)
def test_annotations_that_cannot_be_right(
    root: Path, file: str, old: str, new: str, message: str
) -> None:
    change(root / file, old, new)
    with pytest.raises(InputError, match=message) as caught:
        read_cub200(root)
    assert file.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no CUB-200-2011 here: expected the folder CUB_200_2011"):
        read_cub200(tmp_path)

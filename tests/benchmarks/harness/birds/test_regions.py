"""Boxes enlarged, cut to pixels, and regions around keypoints: cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bird_fixtures import HEAD, PART_NAMES
from decaf.errors import InputError
from harness.birds.regions import (
    BIRD_PARTS,
    check_part_names,
    enlarged,
    from_region,
    part_regions,
    to_pixels,
    to_region,
)


def test_a_box_grows_around_its_centre() -> None:
    boxes = np.array([[60.0, 27, 385, 331], [0, 0, 2, 4]])
    # 325 x 304 pixels around (222.5, 179) become 487.5 x 456.
    assert enlarged(boxes).tolist() == [[-21.25, -49, 466.25, 407], [-0.5, -1, 2.5, 5]]
    assert enlarged(boxes, 1.0).tolist() == boxes.tolist()


def test_pixels_are_cut_off_at_the_image() -> None:
    sizes = np.array([[500.0, 335], [4, 6], [4, 6], [0, 0]])
    boxes = np.array([[-21.25, -49, 466.25, 407], [1.5, 2, 2.1, 3], [9, 9, 12, 12], [3, 3, 8, 8]])
    assert to_pixels(boxes, sizes).tolist() == [
        [0, 0, 467, 335],
        [1, 2, 3, 3],
        [3, 5, 4, 6],  # outside: the nearest pixel
        [0, 0, 1, 1],  # of an image that cannot be read
    ]


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_pixels_are_within_the_image_and_never_empty(
    edges: list[float], width: int, height: int
) -> None:
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    size = np.array([[width, height]], float)
    (box,) = to_pixels(np.array([[left, top, right, bottom]]), size).tolist()
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height


def test_a_part_is_the_rectangle_around_its_visible_keypoints() -> None:
    parts = np.full((3, 15, 2), np.nan)
    parts[0, PART_NAMES.index("beak")] = 10, 20
    parts[0, PART_NAMES.index("nape")] = 30, 14
    parts[0, PART_NAMES.index("tail")] = 80, 70
    parts[1, PART_NAMES.index("crown")] = 5, 5
    boxes = np.array([[0.0, 0, 100, 64], [0, 0, 50, 50], [3, 4, 5, 6]])
    regions = part_regions(parts, PART_NAMES, boxes)
    # The margin is a tenth of the root of 100 x 64, and of 50 x 50.
    assert regions.boxes[0].tolist() == [[2, 6, 38, 28], [72, 62, 88, 78]]
    assert regions.boxes[1].tolist() == [[0, 0, 10, 10], [0, 0, 50, 50]]
    assert regions.boxes[2].tolist() == [[3, 4, 5, 6]] * 2
    assert regions.fallen_back.tolist() == [[False, False], [False, True], [True, True]]


def test_every_keypoint_is_of_one_part() -> None:
    assert sorted(each for of in BIRD_PARTS.values() for each in of) == sorted(PART_NAMES)
    assert set(BIRD_PARTS["head"]) == set(HEAD)
    check_part_names(PART_NAMES)
    with pytest.raises(InputError, match=r"2 of the parts .* missing, the first is 'beak'"):
        check_part_names([name for name in PART_NAMES if name not in ("beak", "tail")])


def test_places_in_a_region_and_back() -> None:
    points = np.array([[[10.0, 20], [np.nan, np.nan]]])
    regions = np.array([[0, 10, 40, 30]])
    shares = to_region(points, regions)
    assert shares[0, 0].tolist() == [0.25, 0.5]
    np.testing.assert_array_equal(from_region(shares, regions), points)

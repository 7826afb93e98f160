"""Boxes: their overlap against torchvision's, and one box made of several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from decaf.images.box_overlap import best_overlaps, box_overlaps, centre_box, mean_box, merge_boxes
from decaf.images.crops import crop_windows


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_overlaps_are_those_of_torchvision(seed: int, one: int, other: int) -> None:
    random = np.random.default_rng(seed)
    # Whole numbers from a few, so that boxes touch, coincide and have no area.
    a, b = (np.sort(random.integers(0, 12, (count, 2, 2)), axis=1) for count in (one, other))
    a, b = (each.reshape(-1, 4).astype(np.float64) for each in (a, b))
    expected = box_iou(torch.from_numpy(a), torch.from_numpy(b)).nan_to_num().numpy()
    assert box_overlaps(a, b) == pytest.approx(expected)


def test_the_nearest_of_several_true_boxes_counts() -> None:
    true = [np.array([[0.0, 0, 4, 4], [10, 10, 12, 12]]), np.zeros((0, 4))]
    assert best_overlaps(np.array([[10.0, 10, 12, 11], [0, 0, 1, 1]]), true).tolist() == [0.5, 0]


def test_the_mean_box_is_the_mean_of_all_boxes() -> None:
    true = [np.array([[0, 0, 0.5, 0.5]]), np.array([[0.2, 0.2, 0.6, 0.8], [0.4, 0.4, 1, 1]])]
    assert mean_box(true) == pytest.approx([0.2, 0.2, 0.7, 2.3 / 3])


def test_the_centre_box_has_the_size_that_is_right_most_often() -> None:
    true = [np.array([[0.2, 0.2, 0.8, 0.8]])] * 3 + [np.array([[0, 0, 1.0, 1.0]])]
    box = centre_box(true)
    assert box[0] == pytest.approx(1 - box[2])
    assert box[0] == box[1]
    hits = [box_overlaps(box[None], own)[0, 0] >= 0.5 for own in true]
    assert sum(hits) == 3 or all(hits)


def test_boxes_of_one_object_are_merged_and_a_stray_one_is_not() -> None:
    random = np.random.default_rng(0)
    near = np.array([0.3, 0.2, 0.7, 0.8]) + random.normal(0, 0.02, (7, 4))
    stray = np.array([[0.0, 0.0, 0.1, 0.1], [0.9, 0.9, 1.0, 1.0]])
    merged = merge_boxes(np.concatenate([stray, near]))
    assert merged == pytest.approx(near.mean(0))
    assert merge_boxes(np.concatenate([near, stray])) == pytest.approx(near.mean(0))
    assert merge_boxes(stray[:1]).tolist() == stray[0].tolist()


def test_crop_windows_say_which_part_of_the_image_a_crop_shows() -> None:
    windows = crop_windows(256, 512, 224, ten=True)
    assert windows.shape == (10, 4)
    assert windows[0].tolist() == [0, 0, 224 / 512, 224 / 256]
    assert windows[3].tolist() == [(512 - 224) / 512, (256 - 224) / 256, 1, 1]
    # A mirrored crop shows the same part with left and right exchanged.
    assert windows[5:].tolist() == windows[:5, [2, 1, 0, 3]].tolist()

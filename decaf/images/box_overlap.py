"""Boxes in images: how much they overlap, and one box made of several.

A box is its left, top, right and bottom edge, in pixels or as shares of the image's sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "OVERLAP",
    "best_overlaps",
    "box_overlaps",
    "centre_box",
    "from_window",
    "mean_box",
    "merge_boxes",
    "to_window",
]

OVERLAP = 0.5
"""The intersection over the union from which on a box is right."""

# Two boxes of one object cost less than this: the distance of their centres, and half the share
# of their union that they do not have in common.
_MERGE_BELOW = 0.5

Boxes = npt.NDArray[np.float64]


def box_overlaps(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """Return the intersection over the union of each box of one set with each of another.

    Parameters
    ----------
    one : array, shape (…, A, 4)
        Left, top, right and bottom edge.
    other : array, shape (…, B, 4)

    Returns
    -------
    array of float64, shape (…, A, B)
        0 where a box has no area.

    Examples
    --------
    >>> box_overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]]))
    array([[0.33333333, 0.        ]])
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    a, b = one[..., :, None, :], other[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [np.clip(each[..., 2:] - each[..., :2], 0, None).prod(-1) for each in (a, b)]
    union = areas[0] + areas[1] - shared
    overlaps: npt.NDArray[np.float64] = np.zeros_like(shared)
    np.divide(shared, union, out=overlaps, where=union > 0)
    return overlaps


def best_overlaps(boxes: Boxes, true: Sequence[Boxes]) -> npt.NDArray[np.float64]:
    """Return how much the box of each image overlaps the nearest of its true boxes.

    Parameters
    ----------
    boxes : array, shape (N, 4)
    true : sequence of N arrays, shape (B, 4)
        0 is returned for an image without any.
    """
    pairs = zip(boxes, true, strict=True)
    return np.array(
        [box_overlaps(box[None], own).max(initial=0.0) for box, own in pairs], np.float64
    )


def mean_box(true: Sequence[Boxes]) -> Boxes:
    """Return the mean of boxes: what a method says that does not look at the image.

    Parameters
    ----------
    true : sequence of arrays, shape (B, 4)
        Relative to the images' sides.

    Returns
    -------
    array of float64, shape (4,)
    """
    mean: Boxes = np.concatenate(list(true)).mean(0)
    return mean


def centre_box(true: Sequence[Boxes]) -> Boxes:
    """Return the box around the centre whose size is right for most images.

    Parameters
    ----------
    true : sequence of arrays, shape (B, 4)
        Relative to the images' sides.

    Returns
    -------
    array of float64, shape (4,)
        Its sides are the same shares of width and height, in steps of a fiftieth.
    """
    sides = np.arange(1, 51) / 50
    boxes = np.stack([0.5 - sides / 2, 0.5 - sides / 2, 0.5 + sides / 2, 0.5 + sides / 2], 1)
    hits = sum(
        (box_overlaps(boxes, own).max(1, initial=0.0) >= OVERLAP).astype(int) for own in true
    )
    best: Boxes = boxes[int(np.argmax(hits))]
    return best


def merge_boxes(boxes: Boxes) -> Boxes:
    """Make one box of those that several crops predict.

    The two that are nearest are merged until no two are near, and the one that most went into is
    the answer (Sermanet et al. 2014, section 4.3).

    Parameters
    ----------
    boxes : array, shape (M, 4)
        Relative to the image's sides.

    Returns
    -------
    array of float64, shape (4,)
        The mean of the boxes that went into it.

    Examples
    --------
    >>> near, far = [0.1, 0.1, 0.5, 0.5], [0.7, 0.7, 1.0, 1.0]
    >>> merge_boxes(np.array([near, near, far])).tolist()
    [0.1, 0.1, 0.5, 0.5]
    """
    pool = np.array(boxes, np.float64)
    counts = np.ones(len(pool))
    while len(pool) > 1:
        centres = (pool[:, :2] + pool[:, 2:]) / 2
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        cost = apart + (1 - box_overlaps(pool, pool)) / 2
        np.fill_diagonal(cost, np.inf)
        first, second = np.unravel_index(int(np.argmin(cost)), cost.shape)
        if cost[first, second] > _MERGE_BELOW:
            break
        pair = [first, second]
        pool[first] = counts[pair] @ pool[pair] / counts[pair].sum()
        counts[first] = counts[pair].sum()
        pool, counts = np.delete(pool, second, 0), np.delete(counts, second)
    merged: Boxes = pool[int(np.argmax(counts))]
    return merged


def from_window(
    boxes: npt.NDArray[np.float64], windows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Turn boxes in crops into boxes in the images.

    Parameters
    ----------
    boxes : array, shape (…, 4)
        Edges as shares of a crop's sides.
    windows : array, shape (…, 4)
        Which part of its image each crop shows; of a mirrored crop the left edge is the greater.

    Returns
    -------
    array of float64, shape (…, 4)
        Edges as shares of the image's sides.
    """
    start, end = np.tile(windows[..., :2], 2), np.tile(windows[..., 2:], 2)
    return _sorted(start + boxes * (end - start))


def to_window(
    boxes: npt.NDArray[np.float64], windows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Turn boxes in images into boxes in their crops: the inverse of `from_window`.

    Parameters
    ----------
    boxes, windows
        As for `from_window`, of the image.

    Returns
    -------
    array of float64, shape (…, 4)
        Below 0 or above 1 for edges that the crop does not show.
    """
    start, end = np.tile(windows[..., :2], 2), np.tile(windows[..., 2:], 2)
    return _sorted((boxes - start) / (end - start))


def _sorted(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    one, other = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], -1)

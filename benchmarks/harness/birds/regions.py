"""Which part of an image goes through the network: the object's box, enlarged, and its parts.

A part region is the rectangle around the visible keypoints of one group, such as those of the head,
so that the same part of the bird fills the network's input whatever its pose: the pose-normalised
regions of Zhang et al. 2013, section 3, with two semantic parts for birds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError

__all__ = [
    "BIRD_PARTS",
    "ENLARGED",
    "MARGIN",
    "PartRegions",
    "check_part_names",
    "enlarged",
    "from_region",
    "part_regions",
    "to_pixels",
    "to_region",
]

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.int64]

ENLARGED = 1.5
"""Factor on the sides of the box (Donahue et al. 2014, section 4.3)."""

MARGIN = 0.1
"""Margin around the keypoints of a part, as a share of the square root of the box's area."""

BIRD_PARTS = {
    "head": ("beak", "crown", "forehead", "left eye", "nape", "right eye", "throat"),
    "body": (
        "back",
        "belly",
        "breast",
        "left leg",
        "left wing",
        "right leg",
        "right wing",
        "tail",
    ),
}
"""The part regions, and the keypoints of CUB-200-2011 that each is made of."""


@dataclass(frozen=True, eq=False)
class PartRegions:
    """The regions of the parts of objects, in the order of `BIRD_PARTS`.

    Attributes
    ----------
    boxes : array of float64, shape (N, G, 4)
        Left, top, right and bottom edge in pixels.
    fallen_back : array of bool, shape (N, G)
        Where no keypoint of a part is visible, and the box of the object stands for it.
    """

    boxes: Floats
    fallen_back: npt.NDArray[np.bool_]


def check_part_names(names: Sequence[str]) -> None:
    """Refuse a data set whose keypoints are others.

    Parameters
    ----------
    names : sequence of str

    Raises
    ------
    InputError
    """
    missing = [each for of in BIRD_PARTS.values() for each in of if each not in names]
    if missing:
        raise InputError(
            f"parts.txt: {len(missing)} of the parts of CUB-200-2011 are missing, the first is "
            f"{missing[0]!r}; it has {', '.join(names)}"
        )


def enlarged(boxes: Floats, factor: float = ENLARGED) -> Floats:
    """Enlarge boxes around their centres.

    Parameters
    ----------
    boxes : array, shape (N, 4)
        Left, top, right and bottom edge.
    factor : float
        On width and height.

    Examples
    --------
    >>> enlarged(np.array([[10.0, 20.0, 30.0, 30.0]])).tolist()
    [[5.0, 17.5, 35.0, 32.5]]
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = factor * (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def to_pixels(boxes: Floats, sizes: Floats) -> Pixels:
    """Cut boxes off at the edges of their images, and widen them to whole pixels.

    Parameters
    ----------
    boxes : array, shape (N, 4)
    sizes : array, shape (N, 2)
        Width and height; of zeros where they are not known, which gives the first pixel.

    Returns
    -------
    array of int64, shape (N, 4)
        Of one pixel at least.

    Examples
    --------
    >>> to_pixels(np.array([[-3.0, 1.2, 4.5, 9.0]]), np.array([[8.0, 8.0]])).tolist()
    [[0, 1, 5, 8]]
    """
    last = np.maximum(sizes, 1) - 1
    start = np.clip(np.floor(boxes[:, :2]), 0, last)
    end = np.clip(np.ceil(boxes[:, 2:]), start + 1, last + 1)
    return np.concatenate([start, end], axis=1).astype(np.int64)


def part_regions(parts: Floats, names: Sequence[str], boxes: Floats) -> PartRegions:
    """Return the regions of the parts: around the visible keypoints, `MARGIN` wider on each side.

    Parameters
    ----------
    parts : array, shape (N, P, 2)
        Keypoints in pixels, NaN where they are not visible.
    names : sequence of str
        What the P keypoints are called.
    boxes : array, shape (N, 4)
        The objects' own.
    """
    margins = MARGIN * np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1, keepdims=True))
    regions = np.empty((len(parts), len(BIRD_PARTS), 4))
    fallen_back = np.empty(regions.shape[:2], bool)
    for column, of_part in enumerate(BIRD_PARTS.values()):
        points = parts[:, [names.index(each) for each in of_part]]
        seen = np.asarray(~np.isnan(points).any(2, keepdims=True), bool)
        start = np.where(seen, points, np.inf).min(1) - margins
        end = np.where(seen, points, -np.inf).max(1) + margins
        fallen_back[:, column] = ~seen[:, :, 0].any(1)
        around = np.concatenate([start, end], axis=1)
        regions[:, column] = np.where(fallen_back[:, column, None], boxes, around)
    return PartRegions(regions, fallen_back)


def to_region(points: Floats, regions: npt.NDArray[np.floating | np.integer]) -> Floats:
    """Turn points of images into shares of the sides of regions.

    Parameters
    ----------
    points : array, shape (N, P, 2)
        In pixels.
    regions : array, shape (N, 4)
    """
    start, end = regions[:, None, :2], regions[:, None, 2:]
    return np.asarray((points - start) / (end - start), np.float64)


def from_region(points: Floats, regions: npt.NDArray[np.floating | np.integer]) -> Floats:
    """Turn shares of the sides of regions into points of images: the inverse of `to_region`.

    Parameters
    ----------
    points, regions
        As for `to_region`.
    """
    start, end = regions[:, None, :2], regions[:, None, 2:]
    return np.asarray(start + points * (end - start), np.float64)

"""Guesses of the class and the box of an image, and the rule by which they are right.

An answer is up to five guesses, each a class and a box. It is right if one of them names the class
of the image and its box overlaps a box of that class by half or more (Russakovsky et al. 2015,
section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.images.box_overlap import OVERLAP, box_overlaps
from decaf.images.listing.annotated_boxes import ImageBoxes

__all__ = ["GUESSES", "Guesses", "guess_errors", "own_boxes", "percent"]

GUESSES = 5
Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Guesses:
    """Up to five guesses for each of N images, the surest first.

    Attributes
    ----------
    classes : array of int64, shape (N, 5)
        -1 where there are fewer.
    boxes : array of float64, shape (N, 5, 4)
        Edges, in the units of the true boxes.
    """

    classes: npt.NDArray[np.int64]
    boxes: Boxes


def guess_errors(
    guesses: Guesses, labels: npt.NDArray[np.int64], true: Sequence[Boxes]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say of each image whether its class, and its class with a box, were missed by all guesses.

    Parameters
    ----------
    guesses : Guesses
    labels : array of int64, shape (N,)
    true : sequence of N arrays, shape (B, 4)
        The boxes of the class of each image.

    Returns
    -------
    class_missed, box_missed : array of bool, shape (N,)
    """
    named = guesses.classes == np.asarray(labels)[:, None]
    hit = np.zeros_like(named)
    for row, own in enumerate(true):
        hit[row] = box_overlaps(guesses.boxes[row], own).max(1, initial=0.0) >= OVERLAP
    return ~named.any(1), ~(named & hit).any(1)


def own_boxes(
    boxes: ImageBoxes | None, class_id: str, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the boxes of the class of an image; all of them where they do not tell classes."""
    if boxes is None or min(size) < 1:
        return np.zeros((0, 4))
    return boxes.of_class(class_id).relative(size)


def percent(missed: npt.NDArray[np.bool_]) -> float:
    """Return how many are true, in percent.

    Parameters
    ----------
    missed : array of bool
    """
    return 100 * float(np.mean(missed))

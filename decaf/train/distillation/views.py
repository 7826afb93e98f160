"""Views of an image that are the same in every pass: drawn by its contents and a number."""

from __future__ import annotations

import numpy as np

from decaf.train.augment import TRIES, Views, random_boxes
from decaf.train.randomness import key
from decaf.train.recipe import TrainSettings

__all__ = ["fixed_views"]

# What a view draws: area and ratio of some boxes, place of the one that fits, and the mirror.
_DRAWS = 2 * TRIES + 3


def fixed_views(
    settings: TrainSettings, contents: np.ndarray, numbers: np.ndarray, sides: np.ndarray
) -> Views:
    """Return the views of these numbers of images.

    Parameters
    ----------
    settings : TrainSettings
        Have the boxes' areas and ratios, whether to mirror, and the seed.
    contents : ndarray of uint8, shape (N, 32)
        SHA-256 of the images' files.
    numbers : ndarray of int64, shape (N,)
        Which view of each.
    sides : ndarray of int64, shape (N,)
        Sides of the stored images, in pixels.

    Returns
    -------
    Views
    """
    words = np.ascontiguousarray(contents).view(np.uint64)
    start = words[:, 0] ^ np.uint64(key(settings.seed, "fixed views"))
    place = numbers.astype(np.uint64)[:, None] * np.uint64(_DRAWS) + np.arange(
        1, _DRAWS + 1, dtype=np.uint64
    )
    drawn = _split_mix(start[:, None] + place * np.uint64(0x9E3779B97F4A7C15))
    height, width = random_boxes(settings, drawn[:, :TRIES], drawn[:, TRIES : 2 * TRIES], sides)
    top, left, mirror = drawn[:, 2 * TRIES :].T
    return Views(
        (top * (sides - height + 1)).astype(np.int64),
        (left * (sides - width + 1)).astype(np.int64),
        height,
        width,
        (mirror < 0.5) & settings.mirror,
        np.zeros((len(sides), 3), np.float32),
    )


def _split_mix(state: np.ndarray) -> np.ndarray:
    """Return uniform numbers in [0, 1) of 64-bit states (Steele et al. 2014, SplitMix64)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    uniform: np.ndarray = (z >> np.uint64(11)) * 2.0**-53
    return uniform

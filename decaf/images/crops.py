"""The crops of an image: where they lie, the order of the ten-crop, and how its rows become one.

The ten-crop is that of Krizhevsky et al. 2012, section 4.1: top left, top right, bottom left,
bottom right and centre, then the mirror images of these five, in that order. Five crops are cut
from the pixels; their mirror images are made where the network runs, after the mean is taken off,
so that a mean image is mirrored with its crop and half as many pixels are sent there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["CROPS", "combine_crops", "crop_corners", "crop_windows", "with_mirrors"]

CROPS = ("center", "ten", "ten-max", "ten-stack")
"""Choices of crops, and of what is made of the rows of ten: mean, maximum, all."""


def crop_corners(height: int, width: int, crop: int, ten: bool = False) -> list[tuple[int, int]]:
    """Return the top-left corners of the crops that are cut from an image.

    Parameters
    ----------
    height, width : int
        Size of the resized image, both at least `crop`.
    crop : int
        Side of a crop.
    ten : bool
        Whether to return the five of a ten-crop, in its order, or the centre alone.

    Returns
    -------
    list of (top, left)

    Examples
    --------
    >>> crop_corners(256, 341, 227)
    [(14, 57)]
    >>> crop_corners(256, 256, 227, ten=True)
    [(0, 0), (0, 29), (29, 0), (29, 29), (14, 14)]
    """
    # Rounded half to even, which is what torchvision's CenterCrop does.
    centre = round((height - crop) / 2), round((width - crop) / 2)
    if not ten:
        return [centre]
    bottom, right = height - crop, width - crop
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), centre]


def crop_windows(height: int, width: int, crop: int, ten: bool = False) -> npt.NDArray[np.float64]:
    """Return which part of a resized image each crop shows.

    Parameters
    ----------
    height, width, crop, ten
        As for `crop_corners`.

    Returns
    -------
    array of float64, shape (1, 4) or (10, 4)
        Left, top, right and bottom edge as shares of width and height, in the order of the
        ten-crop. Of a mirrored crop the left edge is the greater: what is at its left in the crop
        is at the right in the image.

    Examples
    --------
    >>> crop_windows(256, 512, 256)
    array([[0.25, 0.  , 0.75, 1.  ]])
    """
    corners = np.array(crop_corners(height, width, crop, ten), np.float64)
    top, left = corners[:, 0] / height, corners[:, 1] / width
    windows = np.stack([left, top, left + crop / width, top + crop / height], axis=1)
    return np.concatenate([windows, windows[:, [2, 1, 0, 3]]]) if ten else windows


def with_mirrors(pixels: torch.Tensor) -> torch.Tensor:
    """Add the mirror images of five crops to them.

    Parameters
    ----------
    pixels : Tensor of shape (5 N, 3, crop, crop)
        The five of each image one after the other, normalised.

    Returns
    -------
    Tensor of shape (10 N, 3, crop, crop)
        Channels last.
    """
    import torch

    views = pixels.unflatten(0, (-1, 5))
    ten = torch.cat([views, views.flip(-1)], dim=1).flatten(0, 1)
    return ten.contiguous(memory_format=torch.channels_last)


def combine_crops(values: torch.Tensor, crops: str) -> torch.Tensor:
    """Make the rows of images of the rows of their ten crops.

    Parameters
    ----------
    values : Tensor of shape (10 N, …)
    crops : {"ten", "ten-max", "ten-stack"}
        Mean, maximum, or all.

    Returns
    -------
    Tensor of shape (N, …), or (N, 10, …) of ``"ten-stack"``
    """
    stack: torch.Tensor = values.unflatten(0, (-1, 10))
    if crops == "ten":
        return stack.mean(dim=1)
    return stack.amax(dim=1) if crops == "ten-max" else stack

"""A photograph that was sent to the demo, decoded, and what the network sees of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.images.decoding.decode import decode
from decaf.images.preprocess import resized_crops

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["Photograph", "Question", "crop_of", "decode_photograph"]


@dataclass(frozen=True, eq=False)
class Photograph:
    """A decoded upload.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        RGB, upright.
    format : str
        As `decaf.images.decoding.decode.Decoded` has it.
    """

    pixels: np.ndarray
    format: str


Question = Callable[[Photograph], dict[str, Any]]
"""Maps a photograph to JSON values; an `ImageError` is for one that the network does not take."""


def decode_photograph(
    data: bytes, *, max_pixels: int, background: tuple[int, int, int]
) -> Photograph:
    """Decode the bytes of a file.

    Parameters
    ----------
    data : bytes
    max_pixels : int
        Limit on width times height.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.

    Raises
    ------
    ImageError
        For what is no image, cannot be read, or costs too much to decode.
    """
    decoded = decode(data, max_pixels=max_pixels, background=background)
    pixels: np.ndarray = decoded.pixels.permute(1, 2, 0).contiguous().numpy()
    return Photograph(pixels, decoded.format)


def crop_of(photograph: Photograph, backbone: Backbone) -> np.ndarray:
    """Return what a network sees of a photograph: (crop, crop, 3) uint8.

    Parameters
    ----------
    photograph : Photograph
    backbone : Backbone

    Raises
    ------
    ImageError
        If it does not have a size that the network takes.
    """
    import torch

    image = torch.from_numpy(photograph.pixels).permute(2, 0, 1)
    crop: np.ndarray = resized_crops(image, backbone.preprocess)[0].numpy()
    return crop

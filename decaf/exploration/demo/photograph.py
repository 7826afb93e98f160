"""A photograph that was sent to the demo, decoded, and what the network sees of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError
from decaf.images import STATUS_NAMES, ImageList, ImageRef, PreprocessSpec
from decaf.images.decoding.decode import decode
from decaf.images.decoding.formats import sniff
from decaf.images.decoding.limits import refuse_costly
from decaf.images.preprocess import resized_crops
from decaf.images.workers.decoders import Decoders, is_plain_data
from decaf.images.workers.pool import Job

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


def decode_photograph(data: bytes, *, max_pixels: int, spec: PreprocessSpec) -> Photograph:
    """Decode the bytes of a file.

    What is no JPEG or PNG of usual size has decoders with more ways to hang or crash: where the
    system has files in memory, it is decoded by a process of its own before.

    Parameters
    ----------
    data : bytes
    max_pixels : int
        Limit on width times height.
    spec : PreprocessSpec
        Preprocessing of the network, with the colour that transparent pixels are composited on.

    Raises
    ------
    ImageError
        For what is no image, cannot be read, or costs too much to decode.
    """
    refuse_costly(sniff(data), len(data), max_pixels)
    if not is_plain_data(data):
        _try_elsewhere(data, spec)
    decoded = decode(data, max_pixels=max_pixels, background=spec.background)
    return Photograph(np.ascontiguousarray(decoded.pixels), decoded.format)


def _try_elsewhere(data: bytes, spec: PreprocessSpec) -> None:
    """Refuse what a process of its own cannot decode; what is uploaded is on no disk meanwhile."""
    if sys.platform != "linux":
        return
    with open(os.memfd_create("photograph"), "wb") as file:
        file.write(data)
        file.flush()
        # The name under which another process finds it.
        ref = ImageRef(b"/proc/%d/fd/%d" % (os.getpid(), file.fileno()))
        out = np.empty((1, spec.crop, spec.crop, 3), np.uint8)
        images = ImageList([ref.name], np.array([-1]), (), (), [ref])
        with Decoders(images, 1, spec, ten=False) as decoders:
            decoders.submit(Job(0, ref, out))
            while not (finished := decoders.poll(1.0)):
                pass
    ((_, outcome),) = finished
    if outcome.status != STATUS_NAMES[0]:
        raise ImageError(outcome.status, outcome.message)


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
    crop: np.ndarray = resized_crops(photograph.pixels, backbone.preprocess)[0]
    return crop

"""From the pixels of an image to the bytes that a pack keeps of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from decaf.errors import ImageError
from decaf.images.decoding.formats import sniff
from decaf.images.decoding.native import jpeg_decoder
from decaf.images.listing.refs import ImageRef
from decaf.images.status import Outcome
from decaf.train.pack.settings import PackSettings

__all__ = ["Stored", "encoder_name", "may_keep", "own_jpeg", "store"]


class Stored(NamedTuple):
    """An image as a pack keeps it: its bytes, and whether they are the source's own."""

    data: bytes
    kept: bool


def encoder_name() -> str:
    """Tell which library writes JPEGs here."""
    return "pillow" if _torchvision_encoder() is None else "torchvision"


def may_keep(outcome: Outcome, settings: PackSettings) -> bool:
    """Tell whether the source of an image could be kept as it is, as far as its size says.

    Parameters
    ----------
    outcome : Outcome
    settings : PackSettings
    """
    side = settings.size
    return settings.encoding == "jpeg" and (outcome.width, outcome.height) == (side, side)


def own_jpeg(ref: ImageRef, outcome: Outcome) -> bytes | None:
    """Read the source of an image if it is a JPEG that can be kept as it is, else give None.

    That is one that stands upright, of one component or three.

    Parameters
    ----------
    ref : ImageRef
    outcome : Outcome
    """
    try:
        data = ref.load()
        header = sniff(data)
    except ImageError:
        return None  # gone since it was decoded
    same = hashlib.sha256(data).digest() == outcome.sha256
    plain = header.format == "JPEG" and header.native and header.orientation == 1
    return data if same and plain else None


def store(pixels: np.ndarray, own: bytes | None, settings: PackSettings) -> Stored:
    """Make the bytes that are kept of an image.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (size, size, 3)
    own : bytes or None
        The source, where it is kept as it is: encoding it anew could only lose.
    settings : PackSettings
    """
    if settings.encoding == "raw":
        return Stored(pixels.tobytes(), kept=False)
    if own is not None:
        return Stored(own, kept=True)
    return Stored(_to_jpeg(pixels, settings.quality), kept=False)


def _to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    encode = _torchvision_encoder()
    if encode is None:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return file.getvalue()
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return encode(planes, quality).numpy().tobytes()


def _torchvision_encoder() -> Callable[[torch.Tensor, int], torch.Tensor] | None:
    if jpeg_decoder() is None:  # which registers the encoder too
        return None
    try:
        encoder: Callable[[torch.Tensor, int], torch.Tensor] = torch.ops.image.encode_jpeg.default
    except AttributeError:
        return None
    return encoder

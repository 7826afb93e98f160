"""From an image to the crops that a network is given: load, decode, resize, cut.

`decaf.images.normalise` makes the network's input of them. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError
from decaf.images.crops import crop_corners
from decaf.images.decoding.decode import Decoded, decode, from_object
from decaf.images.listing.image_ref import ImageRef
from decaf.images.resize import resize
from decaf.images.spec import PreprocessSpec
from decaf.images.status import NO_DIGEST, Outcome

__all__ = [
    "MAX_RESIZED_PIXELS",
    "object_content",
    "prepare",
    "resized_crops",
    "resized_size",
]

# A 1 x 5000 strip whose shorter side becomes 256 would grow to 1.3 million columns.
MAX_RESIZED_PIXELS = 64_000_000


def prepare(
    source: ImageRef | Callable[[], Any], spec: PreprocessSpec, *, ten: bool, out: np.ndarray
) -> Outcome:
    """Load, decode, resize and crop one image into `out`, with every fault caught.

    Parameters
    ----------
    source : ImageRef or callable
        Where the image lies; or what returns it, a PIL image, array or tensor: getting that may run
        a user's code (a torch Dataset's), which may fail like any decoder.
    spec : PreprocessSpec
        Resizing and cropping.
    ten : bool
        Cut five crops (the ten-crop's, before mirroring) instead of the centre.
    out : ndarray of uint8, shape (1 or 5, crop, crop, 3)
        Receives the crops, RGB; all zeros where the image is bad.

    Returns
    -------
    Outcome
        Never raises for a bad image.
    """
    digest = NO_DIGEST
    try:
        if isinstance(source, ImageRef):
            data = source.load()
            digest = source.digest(data)
            decoded = decode(data, background=spec.background)
            pixels = source.cut(decoded.pixels)
        else:
            decoded, digest = object_content(source(), spec.background)
            pixels = decoded.pixels
        out[...] = resized_crops(pixels, spec, ten)
    except Exception as error:
        out[...] = 0
        if isinstance(error, ImageError):
            return Outcome(error.status, error.message, -1, -1, digest)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome("decoder_failed", text[:500], -1, -1, digest)
    return Outcome("ok", "", decoded.width, decoded.height, digest)


def object_content(image: Any, background: tuple[int, int, int]) -> tuple[Decoded, bytes]:
    """Decode an image in memory, and hash its pixels.

    Parameters
    ----------
    image : PIL.Image.Image, ndarray or Tensor
        As `decaf.images.decoding.decode.from_object` takes it.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.

    Returns
    -------
    Decoded
    bytes
        SHA-256 of its pixels.

    Raises
    ------
    ImageError
        For what is no image.
    """
    decoded = from_object(image, background=background)
    return decoded, hashlib.sha256(np.ascontiguousarray(decoded.pixels).data).digest()


def resized_crops(
    pixels: npt.NDArray[np.uint8], spec: PreprocessSpec, ten: bool = False
) -> npt.NDArray[np.uint8]:
    """Resize an image and cut its crops.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Of any strides.
    spec : PreprocessSpec
        Says how.
    ten : bool
        Whether to cut the five crops of a ten-crop (their mirrors are made later) or the centre.

    Returns
    -------
    ndarray of uint8, shape (n, crop, crop, 3)
        With n 5 or 1, in the order of `decaf.images.crops`.

    Raises
    ------
    ImageError
        "too_large" if keeping the aspect ratio makes more than `MAX_RESIZED_PIXELS` pixels;
        "wrong_size" if the image is to be taken as it is, and has not the size for it.
    """
    height, width = resized_size(pixels.shape[0], pixels.shape[1], spec)
    rows = np.ascontiguousarray(pixels)  # how decoders give them: no copy
    if (height, width) != rows.shape[:2]:
        rows = resize(rows, height, width)
    side = spec.crop
    # Lines of a crop are copied whole, in half the time.
    lines = rows.reshape(height, width * 3)
    offsets = crop_corners(height, width, side, ten)
    crops = np.empty((len(offsets), side, side * 3), dtype=np.uint8)
    for crop, (top, left) in zip(crops, offsets, strict=True):
        crop[...] = lines[top : top + side, left * 3 : (left + side) * 3]
    return crops.reshape(-1, side, side, 3)


def resized_size(height: int, width: int, spec: PreprocessSpec) -> tuple[int, int]:
    """Return the size after the resize; the long side is cut to an integer as in torchvision.

    Parameters
    ----------
    height, width : int
        Of the image.
    spec : PreprocessSpec

    Returns
    -------
    (int, int)
        Height and width.

    Raises
    ------
    ImageError
        As `resized_crops`.
    """
    side = spec.resize_to
    if spec.resize == "warp":
        return side, side
    if spec.resize == "none":
        if (height, width) != (side, side):
            raise ImageError(
                "wrong_size",
                f"{width} x {height} pixels; taken as they are (resize 'none'), images must have "
                f"{side} x {side}",
            )
        return side, side
    short, long = sorted((height, width))
    long = int(side * long / short)
    if side * long > MAX_RESIZED_PIXELS:
        raise ImageError(
            "too_large",
            f"{width} x {height} pixels become {side} x {long} when the shorter side is {side}; "
            f"{MAX_RESIZED_PIXELS} pixels is the limit",
        )
    return (side, long) if height <= width else (long, side)

"""One image, from where it lies to the pixels the network gets, with every fault caught."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError
from decaf.images.decoding.decode import Decoded, decode, from_object
from decaf.images.preprocess import resized_crops
from decaf.images.status import NO_DIGEST, Outcome

if TYPE_CHECKING:
    from decaf.images.listing.sources import ImageRef
    from decaf.images.spec import PreprocessSpec

__all__ = ["object_content", "prepare_object", "prepare_ref"]


def prepare_ref(ref: ImageRef, spec: PreprocessSpec, *, ten: bool, out: np.ndarray) -> Outcome:
    """Load, decode, resize and crop one image into `out`.

    Parameters
    ----------
    ref : ImageRef
        Where the image lies.
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
        data = ref.load()
        digest = hashlib.sha256(data).digest()
        decoded = decode(data, background=spec.background)
    except Exception as error:
        return _failed(error, digest, out)
    return _crop(decoded, spec, ten, digest, out)


def prepare_object(
    get: Callable[[], Any], spec: PreprocessSpec, *, ten: bool, out: np.ndarray
) -> Outcome:
    """Do as `prepare_ref` for an image in memory: a PIL image, array or tensor that `get` gives.

    It is a function because getting it may run a user's code (a torch Dataset's), which may fail
    like any decoder.
    """
    try:
        decoded, digest = object_content(get(), spec.background)
    except Exception as error:
        return _failed(error, NO_DIGEST, out)
    return _crop(decoded, spec, ten, digest, out)


def object_content(image: Any, background: tuple[int, int, int]) -> tuple[Decoded, bytes]:
    """Decode an image in memory, and give the SHA-256 of its pixels.

    Raises
    ------
    ImageError
        As `decaf.images.decoding.decode.from_object`.
    """
    decoded = from_object(image, background=background)
    pixels = decoded.pixels.permute(1, 2, 0).contiguous().numpy()
    return decoded, hashlib.sha256(pixels.data).digest()


def _crop(
    decoded: Decoded, spec: PreprocessSpec, ten: bool, digest: bytes, out: np.ndarray
) -> Outcome:
    try:
        out[...] = resized_crops(decoded.pixels, spec, ten).numpy()
    except Exception as error:
        return _failed(error, digest, out)
    return Outcome("ok", "", decoded.width, decoded.height, digest)


def _failed(error: Exception, digest: bytes, out: np.ndarray) -> Outcome:
    out[...] = 0
    if isinstance(error, ImageError):
        return Outcome(error.status, error.message, -1, -1, digest)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Outcome("decoder_failed", text[:500], -1, -1, digest)

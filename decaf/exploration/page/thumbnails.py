"""Small copies of images as ``data:`` addresses, of the images that features were computed from."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError, InputError
from decaf.features.image_finder import ImageFinder
from decaf.features.store.feature_file import FeatureFile
from decaf.images import ImageRef, path_text
from decaf.runtime.cores import cores_of_process
from decaf.runtime.wording import printable

__all__ = ["THUMBNAIL_HEIGHT", "Thumbnails", "picture_uri", "thumbnail", "thumbnails"]

# Twice what a page shows, for fine screens.
THUMBNAIL_HEIGHT = 160
_WIDEST = 1.75  # times the height
_QUALITY = 72


@dataclass(frozen=True)
class Thumbnails:
    """Small copies of images.

    Attributes
    ----------
    uris : tuple of str or None
        A ``data:`` address for each row that was asked for; None where the image is not there any
        more, or cannot be read.
    gone : int
        How many have none.
    """

    uris: tuple[str | None, ...]
    gone: int


def thumbnails(
    features: FeatureFile,
    rows: Sequence[int],
    *,
    height: int = THUMBNAIL_HEIGHT,
    quality: int = _QUALITY,
    progress: Callable[[int, int], None] | None = None,
) -> Thumbnails:
    """Make small copies of the images of some rows, where these are found as features were made.

    Parameters
    ----------
    features : FeatureFile
    rows : sequence of int
    height : int
        At most so high, in pixels, and 1.75 times as wide.
    quality : int
        Of the JPEG, to 95.
    progress : callable, optional
        Called with how many images are done, and how many there are in all.

    Returns
    -------
    Thumbnails

    Raises
    ------
    InputError
        If an image has changed since its features were computed.
    """
    finder = ImageFinder(features)
    names, digests, ok = features.path_bytes, features.content_sha256, features.ok
    # Archives are listed here, one after the other: threads only read.
    refs = [finder.find(row, names[row]) if ok[row] else None for row in rows]

    def one(place: int) -> str | None:
        ref = refs[place]
        if ref is None:
            return None
        try:
            digest = digests[rows[place]].tobytes()
            return thumbnail(ref, sha256=digest, height=height, quality=quality)
        except ImageError:
            return None

    uris = []
    with ThreadPoolExecutor(cores_of_process()) as pool:
        try:
            for uri in pool.map(one, range(len(refs))):
                uris.append(uri)
                if progress is not None:
                    progress(len(uris), len(refs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Thumbnails(tuple(uris), sum(uri is None for uri in uris))


def thumbnail(
    ref: ImageRef,
    *,
    sha256: bytes | None = None,
    height: int = THUMBNAIL_HEIGHT,
    quality: int = _QUALITY,
) -> str:
    """Return a small, upright copy of an image as a ``data:`` address.

    Parameters
    ----------
    ref : ImageRef
    sha256 : bytes, optional
        Digest of the bytes that the image must have.
    height, quality : int
        As `thumbnails` takes them.

    Returns
    -------
    str
        JPEG.

    Raises
    ------
    ImageError
        Where it cannot be read.
    InputError
        Where it is not the image with this digest any more.
    """
    data = ref.load()
    if sha256 is not None and hashlib.sha256(data).digest() != sha256:
        raise InputError(
            f"{printable(path_text(ref.name))}: has changed since its features were computed "
            "(its SHA-256 is another); compute them again, or show no images, with `images=False`"
        )
    from decaf.images.decoding.decode import decode

    decoded = decode(data).pixels
    if ref.box is not None:
        left, top, right, bottom = ref.box
        decoded = decoded[:, top:bottom, left:right]
    pixels: npt.NDArray[np.uint8] = decoded.permute(1, 2, 0).contiguous().numpy()
    return picture_uri(pixels, height=height, quality=quality)


def picture_uri(
    pixels: npt.NDArray[np.uint8], *, height: int = THUMBNAIL_HEIGHT, quality: int = _QUALITY
) -> str:
    """Return a small copy of pixels as a ``data:`` address.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
    height, quality : int
        As `thumbnails` takes them.

    Returns
    -------
    str
        JPEG.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((round(height * _WIDEST), height), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"

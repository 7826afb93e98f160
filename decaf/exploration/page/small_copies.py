"""Small copies of the images that features were computed from, as ``data:`` addresses.

One by one where a page shows some, or many on each of a few sheets, from which a script cuts them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError, InputError, Stopped
from decaf.features.image_finder import ImageFinder
from decaf.features.store.feature_file import FeatureFile
from decaf.images import ImageRef, path_text
from decaf.runtime.cores import cores_of_process
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import printable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SHEET_COLUMNS",
    "THUMBNAIL_HEIGHT",
    "SpriteSheets",
    "Thumbnails",
    "picture_uri",
    "sprite_sheets",
    "thumbnail",
    "thumbnails",
]

SHEET_COLUMNS = 10
"""Pictures a row of a sheet, and rows of a full one."""


# Twice what a page shows, for fine screens.
THUMBNAIL_HEIGHT = 160
_WIDEST = 1.75  # times the height
_QUALITY = 72
_NO_IMAGES = "show no images, with `images=False`"
# Pictures in the making at a time.
_IN_FLIGHT = 256


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


@dataclass(frozen=True, eq=False)
class SpriteSheets:
    """Small copies of many images, a hundred on a sheet.

    Attributes
    ----------
    uris : tuple of str
        ``data:`` addresses of the sheets.
    side : int
        Pixels of a square of a sheet, in the top left of which its picture lies.
    sizes : array of uint8, shape (n, 2)
        Width and height of each picture; 0 where the image is not there any more.
    gone : int
        How many have none.
    """

    uris: tuple[str, ...]
    side: int
    sizes: npt.NDArray[np.uint8]
    gone: int


def thumbnails(
    features: FeatureFile,
    rows: Sequence[int],
    *,
    height: int = THUMBNAIL_HEIGHT,
    instead: str = _NO_IMAGES,
) -> Thumbnails:
    """Make small copies of the images of some rows, where these are found as features were made.

    Parameters
    ----------
    features : FeatureFile
    rows : sequence of int
    height : int
        At most so high, in pixels, and 1.75 times as wide.
    instead : str
        What may be done about an image that has changed, for the error.

    Returns
    -------
    Thumbnails

    Raises
    ------
    InputError
        If an image has changed since its features were computed.
    """
    quiet = ComputeSettings(progress=False)
    pictures = _small_copies(features, rows, _within(height), quiet, instead)
    uris = tuple(None if picture is None else _jpeg_uri(picture) for picture in pictures)
    return Thumbnails(uris, sum(uri is None for uri in uris))


def sprite_sheets(
    features: FeatureFile,
    rows: Sequence[int],
    *,
    side: int = 96,
    compute: ComputeSettings | None = None,
) -> SpriteSheets:
    """Put small copies of the images of some rows on sheets, a hundred on each.

    Picture i is in square i % 100 of sheet i // 100, counted along the rows of ten.

    Parameters
    ----------
    features : FeatureFile
    rows : sequence of int
    side : int
        Width and height of a picture at most, in pixels, to 255.
    compute : ComputeSettings, optional
        Its progress and stop are used.

    Returns
    -------
    SpriteSheets

    Raises
    ------
    InputError
        As `thumbnails`.
    Stopped
        After `stop` was set.
    """
    from PIL import Image

    pictures = _small_copies(
        features, rows, (side, side), compute or ComputeSettings(progress=False)
    )
    sizes = np.zeros((len(rows), 2), np.uint8)
    uris: list[str] = []
    sheet: Image.Image | None = None
    squares = SHEET_COLUMNS**2
    for place, picture in enumerate(pictures):
        square = place % squares
        if square == 0:
            if sheet is not None:
                uris.append(_jpeg_uri(sheet))
            on_it = -(-min(squares, len(rows) - place) // SHEET_COLUMNS)
            sheet = Image.new("RGB", (side * SHEET_COLUMNS, side * on_it), (128, 128, 128))
        if picture is not None and sheet is not None:
            row, column = divmod(square, SHEET_COLUMNS)
            sheet.paste(picture, (column * side, row * side))
            sizes[place] = picture.size
    if sheet is not None:
        uris.append(_jpeg_uri(sheet))
    return SpriteSheets(tuple(uris), side, sizes, int((sizes[:, 0] == 0).sum()))


def thumbnail(ref: ImageRef, *, sha256: bytes | None = None) -> str:
    """Return a small, upright copy of an image as a ``data:`` address.

    Parameters
    ----------
    ref : ImageRef
    sha256 : bytes, optional
        Digest of the bytes that the image must have.

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
    return _jpeg_uri(_small_copy(ref, sha256, _within(THUMBNAIL_HEIGHT)))


def picture_uri(pixels: npt.NDArray[np.uint8], *, height: int = THUMBNAIL_HEIGHT) -> str:
    """Return a small copy of pixels as a ``data:`` address.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
    height : int
        As `thumbnails` takes it.

    Returns
    -------
    str
        JPEG.
    """
    return _jpeg_uri(_shrunk(pixels, _within(height)))


def _within(height: int) -> tuple[int, int]:
    return round(height * _WIDEST), height


def _small_copies(
    features: FeatureFile,
    rows: Sequence[int],
    size: tuple[int, int],
    compute: ComputeSettings,
    instead: str = _NO_IMAGES,
) -> Iterator[Image | None]:
    """Yield a small copy for each row, made by as many threads as there are cores."""
    finder = ImageFinder(features)
    names, digests, ok = features.path_bytes, features.content_sha256, features.ok

    def one(place: int) -> Image | None:
        ref = refs[place]
        if ref is None or compute.stopped:
            return None
        try:
            return _small_copy(ref, digests[rows[place]].tobytes(), size, instead)
        except ImageError:
            return None

    # Archives are listed here, one after the other: threads only read.
    refs = [finder.find(row, names[row]) if ok[row] else None for row in rows]
    with (
        progress_for(compute.progress, len(refs), 0) as shown,
        ThreadPoolExecutor(cores_of_process()) as pool,
    ):
        try:
            for start in range(0, len(refs), _IN_FLIGHT):
                for picture in pool.map(one, range(len(refs))[start : start + _IN_FLIGHT]):
                    yield picture
                    shown.advance(1)
                if compute.stopped:
                    raise Stopped(f"stopped after {start} of {len(refs)} thumbnails")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _small_copy(
    ref: ImageRef, sha256: bytes | None, size: tuple[int, int], instead: str = _NO_IMAGES
) -> Image:
    data = ref.load()
    if sha256 is not None and ref.digest(data) != sha256:
        raise InputError(
            f"{printable(path_text(ref.name))}: has changed since its features were computed "
            f"(its SHA-256 is another); compute them again, or {instead}"
        )
    from decaf.images.decoding.decode import decode

    return _shrunk(np.ascontiguousarray(ref.cut(decode(data).pixels)), size)


def _shrunk(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> Image:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail(size, Image.Resampling.LANCZOS)
    return image


def _jpeg_uri(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"

"""Pillow, for the formats and colour models that torchvision's decoders do not read."""

from __future__ import annotations

import io
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from decaf.errors import ImageError
from decaf.images.decoding.formats import Header
from decaf.images.decoding.limits import refuse_costly
from decaf.images.decoding.tiff_tags import ORIENTATION
from decaf.images.decoding.to_rgb import WHITE, Samples, keyed_out, to_rgb8

__all__ = ["decode_with_pillow", "image_orientation", "image_to_rgb8"]

# Pillow opens what it is told to and nothing else: no EPS (which runs Ghostscript), no PSD, no ICO.
# MPO is a JPEG with further JPEGs behind it; the first is read.
_PLUGINS = {"JPEG": ["JPEG", "MPO"], "BMP": ["BMP"]}

# Pixels that are converted at a time.
_BAND = 1 << 22

_borrowing = threading.Lock()


def decode_with_pillow(
    data: bytes, header: Header, *, max_pixels: int, background: tuple[int, int, int] = WHITE
) -> tuple[npt.NDArray[np.uint8], int]:
    """Decode the first frame of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.
    header : Header
        Header that `sniff` has read from it.
    max_pixels : int
        Limit on width times height, checked again on the size that Pillow found.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.

    Returns
    -------
    pixels : array of shape (H, W, 3), uint8
        Not yet turned.
    orientation : int
        EXIF orientation still to be applied.

    Raises
    ------
    ImageError
        For what Pillow gives without a colour that is known, or "unsupported" for a kind of image
        that it does not read.
    Exception
        Whatever Pillow raises on damaged data.
    """
    with _quiet(), _no_truncated_images(), _open(data, header) as image:
        opened = header._replace(width=image.width, height=image.height)
        refuse_costly(opened, len(data), max_pixels)
        image.load()
        # Pillow turns TIFFs itself and then drops the tag; AVIF and HEIF have their rotation in
        # boxes that their readers turn them by. For the rest the header's own word is taken.
        by_pillow = header.format in ("TIFF", "AVIF", "HEIF")
        orientation = image_orientation(image) if by_pillow else header.orientation
        # Pillow takes the transparent colour of a PNG of 2 or 4 bits for one of 8.
        if header.transparent:
            image.info.pop("transparency", None)
        with _lower_bytes(data, header, image) as low:
            return _in_bands(image, low, header, background), orientation


def _in_bands(
    image: Image.Image, low: Image.Image | None, header: Header, background: tuple[int, int, int]
) -> npt.NDArray[np.uint8]:
    """Convert an image some rows at a time, so that what lies between is small."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        whole = rows >= image.height
        part = image if whole else image.crop(box)
        band = pixels[box[1] : box[3]]
        samples: Samples = np.asarray(part)
        if low is not None:
            samples = samples.astype(np.uint16) << 8 | np.asarray(low if whole else low.crop(box))
            band[...] = to_rgb8(samples, background=background)
        else:
            band[...] = image_to_rgb8(part, background=background, header=header)
        if header.transparent:
            samples = band if header.bits < 8 else samples
            band[keyed_out(samples, header.transparent, header.bits)] = background
    return pixels


def _open(data: bytes, header: Header) -> Image.Image:
    formats = _PLUGINS.get(header.format, [header.format])
    if header.format == "PNG":
        data = _pixels_only(data)
    elif header.format == "PPM" and data[1:2] in b"123":
        # Pillow copies a block once for each comment in it.
        data = _COMMENT.sub(b"", data)
    if header.format == "HEIF":
        return _open_heif(data)
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise _refusal(data, formats[0]) from None


def _open_heif(data: bytes) -> Image.Image:
    """Open a photograph of a telephone (HEIC), by a library that Pillow does not come with."""
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(
            "unsupported",
            "HEIC is read where pillow-heif is installed: pip install 'decaf-features[heic]', or "
            "pip install pillow-heif",
        ) from None
    image: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(data))
    return image


# How Pillow's TIFF reader says that it has no room for samples of this kind; the rest is damage.
_UNKNOWN_KIND = "unknown pixel mode"


def _refusal(data: bytes, format: str) -> Exception:
    """Say why Pillow did not open a file: it keeps the reason, and names an address in memory."""
    factory, accept = Image.OPEN[format]
    accepted = True if accept is None else accept(data[:16])
    if isinstance(accepted, str):  # the codec is not built in
        return ImageError(
            "unsupported",
            f"this Pillow is built without {format}; newer ones read it: pip install -U pillow",
        )
    try:
        factory(io.BytesIO(data), "")
    except Exception as error:
        if _UNKNOWN_KIND in str(error):
            return ImageError("unsupported", f"{format} of a kind that Pillow does not read")
        return OSError(f"Pillow cannot open it: {error}")
    return OSError("Pillow cannot open it")


_COMMENT = re.compile(rb"#[^\r\n]*")

_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))


def _pixels_only(png: bytes) -> bytes:
    """Leave out of a PNG what says nothing of its pixels.

    Pillow unpacks compressed texts and profiles as it opens a file, and refuses the whole image if
    one is large; frames after the first are of no use.
    """
    parts, at = [png[:8]], 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] in _PIXEL_CHUNKS:
            parts.append(png[at:end])
        at = end
    return b"".join(parts)


# The same samples with their bytes the other way round, in Pillow's names for memory layouts (N is
# this machine's order). Premultiplied and grey-and-alpha layouts have no such pair.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_SWAPPED = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBX", "RGBA")
    for order, other in _OTHER_ORDER.items()
}


@contextmanager
def _lower_bytes(data: bytes, header: Header, high: Image.Image) -> Iterator[Image.Image | None]:
    """Read the lower bytes of 16-bit colour; Pillow has no mode for it and keeps the upper alone.

    It is decoded once more with the bytes of each sample said to be the other way round.

    Yields
    ------
    Image or None
        None where the image is of another kind, or of a layout with but one byte order.
    """
    if header.bits != 16 or high.mode not in ("RGB", "RGBA"):
        yield None
        return
    with _open(data, header) as low:
        tiles = []
        for tile in low.tile if isinstance(low, ImageFile.ImageFile) else ():
            layout, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            if layout in _SWAPPED:
                # Still Pillow's own kind of tuple: its loader of compressed TIFFs asks by field.
                other = _SWAPPED[layout]
                tiles.append(tile._replace(args=(other, *rest) if rest else other))
        if not isinstance(low, ImageFile.ImageFile) or len(tiles) < len(low.tile):
            yield None
            return
        low.tile = tiles
        low.load()
        yield low


def image_to_rgb8(
    image: Image.Image,
    *,
    background: tuple[int, int, int] = WHITE,
    header: Header | None = None,
) -> npt.NDArray[np.uint8]:
    """Convert a Pillow image of any mode to 8-bit RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded.
    background : tuple of 3 int
        Colour that transparent pixels are composited on.
    header : Header, optional
        Header of the file, where there is one.

    Returns
    -------
    array of shape (H, W, 3), uint8

    Raises
    ------
    ImageError
        "bad_value" for 32-bit integers beyond 16 bits, and floats outside [0, 1].
    """
    mode = image.mode
    inverted = header is not None and header.white_is_zero
    if mode == "F":
        return to_rgb8(np.asarray(image), inverted=inverted)
    if mode.startswith("I"):
        return to_rgb8(_sixteen_bits(image), full_scale=_white(header), inverted=inverted)
    if image.has_transparency_data:
        return to_rgb8(np.asarray(_to_rgba(image)), background=background)
    if mode in ("1", "L"):
        return to_rgb8(np.asarray(image)).copy()
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def image_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that a Pillow image carries, 1 to 8.

    Parameters
    ----------
    image : PIL.Image.Image
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises all sorts on damaged EXIF, which is no reason to lose a photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _white(header: Header | None) -> int:
    # Pillow scales PGM samples to 16 bits itself, but gives 12-bit TIFF samples as they are.
    return (1 << header.bits) - 1 if header is not None and header.format == "TIFF" else 65535


def _sixteen_bits(image: Image.Image) -> npt.NDArray[np.uint16]:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(
            "bad_value", f"integer samples of {low} to {high}; expected 0 (black) to 65535 (white)"
        )
    return values.astype(np.uint16)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings from becoming errors under the user's warning filters."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:  # where `max_pixels` is above Pillow's own limit
        raise ImageError("too_large", str(error)) from None


@contextmanager
def _no_truncated_images() -> Iterator[None]:
    """Hold Pillow's switch for truncated images at off, its default, and put it back.

    Where the user's process has set it, half an image would come out grey and count as read.
    """
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _borrowing:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before

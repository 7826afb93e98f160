"""The header of an image file, from its first bytes: format, size, how its samples are stored.

Nothing is decoded here, so size limits are checked before a byte is allocated for pixels. A file's
ending plays no part.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from decaf.errors import ImageError
from decaf.images.decoding.jpeg_header import read_jpeg_header
from decaf.images.decoding.limits import MAX_PIECES, MAX_PLAIN_BYTES, MAX_PREAMBLE_BYTES
from decaf.images.decoding.tiff_tags import ORIENTATION, exif_orientation, first_ifd, measure_ifd

__all__ = ["FORMATS", "HEAD_BYTES", "Header", "guess_format", "is_hdf5", "sniff"]

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")

# What an HEIF file of HEVC, as telephones write it, calls itself (ISO/IEC 23008-12, annex B).
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# How much of a file `guess_format` needs.
HEAD_BYTES = 32


_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class Header(NamedTuple):
    """Facts of an image before it is decoded, from its header.

    `width` and `height` are those stored, before `orientation` (EXIF, 1 to 8) is applied.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    channels: int = 3
    bits: int = 8
    # JPEG only: whether torchvision's decoder reads this kind of it; not fewer scans than it has.
    native: bool = False
    scans: int = 1
    # TIFF only.
    white_is_zero: bool = False
    # PNG only: the one colour, of `bits` a sample, that is transparent.
    transparent: tuple[int, ...] = ()


def is_hdf5(source: Any) -> bool:
    """Tell whether a source is the path of an HDF5 file (of features, a training pack).

    Parameters
    ----------
    source : object
        A path, or anything else, which is no HDF5 file.
    """
    if not isinstance(source, (str, bytes, os.PathLike)):
        return False
    try:
        if not os.path.isfile(source):  # opening a pipe would wait for its writer
            return False
        with open(source, "rb") as file:
            return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
    except (OSError, ValueError):
        return False  # a folder, a pattern; a path that is not there is refused later


def guess_format(head: bytes) -> str | None:
    """Tell the format from a file's first `HEAD_BYTES` bytes, or give None.

    >>> guess_format(b"GIF89a" + bytes(26))
    'GIF'

    Parameters
    ----------
    head : bytes
        The first bytes of a file.
    """
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    # "BM" and "P5" open many a text, so a little more must fit.
    if head[:2] == b"BM" and head[14:18] in _BMP_HEADERS:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n" and len(head) > 3:
        return "PPM" if head[3:4] in b" \t\r\n#0123456789" else None
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "AVIF"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "AVIF" if b"avif" in head[16:HEAD_BYTES] else "HEIF"
    return None


def sniff(data: bytes | bytearray | memoryview) -> Header:
    """Read the header of an image file.

    Parameters
    ----------
    data : bytes-like
        The whole file.

    Returns
    -------
    Header
        With both sides at least 1.

    Raises
    ------
    ImageError
        "empty", "unsupported" (no image, or not one of `FORMATS`), "corrupt", or "too_large" for
        a file that is cut into more pieces than `decaf.images.decoding.limits` allows.

    Examples
    --------
    >>> sniff(b"P5 3 2 255 ......")[:3]
    ('PPM', 3, 2)
    """
    data = bytes(data)  # no copy if it is bytes already
    if not data:
        raise ImageError("empty", "file of zero bytes")
    kind = guess_format(data[:HEAD_BYTES])
    if kind is None:
        raise ImageError("unsupported", _not_an_image(data))
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("corrupt", f"{kind} header ends too early or is damaged") from None
    if header.width < 1 or header.height < 1:
        raise ImageError("corrupt", f"{kind} header says {header.width} x {header.height} pixels")
    return header


def _jpeg(data: bytes) -> Header:
    jpeg = read_jpeg_header(data)
    # A Huffman-coded block takes one bit at least, and the least sampled component has no fewer
    # than 1/16 of the blocks: less data than that is a header without its image.
    if jpeg.huffman and jpeg.width * jpeg.height > len(data) * 8 * 64 * 16:
        raise ImageError("corrupt", f"{len(data)} bytes cannot hold the JPEG's size in its header")
    return Header(
        "JPEG",
        jpeg.width,
        jpeg.height,
        jpeg.orientation,
        channels=jpeg.components,
        # Four components (CMYK, YCCK) and arithmetic coding are Pillow's.
        native=jpeg.huffman and jpeg.components != 4,
        scans=jpeg.scans,
    )


_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def _png(data: bytes) -> Header:
    length, kind, width, height, bits, color = struct.unpack_from(">I4sIIBB", data, 8)
    if length != 13 or kind != b"IHDR" or bits not in _PNG_BITS.get(color, ()):
        raise ImageError("corrupt", "PNG does not begin with a header that makes sense")
    channels = _PNG_CHANNELS[color]
    stored = 1 if color == 3 else channels
    # Deflate packs at most 1032 to 1.
    if width * height * stored * bits // 8 > 1040 * len(data):
        raise ImageError("corrupt", f"{len(data)} bytes cannot hold {width} x {height} pixels")
    orientation, seen_data, palette = 1, False, color != 3
    transparent: tuple[int, ...] = ()
    at = 33
    for _chunk in _pieces("PNG", "chunks"):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"tRNS" and not seen_data:
            if color in (0, 2):
                transparent = struct.unpack_from(f">{channels}H", data, at + 8)
        elif kind == b"PLTE" and not seen_data:
            palette = True
        elif kind == b"IDAT":
            seen_data = True
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        elif kind == b"IEND":
            break
        at += length + 12
    if not seen_data:
        raise ImageError("corrupt", "PNG without image data")
    if not palette:
        raise ImageError("corrupt", "PNG of palette colours without their palette")
    return Header("PNG", width, height, orientation, channels, bits, transparent=transparent)


def _pieces(format: str, what: str) -> Iterator[int]:
    """Count the pieces of a file up to the most that there may be."""
    yield from range(MAX_PIECES)
    raise ImageError("too_large", f"{format} of more than {MAX_PIECES} {what}")


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at : at + 1] == b"!":  # comments and the like, in blocks (GIF89a, 23 to 26)
        at += 2
        while data[at]:
            at += 1 + data[at]
            if at > MAX_PREAMBLE_BYTES:  # Pillow joins comments block by block
                raise ImageError("too_large", f"GIF whose image begins after {at} bytes of texts")
        at += 1
    return Header("GIF", width, height, channels=1)


_BMP_HEADERS = frozenset(struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124))


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("BMP", width, abs(height))  # a negative height means top row first


_TIFF_TAGS = {
    "width": 256,
    "height": 257,
    "bits": 258,
    "compression": 259,
    "photometric": 262,
    "channels": 277,
    "planes": 284,
    "sample_format": 339,
}


def _tiff(data: bytes) -> Header:
    tag_bytes, strips = measure_ifd(data)
    if tag_bytes > len(data):
        raise ImageError("corrupt", f"TIFF tags of {tag_bytes} bytes in a file of {len(data)}")
    if strips > MAX_PIECES:
        raise ImageError("too_large", f"TIFF of {strips} strips; {MAX_PIECES} is the limit")
    tags = first_ifd(data, {*_TIFF_TAGS.values(), ORIENTATION})
    if tags is None:
        raise ImageError("corrupt", "TIFF directory is damaged")
    first = {name: tags.get(tag, (0,))[0] for name, tag in _TIFF_TAGS.items()}
    if first["sample_format"] in (2, 5, 6):
        raise ImageError("unsupported", "TIFF of signed or complex samples is not read")
    bits = first["bits"] or 1
    if bits > 16 and first["sample_format"] != 3:
        raise ImageError("unsupported", f"TIFF of {bits}-bit integers: their white is not known")
    header = Header(
        "TIFF",
        first["width"],
        first["height"],
        exif_orientation(data),
        channels=first["channels"] or 1,
        bits=bits,
        white_is_zero=262 in tags and first["photometric"] == 0,
    )
    packed = first["compression"] not in (0, 1)
    if first["planes"] == 2 and _misread_planes(header, packed):
        raise ImageError(
            "unsupported",
            f"TIFF of {bits}-bit samples stored plane by plane is not read; "
            "save it with PlanarConfiguration 1",
        )
    if packed and data[:2] == b"MM" and first["sample_format"] == 3:
        # Pillow turns round the bytes that libtiff has turned round already.
        raise ImageError("unsupported", "TIFF of compressed big-endian floats is not read")
    return header


def _misread_planes(header: Header, packed: bool) -> bool:
    """Tell whether Pillow would take the planes (PlanarConfiguration 2) for something else.

    It reads the planes of an uncompressed file as plain samples of 8 bits, or of one, whatever
    they are; of compressed colour of 16 bits it keeps the upper bytes alone.
    """
    if packed:
        return header.bits == 16 and header.channels > 1
    return header.bits not in (1, 8) or header.white_is_zero


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return Header("WEBP", 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF))
    if kind != b"VP8X":
        raise ImageError("corrupt", "WebP begins with an unknown chunk")
    width = 1 + int.from_bytes(data[24:27], "little")
    height = 1 + int.from_bytes(data[27:30], "little")
    orientation, seen_data = 1, False
    at = 12
    for _chunk in _pieces("WebP", "chunks"):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF" and orientation == 1:
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        seen_data = seen_data or kind in (b"VP8 ", b"VP8L", b"ANMF")
        at += 8 + length + (length & 1)
    if not seen_data:
        raise ImageError("corrupt", "WebP without image data")
    return Header("WEBP", width, height, orientation)


# Numbers, with whitespace and comments between, which go to the end of their line.
_PPM_HEAD = 1 << 16
_PPM_GAP = re.compile(rb"(?:\s+|#[^\r\n]*[\r\n])*")
_PPM_NUMBER = re.compile(rb"\d{1,10}")


def _ppm(data: bytes) -> Header:
    tokens: list[int] = []
    head = data[:_PPM_HEAD]
    at = 2
    while len(tokens) < 2:
        gap = _PPM_GAP.match(head, at)
        number = _PPM_NUMBER.match(head, at if gap is None else gap.end())
        if number is None:
            if gap is not None and gap.end() < len(head) and head[gap.end()] != ord("#"):
                raise ImageError("corrupt", "PPM header is damaged")
            raise ImageError("corrupt", "PPM header ends too early or is all comment")
        tokens.append(int(number[0]))
        at = number.end()
    if data[1:2] in b"123":  # as a text
        if len(data) > MAX_PLAIN_BYTES:
            raise ImageError(
                "too_large",
                f"PPM of {len(data)} bytes of text; {MAX_PLAIN_BYTES} bytes is the limit",
            )
        if data.count(b"#") > MAX_PIECES:
            raise ImageError("too_large", f"PPM of more than {MAX_PIECES} comments")
    return Header("PPM", tokens[0], tokens[1], channels=3 if data[1:2] in b"36" else 1)


def _avif(data: bytes, format: str = "AVIF") -> Header:
    # One `ispe` box per item, the largest of which is the image (ISO/IEC 23008-12, 6.5.3); its
    # rotation is left to the decoder.
    sizes: list[tuple[int, int]] = []
    at = data.find(b"ispe", 0, 1 << 20)
    while at >= 0 and len(sizes) < 256:
        sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4, 1 << 20)
    if not sizes:
        raise ImageError("corrupt", f"{format} without a size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(format, width, height)


def _heif(data: bytes) -> Header:
    return _avif(data, "HEIF")


_READERS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "WEBP": _webp,
    "PPM": _ppm,
    "AVIF": _avif,
    "HEIF": _heif,
}


def _not_an_image(data: bytes) -> str:
    """Say what the bytes look like instead, as a hint to who gave them."""
    head = data[:1024].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "not an image but a web page"
    if head.startswith((b"<?xml", b"<svg")):
        return "not an image but XML or SVG"
    if head.startswith(b"%!ps"):
        return "PostScript is not read"
    if not any(data[:64]):
        return "not an image: begins with zero bytes only"
    return f"not an image of a format that is read ({', '.join(FORMATS)})"

"""Limits on the cost of one image, checked by its header before anything is decoded.

Decoding takes memory by the pixels that a header promises and time by the pieces that a file is cut
into; both are bounded here, so that no file of a few bytes takes all of a machine, in
whichever process it is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.errors import ImageError

if TYPE_CHECKING:
    from decaf.images.decoding.formats import Header

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_NAME_BYTES",
    "MAX_PIECES",
    "MAX_PIXELS",
    "MAX_PLAIN_BYTES",
    "MAX_PREAMBLE_BYTES",
    "MAX_SCANS",
    "MAX_TEXT_BYTES",
    "refuse_costly",
    "unpacked_limit",
]

# Pillow's own limit: a quarter of a gigabyte of 24-bit pixels, rounded up as Pillow does.
MAX_PIXELS = 178_956_970

# Rows cost time of their own, however short they are: an image of one column is as slow as one of
# hundreds. The tallest JPEG has half as many.
MAX_SIDE = 1 << 17

# Of one file, or one archive member after decompression.
MAX_FILE_BYTES = 1 << 30

# A progressive JPEG is decoded once per scan, and a scan can be a few bytes long: thousands of them
# make a small file take minutes. Encoders write about ten.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 16 * MAX_PIXELS

# Segments, chunks, strips, entries: what files are cut into. Each costs a decoder microseconds, and
# may be a few bytes long.
MAX_PIECES = 200_000

# What may stand before an image's data where a decoder reads it byte by byte or copies it often.
MAX_PREAMBLE_BYTES = 1 << 20

# Bytes of an image that is written as text (PPM); a decoder reads a million numbers a second.
MAX_PLAIN_BYTES = 16 << 20

# Of an image or a class. A zip's own limit; a tar has none, and a path on disk has 4096 bytes.
MAX_NAME_BYTES = 65_536

# Lists of labels, classes and words are small; what is larger is none of these.
MAX_TEXT_BYTES = 64 << 20

# Memory that decoding an image may take: 1.8 GB.
MAX_DECODED_BYTES = 10 * MAX_PIXELS

# A blank image packs to nothing in most formats. Up to the first number of bytes in memory it may;
# beyond that a byte of the file has to stand for no more than the second. A scanned page of text,
# the emptiest image that people keep, stands for about 4,000.
MAX_BLANK_BYTES = 256 << 20
MAX_EXPANSION = 5000

# The same for archives: of a member, and of a whole compressed tar. Photographs do not pack at all.
MAX_BLANK_MEMBER = 64 << 20
MAX_PACKING = 200

# Bytes a pixel that decoders take at their peak, measured, with the pixels that we make of it.
_WEBP, _AVIF, _DEEP, _PROGRESSIVE, _COLOR, _GREY = 20, 14, 13, 10, 7, 4


def refuse_costly(header: Header, file_bytes: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse an image whose decoding would take too much memory or time, by its header.

    Parameters
    ----------
    header : Header
        Header from `decaf.images.decoding.formats.sniff`.
    file_bytes : int
        Length of the file.
    max_pixels : int
        Limit on width times height.

    Raises
    ------
    ImageError
        "too_large".
    """
    pixels = header.width * header.height
    size = f"{header.width} x {header.height} pixels"
    if pixels > max_pixels:
        raise ImageError("too_large", f"{size}; {max_pixels} pixels is the limit")
    if max(header.width, header.height) > MAX_SIDE:
        raise ImageError("too_large", f"{size}; {MAX_SIDE} pixels is the limit of a side")
    if header.scans > MAX_SCANS or header.scans * pixels > MAX_SCANNED_PIXELS:
        most = min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels)
        raise ImageError(
            "too_large", f"JPEG of {header.scans} scans of {size}; {most} scans is the limit"
        )
    needed = pixels * _bytes_a_pixel(header)
    if needed > MAX_DECODED_BYTES:
        raise ImageError(
            "too_large",
            f"{header.format} of {size} takes {needed / 1e9:.1f} GB to decode; "
            f"{MAX_DECODED_BYTES / 1e9:.1f} GB is the limit",
        )
    if needed > max(MAX_BLANK_BYTES, MAX_EXPANSION * file_bytes):
        raise ImageError(
            "too_large",
            f"{size} in a file of {file_bytes} bytes: it is blank or made to fill the memory "
            f"({needed / 1e9:.1f} GB)",
        )


def _bytes_a_pixel(header: Header) -> int:
    if header.format == "WEBP":
        return _WEBP
    if header.format in ("AVIF", "HEIF"):
        return _AVIF
    if header.bits > 8:
        return _DEEP
    if header.scans > 1:
        return _PROGRESSIVE
    return _GREY if header.native or header.channels == 1 else _COLOR


def unpacked_limit(packed: int) -> int:
    """Return how many bytes may come out of so many compressed ones.

    >>> unpacked_limit(834) // 2**20, unpacked_limit(10**9)
    (64, 200000000000)

    Parameters
    ----------
    packed : int
        Bytes that are packed.
    """
    return max(MAX_BLANK_MEMBER, MAX_PACKING * packed)

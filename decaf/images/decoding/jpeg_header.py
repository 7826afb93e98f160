"""The header of a JPEG file, from its markers, without decoding (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from typing import NamedTuple

from decaf.errors import ImageError
from decaf.images.decoding.limits import MAX_PREAMBLE_BYTES
from decaf.images.decoding.tiff_tags import exif_orientation

__all__ = ["JpegHeader", "read_jpeg_header"]

# The marker after any number of fill bytes.
_NO_FILL = re.compile(rb"[^\xff]", re.DOTALL)

# Before the first scan; depth maps of telephones make some hundreds of segments.
MAX_SEGMENTS = 10_000

# Start-of-frame markers, without DHT (C4), JPG (C8) and DAC (CC) that lie among them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_DCT = frozenset((0xC0, 0xC1, 0xC2))
_ARITHMETIC_DCT = frozenset((0xC9, 0xCA))
_PROGRESSIVE = frozenset((0xC2, 0xCA))


class JpegHeader(NamedTuple):
    """Facts from the markers before the first scan."""

    width: int
    height: int
    components: int
    bits: int
    orientation: int  # EXIF, 1 to 8
    huffman: bool  # baseline, extended or progressive DCT, Huffman-coded
    scans: int  # not fewer than a decoder goes through


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read markers up to the first scan.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    ImageError
        If the markers contradict each other or end too early ("corrupt"), or the coding is one
        that no decoder here knows ("unsupported").
    """
    frame: tuple[int, int, int, int, int] | None = None
    orientation = 1
    end = len(data)
    at, skipped = 2, 0
    for _segment in range(MAX_SEGMENTS):
        # Between segments decoders skip everything but a marker, and so do we.
        fill = data.find(b"\xff", at)
        mark = _NO_FILL.search(data, fill) if fill >= 0 else None
        if mark is None or mark.end() + 2 > end:
            raise ImageError("corrupt", "JPEG ends before its first scan")
        marker = mark[0][0]
        skipped += mark.end() - at
        at = mark.end()
        if skipped > MAX_PREAMBLE_BYTES:
            raise ImageError("too_large", f"JPEG with {skipped} bytes between its segments")
        if marker == 0 or marker == 1 or 0xD0 <= marker <= 0xD8:
            continue  # stuffed byte, TEM, RSTn and SOI stand alone
        if marker == 0xD9:
            raise ImageError("corrupt", "JPEG without any scan")
        length = data[at] << 8 | data[at + 1]
        if length < 2 or at + length > end:
            raise ImageError("corrupt", "JPEG segment is longer than the file")
        if marker in _FRAMES:
            if length < 8 or frame is not None:
                raise ImageError("corrupt", "JPEG frame header is damaged or there twice")
            height, width = data[at + 3] << 8 | data[at + 4], data[at + 5] << 8 | data[at + 6]
            frame = (marker, data[at + 2], height, width, data[at + 7])
        elif marker == 0xE1 and orientation == 1 and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[at + 2 : at + length])
        elif marker == 0xDA:
            if length < 6:
                raise ImageError("corrupt", "JPEG scan header is damaged")
            scan_components = data[at + 2]
            break
        at += length
    else:
        raise ImageError("too_large", f"JPEG of more than {MAX_SEGMENTS} segments before its scans")
    if frame is None:
        raise ImageError("corrupt", "JPEG has a scan but no frame header")
    kind, bits, height, width, components = frame
    if kind not in _HUFFMAN_DCT and kind not in _ARITHMETIC_DCT:
        raise ImageError("unsupported", f"JPEG of a coding that is not read (SOF{kind - 0xC0})")
    if bits != 8:
        raise ImageError("unsupported", f"JPEG with {bits}-bit samples is not read")
    if components not in (1, 3, 4):
        raise ImageError("unsupported", f"JPEG with {components} components is not read")
    # A sequential image that is complete after its first scan is not read any further.
    several = kind in _PROGRESSIVE or scan_components < components
    return JpegHeader(
        width=width,
        height=height,
        components=components,
        bits=bits,
        orientation=orientation,
        huffman=kind in _HUFFMAN_DCT,
        scans=1 + data.count(b"\xff\xda", at) if several else 1,
    )

"""Tags of the first directory of a TIFF structure, which is also what EXIF is.

Source: TIFF 6.0, section 2; BigTIFF; Exif 2.3, section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

__all__ = [
    "ORIENTATION",
    "CaptureTime",
    "capture_time",
    "exif_orientation",
    "first_ifd",
    "measure_ifd",
]

ORIENTATION = 0x0112

_MAKE, _MODEL = 0x010F, 0x0110
_EXIF = 0x8769  # where the directory of EXIF's own tags is
_TAKEN, _SUBSECONDS, _SERIAL = 0x9003, 0x9291, 0xA431

# The integer types: byte, short, long, and BigTIFF's long8; and text, as its bytes.
_TYPES = {1: (1, "B"), 2: (1, "B"), 3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}

# Bytes of a value of each type.
_SIZES = dict(zip(range(1, 14), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), strict=True))
_SIZES |= {16: 8, 17: 8, 18: 8}

# Where the strips and the tiles of an image lie.
_OFFSETS = (273, 324)

# A directory has some twenty tags.
_MAX_ENTRIES = 4096

# A tag of more values than this (strip offsets of a huge image) is not one that we ask for.
_MAX_VALUES = 64


class CaptureTime(NamedTuple):
    """When a photograph was taken, and by which camera (an empty text where it does not say)."""

    time: datetime
    camera: str


def capture_time(data: bytes) -> CaptureTime | None:
    """Read the capture time of the EXIF block in the first bytes of an image file.

    Parameters
    ----------
    data : bytes
        A TIFF, or a file that holds EXIF as a block (JPEG, WebP, PNG, HEIC).

    Returns
    -------
    CaptureTime or None
        None where there is none, or none that is a time.
    """
    start = 0
    if data[:4] not in (b"II*\0", b"MM\0*"):
        # The TIFF structure stands behind one of these: as JPEG and HEIC write it, PNG, and WebP.
        marks = ((b"Exif\0\0", 6), (b"eXIf", 4), (b"EXIF", 8))
        places = [data.find(mark) + skip for mark, skip in marks if mark in data]
        if not places:
            return None
        start = places[0]
    tags = first_ifd(data, (_MAKE, _MODEL, _EXIF), start) or {}
    if _EXIF not in tags:
        return None
    tags |= first_ifd(data, (_TAKEN, _SUBSECONDS, _SERIAL), start, at=tags[_EXIF][0]) or {}

    def text(tag: int) -> str:
        return bytes(tags.get(tag, ())).split(b"\0")[0].decode("latin-1").strip()

    digits = text(_SUBSECONDS)
    fraction = digits[:6].ljust(6, "0") if digits.isdecimal() else "0"
    try:
        time = datetime.strptime(f"{text(_TAKEN)[:19]} {fraction}", "%Y:%m:%d %H:%M:%S %f")
        camera = " ".join(filter(None, (text(_MAKE), text(_MODEL), text(_SERIAL))))
    except ValueError:
        return None
    return CaptureTime(time, camera)


def first_ifd(
    data: bytes, wanted: Collection[int], start: int = 0, at: int | None = None
) -> dict[int, tuple[int, ...]] | None:
    """Read some tags of the first image file directory, or of another.

    Parameters
    ----------
    data : bytes
        Bytes that hold the TIFF structure.
    wanted : collection of int
        Tag numbers.
    start : int
        Where the structure begins; its offsets count from there.
    at : int, optional
        Where the directory is, if it is not the first.

    Returns
    -------
    dict of int to tuple of int, or None
        Values of the wanted tags that are there and readable; None if this is no TIFF structure.
    """
    try:
        tags: dict[int, tuple[int, ...]] = {}
        for order, tag, kind, n, place in _entries(data, start, at):
            if tag in wanted and kind in _TYPES and 0 < n <= _MAX_VALUES:
                code = _TYPES[kind][1]
                tags.setdefault(tag, struct.unpack_from(f"{order}{n}{code}", data, place))
    except (struct.error, OverflowError):  # the latter for offsets beyond 63 bits
        return None
    return tags


def measure_ifd(data: bytes) -> tuple[int, int]:
    """Add up what the first directory of a TIFF makes its reader read.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    tag_bytes : int
        Values of all tags, which may lie over each other; 0 where the directory is damaged.
    strips : int
        Strips or tiles.
    """
    tag_bytes = strips = 0
    try:
        for _order, tag, kind, n, _place in _entries(data, 0):
            tag_bytes += n * _SIZES.get(kind, 0)
            if tag in _OFFSETS:
                strips = max(strips, n)
    except (struct.error, OverflowError):
        return 0, 0
    return tag_bytes, strips


def _entries(
    data: bytes, start: int, at: int | None = None
) -> Iterator[tuple[str, int, int, int, int]]:
    """Go through byte order, tag, type, count and place of values of each entry.

    Nothing comes where there is no TIFF structure; raises struct.error where the data ends early.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[start : start + 2])
    # Some writers get the byte order of the 42 wrong; Pillow reads those too.
    magic = data[start + 2 : start + 4]
    big = order is not None and magic == struct.pack(order + "H", 43)
    if order is None or not (big or magic in (b"*\0", b"\0*")):
        raise struct.error("no TIFF structure")
    offset, entry, inline, head = ("Q", 20, 8, "HHQ") if big else ("I", 12, 4, "HHI")
    (first,) = struct.unpack_from(order + offset, data, start + (8 if big else 4))
    at = start + (first if at is None else at)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    if count > _MAX_ENTRIES:
        raise struct.error("a directory of too many tags")
    for i in range(count):
        place = at + i * entry
        tag, kind, n = struct.unpack_from(order + head, data, place)
        place += entry - inline
        if n * _SIZES.get(kind, 0) > inline:
            place = start + struct.unpack_from(order + offset, data, place)[0]
        yield order, tag, kind, n, place


def exif_orientation(data: bytes, start: int = 0) -> int:
    """Return the EXIF orientation, 1 to 8, or 1 where there is none or it makes no sense.

    Parameters
    ----------
    data : bytes
        Bytes that hold the EXIF block.
    start : int
        Where the block begins, with or without its ``Exif\\0\\0`` prefix.
    """
    if data[start : start + 6] == b"Exif\0\0":
        start += 6
    tags = first_ifd(data, (ORIENTATION,), start)
    value = (tags or {}).get(ORIENTATION, (1,))[0]
    return value if 1 <= value <= 8 else 1

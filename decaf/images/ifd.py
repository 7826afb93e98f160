"""Tags of the first directory of a TIFF structure, which is also what EXIF is.

Source: TIFF 6.0, section 2; BigTIFF; Exif 2.3, section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

__all__ = ["ORIENTATION", "exif_orientation", "first_ifd"]

ORIENTATION = 0x0112

# Only the integer types: byte, short, long, and BigTIFF's long8.
_TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}

# A tag of more values than this (strip offsets of a huge image) is not one that we ask for.
_MAX_VALUES = 64


def first_ifd(
    data: bytes, wanted: Collection[int], start: int = 0
) -> dict[int, tuple[int, ...]] | None:
    """Read some tags of the first image file directory.

    Parameters
    ----------
    data : bytes
        What holds the TIFF structure.
    wanted : collection of int
        Tag numbers.
    start : int
        Where the structure begins; its offsets count from there.

    Returns
    -------
    dict of int to tuple of int, or None
        Values of the wanted tags that are there and readable; None if this is no TIFF structure.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[start : start + 2])
    if order is None:
        return None
    try:
        # Some writers get the byte order of the 42 wrong; Pillow reads those too.
        magic = data[start + 2 : start + 4]
        if magic in (b"*\0", b"\0*"):
            big = False
            (at,) = struct.unpack_from(order + "I", data, start + 4)
        elif magic == struct.pack(order + "H", 43):
            big = True
            (at,) = struct.unpack_from(order + "Q", data, start + 8)
        else:
            return None
        return _read_ifd(data, start, start + at, order, big, wanted)
    except (struct.error, OverflowError):  # the latter for offsets beyond 63 bits
        return None


def _read_ifd(
    data: bytes, start: int, at: int, order: str, big: bool, wanted: Collection[int]
) -> dict[int, tuple[int, ...]]:
    """Read the directory at `at`; raises struct.error where the data ends early."""
    count_code, entry, inline, head = ("Q", 20, 8, "HHQ") if big else ("H", 12, 4, "HHI")
    (count,) = struct.unpack_from(order + count_code, data, at)
    at += 8 if big else 2
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(min(count, 4096)):
        place = at + i * entry
        tag, kind, n = struct.unpack_from(order + head, data, place)
        if tag not in wanted or kind not in _TYPES or not 0 < n <= _MAX_VALUES:
            continue
        size, code = _TYPES[kind]
        place += entry - inline
        if n * size > inline:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            place = start + offset
        tags.setdefault(tag, struct.unpack_from(f"{order}{n}{code}", data, place))
    return tags


def exif_orientation(data: bytes, start: int = 0) -> int:
    """Give the EXIF orientation, 1 to 8, or 1 where there is none or it makes no sense.

    Parameters
    ----------
    data : bytes
        What holds the EXIF block.
    start : int
        Where the block begins, with or without its ``Exif\\0\\0`` prefix.
    """
    if data[start : start + 6] == b"Exif\0\0":
        start += 6
    tags = first_ifd(data, (ORIENTATION,), start)
    value = (tags or {}).get(ORIENTATION, (1,))[0]
    return value if 1 <= value <= 8 else 1

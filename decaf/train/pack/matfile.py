"""Structures in MATLAB's files of version 5, as far as ImageNet's development kit needs them.

One array of structures, whose fields are text or numbers (MATLAB's "MAT-File Format", chapter 1).
The file may be a stranger's: every length is held against what is there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from decaf.errors import InputError

__all__ = ["read_structures"]

MAX_BYTES = 256 << 20
# ImageNet's kit has 1860 structures of 8 fields; the longest value is a text of some 1000 signs.
MAX_AXES = 32
MAX_FIELDS = 1_000
MAX_VALUES = 1 << 20
MAX_VARIABLES = 1_000

_MATRIX, _COMPRESSED = 14, 15
_STRUCTURE, _TEXT, _LEAST_NUMERIC, _MOST_NUMERIC = 2, 4, 6, 15
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_UTF = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_HEADER = 128

Value = str | list[float] | None


def read_structures(data: bytes, name: str) -> list[dict[str, Value]]:
    """Read an array of structures.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Name of the variable.

    Returns
    -------
    list of dict
        For each structure its fields: a str, a list of float, or None for what is neither.

    Raises
    ------
    InputError
        If the file is not of this kind, is damaged, or has no such variable.

    Examples
    --------
    >>> read_structures(b"", "synsets")
    Traceback (most recent call last):
        ...
    decaf.errors.InputError: not a MATLAB file of version 5
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError("not a MATLAB file of version 5")
    room = MAX_BYTES
    try:
        for number, (kind, content) in enumerate(_elements(data[_HEADER:], order)):
            if number == MAX_VARIABLES:
                raise InputError(f"a MATLAB file of more than {MAX_VARIABLES} variables")
            if kind == _COMPRESSED:
                inflated = _inflate(content, room)
                room -= len(inflated)
                kind, content = next(_elements(inflated, order))
            if kind != _MATRIX:
                continue
            matrix = _Matrix(content, order)
            if matrix.name == name and matrix.kind == _STRUCTURE:
                return matrix.structures()
    except (
        struct.error,
        zlib.error,
        ArithmeticError,
        ValueError,
        LookupError,
        StopIteration,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a MATLAB file that is damaged ({error})") from error
    raise InputError(f"a MATLAB file without the structures {name!r}")


def _inflate(content: bytes, room: int) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(content, room + 1)
    if len(data) > room:
        raise InputError(f"a MATLAB file that unpacks to more than {MAX_BYTES} bytes")
    return data


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Go through the elements of a file or a matrix: type and content."""
    view, at = memoryview(data), 0
    while at < len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small element: its length, its type, and up to four bytes
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
            after = at + 8
        else:
            start = at + 8
            # Padded to eight bytes, but for what is compressed.
            after = start + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > len(data) or (start == at + 4 and length > 4):
            raise ValueError(f"an element of {length} bytes at byte {at} of {len(data)}")
        yield kind, bytes(view[start : start + length])
        at = after


class _Matrix:
    """A matrix: its class, size and name; the rest is read when asked for."""

    def __init__(self, content: bytes, order: str) -> None:
        self._order = order
        self._rest = _elements(content, order)
        flags = _numbers(*next(self._rest), order)
        self.kind = int(flags[0]) & 0xFF
        self._bytes = len(content)
        sides = _numbers(*next(self._rest), order)
        if len(sides) > MAX_AXES:
            raise ValueError(f"a matrix of {len(sides)} axes")
        self.shape = [int(side) for side in sides]
        self.name = next(self._rest)[1].decode("latin-1")

    def structures(self) -> list[dict[str, Value]]:
        count = 1
        for side in self.shape:
            count *= max(0, side)
        width = int(_numbers(*next(self._rest), self._order)[0])
        names = next(self._rest)[1]
        if width < 1 or len(names) % width:
            raise ValueError("names of fields of no length")
        if len(names) // width > MAX_FIELDS:
            raise ValueError(f"{len(names) // width} fields")
        # Every field of every structure takes the eight bytes of a tag.
        if not names or count * (len(names) // width) * 8 > self._bytes:
            raise ValueError(f"{count} structures in {self._bytes} bytes")
        fields = [
            names[at : at + width].split(b"\0")[0].decode("latin-1")
            for at in range(0, len(names), width)
        ]
        return [{field: self._field() for field in fields} for _ in range(count)]

    def _field(self) -> Value:
        kind, content = next(self._rest)
        if kind != _MATRIX or not content:
            return None
        return _Matrix(content, self._order).value()

    def value(self) -> Value:
        """Return text or numbers; None for anything else."""
        if self.kind == _TEXT:
            kind, content = next(self._rest, (1, b""))
            if kind in _UTF:
                return content.decode(
                    _UTF[kind] + {"<": "-le", ">": "-be"}[self._order] * (kind > 16)
                )
            codes = _some_numbers(kind, content, self._order)
            return "".join(chr(int(code)) for code in codes)
        if _LEAST_NUMERIC <= self.kind <= _MOST_NUMERIC:
            kind, content = next(self._rest, (9, b""))
            return [float(number) for number in _some_numbers(kind, content, self._order)]
        return None


def _some_numbers(kind: int, content: bytes, order: str) -> np.ndarray:
    if len(numbers := _numbers(kind, content, order)) > MAX_VALUES:
        raise ValueError(f"a field of {len(numbers)} numbers")
    return numbers


def _numbers(kind: int, content: bytes, order: str) -> np.ndarray:
    if kind not in _TYPES:
        raise ValueError(f"numbers of type {kind}")
    return np.frombuffer(content, np.dtype(order + _TYPES[kind]))

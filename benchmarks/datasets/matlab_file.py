"""Features in MATLAB's files of version 5: a matrix ``fts`` and the classes ``labels``.

The files of Office-Caltech-10 come from strangers, and scipy's reader ends the whole process on
some that are damaged. Two matrices of real numbers are all that is needed: they are read here, with
every length held against what is there (MATLAB's "MAT-File Format", chapter 1).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError

__all__ = ["FEATURES", "LABELS", "read_matlab_features"]

FEATURES = ("fts", "feas", "features")
LABELS = ("labels", "label")

# Office-31's largest domain at pool5 in float64 is 208 MB.
MAX_BYTES = 2 << 30

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
# Classes 6 to 15: double, single, and whole numbers of 8 to 64 bits.
_NUMERIC = range(6, 16)
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
# Flags, sides and name of a matrix come first and are short: of a matrix that is not wanted no more
# than this is unpacked.
_BEGINNING = 1 << 12

_MOST = float(np.finfo(np.float32).max)

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Matrix:
    """A matrix of which only flags, sides and name were read, and the elements that follow."""

    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    rest: memoryview


def read_matlab_features(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read the features and classes of a MATLAB file of version 5 (``save -v6`` or ``-v7``).

    Parameters
    ----------
    path : path
        With ``fts`` (n, d), also called ``feas`` or ``features``, and ``labels`` (n, 1) or (1, n),
        whole numbers.

    Returns
    -------
    fts : array of float32, shape (n, d)
    labels : array of int64, shape (n,)

    Raises
    ------
    InputError
        If it cannot be read, is damaged, unpacks to more than 2 GiB, has no such variables, or
        holds NaN or infinity; names the row.
    """
    shown = os.fspath(path)
    fts, labels = _read(path, shown)
    if fts.ndim != 2 or not fts.size:
        raise InputError(f"{shown}: features of shape {fts.shape}; expected (rows, dimensions)")
    if labels.size != len(fts):
        raise InputError(f"{shown}: {len(fts)} rows of features, and {labels.size} labels")
    # Comparisons with NaN are false.
    bad = ~((fts >= -_MOST) & (fts <= _MOST)).all(axis=1)
    if bad.any():
        raise InputError(
            f"{shown}: {int(bad.sum())} of {len(fts)} rows of features hold NaN, infinity or "
            f"numbers beyond float32, the first is row {int(bad.argmax())}"
        )
    numbers = labels.astype(np.float64).ravel()
    if not (np.isfinite(numbers) & (numbers == np.round(numbers)) & (abs(numbers) < 2**31)).all():
        raise InputError(f"{shown}: labels that are no whole numbers")
    return fts.astype(np.float32), numbers.astype(np.int64)


def _read(path: str | os.PathLike[str], shown: str) -> tuple[Numbers, Numbers]:
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise InputError(f"{shown}: has {size:,} bytes, more than {MAX_BYTES:,}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    if b"\x89HDF\r\n\x1a\n" in (data[:8], data[512:520]):
        raise InputError(
            f"{shown}: a MATLAB file of version 7.3 (HDF5); save it in MATLAB with "
            "save(…, '-v7'), which is read here"
        )
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError(f"{shown}: not a MATLAB file of version 5 (save -v6 or -v7)")
    try:
        found = list(_matrices(memoryview(data)[_HEADER:], order))
        fts, labels = (_chosen(found, names, shown) for names in (FEATURES, LABELS))
        return _numbers_of(fts, order, shown), _numbers_of(labels, order, shown)
    except (struct.error, zlib.error, LookupError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown}: a MATLAB file that is damaged ({error})") from None


def _matrices(data: memoryview, order: str) -> Iterator[_Matrix]:
    """Yield the variables of a file, but for compressed ones with other names."""
    room = MAX_BYTES
    for kind, content, _ in _elements(data, order):
        if kind == _COMPRESSED:
            beginning = memoryview(zlib.decompressobj().decompress(content, _BEGINNING))
            if _name(beginning, order) not in (*FEATURES, *LABELS):
                continue
            inflated = zlib.decompressobj().decompress(content, room + 1)
            if len(inflated) > room:
                raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
            room -= len(inflated)
            kind, content, _ = _next(_elements(memoryview(inflated), order))
        if kind == _MATRIX:
            yield _matrix(content, order)


def _name(beginning: memoryview, order: str) -> str:
    """Return the name of a matrix from its first bytes; empty for anything else."""
    (kind,) = struct.unpack_from(order + "I", beginning)
    return _matrix(beginning[8:], order).name if kind == _MATRIX else ""


def _matrix(content: memoryview, order: str) -> _Matrix:
    elements = _elements(content, order)
    kind, part, _ = _next(elements)
    flags = int(_numbers(kind, part, order).tolist()[0])
    kind, part, _ = _next(elements)
    shape = tuple(int(side) for side in _numbers(kind, part, order).tolist())
    _, part, after = _next(elements)
    name = bytes(part).decode("latin-1")
    return _Matrix(name, flags & 0xFF, bool(flags & _COMPLEX), shape, content[after:])


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview, int]]:
    """Go through the elements of a file or a matrix: type, content, and where the next begins."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small element: its length, its type, and up to four bytes
            kind, length, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            # Padded to eight bytes, but for what is compressed.
            after = start + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > len(data) or (start == at + 4 and length > 4):
            raise ValueError(f"an element of {length} bytes at byte {at} of {len(data)}")
        yield kind, data[start : start + length], after
        at = after


def _next(elements: Iterator[tuple[int, memoryview, int]]) -> tuple[int, memoryview, int]:
    found = next(elements, None)
    if found is None:
        raise ValueError("it ends too early")
    return found


def _chosen(found: list[_Matrix], names: tuple[str, ...], shown: str) -> _Matrix:
    """Choose the variable with one of some names; it has to hold plain numbers."""
    own = [matrix for matrix in found if matrix.name in names]
    if len(own) != 1:
        raise InputError(
            f"{shown}: {len(own) or 'no'} variables called {' or '.join(names)}; expected one"
        )
    if own[0].kind not in _NUMERIC or own[0].is_complex:
        raise InputError(f"{shown}: {own[0].name} does not hold plain real numbers")
    return own[0]


def _numbers_of(matrix: _Matrix, order: str, shown: str) -> Numbers:
    """Return the numbers of a matrix in its shape."""
    kind, content, _ = _next(_elements(matrix.rest, order))
    numbers = _numbers(kind, content, order)
    if min(matrix.shape, default=0) < 0 or math.prod(matrix.shape) != len(numbers):
        sides = " × ".join(map(str, matrix.shape))
        raise InputError(
            f"{shown}: a MATLAB file that is damaged ({matrix.name} of {sides} holds "
            f"{len(numbers)} numbers)"
        )
    return numbers.reshape(matrix.shape, order="F")


def _numbers(kind: int, content: memoryview, order: str) -> Numbers:
    if kind not in _TYPES:
        raise ValueError(f"numbers of type {kind}")
    return np.frombuffer(content, np.dtype(order + _TYPES[kind]))

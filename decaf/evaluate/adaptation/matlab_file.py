"""Features in MATLAB files: a matrix ``fts`` and the classes ``labels``, read with distrust.

The files of Office-Caltech-10 come from strangers. Before scipy reads a file, all of it is unpacked
piece by piece and counted, so that a small file that unpacks to more than memory holds is refused;
and what its header says of the two variables has to be plain numbers of a bearable size.
"""

from __future__ import annotations

import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError

__all__ = ["read_matlab_features"]

# Office-31's largest domain at pool5 in float64 is 208 MB.
MAX_BYTES = 2 << 30
_PIECE = 1 << 20

FEATURES = ("fts", "feas", "features")
LABELS = ("labels", "label")
_NUMERIC = {
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_COMPRESSED = 15
_HEADER = 128


def read_matlab_features(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read the features and classes of a MATLAB file, version 5 or 4.

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
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise InputError(f"{shown}: has {size:,} bytes, more than {MAX_BYTES:,}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[512:520] == b"\x89HDF\r\n\x1a\n":
        raise InputError(
            f"{shown}: a MATLAB file of version 7.3 (HDF5); save it in MATLAB with "
            "save(…, '-v7'), which is read here"
        )
    _check_size(data, shown)
    fts, labels = _load(path, shown)
    if not fts.ndim == 2 or not fts.size:
        raise InputError(f"{shown}: features of shape {fts.shape}; expected (rows, dimensions)")
    if labels.size != len(fts):
        raise InputError(f"{shown}: {len(fts)} rows of features, and {labels.size} labels")
    rows = fts.astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"{shown}: {int(bad.sum())} of {len(rows)} rows of features hold NaN, infinity or "
            f"numbers beyond float32, the first is row {int(bad.argmax())}"
        )
    numbers = labels.astype(np.float64).ravel()
    if not (np.isfinite(numbers) & (numbers == np.round(numbers)) & (abs(numbers) < 2**31)).all():
        raise InputError(f"{shown}: labels that are no whole numbers")
    return rows, numbers.astype(np.int64)


def _check_size(data: bytes, shown: str) -> None:
    """Refuse a file whose compressed variables unpack to too much, or are damaged."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:  # version 4, where nothing is compressed
        return
    at, room = _HEADER, MAX_BYTES
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind == _COMPRESSED:
            room -= _unpacked(data[at + 8 : at + 8 + length], room, shown)
        at += 8 + length


def _unpacked(packed: bytes, room: int, shown: str) -> int:
    """Count the bytes that a variable unpacks to."""
    inflater = zlib.decompressobj()
    total = 0
    try:
        while packed and not inflater.eof:
            total += len(inflater.decompress(packed, _PIECE))
            packed = inflater.unconsumed_tail
            if total > room:
                raise InputError(f"{shown}: unpacks to more than {MAX_BYTES:,} bytes")
    except zlib.error as error:
        raise InputError(f"{shown}: a MATLAB file that is damaged ({error})") from None
    return total


def _load(path: str | os.PathLike[str], shown: str) -> tuple[Any, Any]:
    from scipy.io import loadmat, whosmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            there = [(name, shape, kind) for name, shape, kind in whosmat(path, appendmat=False)]
            names = [_one_of(FEATURES, there, shown), _one_of(LABELS, there, shown)]
            content = loadmat(path, appendmat=False, variable_names=names)
        fts, labels = (np.asarray(content[name]) for name in names)
        return fts, labels
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{shown}: takes more memory than there is") from None
    # scipy raises whatever the damaged bytes lead it to.
    except Exception as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{shown}: no MATLAB file, or a damaged one ({first:.200})") from None


def _one_of(
    wanted: tuple[str, ...], there: list[tuple[str, tuple[int, ...], str]], shown: str
) -> str:
    """Choose the variable with one of some names, of a size and kind that can be loaded."""
    found = [each for each in there if each[0] in wanted]
    if len(found) != 1:
        names = ", ".join(f"{name!r:.40}" for name, _, _ in there[:10]) or "none"
        raise InputError(
            f"{shown}: {len(found) or 'no'} variables called {' or '.join(wanted)}; expected one "
            f"(there are: {names})"
        )
    name, shape, kind = found[0]
    if kind not in _NUMERIC:
        raise InputError(f"{shown}: {name} is of MATLAB's class {kind}; expected plain numbers")
    if min(shape, default=0) < 0 or 8 * math.prod(shape) > MAX_BYTES:
        raise InputError(f"{shown}: {name} of {' × '.join(map(str, shape))} numbers is too large")
    return name

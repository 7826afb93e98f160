"""MATLAB files of version 5, read by scipy in a process of its own.

The files come from strangers, and scipy's reader ends the whole process on some that are damaged,
or asks for all memory there is. So it runs in a child whose memory is limited: what happens to it
there is one line here.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from decaf.errors import InputError
from decaf.runtime.children import python_command, run_limited

__all__ = ["MatlabValue", "read_here", "read_matlab"]

# A text, numbers in their shape, or an array of structures, whose fields are a text, a list of
# numbers, or None for what is neither.
MatlabValue = str | np.ndarray | list[dict[str, Any]] | None

_HDF5 = b"\x89HDF\r\n\x1a\n"
# What Python, numpy and scipy take themselves, and how long a damaged file may be puzzled over.
_OWN_BYTES = 2 << 30
_CPU_SECONDS = 600
_TOO_LARGE = 3


def read_matlab(data: bytes, names: Sequence[str], *, max_bytes: int) -> dict[str, MatlabValue]:
    """Read variables of a MATLAB file of version 5 (``save -v6`` or ``-v7``).

    Parameters
    ----------
    data : bytes
        The whole file.
    names : sequence of str
        The variables to read.
    max_bytes : int
        What they may take when they are unpacked.

    Returns
    -------
    dict
        Those that are there: a str, an ndarray of numbers, a list of dict for an array of
        structures, or None for anything else.

    Raises
    ------
    InputError
        If it is no such file, is damaged, or unpacks to more.

    Examples
    --------
    >>> read_matlab(b"", ["synsets"], max_bytes=1 << 20)
    Traceback (most recent call last):
        ...
    decaf.errors.InputError: not a MATLAB file of version 5 (save -v6 or -v7)
    """
    if _HDF5 in (data[:8], data[512:520]):
        raise InputError(
            "a MATLAB file of version 7.3 (HDF5); save it in MATLAB with save(…, '-v7'), which is "
            "read here"
        )
    if data[126:128] not in (b"IM", b"MI"):
        raise InputError("not a MATLAB file of version 5 (save -v6 or -v7)")
    task = python_command("decaf.storage.matlab:read_here", json.dumps(list(names)))
    memory = _OWN_BYTES + 2 * (max_bytes + 2 * len(data))
    with tempfile.TemporaryFile() as written:
        ended = run_limited(task, data, written, memory=memory, seconds=_CPU_SECONDS)
        too_large = ended.too_large or ended.code == _TOO_LARGE
        if ended.code and not too_large:
            said = ended.said.decode("utf-8", "replace").split()
            reason = " ".join(said) if ended.code == 1 else "its reader broke down"
            raise InputError(f"a MATLAB file that is damaged ({reason[:300]})")
        written.seek(0)
        found = {} if too_large else dict(np.load(written))
    if too_large or sum(array.nbytes for array in found.values()) > max_bytes:
        raise InputError(f"a MATLAB file that unpacks to more than {max_bytes:,} bytes")
    return {
        name: json.loads(value.item()) if value.dtype.kind == "U" else value
        for name, value in found.items()
    }


def read_here(names: str) -> None:
    """Read a file from standard input and write an ``.npz`` to standard output; in the child.

    Parameters
    ----------
    names : str
        Those of the variables, as JSON.
    """
    from scipy.io import loadmat

    asked = json.loads(names)
    warnings.simplefilter("error")  # such as of two variables of one name
    try:
        found = loadmat(io.BytesIO(sys.stdin.buffer.read()), variable_names=asked)
        there = [name for name in asked if name in found]
        arrays: dict[str, Any] = {name: _plain(found[name]) for name in there}
        np.savez(sys.stdout.buffer, **arrays)
    except MemoryError:
        sys.exit(_TOO_LARGE)
    except Exception as error:
        sys.exit(f"{error}")


def _plain(value: object) -> np.ndarray:
    """Return numbers as they are, and as JSON what is none."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return value
    structures = None
    if isinstance(value, np.ndarray) and value.dtype.names:
        structures = [
            {name: _field(one[name]) for name in value.dtype.names}
            for one in value.ravel(order="F")
        ]
    return np.array(json.dumps(_text(value) if structures is None else structures))


def _field(value: object) -> str | list[float] | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        numbers: list[float] = value.ravel(order="F").astype(float).tolist()
        return numbers
    return _text(value)


def _text(value: object) -> str | None:
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size <= 1:
        return str(value.item()) if value.size else ""
    return None

"""MATLAB files of version 7.3, for what is too large for version 5: HDF5 as MATLAB lays it out.

The file begins with MATLAB's header of 512 bytes. An array is a dataset whose axes are reversed,
since MATLAB counts the first one fastest and HDF5 the last, with the name of its class beside it;
texts are arrays of 16-bit characters, and a cell array is one of references to such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import h5py
import numpy as np

from decaf.storage.hdf5 import HDF5Output, hdf5_output

__all__ = ["Matlab73", "matlab_73_output"]

HEADER_BYTES = 512

# Without a date, so that the same features are the same bytes.
_TEXT = b"MATLAB 7.3 MAT-file, written by decaf. HDF5 schema 1.00 ."
_VERSION = b"\x00\x02IM"
_CHUNK_BYTES = 1 << 20
_REFERENCES = "#refs#"


@contextmanager
def matlab_73_output(stream: IO[bytes]) -> Iterator[Matlab73]:
    """Write a file of version 7.3 to a stream that has a descriptor.

    Parameters
    ----------
    stream : binary stream
        As `decaf.storage.hdf5.hdf5_output` takes it.

    Yields
    ------
    Matlab73
    """
    # HDF5's first format, which MATLAB of any age reads.
    with hdf5_output(stream, libver=("earliest", "v110"), userblock=HEADER_BYTES) as output:
        yield Matlab73(output)
    stream.seek(0)
    stream.write(_TEXT.ljust(116) + bytes(8) + _VERSION)


class Matlab73:
    """Writes variables one after the other; see `matlab_73_output`.

    Parameters
    ----------
    output : HDF5Output
    """

    def __init__(self, output: HDF5Output) -> None:
        self._output = output

    def rows(
        self, name: str, shape: tuple[int, ...], blocks: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Write an array of float32 in blocks of rows; its size in MATLAB is `shape`.

        Parameters
        ----------
        name : str
        shape : tuple of int
            Rows first.
        blocks : iterable of (any, ndarray)
            The rows in order are the second of each.
        """
        row_bytes = max(1, int(np.prod(shape[1:])) * 4)
        chunk = (*shape[:0:-1], max(1, min(shape[0], _CHUNK_BYTES // row_bytes)))
        empty = 0 in shape
        data = self._output.file.create_dataset(
            name, shape=shape[::-1], dtype="<f4", chunks=None if empty else chunk
        )
        _mark(data, "single", empty=empty)
        filled = 0
        for _, rows in blocks:
            self._output.check()
            data[..., filled : filled + len(rows)] = rows.astype(np.float32, copy=False).T
            filled += len(rows)

    def variable(self, name: str, value: Any) -> None:
        """Write a text, an array of numbers as a column, or a sequence of texts as a cell array.

        Parameters
        ----------
        name : str
        value : str, ndarray or sequence of str
        """
        file = self._output.file
        self._output.check()
        if isinstance(value, str):
            _write_text(file, name, value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            column = value[:, None] if value.ndim == 1 else value
            logical = column.dtype.kind == "b"
            stored = column.astype(np.uint8) if logical else column
            _write_numbers(file, name, stored, "logical" if logical else "")
        else:
            self._cells(name, list(value))

    def _cells(self, name: str, texts: Sequence[str]) -> None:
        file = self._output.file
        if not texts:
            _write_numbers(file, name, np.zeros((0, 1)), "cell")
            return
        folder = file.require_group(_REFERENCES)
        cells = np.empty((1, len(texts)), h5py.ref_dtype)
        known: dict[str, Any] = {}
        for place, text in enumerate(texts):
            if text not in known:
                known[text] = _write_text(folder, f"{name}_{place}", text).ref
            cells[0, place] = known[text]
        data = file.create_dataset(name, data=cells, dtype=h5py.ref_dtype)
        _mark(data, "cell")


_CLASSES = {"f4": "single", "f8": "double"} | {
    f"{kind}{size}": f"{'u' * (kind == 'u')}int{8 * size}" for kind in "iu" for size in (1, 2, 4, 8)
}


def _write_text(folder: h5py.Group, name: str, text: str) -> h5py.Dataset:
    codes = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    data = _write_numbers(folder, name, codes[None, :] if codes.size else np.zeros((0, 0)), "char")
    if codes.size:
        data.attrs.create("MATLAB_int_decode", 2, dtype="<i4")
    return data


def _write_numbers(
    folder: h5py.Group, name: str, values: np.ndarray, matlab_class: str
) -> h5py.Dataset:
    """Write an array whose size in MATLAB is the shape of `values`."""
    empty = 0 in values.shape
    # Of an empty array MATLAB keeps the size in place of the values.
    stored = np.array(values.shape, "<u8") if empty else np.ascontiguousarray(values.T)
    data = folder.create_dataset(name, data=stored)
    kind = matlab_class or _CLASSES[f"{values.dtype.kind}{values.dtype.itemsize}"]
    _mark(data, kind, empty=empty)
    if kind == "logical":
        data.attrs.create("MATLAB_int_decode", 1, dtype="<i4")
    return data


def _mark(data: h5py.Dataset, matlab_class: str, *, empty: bool = False) -> None:
    data.attrs.create("MATLAB_class", np.bytes_(matlab_class))
    if empty:
        data.attrs.create("MATLAB_empty", 1, dtype="u1")

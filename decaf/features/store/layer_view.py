"""Reading rows out of the feature file: by chunks, with damage named by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

from decaf.errors import FeatureFileError

__all__ = ["BLOCK_BYTES", "LayerView", "read_rows", "row_blocks"]

# What is held at a time where a whole column or layer is gone through.
BLOCK_BYTES = 16 * 2**20


def row_blocks(dataset: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Cut the rows of a dataset into runs of whole chunks of about `BLOCK_BYTES`.

    Parameters
    ----------
    dataset : h5py.Dataset
        With rows along its first axis.

    Yields
    ------
    tuple of int
        First row of a block and the row after its last.
    """
    chunk_rows = dataset.chunks[0] if dataset.chunks else 1
    row_bytes = max(1, int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize)
    step = max(1, BLOCK_BYTES // (row_bytes * chunk_rows)) * chunk_rows
    for start in range(0, dataset.shape[0], step):
        yield start, min(start + step, dataset.shape[0])


def read_rows(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    """Read a run of rows.

    Parameters
    ----------
    dataset : h5py.Dataset
        With rows along its first axis.
    start, stop : int
        First row, and the row after the last.

    Returns
    -------
    ndarray
        In the dataset's own type.

    Raises
    ------
    FeatureFileError
        Where the data is damaged: names the file, the dataset and the rows of the first bad chunk.
    """
    try:
        rows: np.ndarray = dataset[start:stop]
    except (OSError, RuntimeError) as error:
        raise _damage(dataset, start, stop, error) from error
    return rows


def _damage(dataset: h5py.Dataset, start: int, stop: int, error: Exception) -> FeatureFileError:
    """Find the first chunk that cannot be read, so that the user learns which rows are lost."""
    step = dataset.chunks[0] if dataset.chunks else max(1, stop - start)
    for first in range(start - start % step, stop, step):
        last = min(first + step, dataset.shape[0])
        try:
            dataset[first:last]
        except (OSError, RuntimeError) as chunk_error:
            start, stop, error = first, last, chunk_error
            break
    reason = " ".join(str(error).split())
    return FeatureFileError(
        f"{dataset.file.filename}: {dataset.name.lstrip('/')}, rows {start} to {stop - 1}: "
        f"the data is damaged ({reason}); make the file again or take it from a copy"
    )


class LayerView:
    """One layer of a feature file, read when it is sliced.

    Behaves as a read-only array: ``view[3]``, ``view[10:20]``, ``view[mask]``,
    ``view[[5, 2, 2]]``, ``np.asarray(view)``. Only the chunks that hold the rows asked for are
    read. Indexing of the axes after the first follows numpy once those rows are read.

    Parameters
    ----------
    dataset : h5py.Dataset
        The dataset below ``features``.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self._dataset.name).rpartition("/")[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, then the shape of a row."""
        return tuple(int(n) for n in self._dataset.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """``float32`` or ``float16``."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes, the rows included."""
        return len(self._dataset.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<layer {self.name}: shape {self.shape}, {self.dtype}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self!r} lies in a file: an array of it is always a copy")
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis or first is None:
            raise IndexError(f"{self!r}: index the rows first, as in view[:, ..., 0]")
        if isinstance(first, slice):
            start, stop, step = first.indices(len(self))
            if step == 1:
                values = read_rows(self._dataset, start, max(start, stop))
            else:
                values = self._gather(np.arange(start, stop, step))
        else:
            # A scalar index takes the row out of its axis, as numpy does.
            rows = np.arange(len(self))[first]
            values = self._gather(np.ravel(rows)).reshape(*np.shape(rows), *self.shape[1:])
            if np.ndim(rows) == 0:
                return values[tuple(rest)] if rest else values
        return values[(slice(None), *rest)] if rest else values

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Go through the layer in order, a bounded number of bytes at a time.

        Yields
        ------
        start : int
            Row at which the block starts.
        values : ndarray, shape (rows, …)
            About `BLOCK_BYTES` of whole rows.

        Raises
        ------
        FeatureFileError
            Where the data is damaged.
        """
        for start, stop in row_blocks(self._dataset):
            yield start, read_rows(self._dataset, start, stop)

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Read rows in any order, each chunk that holds some of them once.

        HDF5's own point selection takes time quadratic in the number of points, and wants them
        sorted and without repetition.
        """
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not len(rows):
            return values
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        chunk_rows = self._dataset.chunks[0] if self._dataset.chunks else max(1, len(self))
        starts = np.flatnonzero(np.diff(wanted // chunk_rows, prepend=-1))
        for begin, end in pairwise([*starts.tolist(), len(wanted)]):
            low, high = int(wanted[begin]), int(wanted[end - 1]) + 1
            block = read_rows(self._dataset, low, high)
            values[order[begin:end]] = block[wanted[begin:end] - low]
        return values

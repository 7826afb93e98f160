"""Rows that are read block by block, as often as a solver asks, and never held."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["RowStream", "StreamStatistics", "stream_statistics"]

SAMPLED = 16  # rows a dimension from which the second moments are estimated
LEAST_SAMPLED = 4096  # … and at least so many
KEPT = 8192  # rows that are kept, the classes all alike, or 8 of each class
KEPT_BYTES = 1 << 28  # in float32


@dataclass(frozen=True)
class RowStream:
    """Rows of features and their classes, read in order.

    Parameters
    ----------
    rows : array-like of float16, float32 or float64, shape (n, …)
        Whatever gives an array for a slice of rows: an array, a mapped file, a layer of a feature
        file. A row of several axes is flattened.
    codes : ndarray of int64, shape (n,)
        Class of each row, and -1 for the rows that are passed over.
    block : int
        Rows that are read at a time.
    """

    rows: Any
    codes: np.ndarray
    block: int

    @property
    def width(self) -> int:
        """Number of features."""
        return int(np.prod(self.rows.shape[1:]))

    def without(self, passed_over: np.ndarray) -> RowStream:
        """Return the stream that passes over more rows.

        Parameters
        ----------
        passed_over : ndarray of bool, shape (n,)
        """
        return replace(self, codes=np.where(passed_over, -1, self.codes))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go through the rows once; the next block is read while the present one is worked on.

        Yields
        ------
        X : ndarray, shape (r, d)
            In the type in which the rows are stored.
        places : ndarray of int64, shape (r,)
            Row numbers, ascending; ``codes[places]`` are the classes.
        """
        starts = [
            start
            for start in range(0, len(self.codes), self.block)
            if (self.codes[start : start + self.block] >= 0).any()
        ]
        with ThreadPoolExecutor(1) as reader:
            ahead: Future[tuple[np.ndarray, np.ndarray]] | None = None
            for start in [*starts, None]:
                ready = ahead
                ahead = None if start is None else reader.submit(self._read, start)
                if ready is not None:
                    yield ready.result()

    def _read(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        kept = np.flatnonzero(self.codes[start : start + self.block] >= 0)
        X = np.asarray(self.rows[start : start + self.block])
        X = X.reshape(len(X), -1)
        # A copy where the rows are a view of memory that must not be written to, as torch demands.
        X = X[kept] if len(kept) < len(X) or not X.flags.writeable else X
        return X, start + kept


@dataclass(frozen=True)
class StreamStatistics:
    """The numbers of the first pass, of the rows as they are.

    Attributes
    ----------
    finite : ndarray of bool, shape (n,)
        Rows with no NaN and no infinity; True too for rows that were passed over.
    counts : ndarray of int64, shape (n_classes,)
        Rows of each class.
    class_sums : Tensor of float64, shape (n_classes, d)
        Sum of the rows of each class.
    mean_square_norm : float
        Of the rows; 1 where all of them are zero.
    sampled : int
        Rows of the sample from which the next two are.
    sample_mean : Tensor of float64, shape (d,)
    sample_moments : Tensor of float64, shape (d, d)
        Mean of x xᵀ.
    sample_rows : ndarray, shape (m, d)
        A few rows of each class, as many of each as there are, in the type in which they are
        stored.
    sample_codes : ndarray of int64, shape (m,)
    """

    finite: np.ndarray
    counts: np.ndarray
    class_sums: Tensor
    mean_square_norm: float
    sampled: int
    sample_mean: Tensor
    sample_moments: Tensor
    sample_rows: np.ndarray
    sample_codes: np.ndarray


def stream_statistics(stream: RowStream, n_classes: int, device: torch.device) -> StreamStatistics:
    """Go through the rows once for what the solver has to know beforehand.

    The second moments only shape the preconditioner, so that a sample spread evenly over the file
    serves: about 16 rows a dimension, chosen by their numbers, whatever the size of a block.

    Parameters
    ----------
    stream : RowStream
    n_classes : int
    device : torch.device
        Of the tensors.

    Returns
    -------
    StreamStatistics
    """
    d = stream.width
    finite = np.ones(len(stream.codes), bool)
    class_sums = torch.zeros(n_classes, d, dtype=torch.float64, device=device)
    moments = torch.zeros(d, d, dtype=torch.float64, device=device)
    sample_sum = torch.zeros(d, dtype=torch.float64, device=device)
    squares, sampled = 0.0, 0
    stride = max(1, int((stream.codes >= 0).sum()) // max(LEAST_SAMPLED, SAMPLED * d))
    order = np.cumsum(stream.codes >= 0) - 1
    kept = _spread_over_classes(stream.codes, n_classes, d)
    kept_rows, kept_codes = [np.empty((0, d), np.float32)], []
    for X, places in stream.blocks():
        whole = np.isfinite(X).all(axis=1)
        if not whole.all():
            finite[places[~whole]] = False
            X, places = X[whole], places[whole]
        kept_rows.append(X[kept[places]])
        kept_codes.append(stream.codes[places[kept[places]]])
        rows = torch.from_numpy(X).to(device)
        rows = rows if rows.dtype == torch.float64 else rows.float()
        codes = torch.from_numpy(stream.codes[places]).to(device)
        class_sums.index_add_(0, codes, rows.double())
        squares += float(rows.square().sum(1, dtype=torch.float64).sum())
        part = rows[torch.from_numpy(order[places] % stride == 0).to(device)]
        moments += part.T @ part
        sample_sum += part.sum(0, dtype=torch.float64)
        sampled += len(part)
    counts = np.bincount(stream.codes[finite & (stream.codes >= 0)], minlength=n_classes)
    size = squares / max(int(counts.sum()), 1)
    return StreamStatistics(
        finite,
        counts,
        class_sums,
        size if size > 0 else 1.0,
        sampled,
        sample_sum / max(sampled, 1),
        moments / max(sampled, 1),
        np.concatenate(kept_rows[1:] or kept_rows),
        np.concatenate([np.empty(0, np.int64), *kept_codes]),
    )


def _spread_over_classes(codes: np.ndarray, n_classes: int, d: int) -> np.ndarray:
    """Return a mask of rows: of each class about as many, spread evenly over the file."""
    most = max(n_classes, min(max(KEPT, 8 * n_classes), KEPT_BYTES // (4 * d)))
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes[codes >= 0], minlength=n_classes)
    strides = np.maximum(1, -(-counts // max(1, most // n_classes)))
    order = order[len(codes) - int(counts.sum()) :]  # after the rows that are passed over
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    mask = np.zeros(len(codes), bool)
    mask[order[rank % np.repeat(strides, counts) == 0]] = True
    return mask

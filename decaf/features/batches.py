"""Batches of images on their way through the network: cut, prepared, computed, put together.

Work is cut into blocks of rows (the shards of a feature file) and blocks into batches, always the
same way, so that a resumed run computes what the undisturbed one would have, to the bit.

On a CPU each thread of the pass runs a batch of its own on one core, rather than all cores sharing
one batch: nothing waits at the barriers of a parallel loop while a decoder holds the other core,
which is worth 5 to 10 %, and the rows do not depend on how many cores there are.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from decaf.errors import SettingError
from decaf.features.rows import Rows
from decaf.images.status import Outcome
from decaf.images.workers.pool import Job

if TYPE_CHECKING:
    from decaf.images import ImageList

__all__ = ["Batch", "Block", "Feed", "Passes"]


@dataclass(slots=True, eq=False)
class Block:
    """A range of rows that is finished as a whole.

    Attributes
    ----------
    rows : Rows
    left : int
        Number of its batches that are still to come.
    """

    rows: Rows
    left: int


@dataclass(slots=True, eq=False)
class Batch:
    """The images of one forward pass.

    Attributes
    ----------
    block : Block
        Range to which they belong.
    start : int
        Row of the first image.
    crops : ndarray of uint8
    left : int
        Number of images that are still being decoded.
    features : dict of str to ndarray
        Rows of each layer.
    """

    block: Block
    start: int
    crops: np.ndarray
    left: int
    features: dict[str, np.ndarray] = field(default_factory=dict)


class Feed:
    """Cuts ranges into batches and batches into jobs, and puts what comes back together.

    Parameters
    ----------
    images : ImageList
        Where row i comes from.
    ranges : iterable of (int, int)
        First row and row after the last. They are begun in this order.
    shape : tuple of int
        Shape of an image's crops: (1 or 5, crop, crop, 3).
    batch_size : int
        Images of a batch, at most. No batch crosses the border of a range.
    dtype : str
        Type of the rows.
    stop : threading.Event, optional
        Once set, no further range is begun.

    Attributes
    ----------
    open_batches : int
        Begun and not computed.
    """

    def __init__(
        self,
        images: ImageList,
        ranges: Iterable[tuple[int, int]],
        shape: tuple[int, ...],
        batch_size: int,
        dtype: str,
        stop: threading.Event | None,
    ) -> None:
        self._images = images
        self._ranges = deque(ranges)
        self._shape = shape
        self._batch_size = batch_size
        self._dtype = dtype
        self._stop = stop
        self._current: deque[tuple[Block, int, int]] = deque()
        self._by_row: dict[int, Batch] = {}
        self.open_batches = 0

    @property
    def decoding(self) -> int:
        """How many images are with the decoders."""
        return len(self._by_row)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before all ranges were begun."""
        return self._stop is not None and self._stop.is_set() and bool(self._ranges)

    def next_batch(self) -> list[Job]:
        """Open the next batch, and return its jobs; none if there is no batch to be begun."""
        if not self._current:
            if not self._ranges or self.stopped:
                return []
            start, stop = self._ranges.popleft()
            borders = range(start, stop, self._batch_size)
            block = Block(Rows.empty(start, stop), left=len(borders))
            for border in borders:
                self._current.append((block, border, min(border + self._batch_size, stop)))
        block, start, stop = self._current.popleft()
        crops = np.empty((stop - start, *self._shape), np.uint8)
        batch = Batch(block, start, crops, left=stop - start)
        self._by_row.update(dict.fromkeys(range(start, stop), batch))
        self.open_batches += 1
        source_of = self._images.source_of
        return [Job(row, source_of(row), crops[row - start]) for row in range(start, stop)]

    def decoded(self, row: int, outcome: Outcome) -> Batch | None:
        """Take what became of an image; return its batch once that is ready for the pass.

        Parameters
        ----------
        row : int
        outcome : Outcome
        """
        batch = self._by_row.pop(row)
        batch.block.rows.record(row, outcome)
        batch.left -= 1
        return batch if batch.left == 0 else None

    def computed(self, batch: Batch) -> Rows | None:
        """Take a batch's rows; return its block's once they are whole.

        Parameters
        ----------
        batch : Batch
            With its `features`.

        Raises
        ------
        SettingError
            For values that are not finite in the type of the rows.
        """
        self.open_batches -= 1
        rows = batch.block.rows
        first = batch.start - rows.start
        bad = rows.status[first : first + len(batch.crops)] != 0
        for layer, values in batch.features.items():
            if layer not in rows.features:
                rows.features[layer] = np.empty(
                    (rows.stop - rows.start, *values.shape[1:]), np.dtype(self._dtype)
                )
            target = rows.features[layer][first : first + len(values)]
            with np.errstate(over="ignore"):  # told below, with the row
                target[...] = values
            finite = np.isfinite(target.reshape(len(target), -1)).all(axis=1)
            if (wrong := ~finite & ~bad).any():
                row = batch.start + int(wrong.argmax())
                raise SettingError(
                    f"row {row}: {layer} has values that {self._dtype} cannot hold (the largest is "
                    f"{np.nanmax(np.abs(values[wrong])):.3g}); "
                    + ("use float32" if self._dtype == "float16" else "the weights are at fault")
                )
            target[bad] = np.nan
        batch.block.left -= 1
        return rows if batch.block.left == 0 else None


class Passes:
    """The threads of the forward pass. Readable (by `fileno`) when a batch has come out.

    Parameters
    ----------
    engine : callable
        Maps crops (n, 1 or 5, crop, crop, 3) to a dict of rows. Called from several threads.
    threads : int
        Forward passes at a time.
    torch_threads : int
        Cores each of them uses.
    """

    def __init__(
        self,
        engine: Callable[[np.ndarray], dict[str, np.ndarray]],
        threads: int,
        torch_threads: int,
    ) -> None:
        import torch

        self._engine = engine
        # Set in each thread, it is also the default of threads that torch has not seen yet.
        self._threads_before = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(
            threads, "decaf-pass", initializer=torch.set_num_threads, initargs=(torch_threads,)
        )
        self._finished: queue.SimpleQueue[tuple[Batch, Future[dict[str, np.ndarray]]]]
        self._finished = queue.SimpleQueue()
        # Not a pipe, since Windows waits for sockets alone.
        self._bell, self._ring = socket.socketpair()

    def fileno(self) -> int:
        """Return what can be read when a batch has come out."""
        return self._bell.fileno()

    def put(self, batch: Batch) -> None:
        """Hand a batch over whose crops are ready.

        Parameters
        ----------
        batch : Batch
        """

        def tell(rows: Future[dict[str, np.ndarray]]) -> None:
            self._finished.put((batch, rows))
            self._ring.send(b".")

        self._threads.submit(self._engine, batch.crops).add_done_callback(tell)

    def take(self, *, block: bool) -> Iterator[Batch]:
        """Yield the batches that have come out, with their features.

        Parameters
        ----------
        block : bool
            Wait until there is one at least.
        """
        self._bell.setblocking(block)
        while True:
            try:
                self._bell.recv(1)
            except BlockingIOError:
                return
            batch, rows = self._finished.get()
            batch.features = rows.result()
            yield batch
            self._bell.setblocking(False)

    def close(self) -> None:
        """Drop what has not been begun, and end the threads."""
        import torch

        self._threads.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads_before)
        self._bell.close()
        self._ring.close()

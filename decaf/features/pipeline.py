"""The stream from images to rows: decoding in processes, the forward pass in threads.

Work is cut into blocks of rows (the shards of a feature file) and blocks into batches, always the
same way, so that a resumed run computes what the undisturbed one would have, to the bit. What is in
flight is bounded, whatever the number of images.

On a CPU each thread of the pass runs a batch of its own on one core, rather than all cores sharing
one batch: nothing waits at the barriers of a parallel loop while a decoder holds the other core,
which is worth 5 to 10 %, and the rows do not depend on how many cores there are.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, SettingError, Stopped
from decaf.features.rows import Rows
from decaf.images.status import Outcome
from decaf.images.workers.pool import Job

if TYPE_CHECKING:
    from decaf.images.listing.sources import ImageList
    from decaf.images.workers.pool import Pool

__all__ = ["Block", "stream"]


@dataclass(slots=True, eq=False)
class Block:
    """A run of rows that is finished as a whole; `left` counts its batches still to come."""

    rows: Rows
    left: int


@dataclass(slots=True, eq=False)
class _Batch:
    block: Block
    start: int
    crops: np.ndarray
    left: int  # images still being decoded
    features: dict[str, np.ndarray] = field(default_factory=dict)


def stream(
    images: ImageList,
    ranges: Iterable[tuple[int, int]],
    *,
    pool: Pool,
    engine: Callable[[np.ndarray], dict[str, np.ndarray]],
    crop: int,
    ten: bool,
    batch_size: int,
    threads: int,
    torch_threads: int,
    dtype: str = "float32",
    stop: threading.Event | None = None,
    raise_bad: bool = False,
) -> Iterator[Rows]:
    """Compute ranges of rows, each given out when it is whole.

    Parameters
    ----------
    images : ImageList
        Where row i comes from.
    ranges : iterable of (int, int)
        First row and row after the last. They are begun in this order.
    pool : Pool
        Prepares images. It is not closed here.
    engine : callable
        Maps crops (n, 1 or 5, crop, crop, 3) to a dict of rows. Called from several threads.
    crop : int
        Side of a crop in pixels.
    ten : bool
        Five crops an image instead of one.
    batch_size : int
        Images a forward pass, at most. No batch crosses the border of a range.
    threads : int
        Forward passes at a time.
    torch_threads : int
        Cores each of them uses.
    dtype : str
        Type of the rows given out.
    stop : threading.Event, optional
        Once set, no further range is begun.
    raise_bad : bool
        Raise at the first bad image.

    Yields
    ------
    Rows
        In the order in which they are finished.

    Raises
    ------
    Stopped
        After `stop` was set, when what had been begun has been given out.
    ImageError
        With `raise_bad`, for the first bad image seen.
    SettingError
        For values that are not finite as `dtype`.
    """
    with _Passes(engine, threads, torch_threads) as passes:
        feed = _Feed(images, deque(ranges), crop, 5 if ten else 1, batch_size, stop)
        # One batch a thread at work, one waiting for each, and one being filled.
        most = 2 * threads + 1
        while True:
            while feed.open_batches < most and (job := feed.next_batch()) is not None:
                for item in job:
                    pool.submit(item)
            if feed.open_batches == 0:
                break
            busy = feed.decoding > 0
            for item, outcome in pool.poll(1.0 if busy else 0.0, [passes] if busy else []):
                batch = feed.decoded(item.index, outcome)
                if raise_bad and outcome.status != "ok":
                    raise ImageError(
                        outcome.status,
                        outcome.message,
                        os.fsdecode(images.names[item.index]),
                        item.index,
                        remedy="`on_error='record'` keeps its row as NaN and goes on",
                    )
                if batch is not None:
                    passes.put(batch)
            for batch in passes.take(block=feed.decoding == 0):
                rows = feed.computed(batch, dtype)
                if rows is not None:
                    yield rows
        if stop is not None and stop.is_set() and feed.waiting:
            raise Stopped("stopped before the last images were begun")


class _Feed:
    """Cuts ranges into batches and batches into jobs, and puts what comes back together."""

    def __init__(
        self,
        images: ImageList,
        ranges: deque[tuple[int, int]],
        crop: int,
        crops: int,
        batch_size: int,
        stop: threading.Event | None,
    ) -> None:
        self._images = images
        self._ranges = ranges
        self._shape = (crops, crop, crop, 3)
        self._batch_size = batch_size
        self._stop = stop
        self._current: deque[tuple[Block, int, int]] = deque()
        self._by_row: dict[int, _Batch] = {}
        self.open_batches = 0

    @property
    def decoding(self) -> int:
        """How many images are with the decoders."""
        return len(self._by_row)

    @property
    def waiting(self) -> bool:
        """Whether there are ranges that were not begun."""
        return bool(self._ranges)

    def next_batch(self) -> list[Any] | None:
        """Open the next batch and give its jobs; None if there is none to be begun."""
        if not self._current:
            if not self._ranges or (self._stop is not None and self._stop.is_set()):
                return None
            self._begin(*self._ranges.popleft())
        block, start, stop = self._current.popleft()
        crops = np.empty((stop - start, *self._shape), np.uint8)
        batch = _Batch(block, start, crops, left=stop - start)
        self.open_batches += 1
        jobs = []
        for row in range(start, stop):
            self._by_row[row] = batch
            jobs.append(Job(row, self._source(row), crops[row - start]))
        return jobs

    def _source(self, row: int) -> Any:
        if self._images.refs is None:
            return functools.partial(self._images.get, row)
        return self._images.refs[row]

    def _begin(self, start: int, stop: int) -> None:
        borders = list(range(start, stop, self._batch_size))
        block = Block(Rows.empty(start, stop), left=len(borders))
        for border in borders:
            self._current.append((block, border, min(border + self._batch_size, stop)))

    def decoded(self, row: int, outcome: Outcome) -> _Batch | None:
        """Take what became of an image; give its batch once that is ready for the pass."""
        batch = self._by_row.pop(row)
        batch.block.rows.record(row, outcome)
        batch.left -= 1
        return batch if batch.left == 0 else None

    def computed(self, batch: _Batch, dtype: str) -> Rows | None:
        """Take a batch's rows; give its block's once they are whole."""
        self.open_batches -= 1
        rows = batch.block.rows
        first = batch.start - rows.start
        bad = rows.status[first : first + len(batch.crops)] != 0
        for layer, values in batch.features.items():
            if layer not in rows.features:
                rows.features[layer] = np.empty(
                    (rows.stop - rows.start, *values.shape[1:]), np.dtype(dtype)
                )
            target = rows.features[layer][first : first + len(values)]
            with np.errstate(over="ignore"):  # told below, with the row
                target[...] = values
            finite = np.isfinite(target.reshape(len(target), -1)).all(axis=1)
            if (wrong := ~finite & ~bad).any():
                row = batch.start + int(wrong.argmax())
                raise SettingError(
                    f"row {row}: {layer} has values that {dtype} cannot hold (the largest is "
                    f"{np.nanmax(np.abs(values[wrong])):.3g}); "
                    + ("use float32" if dtype == "float16" else "the weights are at fault")
                )
            target[bad] = np.nan
        batch.block.left -= 1
        return rows if batch.block.left == 0 else None


class _Passes:
    """The threads of the forward pass. Readable (by `fileno`) when a batch has come out."""

    def __init__(
        self,
        engine: Callable[[np.ndarray], dict[str, np.ndarray]],
        threads: int,
        torch_threads: int,
    ) -> None:
        self._engine = engine
        self._torch_threads = torch_threads
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[_Batch | BaseException] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe()
        self._threads = [
            threading.Thread(target=self._run, name=f"decaf-pass-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> _Passes:
        import torch

        self._threads_before = torch.get_num_threads()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        for _thread in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join()
        torch.set_num_threads(self._threads_before)
        os.close(self._bell)
        os.close(self._ring)

    def fileno(self) -> int:
        return self._bell

    def put(self, batch: _Batch) -> None:
        self._inbox.put(batch)

    def take(self, *, block: bool) -> Iterator[_Batch]:
        """Yield the batches that have come out; with `block`, at least one."""
        if block:
            os.set_blocking(self._bell, True)
            os.read(self._bell, 1)
            yield self._next()
        os.set_blocking(self._bell, False)
        while True:
            try:
                os.read(self._bell, 1)
            except BlockingIOError:
                return
            yield self._next()

    def _next(self) -> _Batch:
        found = self._outbox.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self) -> None:
        import torch

        # Also the default of threads that torch has not seen yet, hence put back in __exit__.
        torch.set_num_threads(self._torch_threads)
        while (batch := self._inbox.get()) is not None:
            try:
                batch.features = self._engine(batch.crops)
                self._outbox.put(batch)
            except BaseException as error:
                self._outbox.put(error)
            os.write(self._ring, b".")

"""The stream from images to shards: decoding in processes, encoding in threads.

What is in flight is bounded, whatever the number of images.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np

from decaf.errors import ImageError, Stopped
from decaf.images.pool import Job, Pool
from decaf.images.sources import ImageList
from decaf.images.status import Outcome
from decaf.train.pack.pixels import Stored, store
from decaf.train.pack.rows import PackRows
from decaf.train.pack.settings import PackSettings

__all__ = ["stream_rows"]


def stream_rows(
    images: ImageList,
    ranges: Iterable[tuple[int, int]],
    *,
    pool: Pool,
    settings: PackSettings,
    train: int,
    threads: int,
    in_flight: int,
    stop: threading.Event | None = None,
    raise_bad: bool = False,
) -> Generator[PackRows, None, None]:
    """Make ranges of rows, each given out when it is whole.

    Parameters
    ----------
    images : ImageList
        All images of the pack, those of the split train first.
    ranges : iterable of (int, int)
        First row and row after the last. They are begun in this order.
    pool : Pool
        Decodes, resizes and crops. It is not closed here.
    settings : PackSettings
    train : int
        How many images the split train has.
    threads : int
        Images encoded at a time.
    in_flight : int
        Images begun and not finished, at most.
    stop : threading.Event, optional
        Once set, no further range is begun.
    raise_bad : bool
        Raise at the first bad image.

    Yields
    ------
    PackRows
        In the order in which they are finished.

    Raises
    ------
    Stopped
        After `stop` was set, when what had been begun has been given out.
    ImageError
        With `raise_bad`, for the first bad image seen.
    """
    assert images.refs is not None
    feed = _Feed(deque(ranges), settings.size, stop)
    encoding: dict[Future[Stored], int] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="decaf-pack") as executor:
        try:
            while True:
                while feed.in_flight < in_flight and (job := feed.next_job(images)) is not None:
                    pool.submit(job)
                if not feed.in_flight:
                    break
                decoding = feed.in_flight - len(encoding)
                for job, outcome in pool.poll(1.0) if decoding else ():
                    if outcome.status == "ok":
                        work = executor.submit(
                            _encode, feed.block(job.index), job, outcome, settings, train
                        )
                        encoding[work] = job.index
                        continue
                    if raise_bad:
                        raise _bad(images.names[job.index], outcome)
                    rows = feed.finished(job.index, outcome, None)
                    if rows is not None:
                        yield rows
                done, _ = wait(
                    encoding, timeout=0 if decoding else None, return_when=FIRST_COMPLETED
                )
                for work in done:
                    rows = feed.finished(encoding.pop(work), None, work.result())
                    if rows is not None:
                        yield rows
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    if stop is not None and stop.is_set() and feed.waiting:
        raise Stopped("stopped before the last images were begun")


def _bad(name: bytes, outcome: Outcome) -> ImageError:
    return ImageError(
        outcome.status,
        f"{os.fsdecode(name)!r}: {outcome.message} ({outcome.status}); "
        "on_error='record' leaves it out of the pack, writes it down and goes on",
    )


class _Block:
    """A range that is being made: its rows, their bytes, and how many are still to come."""

    def __init__(self, start: int, stop: int, size: int) -> None:
        self.rows = PackRows.empty(start, stop, size)
        self.data: list[bytes] = [b""] * (stop - start)
        self.left = stop - start
        self.lock = threading.Lock()


def _encode(
    block: _Block, job: Job, outcome: Outcome, settings: PackSettings, train: int
) -> Stored:
    pixels = job.out[0]
    stored = store(pixels, job.source, outcome, settings)
    with block.lock:
        block.rows.record(job.index, outcome)
        if job.index < train:
            block.rows.sums.add(pixels)
    return stored


class _Feed:
    """Cuts ranges into jobs, and puts what becomes of them back together."""

    def __init__(
        self, ranges: deque[tuple[int, int]], size: int, stop: threading.Event | None
    ) -> None:
        self._ranges = ranges
        self._size = size
        self._stop = stop
        self._rows: deque[int] = deque()
        self._blocks: dict[int, _Block] = {}
        self._current: _Block | None = None

    @property
    def in_flight(self) -> int:
        """How many images have been begun and not finished."""
        return len(self._blocks)

    @property
    def waiting(self) -> bool:
        """Whether there are ranges that were not begun."""
        return bool(self._ranges)

    def next_job(self, images: ImageList) -> Job | None:
        """Begin an image; None if there is none to be begun."""
        assert images.refs is not None
        if not self._rows:
            if not self._ranges or (self._stop is not None and self._stop.is_set()):
                return None
            start, stop = self._ranges.popleft()
            self._current = _Block(start, stop, self._size)
            self._rows.extend(range(start, stop))
        row = self._rows.popleft()
        assert self._current is not None
        self._blocks[row] = self._current
        return Job(row, images.refs[row], np.empty((1, self._size, self._size, 3), np.uint8))

    def block(self, row: int) -> _Block:
        """Give the block of an image that is in flight."""
        return self._blocks[row]

    def finished(self, row: int, outcome: Outcome | None, stored: Stored | None) -> PackRows | None:
        """Take what became of an image; give its block's rows once they are whole."""
        block = self._blocks.pop(row)
        rows = block.rows
        if outcome is not None:
            with block.lock:
                rows.record(row, outcome)
        if stored is not None:
            place = row - rows.start
            block.data[place] = stored.data
            rows.length[place] = len(stored.data)
            rows.kept[place] = stored.kept
        block.left -= 1
        if block.left:
            return None
        rows.data = np.frombuffer(b"".join(block.data), np.uint8)
        return rows

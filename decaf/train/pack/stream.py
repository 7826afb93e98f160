"""The stream from images to shards: decoding in processes, encoding in threads.

The number of images in flight is bounded, however many there are.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

import numpy as np

from decaf.errors import ImageError, Stopped
from decaf.images import ImageList, ImageRef
from decaf.images.status import Outcome
from decaf.images.workers.decoders import Decoders
from decaf.images.workers.pool import Job
from decaf.train.pack.statistics import moments_of
from decaf.train.pack.stored_images import PackRows, PackSettings, Stored, may_keep, own_jpeg, store

__all__ = ["bad_image", "stream_rows"]


def stream_rows(
    images: ImageList,
    ranges: Iterable[tuple[int, int]],
    *,
    pool: Decoders,
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
    pool : Decoders
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
    feed = _Feed(deque(ranges), settings.side, stop)
    with _Encoders(threads, settings, train) as encoders:
        while True:
            while feed.in_flight < in_flight and (job := feed.next_job(images)) is not None:
                encoders.begun(job)
                pool.submit(job)
            if not feed.in_flight:
                break
            decoding = feed.in_flight - encoders.in_flight
            for job, outcome in pool.poll(1.0) if decoding else ():
                if outcome.status != "ok" and raise_bad:
                    raise bad_image(images.names[job.index], outcome.status, outcome.message)
                encoders.decoded(feed.block(job.index), job, outcome)
                if outcome.status != "ok":
                    rows = feed.finished(job.index, outcome, None)
                    if rows is not None:
                        yield rows
            for row, stored in encoders.finished(wait_for_one=not decoding):
                rows = feed.finished(row, None, stored)
                if rows is not None:
                    yield rows
    if stop is not None and stop.is_set() and feed.waiting:
        raise Stopped("stopped before the last images were begun")


def bad_image(name: bytes, status: str, message: str) -> ImageError:
    """Make the error for an image that cannot be read, and is not to be left out.

    Parameters
    ----------
    name : bytes
    status : str
    message : str
    """
    return ImageError(
        status,
        message,
        os.fsdecode(name),
        remedy="`on_error='record'` leaves it out of the pack, writes it down and goes on",
    )


class _Block:
    """A range that is being made: its rows, their bytes, and how many are still to come."""

    def __init__(self, start: int, stop: int) -> None:
        self.rows = PackRows.empty(start, stop)
        self.data: list[bytes] = [b""] * (stop - start)
        self.left = stop - start
        self.lock = threading.Lock()


class _Encoders:
    """Threads that make what is stored of images once these are decoded.

    A compressed tar is quick to read forwards only, and images are decoded in any order. What is
    kept of one as it is, is therefore read by one thread, in the order of the images.
    """

    def __init__(self, threads: int, settings: PackSettings, train: int) -> None:
        self._settings = settings
        self._train = train
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decaf-pack")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="decaf-pack-reader")
        self._work: dict[Future[Stored], int] = {}
        self._order: deque[int] = deque()
        self._waiting: dict[int, tuple[_Block, Job, Outcome] | None] = {}

    def __enter__(self) -> _Encoders:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)
        self._reader.shutdown(cancel_futures=kind is not None)

    @property
    def in_flight(self) -> int:
        """How many images are decoded and not encoded."""
        return len(self._work) + sum(waiting is not None for waiting in self._waiting.values())

    def begun(self, job: Job) -> None:
        """Take note of an image that is now to be decoded."""
        if _forwards_only(job):
            self._order.append(job.index)

    def decoded(self, block: _Block, job: Job, outcome: Outcome) -> None:
        """Take what came of decoding; of a bad image nothing is made."""
        good = outcome.status == "ok"
        kept = good and isinstance(job.source, ImageRef) and may_keep(outcome, self._settings)
        ref = job.source if kept else None
        if good and (ref is None or not _forwards_only(job)):
            own = None if ref is None else partial(own_jpeg, ref, outcome)
            self._encode(block, job, outcome, own)
        if not _forwards_only(job):
            return
        self._waiting[job.index] = None if ref is None else (block, job, outcome)
        while self._order and self._order[0] in self._waiting:
            waiting = self._waiting.pop(self._order.popleft())
            if waiting is not None:
                read = self._reader.submit(own_jpeg, waiting[1].source, waiting[2])
                self._encode(*waiting, read.result)

    def _encode(
        self, block: _Block, job: Job, outcome: Outcome, own: Callable[[], bytes | None] | None
    ) -> None:
        counts = job.index < self._train
        work = self._threads.submit(_encode, block, job, outcome, own, self._settings, counts)
        self._work[work] = job.index

    def finished(self, *, wait_for_one: bool) -> Iterator[tuple[int, Stored]]:
        """Yield what is made by now, with its rows."""
        timeout = None if wait_for_one else 0
        done, _ = wait(self._work, timeout=timeout, return_when=FIRST_COMPLETED)
        for work in done:
            yield self._work.pop(work), work.result()


def _forwards_only(job: Job) -> bool:
    return isinstance(job.source, ImageRef) and job.source.kind.startswith("tar.")


def _encode(
    block: _Block,
    job: Job,
    outcome: Outcome,
    own: Callable[[], bytes | None] | None,
    settings: PackSettings,
    counts: bool,
) -> Stored:
    pixels = job.out[0]
    stored = store(pixels, None if own is None else own(), settings)
    # Outside of the lock, which all threads want.
    moments = moments_of(pixels) if counts else None
    with block.lock:
        block.rows.record(job.index, outcome)
        if counts:
            block.rows.sums.add(pixels, moments)
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
        if not self._rows:
            if not self._ranges or (self._stop is not None and self._stop.is_set()):
                return None
            start, stop = self._ranges.popleft()
            self._current = _Block(start, stop)
            self._rows.extend(range(start, stop))
        row = self._rows.popleft()
        assert self._current is not None
        self._blocks[row] = self._current
        source = partial(images.get, row) if images.refs is None else images.refs[row]
        return Job(row, source, np.empty((1, self._size, self._size, 3), np.uint8))

    def block(self, row: int) -> _Block:
        """Return the block of an image that is in flight."""
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

"""The stream from images to shards: decoding in processes, encoding in threads.

The number of images in flight is bounded, however many there are.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import NamedTuple

import numpy as np

from decaf.errors import ImageError, Stopped
from decaf.images import ImageList, ImageRef
from decaf.images.decoding.formats import sniff
from decaf.images.status import Outcome
from decaf.images.workers.decoders import Decoders
from decaf.images.workers.pool import Job
from decaf.runtime.names import name_text
from decaf.train.pack.statistics import moments_of
from decaf.train.pack.stored_images import PackRows, PackSettings, torchvision_encoder

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
    waiting = deque(ranges)
    jobs = _jobs(images, waiting, settings.side, stop)
    blocks: dict[int, _Block] = {}  # of the images that are begun and not finished
    with _Encoders(threads, settings, train) as encoders:
        while True:
            while len(blocks) < in_flight and (begun := next(jobs, None)) is not None:
                block, job = begun
                blocks[job.index] = block
                encoders.begun(job)
                pool.submit(job)
            if not blocks:
                break
            decoding = len(blocks) - encoders.in_flight
            for job, outcome in pool.poll(1.0) if decoding else ():
                good = outcome.status == "ok"
                if not good and raise_bad:
                    raise bad_image(images.names[job.index], outcome.status, outcome.message)
                encoders.decoded(blocks[job.index], job, outcome)
                if not good and (rows := blocks.pop(job.index).refused(job.index, outcome)):
                    yield rows
            for row, stored in encoders.finished(wait_for_one=not decoding):
                if rows := blocks.pop(row).stored(row, stored):
                    yield rows
    if stop is not None and stop.is_set() and waiting:
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
        name_text(name),
        remedy="`on_error='record'` leaves it out of the pack, writes it down and goes on",
    )


class _Stored(NamedTuple):
    """An image as a pack keeps it: its bytes, and whether they are the source's own."""

    data: bytes
    kept: bool


class _Block:
    """A range that is being made: its rows, their bytes, and how many are still to come."""

    def __init__(self, start: int, stop: int) -> None:
        self.rows = PackRows.empty(start, stop)
        self.data: list[bytes] = [b""] * (stop - start)
        self.left = stop - start
        self.lock = threading.Lock()

    def refused(self, row: int, outcome: Outcome) -> PackRows | None:
        """Record a bad image; return the rows once they are whole."""
        with self.lock:
            self.rows.record(row, outcome)
        return self._finished()

    def stored(self, row: int, stored: _Stored) -> PackRows | None:
        """Record the bytes of a good image; return the rows once they are whole."""
        place = row - self.rows.start
        self.data[place] = stored.data
        self.rows.length[place] = len(stored.data)
        self.rows.kept[place] = stored.kept
        return self._finished()

    def _finished(self) -> PackRows | None:
        self.left -= 1
        if self.left:
            return None
        self.rows.data = np.frombuffer(b"".join(self.data), np.uint8)
        return self.rows


def _jobs(
    images: ImageList, ranges: deque[tuple[int, int]], side: int, stop: threading.Event | None
) -> Iterator[tuple[_Block, Job]]:
    """Cut ranges into jobs, one for each image; begin no other range once the event is set."""
    while ranges and not (stop is not None and stop.is_set()):
        block = _Block(*ranges.popleft())
        for row in range(block.rows.start, block.rows.stop):
            source = partial(images.get, row) if images.refs is None else images.refs[row]
            yield block, Job(row, source, np.empty((1, side, side, 3), np.uint8))


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
        self._work: dict[Future[_Stored], int] = {}
        self._order: deque[int] = deque()
        self._waiting: dict[int, tuple[_Block, Job, Outcome] | None] = {}

    def __enter__(self) -> _Encoders:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)
        self._reader.shutdown(cancel_futures=kind is not None)

    @property
    def in_flight(self) -> int:
        """The number of images that are decoded and not encoded."""
        return len(self._work) + sum(waiting is not None for waiting in self._waiting.values())

    def begun(self, job: Job) -> None:
        """Record that an image is about to be decoded."""
        if _forwards_only(job):
            self._order.append(job.index)

    def decoded(self, block: _Block, job: Job, outcome: Outcome) -> None:
        """Have a decoded image encoded; of a bad one nothing is made."""
        good = outcome.status == "ok"
        kept = good and isinstance(job.source, ImageRef) and self._may_keep(outcome)
        ref = job.source if kept else None
        if good and (ref is None or not _forwards_only(job)):
            own = None if ref is None else partial(_own_jpeg, ref, outcome)
            self._encode(block, job, outcome, own)
        if not _forwards_only(job):
            return
        self._waiting[job.index] = None if ref is None else (block, job, outcome)
        while self._order and self._order[0] in self._waiting:
            waiting = self._waiting.pop(self._order.popleft())
            if waiting is not None:
                read = self._reader.submit(_own_jpeg, waiting[1].source, waiting[2])
                self._encode(*waiting, read.result)

    def _may_keep(self, outcome: Outcome) -> bool:
        """Tell whether a source could be kept as it is, as far as the size of its image says."""
        size = (self._settings.side, self._settings.side)
        return self._settings.encoding == "jpeg" and (outcome.width, outcome.height) == size

    def _encode(
        self, block: _Block, job: Job, outcome: Outcome, own: Callable[[], bytes | None] | None
    ) -> None:
        counts = job.index < self._train
        work = self._threads.submit(_encode, block, job, outcome, own, self._settings, counts)
        self._work[work] = job.index

    def finished(self, *, wait_for_one: bool) -> Iterator[tuple[int, _Stored]]:
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
) -> _Stored:
    pixels = job.out[0]
    stored = _store(pixels, None if own is None else own(), settings)
    # Outside of the lock, which all threads want.
    moments = moments_of(pixels) if counts else None
    with block.lock:
        block.rows.record(job.index, outcome)
        if counts:
            block.rows.sums.add(pixels, moments)
    return stored


def _own_jpeg(ref: ImageRef, outcome: Outcome) -> bytes | None:
    """Read the source of an image if it is a JPEG that can be kept as it is; None otherwise.

    That is one that stands upright, of one component or three.
    """
    try:
        data = ref.load()
        header = sniff(data)
    except ImageError:
        return None  # gone since it was decoded
    same = ref.digest(data) == outcome.sha256
    plain = header.format == "JPEG" and header.native and header.orientation == 1
    return data if same and plain else None


def _store(pixels: np.ndarray, own: bytes | None, settings: PackSettings) -> _Stored:
    """Make the bytes that are kept of an image, (side, side, 3) uint8.

    Where the source is kept as it is, that is `own`: encoding it anew could only lose.
    """
    if settings.encoding == "raw":
        return _Stored(pixels.tobytes(), kept=False)
    if own is not None:
        return _Stored(own, kept=True)
    encode = torchvision_encoder()
    if encode is None:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=settings.quality)
        return _Stored(file.getvalue(), kept=False)
    import torch

    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return _Stored(encode(planes, settings.quality).numpy().tobytes(), kept=False)

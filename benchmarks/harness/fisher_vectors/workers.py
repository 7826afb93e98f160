"""Going through images in processes, one a core, by joblib.

An image that cannot be read is told about and left out, and so is one that ends the process that
works on it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor

from decaf.errors import ImageError, Stopped
from decaf.images import ImageRef
from harness.fisher_vectors.settings import require

__all__ = ["Failure", "Workers"]

Result = TypeVar("Result")
Task = Callable[[int, ImageRef], Result]

# One core for each process, or the threads of each would stand in the way of those of others.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# How often an image is tried in a process of its own before it is given up.
TRIES = 2


@dataclass(frozen=True)
class Failure:
    """Why an image has no result: a name of `decaf.images.status.STATUS_NAMES`, and a line."""

    status: str
    message: str


class Workers:
    """Processes that apply tasks to images; a context manager, which ends them.

    Parameters
    ----------
    count : int
        How many processes; 0 to work in the calling one.
    stop : threading.Event, optional
        Set it to end the work early.
    """

    def __init__(self, count: int, stop: threading.Event | None = None) -> None:
        self._count = count
        self._stop = stop or threading.Event()
        self._single: Any = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._count > 1:
            get_reusable_executor().shutdown(kill_workers=True)
        self._end_single()

    def each_block(
        self, task: Task[Result], images: Sequence[ImageRef], blocks: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, list[Result | Failure]]]:
        """Apply a task to images, block by block.

        Where a process ends while it works, the blocks that were begun and not finished are done
        again, image by image in one process, which tells the image that ends it.

        Parameters
        ----------
        task : callable
            Takes an image's number and its reference; must be picklable. An `ImageError` that it
            raises becomes a `Failure`; anything else ends the run.
        images : sequence of ImageRef
        blocks : sequence of sequence of int
            Numbers of images.

        Yields
        ------
        (int, list)
            A block's number and its results, in the order in which blocks are finished. Few blocks
            are in flight at a time, however many there are.

        Raises
        ------
        Stopped
            After the event was set, and what had been begun was yielded.
        """
        left = list(range(len(blocks)))
        while left:
            begun: list[int] = []
            try:
                for number, results in self._in_processes(task, images, blocks, left, begun):
                    left.remove(number)
                    yield number, results
            except BrokenProcessPool:
                pass  # an image ended a process, or a signal has gone to all of them
            for number in [each for each in begun if each in left]:
                self._check_stop()
                yield number, [self._alone(task, row, images[row]) for row in blocks[number]]
                left.remove(number)
            if left:
                self._check_stop()

    def _in_processes(
        self,
        task: Task[Result],
        images: Sequence[ImageRef],
        blocks: Sequence[Sequence[int]],
        left: Sequence[int],
        begun: list[int],
    ) -> Iterator[tuple[int, list[Result | Failure]]]:
        """Do the blocks that are left, and note in `begun` which of them were handed out."""
        handed_out = list(left)
        if self._count == 1:  # for which joblib would make no process
            begun += handed_out
            return

        def jobs() -> Iterator[object]:
            for number in handed_out:
                if self._stop.is_set():
                    return
                begun.append(number)
                items = [(row, images[row]) for row in blocks[number]]
                yield delayed(_apply_to_block)(task, number, items)

        backend = {"initializer": _make_ready, "initargs": (os.getpid(),)}
        with parallel_config("loky", inner_max_num_threads=1, **backend):
            parallel = Parallel(
                max(1, self._count),
                return_as="generator_unordered",
                batch_size=1,
                max_nbytes=None,
            )
        yield from parallel(jobs())

    def _alone(self, task: Task[Result], row: int, image: ImageRef) -> Result | Failure:
        """Do one image in a process that does nothing else meanwhile."""
        for _ in range(TRIES):
            if self._single is None:
                self._single = ProcessPoolExecutor(
                    1, initializer=_make_ready, initargs=(os.getpid(),), env=_ONE_THREAD
                )
            try:
                result: Result | Failure = self._single.submit(_apply, task, row, image).result()
                return result
            except BrokenProcessPool:
                self._end_single()
                self._check_stop()
        return Failure("worker_died", f"working on it ended its process, {TRIES} times")

    def _end_single(self) -> None:
        if self._single is not None:
            self._single.shutdown(kill_workers=True)
            self._single = None

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped")


def _apply(task: Task[Result], row: int, image: ImageRef) -> Result | Failure:
    try:
        return task(row, image)
    except ImageError as error:
        return Failure(error.status, error.message)


def _apply_to_block(
    task: Task[Result], number: int, items: list[tuple[int, ImageRef]]
) -> tuple[int, list[Result | Failure]]:
    return number, [_apply(task, row, image) for row, image in items]


def _make_ready(caller: int) -> None:
    """Make a process ready to work for the one that called."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the caller decides
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    require("cv2").setNumThreads(1)


def _end_with(caller: int) -> None:
    """End with the process that called, however that ends: its queue would be waited at."""
    while os.getppid() == caller:
        time.sleep(0.5)
    os._exit(1)

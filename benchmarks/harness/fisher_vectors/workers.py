"""Going through images in processes, one a core, by joblib.

An image that cannot be read is told about and left out.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from decaf.errors import DecafError, ImageError, Stopped
from decaf.images import ImageRef
from harness.fisher_vectors.settings import require

__all__ = ["Failure", "Workers"]

Result = TypeVar("Result")
Task = Callable[[int, ImageRef], Result]


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

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._count > 1:
            get_reusable_executor().shutdown(kill_workers=True)

    def each_block(
        self, task: Task[Result], images: Sequence[ImageRef], blocks: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, list[Result | Failure]]]:
        """Apply a task to images, block by block.

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
        DecafError
            If a process ends while it works.
        """

        def jobs() -> Iterator[object]:
            for number, rows in enumerate(blocks):
                if self._stop.is_set():
                    return
                items = [(row, images[row]) for row in rows]
                yield delayed(_apply)(task, number, items)

        done = 0
        # One core each, or the threads of each process would stand in the way of those of others.
        backend = {"initializer": _make_ready, "initargs": (os.getpid(),)}
        with parallel_config("loky", inner_max_num_threads=1, **backend):
            parallel = Parallel(
                max(1, self._count),
                return_as="generator_unordered",
                batch_size=1,
                max_nbytes=None,
            )
        try:
            for number, results in parallel(jobs()):
                done += 1
                yield number, results
        except BrokenProcessPool as error:
            if not self._stop.is_set():  # else a signal has gone to the processes too
                raise DecafError(
                    "Fisher vectors: a process ended while it worked on an image; what is done is "
                    "kept: run the same again, with workers=0 (-j 0) to see which image it is"
                ) from error
        if done < len(blocks):
            raise Stopped("stopped")


def _apply(
    task: Task[Result], number: int, items: list[tuple[int, ImageRef]]
) -> tuple[int, list[Result | Failure]]:
    results: list[Result | Failure] = []
    for row, image in items:
        try:
            results.append(task(row, image))
        except ImageError as error:
            results.append(Failure(error.status, error.message))
    return number, results


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

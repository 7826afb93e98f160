"""Going through images in processes, one a core, whatever becomes of single images.

An image that cannot be read is told about and left out. One that takes its process along is tried
again alone, and then told about in the same way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import TypeVar

from decaf.errors import DecafError, ImageError, Stopped
from decaf.images import ImageRef
from decaf.images.listing.image_list import Wire
from harness.fisher_vectors.settings import require

__all__ = ["Failure", "Workers"]

Result = TypeVar("Result")
Task = Callable[[int, ImageRef], Result]
_Item = tuple[int, Wire]

_LOOK_AGAIN = 1.0  # seconds after which it is asked whether to stop


@dataclass(frozen=True)
class Failure:
    """Why an image has no result: a name of `decaf.images.status.STATUS_NAMES`, and a line."""

    status: str
    message: str


class Workers:
    """Processes that apply tasks to images; a context manager.

    Parameters
    ----------
    count : int
        How many processes; 0 to work in the calling one. They import the calling script anew, as
        `multiprocessing` does: a script does its work under ``if __name__ == "__main__"``.
    stop : threading.Event, optional
        Set it to end the work early.
    """

    def __init__(self, count: int, stop: threading.Event | None = None) -> None:
        self._count = count
        self._stop = stop or threading.Event()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._count:
            self._pool = _started(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

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
            If processes cannot be started.
        """
        waiting = deque(range(len(blocks)))

        def items(number: int) -> list[_Item]:
            return [(row, images[row].to_wire()) for row in blocks[number]]

        flying: dict[Future[list[Result | Failure]], int] = {}
        while waiting or flying:
            if self._stop.is_set():
                yield from _begun(flying)
                raise Stopped("stopped")
            if self._pool is None:
                number = waiting.popleft()
                yield number, _apply(task, items(number))
                continue
            lost: list[int] = []
            while waiting and len(flying) < 2 * self._count:
                number = waiting.popleft()
                try:
                    flying[self._pool.submit(_apply, task, items(number))] = number
                except BrokenProcessPool:  # while nobody was looking
                    lost.append(number)
                    break
            finished, _ = wait(flying, _LOOK_AGAIN, return_when=FIRST_COMPLETED)
            if self._stop.is_set():
                continue  # a signal may have gone to the processes too, and ended them
            for future in finished:
                number = flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(number)
                else:
                    yield number, future.result()
            if lost:
                # All that was in flight went with the pool, and what ended it is among that.
                lost += flying.values()
                wait(flying)
                flying.clear()
                self._pool.shutdown()
                for number in sorted(lost):
                    if self._stop.is_set():
                        raise Stopped("stopped")
                    yield number, _one_by_one(task, items(number), self._stop)
                self._pool = _started(self._count)


def _begun(
    flying: Mapping[Future[list[Result | Failure]], int],
) -> Iterator[tuple[int, list[Result | Failure]]]:
    """Yield the blocks that processes have begun, and call the others off."""
    begun = [future for future in flying if not future.cancel()]
    wait(begun)
    for future in begun:
        if not isinstance(future.exception(), BrokenProcessPool):
            yield flying[future], future.result()


def _one_by_one(
    task: Task[Result], items: Sequence[_Item], stop: threading.Event
) -> list[Result | Failure]:
    """Work on a block's images so that the one that ends its process is known.

    It is tried twice: the process may have been killed from outside.
    """
    results: list[Result | Failure] = []
    pool = _started(1)
    try:
        _check_begun(pool)
        for item in items:
            for _ in range(2):
                if stop.is_set():
                    raise Stopped("stopped")
                try:
                    results += pool.submit(_apply, task, [item]).result()
                    break
                except BrokenProcessPool:
                    pool.shutdown()
                    pool = _started(1)
            else:
                results.append(
                    Failure("worker_died", "working on it ended its process, both times")
                )
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _check_begun(pool: ProcessPoolExecutor) -> None:
    """Tell processes that cannot even begin from those that an image ends."""
    try:
        pool.submit(int).result()
    except BrokenProcessPool:
        raise DecafError(
            "Fisher vectors: the processes that are to work on images end as they begin; a script "
            'must do its work under if __name__ == "__main__", or take workers=0 (-j 0)'
        ) from None


def _apply(task: Task[Result], items: list[_Item]) -> list[Result | Failure]:
    results: list[Result | Failure] = []
    for row, wire in items:
        try:
            results.append(task(row, ImageRef.from_wire(wire)))
        except ImageError as error:
            results.append(Failure(error.status, error.message))
    return results


def _started(count: int) -> ProcessPoolExecutor:
    # Not forked: the caller may have threads (torch's, BLAS's) that a fork would leave behind.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=spawn, initializer=_begin)


def _begin() -> None:
    """Make a process ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One core each, or the threads of each process would stand in the way of those of the others.
    # The limit is for libraries that are loaded already, the variable for those to come.
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    require("cv2").setNumThreads(1)


def _end_with_parent() -> None:
    """End with the first process, however that ends: its queue would be waited at for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from decaf.errors import ImageError
from decaf.evaluate.fisher_vectors.settings import require
from decaf.images.refs import ImageRef, Wire

__all__ = ["Failure", "for_each_block"]

Result = TypeVar("Result")
Task = Callable[[int, ImageRef], Result]
_Item = tuple[int, Wire]


@dataclass(frozen=True)
class Failure:
    """Why an image has no result: a name of `decaf.images.status.STATUS_NAMES`, and a line."""

    status: str
    message: str


def for_each_block(
    task: Task[Result],
    images: Sequence[ImageRef],
    blocks: Sequence[Sequence[int]],
    *,
    workers: int,
) -> Iterator[tuple[int, list[Result | Failure]]]:
    """Apply a task to images, block by block.

    Parameters
    ----------
    task : callable
        Takes an image's number and its reference; must be picklable, and is sent to each process
        once. An `ImageError` that it raises becomes a `Failure`; anything else ends the run.
    images : sequence of ImageRef
    blocks : sequence of sequence of int
        Numbers of images.
    workers : int
        Processes; 0 to work in this one. They import the calling script anew, as
        `multiprocessing` does: a script does its work under ``if __name__ == "__main__"``.

    Yields
    ------
    (int, list)
        A block's number and its results, in the order in which blocks are finished. Few blocks are
        in flight at a time, however many there are.
    """
    wires = [[(row, images[row].to_wire()) for row in block] for block in blocks]
    if workers == 0:
        for number, items in enumerate(wires):
            yield number, _apply(task, items)
        return
    waiting = deque(range(len(wires)))
    with _Processes(task, workers) as processes:
        flying: dict[Future[list[Result | Failure]], int] = {}
        while waiting or flying:
            while waiting and len(flying) < 2 * workers:
                number = waiting.popleft()
                flying[processes.submit(wires[number])] = number
            finished, _ = wait(flying, return_when=FIRST_COMPLETED)
            broken = []
            for future in finished:
                number = flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken.append(number)
                else:
                    yield number, future.result()
            if broken:
                # All that was in flight is lost with the pool; what killed it is among it.
                broken += _after_the_break(flying, wires)
                flying.clear()
                processes.restart()
                for number in sorted(broken):
                    yield number, _one_by_one(task, wires[number])


def _after_the_break(flying: dict[Future[Any], int], wires: Sequence[Any]) -> list[int]:
    wait(flying)
    return list(flying.values())


def _one_by_one(task: Task[Result], items: Sequence[_Item]) -> list[Result | Failure]:
    """Work on a block's images so that the one that ends its process is known.

    It is tried twice: the process may have been killed from outside.
    """
    results: list[Result | Failure] = []
    with _Processes(task, 1) as process:
        for item in items:
            for _ in range(2):
                try:
                    results += process.submit([item]).result()
                    break
                except BrokenProcessPool:
                    process.restart()
            else:
                results.append(
                    Failure("worker_died", "working on it ended its process, both times")
                )
    return results


class _Processes(Generic[Result]):
    """A process pool that can be begun again."""

    def __init__(self, task: Task[Result], workers: int) -> None:
        self._task = task
        self._workers = workers
        self._pool = self._started()

    def restart(self) -> None:
        self._pool.shutdown()
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        # Not forked: the caller may have threads (torch's, BLAS's) that a fork would leave behind.
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._task,),
        )

    def submit(self, items: list[_Item]) -> Future[list[Result | Failure]]:
        return self._pool.submit(_work, items)

    def __enter__(self) -> _Processes[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_task: Task[Any] | None = None  # of a worker process, set once by `_begin`


def _begin(task: Task[Any]) -> None:
    global _task
    _task = task
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


def _work(items: list[_Item]) -> list[Any]:
    assert _task is not None
    return _apply(_task, items)


def _apply(task: Task[Result], items: list[_Item]) -> list[Result | Failure]:
    results: list[Result | Failure] = []
    for row, wire in items:
        try:
            results.append(task(row, ImageRef.from_wire(wire)))
        except ImageError as error:
            results.append(Failure(error.status, error.message))
    return results

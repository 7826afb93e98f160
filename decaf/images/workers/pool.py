"""A pool of decoding processes that survives what images do to decoders.

A decoder that crashes, hangs or is killed takes its process along, never the run: the image it was
working on is known (each worker handles its jobs in order), is tried again in a process of its own,
and gets a status if it goes on failing. Its neighbours are decoded elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import ProcessError
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from decaf.errors import DecafError
from decaf.images.spec import PreprocessSpec
from decaf.images.status import NO_DIGEST, Outcome
from decaf.images.workers.starting import Started, starter_of_system

__all__ = ["Child", "DecodePool", "Job"]

# Jobs handed to a worker ahead of its answer: enough that it never waits for the next.
AHEAD = 4
# Times each worker may die in a row without having answered anything before the pool gives up.
STILLBORN = 5
# Seconds within which a worker must have loaded its libraries, or been forked.
START_TIMEOUT = 180.0
# Tries an image has, by what becomes of its process. The first death may be that of a worker killed
# from outside, and so may, more rarely, be the second; a hang is too dear to be seen three times.
TRIES = {"worker_died": 3, "timeout": 2}
# The largest header of an answer: a message of an image is 500 characters or so.
HEADER_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class Job:
    """An image to be prepared.

    Attributes
    ----------
    index : int
        Its row.
    source : ImageRef or callable
        Where it lies, or (of images that are prepared in this process) what gives the image itself.
    out : ndarray of uint8, shape (crops, crop, crop, 3)
        Receives its crops; zeros if it is bad.
    failures : int
        How many processes it has taken along, or held up for too long.
    """

    index: int
    source: Any
    out: np.ndarray
    failures: int = 0


class Child:
    """A decoding process that exists, or is about to: its jobs, and the line to it.

    Parameters
    ----------
    started : Started
        The process, and our end of its line.
    settings : bytes
        First message, as `decaf.images.workers.worker` expects it.

    Attributes
    ----------
    pid : int
        0 until it said hello.
    jobs : deque of Job
        Jobs that it was given and has not answered; it works on the first.
    alone : bool
        Whether it is reserved for one image.
    waited : float
        Seconds that the pool has waited for its next answer.
    """

    def __init__(self, started: Started, settings: bytes) -> None:
        self._started = started
        self._connection = started.line
        self.pid = 0
        self.jobs: deque[Job] = deque()
        self.alone = False
        self.waited = 0.0
        self._write(settings)

    def fileno(self) -> int:
        """Return what tells, by being readable, that there is an answer, or nobody any more."""
        return self._connection.fileno()

    def give(self, job: Job) -> None:
        """Hand a job over.

        Parameters
        ----------
        job : Job
        """
        if not self.jobs:
            self.waited = 0.0
        self.jobs.append(job)
        self._write(marshal.dumps((job.index, *job.source.to_wire())))

    def _write(self, message: bytes) -> None:
        # Where it died, its line reads as closed at the next poll, which mends it.
        with contextlib.suppress(OSError):
            self._connection.send_bytes(message)

    def take(self) -> tuple[Job, Outcome] | None:
        """Take an answer; None if it was the hello.

        Raises
        ------
        TimeoutError
            Where it stopped in the middle of the answer.
        EOFError, OSError, ValueError
            Where the process is gone, or does not talk as it should.
        """
        try:
            message = marshal.loads(self._connection.recv_bytes(HEADER_BYTES))
            self.waited = 0.0
            if not self.pid:
                _, self.pid = message
                return None
            index, status, text, width, height, digest = message
            job = self.jobs[0]
            if index != job.index:
                raise ValueError(f"it answered for image {index} instead of {job.index}")
            if status == "ok":
                self._started.expect_more()
                size = self._connection.recv_bytes_into(memoryview(job.out.data).cast("B"))
                if size != job.out.nbytes:
                    raise ValueError(f"it gave {size} bytes of pixels instead of {job.out.nbytes}")
            else:
                job.out[...] = 0
            outcome = Outcome(status, text.decode(), width, height, digest)
        except BlockingIOError:
            raise TimeoutError from None
        except (TypeError, IndexError) as error:
            raise ValueError(f"it does not talk as it should: {error}") from error
        self.jobs.popleft()
        self.alone = False
        return job, outcome

    def end(self) -> None:
        """End the process, which is known to be running, whatever it is doing."""
        self._started.end(self.pid)

    def close(self) -> None:
        """Let go of the line; the process ends when it comes to its next job."""
        self._connection.close()


class DecodePool:
    """Prepares images in worker processes.

    What it takes is started at once and loads its libraries while the caller loads its own;
    `configure` then gives the workers their settings. How they come to be is the system's; see
    `decaf.images.workers.starting`.

    Parameters
    ----------
    workers : int
        How many processes, at least 1.
    timeout : float
        Seconds one image may take. It is tried twice.
    folder : object
        Text that tells the current folder from others; it is kept for the caller.

    Attributes
    ----------
    workers, folder
        As given.

    Raises
    ------
    DecafError
        From `poll`, where no worker can be started at all.
    """

    def __init__(self, workers: int, *, timeout: float = 60.0, folder: object = None) -> None:
        self.workers = workers
        self.folder = folder
        self._settings = b""
        self._timeout = timeout
        self._starter = starter_of_system(workers)
        self._children: list[Child] = []
        self._pending: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._stillborn = 0

    def configure(self, spec: PreprocessSpec, *, ten: bool) -> None:
        """Start the workers, in place of those with other settings.

        Parameters
        ----------
        spec : PreprocessSpec
            Resizing and cropping.
        ten : bool
            Five crops instead of one.
        """
        self._settings = json.dumps({"preprocess": spec.to_dict(), "ten": ten}).encode()
        self._end_children()
        self._stillborn = 0
        for _ in range(self.workers):
            self._start_worker()

    @property
    def idle(self) -> bool:
        """Whether all that was submitted has been given out."""
        return not (self._pending or self._suspects or any(c.jobs for c in self._children))

    def submit(self, job: Job) -> None:
        """Queue a job whose source is an `ImageRef`.

        Parameters
        ----------
        job : Job
        """
        self._pending.append(job)
        self._dispatch()

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Return what has been finished; wait at most `timeout` seconds for it.

        Parameters
        ----------
        timeout : float
            In seconds.
        also : sequence of objects with a ``fileno``
            Descriptor that ends the wait as well, when it can be read.
        """
        self._dispatch()
        finished: list[tuple[Job, Outcome]] = []
        readable: list[Any] = [*self._children, *also]
        began = time.monotonic()
        ready = wait(readable, timeout)
        # No more than was asked for: if the machine slept, or this process was halted, so were the
        # workers. Nor does the time between two polls count, for the same reason.
        waited = min(time.monotonic() - began, timeout)
        for child in self._children:
            child.waited += waited
        for source in ready:
            if isinstance(source, Child):
                self._receive(source, finished)
        self._end_the_slow(finished)
        self._dispatch()
        return finished

    def close(self) -> None:
        """Stop all processes."""
        self._end_children()
        self._starter.close()

    def rest(self) -> None:
        """End the workers and with them the files that they hold open."""
        self._end_children()

    def disown(self) -> None:
        """Let go of processes that are another's, in a process that was forked from their owner."""
        for child in self._children:
            child.close()
        self._children.clear()
        self._starter.disown()

    def _end_children(self) -> None:
        for child in self._children:
            child.close()
            if child.jobs:
                child.end()
        self._children.clear()

    def _start_worker(self) -> None:
        self._children.append(Child(self._starter.start(), self._settings))

    def _dispatch(self) -> None:
        for child in self._children:
            if child.alone:
                continue
            if self._suspects:
                # Held back until it is idle, so that a suspect cannot take neighbours along.
                if not child.jobs:
                    child.alone = True
                    child.give(self._suspects.popleft())
                continue
            while self._pending and len(child.jobs) < AHEAD:
                child.give(self._pending.popleft())

    def _receive(self, child: Child, finished: list[tuple[Job, Outcome]]) -> None:
        try:
            answer = child.take()
        except TimeoutError:
            self._bury(child, "timeout", finished)
        except (EOFError, OSError):
            # A worker dies with its server, whatever it was working on.
            self._bury(child, "" if self._starter.is_dead() else "worker_died", finished)
        except (ValueError, ProcessError):
            child.end()
            self._bury(child, "worker_died", finished)
        else:
            if answer is not None:
                self._stillborn = 0
                finished.append(answer)

    def _end_the_slow(self, finished: list[tuple[Job, Outcome]]) -> None:
        for child in list(self._children):
            if not child.pid:
                if child.waited > START_TIMEOUT:
                    self._starter.kill()  # its workers to be read as closed at the next poll
            elif child.jobs and child.waited > self._timeout:
                self._bury(child, "timeout", finished)

    def _bury(self, child: Child, status: str, finished: list[tuple[Job, Outcome]]) -> None:
        """Replace a dead or hung worker and send its jobs on; without a status, nobody's fault."""
        if status == "timeout":
            child.end()
        child.close()
        self._children.remove(child)
        if not child.pid:
            self._stillborn += 1
            if self._stillborn >= STILLBORN * self.workers:
                raise DecafError(
                    f"the decoding processes die as they start, or take over {START_TIMEOUT:g} s "
                    f"for it ({self._stillborn} in a row); "
                    "use `workers=0` to decode inside this process"
                )
        elif child.jobs and status:
            job = child.jobs.popleft()
            job.failures += 1
            if job.failures < TRIES[status]:
                self._suspects.append(job)
            else:
                job.out[...] = 0
                text = {
                    "timeout": f"decoding took longer than {self._timeout:g} s, twice",
                    "worker_died": f"decoding ended its process, {job.failures} times",
                }[status]
                finished.append((job, Outcome(status, text, -1, -1, NO_DIGEST)))
        for job in reversed(child.jobs):
            (self._suspects if job.failures else self._pending).appendleft(job)
        self._start_worker()

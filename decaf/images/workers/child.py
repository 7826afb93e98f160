"""One decoding process, as the pool that feeds it sees it."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import struct
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from decaf.images.status import Outcome

__all__ = ["Child", "Job"]

# Seconds that an answer may stop in its middle: a process that was halted there would otherwise
# halt the one that reads it.
STALL = 10
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
    line : socket.socket
        Our end; it becomes the child's.
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

    def __init__(self, line: socket.socket, settings: bytes) -> None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", STALL, 0))
        self._connection = Connection(line.detach())
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
        """End the process, which is known to be running, whatever it is doing.

        The server reaps the dead at once, after which their numbers may be somebody else's.
        """
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the line; the process ends when it comes to its next job."""
        self._connection.close()

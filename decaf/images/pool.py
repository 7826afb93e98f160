"""A pool of decoding processes that survives what images do to decoders.

A decoder that crashes, hangs or is killed takes its process along, never the run: the image it was
working on is known (each worker handles its jobs in order), is tried once more in a process of its
own, and gets a status if it fails again. Its neighbours are decoded elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np

from decaf.errors import DecafError
from decaf.images.sources import ImageRef
from decaf.images.spec import PreprocessSpec
from decaf.images.status import NO_DIGEST, Outcome

__all__ = ["DecodePool", "InlinePool", "Job", "Pool", "processes_available"]

# Jobs handed to a worker ahead of its answer: enough that it never waits for the next.
AHEAD = 4
# Workers that may die in a row without having answered anything before the pool gives up.
STILLBORN = 5


@dataclass(slots=True, eq=False)
class Job:
    """An image to be prepared.

    Attributes
    ----------
    index : int
        Its row.
    source : ImageRef or callable
        Where it lies, or (for `InlinePool` alone) what gives the image itself.
    out : ndarray of uint8, shape (crops, crop, crop, 3)
        Receives its crops; zeros if it is bad.
    """

    index: int
    source: Any
    out: np.ndarray
    failures: int = 0


class Pool(Protocol):
    """What prepares images: jobs go in by `submit`, come out of `poll` with what became of them."""

    def submit(self, job: Job) -> None:
        """Take a job; it is worked on during `poll`."""

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Give what has been finished, waiting at most `timeout` seconds, or until one of `also`
        (objects with a ``fileno``) can be read."""

    def close(self) -> None:
        """Stop; unfinished jobs are dropped."""


class InlinePool:
    """Prepares images in the calling thread: for images in memory, and where there is no fork.

    Parameters
    ----------
    spec : PreprocessSpec
        Resizing and cropping.
    ten : bool
        Five crops instead of one.
    """

    def __init__(self, spec: PreprocessSpec, *, ten: bool) -> None:
        self._spec = spec
        self._ten = ten
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.append(job)

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Prepare the next image; with none queued, wait for `also`."""
        if not self._jobs:
            wait(also, timeout)
            return []
        # Here, since it loads torch, which the process that owns a DecodePool may do meanwhile.
        from decaf.images.prepare import prepare_object, prepare_ref

        job = self._jobs.popleft()
        prepare = prepare_ref if isinstance(job.source, ImageRef) else prepare_object
        return [(job, prepare(job.source, self._spec, ten=self._ten, out=job.out))]

    def close(self) -> None:
        """Drop what is queued."""
        self._jobs.clear()


@dataclass(slots=True, eq=False)
class _Worker:
    connection: Connection
    pid: int = 0  # 0 until it said hello
    jobs: deque[Job] = field(default_factory=deque)
    alone: bool = False  # reserved for one suspect image
    since: float = 0.0  # when it turned to its first job

    def fileno(self) -> int:
        return self.connection.fileno()


class DecodePool:
    """Prepares images in worker processes.

    The server process is started at once and loads its libraries while the caller loads its own;
    `configure` then starts the workers.

    Parameters
    ----------
    workers : int
        How many processes, at least 1.
    timeout : float
        Seconds one image may take. It is tried twice.

    Raises
    ------
    DecafError
        From `poll`, where no worker can be started at all.
    """

    def __init__(self, workers: int, *, timeout: float = 60.0) -> None:
        self._settings = b""
        self._count = workers
        self._timeout = timeout
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._workers: list[_Worker] = []
        self._pending: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._stillborn = 0
        self._closed = False
        self._start_server()

    def configure(self, spec: PreprocessSpec, *, ten: bool) -> None:
        """Start the workers.

        Parameters
        ----------
        spec : PreprocessSpec
            Resizing and cropping.
        ten : bool
            Five crops instead of one.
        """
        self._settings = json.dumps({"preprocess": spec.to_dict(), "ten": ten}).encode()
        for _ in range(self._count):
            self._start_worker()

    def submit(self, job: Job) -> None:
        """Queue a job whose source is an `ImageRef`."""
        self._pending.append(job)
        self._dispatch()

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        """Give what has been finished; wait at most `timeout` seconds for it."""
        self._dispatch()
        finished: list[tuple[Job, Outcome]] = []
        readable: list[Any] = [*self._workers, *also]
        for ready in wait(readable, timeout):
            if isinstance(ready, _Worker):
                self._receive(ready, finished)
        self._stop_the_slow(finished)
        self._dispatch()
        return finished

    def close(self) -> None:
        """Stop all processes."""
        self._closed = True
        for worker in self._workers:
            worker.connection.close()
            if worker.jobs:
                self._kill(worker)
        self._workers.clear()
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            try:
                self._server.wait(0.2)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    def _start_server(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        code = (
            "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
            "from decaf.images.worker import serve; serve(int(sys.argv[1]))"
        )
        search_path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        # One thread each: the workers are the parallelism.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno()), search_path],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
        )
        theirs.close()
        self._control = ours
        return ours

    def _start_worker(self) -> None:
        control = self._control
        if control is None or (self._server is not None and self._server.poll() is not None):
            if control is not None:
                control.close()
            control = self._start_server()
        ours, theirs = socket.socketpair()
        # Where the server died this instant the worker is stillborn, and the next try restarts it.
        with contextlib.suppress(OSError):
            socket.send_fds(control, [b"w"], [theirs.fileno()])
        theirs.close()
        worker = _Worker(Connection(ours.detach()))
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(self._settings)
        self._workers.append(worker)

    def _dispatch(self) -> None:
        for worker in self._workers:
            if worker.alone:
                continue
            if self._suspects:
                # Held back until it is idle, so that a suspect cannot take neighbours along.
                if not worker.jobs:
                    worker.alone = True
                    self._send(worker, self._suspects.popleft())
                continue
            while self._pending and len(worker.jobs) < AHEAD:
                self._send(worker, self._pending.popleft())

    def _send(self, worker: _Worker, job: Job) -> None:
        if not worker.jobs:
            worker.since = time.monotonic()
        worker.jobs.append(job)
        # Where it died, its connection reads as closed at the next poll, which mends it.
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(marshal.dumps((job.index, *job.source.to_wire())))

    def _receive(self, worker: _Worker, finished: list[tuple[Job, Outcome]]) -> None:
        try:
            message = marshal.loads(worker.connection.recv_bytes())
            if message[0] == "hello":
                worker.pid = message[1]
                worker.since = time.monotonic()
                return
            _, status, text, width, height, digest = message
            job = worker.jobs[0]
            if status == "ok":
                worker.connection.recv_bytes_into(memoryview(job.out.data).cast("B"))
            else:
                job.out[...] = 0
        except (EOFError, OSError):
            self._bury(worker, "worker_died", "decoding killed its process, twice", finished)
            return
        worker.jobs.popleft()
        worker.alone = False
        worker.since = time.monotonic()
        self._stillborn = 0
        finished.append((job, Outcome(status, text.decode(), width, height, digest)))

    def _stop_the_slow(self, finished: list[tuple[Job, Outcome]]) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.pid and worker.jobs and now - worker.since > self._timeout:
                text = f"decoding took longer than {self._timeout:g} s, twice"
                self._kill(worker)
                self._bury(worker, "timeout", text, finished)

    def _bury(
        self, worker: _Worker, status: str, text: str, finished: list[tuple[Job, Outcome]]
    ) -> None:
        """Replace a dead or hung worker and send its jobs on."""
        worker.connection.close()
        self._workers.remove(worker)
        if worker.pid == 0:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise DecafError(
                    f"the decoding processes die as they start ({self._stillborn} in a row); "
                    "use --workers 0 to decode inside this process"
                )
        elif worker.jobs:
            job = worker.jobs.popleft()
            job.failures += 1
            if job.failures < 2:
                self._suspects.append(job)
            else:
                job.out[...] = 0
                finished.append((job, Outcome(status, text, -1, -1, NO_DIGEST)))
        self._pending.extendleft(reversed(worker.jobs))
        if not self._closed:
            self._start_worker()

    def _kill(self, worker: _Worker) -> None:
        """Kill a worker that is known to be running (the server reaps the dead at once, after
        which their numbers may be somebody else's)."""
        if worker.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)


def processes_available() -> bool:
    """Tell whether decoding can be given to processes here (it takes fork and descriptors)."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds") and bool(sys.executable)

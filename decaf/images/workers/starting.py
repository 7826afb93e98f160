"""How decoding processes come to be: forked from a server on Linux, elsewhere each by itself.

macOS can fork, but its own libraries do not bear it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

from decaf.runtime.children import start_with_line

__all__ = ["ForkServer", "OwnProcesses", "Started", "Starter", "starter_of_system"]

# Seconds that an answer may stop in its middle: a process that was halted there would otherwise
# halt the one that reads it.
STALL = 10
# Seconds within which processes that have nothing left to do end by themselves.
PATIENCE = 0.2

_WORKER = "decaf.images.workers.worker"


@dataclass(frozen=True)
class Started:
    """A decoding process that is about to be there.

    Attributes
    ----------
    line : Connection
        Our end of the line to it.
    process : subprocess.Popen or None
        None where it is another's child.
    """

    line: Connection[Any, Any]
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        if sys.platform != "win32":
            with socket.socket(fileno=os.dup(self.line.fileno())) as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", STALL, 0))

    def expect_more(self) -> None:
        """Wait for the next part of an answer, where reading it does not end by itself.

        Raises
        ------
        TimeoutError
            Where it does not come; on other systems than Windows reading raises `BlockingIOError`.
        """
        if sys.platform == "win32" and not self.line.poll(STALL):
            raise TimeoutError

    def end(self, pid: int) -> None:
        """End the process, which is known to be running.

        Parameters
        ----------
        pid : int
            What it has said of itself; 0 where it has not.
        """
        if self.process is not None:
            self.process.kill()
        elif sys.platform != "win32" and pid:
            # The server reaps the dead at once, after which their numbers may be somebody else's.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Starter(Protocol):
    """What starts decoding processes."""

    def start(self) -> Started:
        """Start one. Where that fails the line to it is closed at its other end."""

    def is_dead(self) -> bool:
        """Tell whether all that were started are dead together, for no fault of an image."""

    def kill(self) -> None:
        """End all that were started, whatever they are doing."""

    def close(self) -> None:
        """End everything. The lines are closed already."""

    def disown(self) -> None:
        """Let go of processes that are another's, in a process that was forked from their owner."""


class OwnProcesses:
    """Starts each by itself, as many as will be wanted at once ahead of that.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ahead = deque(self._new() for _ in range(count))

    def start(self) -> Started:
        """Start one, or hand out one that was started ahead; see `Starter.start`."""
        return self._ahead.popleft() if self._ahead else self._new()

    def _new(self) -> Started:
        self._processes = [each for each in self._processes if each.poll() is None]
        process, line = start_with_line(f"{_WORKER}:work")
        self._processes.append(process)
        return Started(line, process)

    def is_dead(self) -> bool:
        """See `Starter.is_dead`: each is dead for itself."""
        return False

    def kill(self) -> None:
        """End all; see `Starter.kill`."""
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End everything; see `Starter.close`."""
        while self._ahead:
            self._ahead.popleft().line.close()
        for process in self._processes:
            _end(process, PATIENCE)
        self._processes.clear()

    def disown(self) -> None:
        """Let go; see `Starter.disown`."""
        for process in self._processes:
            process.returncode = 0  # nobody is to wait for it here


class ForkServer:
    """Has each forked from a server, which loads its libraries once; the server starts at once.

    Who dies with it, dies for no fault of an image.
    """

    def __init__(self) -> None:
        self._server, self._line = start_with_line(f"{_WORKER}:serve")

    def start(self) -> Started:
        """Have one forked; see `Starter.start`."""
        ours: Any
        theirs: Any
        ours, theirs = Pipe()
        try:
            if self.is_dead():
                raise ConnectionError
            self._send(theirs)
        except OSError:
            # Dead, or about to be: one that hears nothing any more may still be running.
            self._line.close()
            _end(self._server, 0.0)
            self._server, self._line = start_with_line(f"{_WORKER}:serve")
            # Where this one dies at once the worker is stillborn, and the next try restarts it.
            with contextlib.suppress(OSError):
                self._send(theirs)
        theirs.close()
        return Started(ours)

    def _send(self, line: Connection[Any, Any]) -> None:
        if sys.platform != "win32":
            with socket.socket(fileno=os.dup(self._line.fileno())) as control:
                socket.send_fds(control, [b"w"], [line.fileno()])

    def is_dead(self) -> bool:
        """Tell whether the server is dead; see `Starter.is_dead`."""
        return self._server.poll() is not None

    def kill(self) -> None:
        """End the server and its workers; see `Starter.kill`."""
        self._server.kill()

    def close(self) -> None:
        """End everything; see `Starter.close`."""
        self._line.close()
        _end(self._server, PATIENCE)

    def disown(self) -> None:
        """Let go; see `Starter.disown`."""
        self._line.close()
        self._server.returncode = 0  # nobody is to wait for it here


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def starter_of_system(count: int) -> Starter:
    """Return what starts decoding processes here.

    Parameters
    ----------
    count : int
        How many will be wanted at once.
    """
    return OwnProcesses(count) if sys.platform in ("darwin", "win32") else ForkServer()

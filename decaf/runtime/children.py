"""Python processes that this one starts, on every system: with a line to each, or with limits.

They are started as plain commands and not through `multiprocessing`, so that a script that calls
decaf needs no ``if __name__ == "__main__"`` guard.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from typing import IO, Any

__all__ = ["Ended", "open_line", "python_command", "run_limited", "start_with_line"]

# Threads of a child: several children at once are the parallelism.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# Seconds between two looks at what a child takes, on systems that set it no limit themselves.
_LOOK = 0.05


def python_command(function: str, argument: str) -> list[str]:
    """Return the command that calls a function in a Python process which finds the same modules.

    Parameters
    ----------
    function : str
        Module and name, as ``"decaf.storage.matlab:read_here"``.
    argument : str
        What it is called with.
    """
    module, _, name = function.partition(":")
    # `-c` looks for modules in the current folder first, which may be a stranger's: nothing but the
    # built-in sys is imported before the path is that of this process.
    code = (
        "import sys; argument, *sys.path = sys.argv[1:]; "
        f"from {module} import {name}; {name}(argument)"
    )
    return [sys.executable, "-c", code, argument, *map(os.path.abspath, sys.path)]


def start_with_line(
    function: str,
) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    """Start a process of one thread that calls a function, and return it with our end of a line.

    A Ctrl-C, or the SIGTERM of ``timeout``, goes to all processes of a group; it is this one that
    decides what to finish, and the child gets neither.

    Parameters
    ----------
    function : str
        As `python_command` takes it; it is called with what `open_line` takes.
    """
    # Two kinds of connections, which are used alike.
    ours: Any
    theirs: Any
    ours, theirs = Pipe()
    handle = theirs.fileno()
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": {**os.environ, **_ONE_THREAD}}
    command = python_command(function, str(handle))
    if sys.platform == "win32":
        os.set_handle_inheritable(handle, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
        group = subprocess.CREATE_NEW_PROCESS_GROUP
        process = subprocess.Popen(command, startupinfo=startup, creationflags=group, **options)
    else:
        # Signals that are blocked here are so there, from the first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            process = subprocess.Popen(command, pass_fds=[handle], **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def open_line(argument: str) -> Connection[Any, Any]:
    """Return the other end of the line, in the process that `start_with_line` has started.

    Parameters
    ----------
    argument : str
        What the function was called with.
    """
    kind: Any = Connection
    if sys.platform == "win32":
        kind = connection.PipeConnection
    line: Connection[Any, Any] = kind(int(argument))
    return line


@dataclass(frozen=True)
class Ended:
    """How a process has ended that `run_limited` ran.

    Attributes
    ----------
    code : int
        Its exit code.
    said : bytes
        What it wrote to stderr.
    too_large : bool
        Whether it was ended for the memory it took. Linux gives it no more instead.
    """

    code: int
    said: bytes
    too_large: bool = False


def run_limited(
    command: Sequence[str], data: bytes, out: IO[bytes], *, memory: int, seconds: int
) -> Ended:
    """Run a process that may take so much memory and time of the processor, and wait for its end.

    Parameters
    ----------
    command : sequence of str
    data : bytes
        What it reads from stdin.
    out : binary stream
        File for what it writes to stdout.
    memory : int
        Bytes of addresses on Linux, committed bytes on Windows, else resident ones.
    seconds : int
        Time of the processor.
    """
    too_large = threading.Event()
    environment = {**os.environ, **_ONE_THREAD}
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=out, stderr=pipe, env=environment) as child,
        _limits(child, memory, seconds, too_large),
    ):
        _, said = child.communicate(data)
    return Ended(child.returncode, said, too_large.is_set())


@contextmanager
def _limits(
    child: subprocess.Popen[bytes], memory: int, seconds: int, too_large: threading.Event
) -> Iterator[None]:
    if sys.platform == "linux":
        import resource

        # Before it has read what it is to work on.
        for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
            with suppress(ProcessLookupError):
                hard = resource.prlimit(child.pid, kind)[1]
                least = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.prlimit(child.pid, kind, (least, least))
        yield
        return
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(child, memory, seconds, too_large, done))
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(
    child: subprocess.Popen[bytes],
    memory: int,
    seconds: int,
    too_large: threading.Event,
    done: threading.Event,
) -> None:
    """End a process that takes more than it may."""
    import psutil

    with suppress(psutil.Error):  # it has ended
        process = psutil.Process(child.pid)
        while not done.wait(_LOOK):
            took, time = 0, 0.0
            # In a virtual environment of Windows the interpreter is a child of what was started.
            family = [process, *process.children(recursive=True)]
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    held, times = each.memory_info(), each.cpu_times()
                    took += held.vms if sys.platform == "win32" else held.rss
                    time += times.user + times.system
            if took > memory:
                too_large.set()
            if took > memory or time > seconds:
                for each in family:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()

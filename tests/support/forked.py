"""Python processes that start at once: forks of one that has loaded torch and all commands.

A process of its own takes seconds to load torch, and as long again to its first training step.
`start` runs what ``python ARGUMENTS`` would run, in a fork of a server that has loaded all of that
and does nothing else; so it is for tests of what a process does, and not of how it begins. Where
nothing forks it is a process of its own, which takes its time.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import systems

PATIENCE = 240.0
# The first fork waits for the server to load torch, beside whatever else runs.
FORK_PATIENCE = 120.0
# Those that nobody has waited for yet; where a test has failed, they end with this process.
_running: set[Forked | Spawned] = set()


class Forked:
    """A process of the server, with what `subprocess.Popen` has of it; it leads a session.

    Parameters
    ----------
    env : mapping
        All of its environment.
    arguments : list of str
        As Python takes them: ``-c CODE``, ``-m MODULE`` or a script, and what follows.
    file_size : int, optional
        Limit in bytes on the size of the files that it writes.

    Attributes
    ----------
    pid : int
    returncode : int or None
        Its exit code, or minus its signal, once it has been waited for.
    """

    def __init__(
        self, env: Mapping[str, str], arguments: list[str], *, file_size: int | None = None
    ) -> None:
        self.returncode: int | None = None
        self._said = ("", "")
        self._files = [_file_without_name() for _ in range(2)]
        request = {"env": dict(env), "arguments": arguments, "cwd": os.getcwd()}
        request["file_size"] = file_size
        path = env.get("PYTHONPATH", "")
        self._line = _fork(path, self._files, request)
        if not select.select([self._line], [], [], FORK_PATIENCE)[0]:
            _server.cache_clear()  # one that hangs as it forks, in a library's lock, is replaced
            self._line = _fork(path, self._files, request)
            assert select.select([self._line], [], [], FORK_PATIENCE)[0], "no server forks"
        self.pid = self._number()
        _running.add(self)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and return the exit code."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = self._number()
            self._said = (_content(self._files[0]), _content(self._files[1]))
            self._line.close()
            _running.remove(self)
        return self.returncode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to stdout and stderr."""
        self.wait(timeout)
        return self._said

    def written(self) -> str:
        """Return what it has written to stdout so far, while nobody has waited for it."""
        return os.pread(self._files[0], 1 << 16, 0).decode()

    def send_signal(self, number: int) -> None:
        """Send it a signal, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        number = self._line.recv(4, socket.MSG_WAITALL)
        assert len(number) == 4, "the server has ended; what it complained of stands in stderr"
        return int.from_bytes(number, "big", signed=True)


class Spawned:
    """A process of its own, with what `Forked` has."""

    def __init__(
        self, env: Mapping[str, str], arguments: list[str], *, file_size: int | None
    ) -> None:
        if file_size is not None:
            pytest.skip(f"POSIX: {systems.POSIX['limits']}")
        names = [tempfile.mkstemp() for _ in range(2)]
        self._names = [name for _, name in names]
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**env, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=names[0][0],
            stderr=names[1][0],
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        for descriptor, _ in names:
            os.close(descriptor)
        self.pid = self._process.pid
        _running.add(self)

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it has been waited for."""
        return self._process.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and return the exit code."""
        code = self._process.wait(timeout)
        _running.discard(self)
        return code

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to stdout and stderr."""
        self.wait(timeout)
        return self.written(), self._content(1)

    def written(self) -> str:
        """Return what it has written to stdout so far."""
        return self._content(0)

    def _content(self, number: int) -> str:
        with open(self._names[number], encoding="utf-8") as file:
            return file.read()

    def send_signal(self, number: int) -> None:
        """Ask it to end, by a Ctrl-Break in place of a SIGTERM."""
        asks = systems.WINDOWS and number == signal.SIGTERM
        if self.poll() is None:
            os.kill(self.pid, signal.CTRL_BREAK_EVENT if asks else number)  # type: ignore[attr-defined]

    def kill(self) -> None:
        """Kill it."""
        if self.poll() is None:
            self._process.kill()


def _fork(path: str, files: list[int], request: dict[str, Any]) -> socket.socket:
    """Ask the server for a process, and return the line to it."""
    line, there = socket.socketpair()
    with there:
        socket.send_fds(_server(path), [b"+"], [there.fileno(), *files])
    line.sendall(json.dumps(request).encode() + b"\n")
    return line


def _file_without_name() -> int:
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


def _content(descriptor: int) -> str:
    """Read a file from its beginning, and close it."""
    with open(descriptor, encoding="utf-8") as file:
        file.seek(0)
        return file.read()


def start(
    env: Mapping[str, str], *arguments: object, file_size: int | None = None
) -> Forked | Spawned:
    """Start what ``python ARGUMENTS`` would run; see `Forked`."""
    kind = Forked if hasattr(os, "fork") else Spawned
    return kind(env, [str(each) for each in arguments], file_size=file_size)


def run(
    env: Mapping[str, str],
    *arguments: object,
    file_size: int | None = None,
    timeout: float = PATIENCE,
) -> tuple[int, str, str]:
    """Run it to its end; return its exit code, stdout and stderr."""
    process = start(env, *arguments, file_size=file_size)
    said, complained = process.communicate(timeout)
    return process.wait(), said, complained


def until(
    condition: Callable[[], object], *processes: Forked | Spawned | subprocess.Popen[str]
) -> None:
    """Wait for something that processes bring about; one that ends before fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@functools.cache
def _server(path: str) -> socket.socket:
    """Start the server, which ends when this process does; return the line to it."""
    here, there = socket.socketpair()
    with there:
        server = subprocess.Popen(
            [sys.executable, __file__],
            # Threads of BLAS would have to be ended at each fork, and could hang there.
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            stdin=there,
            start_new_session=True,
        )

    def stop() -> None:
        for process in list(_running):
            process.kill()
            process.wait()
        here.close()
        try:
            server.wait(FORK_PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    atexit.register(stop)
    return here


def serve() -> dict[str, Any]:
    """Fork for each request; return it in the fork that is to do what it says."""
    requests = socket.socket(fileno=os.dup(0))
    running = 0
    while True:
        message, handed, _, _ = socket.recv_fds(requests, 1, 3)
        while running and os.waitpid(-1, os.WNOHANG if message else 0)[0]:
            running -= 1
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        running += 1
        for each in handed:
            os.close(each)
    requests.close()
    with socket.socket(fileno=handed[0]) as line:
        request: dict[str, Any] = json.loads(line.makefile().readline())
        child = os.fork()
        if child:
            # Waits for the other, of which the server would know no more than that it has ended.
            line.sendall(child.to_bytes(4, "big"))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            line.sendall(code.to_bytes(4, "big", signed=True))
            os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, each in enumerate((nothing, *handed[1:])):
        os.dup2(each, number)
        os.close(each)
    return request


def become(request: dict[str, Any]) -> None:
    """Do in this process what it would do if it had been started as the request says."""
    import torch

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if request["file_size"] is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
    first, *sys.argv = request["arguments"]
    if first == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        code, sys.argv[0] = sys.argv[0], "-c"
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv.insert(0, first)
        runpy.run_path(first, run_name="__main__")


def end(code: object) -> None:
    """End this process as Python does, except that nothing is torn down, which takes seconds."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    import torch
    import torch.distributed

    import decaf

    for name in decaf.__all__:
        getattr(decaf, name)
    # What torch takes long to load at its first step.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)]).step()
    gc.collect()
    gc.freeze()  # a fork does not copy what it never touches
    request = serve()
    try:
        become(request)
        end(0)
    except SystemExit as stop:
        end(stop.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        end(1)

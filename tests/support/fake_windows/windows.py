"""A Windows of sorts, on Linux: what Windows has not is not there for decaf and its tests.

``python tests/support/fake_windows/windows.py -m pytest tests/storage`` runs what
``python -m pytest tests/storage`` would run. The folder of this file is then on the path of that
Python and of all processes that it starts: its ``sitecustomize`` calls `pretend` in each.

For code of this project alone, told by the file that it stands in:

- ``fcntl``, ``resource``, ``pty``, ``termios``, ``grp``, ``pwd`` … cannot be imported;
- ``os`` and ``signal`` lack the names that they lack on Windows, ``sys.platform`` is "win32",
  ``os.name`` is "nt", and names of files are encoded as there;
- `os.kill` ends a process, and ``subprocess`` takes a list of handles, and no descriptors.

For whatever code of this project calls, through `pathlib` and `shutil` too:

- a file that a process of Python has open, or this one mapped, is neither renamed, replaced nor
  deleted, nor is one that is read-only; a folder is neither opened nor replaced;
- no file or folder is made whose name Windows does not have (``a:b``, ``CON``, ``a.``);
- text files are of code page 1252 where no encoding is named, and their lines end in CR and LF;
  so are the standard streams of processes other than pytest's.

Processes of `multiprocessing` are spawned, for everybody.

Paths keep their slashes, and libraries think that they are on Linux.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import io
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OURS = tuple(str(ROOT / name) + os.sep for name in ("decaf", "benchmarks", "examples", "tests"))
# What may stand between code of ours and a call that it makes.
BETWEEN = re.compile(r"/(pathlib|shutil|os|contextlib|subprocess)\.py$|/pathlib/|^<frozen os>$")

NO_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
_NO_OS = """
O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK
O_PATH O_RSYNC O_SYNC O_TMPFILE WEXITSTATUS WIFEXITED WIFSIGNALED WNOHANG WTERMSIG WUNTRACED
chown chroot confstr copy_file_range ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty
fpathconf fstatvfs get_blocking getegid geteuid getgid getgroups getloadavg getpgid getpgrp
getpriority getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf major
memfd_create minor mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate
posix_spawn posix_spawnp pread preadv pwrite pwritev readv register_at_fork sched_getaffinity
sched_setaffinity sched_yield sendfile set_blocking setegid seteuid setgid setgroups setpgid
setpriority setsid setuid setxattr splice statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname
wait wait3 wait4 waitid writev
"""
NO_OS = set(_NO_OS.split())
SIGBREAK = signal.SIGUSR2  # whose number is free; what sends it is `os.kill` with CTRL_BREAK_EVENT

ENCODING = "cp1252"
_NO_NAME = re.compile(
    r'[\x00-\x1f<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)', re.IGNORECASE
)

_calls = ("kill", "mkdir", "open", "replace", "rename", "rmdir", "unlink")
_real = {name: getattr(os, name) for name in _calls}
_import, _start, _io_open = builtins.__import__, subprocess.Popen.__init__, io.open
_send = subprocess.Popen.send_signal


def pretend() -> None:
    """Make this process look like one of Windows to the code of this project."""
    if builtins.__import__ is not _import:
        return
    builtins.__import__ = _imported
    own: dict[str, Any] = {
        "name": "nt",
        "kill": _kill,
        "fsencode": lambda name: _text_or_bytes(name, bytes),
        "fsdecode": lambda name: _text_or_bytes(name, str),
        "O_BINARY": 0,
        "O_NOINHERIT": 0,
        "set_handle_inheritable": os.set_inheritable,
    }
    _look(os, NO_OS, own)
    others = {name for name in dir(signal) if name.startswith("SIG")} - SIGNALS
    functions = """alarm getitimer pause pthread_kill pthread_sigmask set_wakeup_fd setitimer
        siginterrupt sigpending sigtimedwait sigwait sigwaitinfo"""
    of_signal = {"SIGBREAK": SIGBREAK, "CTRL_C_EVENT": 0, "CTRL_BREAK_EVENT": 1}
    _look(signal, {*others, *functions.split()} - {"set_wakeup_fd"}, of_signal)
    _look(sys, {"getdlopenflags", "setdlopenflags"}, {"platform": "win32"})
    _look(select, {"poll", "epoll", "EPOLLIN"}, {})
    _look(socket, {"AF_UNIX", "send_fds", "recv_fds"}, {})
    connection = multiprocessing.connection
    _look(connection, set(), {"PipeConnection": connection.Connection})
    of_subprocess = {
        "STARTUPINFO": types.SimpleNamespace,
        "CREATE_NEW_PROCESS_GROUP": 0x200,
    }
    _look(subprocess, set(), of_subprocess)
    subprocess.Popen.__init__ = _started  # type: ignore[method-assign]
    subprocess.Popen.send_signal = _sent  # type: ignore[method-assign]
    os.open, os.mkdir = _open, _mkdir
    os.replace, os.rename = _checked("replace"), _checked("rename")
    os.unlink = os.remove = _checked("unlink")
    os.rmdir = _checked("rmdir")
    io.open = builtins.open = _io_opened  # type: ignore[assignment]
    if accessor := getattr(pathlib, "_NormalAccessor", None):  # of Python 3.10
        for name in {*_calls, "open"} - {"kill"}:
            function = getattr(io if name == "open" else os, name)
            setattr(accessor, name, staticmethod(function))
    if not is_pytest():
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
                encoding = None if "PYTHONIOENCODING" in os.environ else ENCODING
                newline = None if stream is sys.stdin else "\r\n"
                stream.reconfigure(encoding=encoding, newline=newline)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    context = multiprocessing.context
    context._concrete_contexts = {"spawn": context._concrete_contexts["spawn"]}  # type: ignore[attr-defined]
    multiprocessing.set_start_method("spawn", force=True)
    multiprocessing.get_all_start_methods = lambda: ["spawn"]


def is_pytest() -> bool:
    """Tell whether this process runs tests."""
    # xdist starts its processes like this.
    return sys.orig_argv[1:3] == ["-m", "pytest"] or "exec(eval(sys." in sys.orig_argv[-1]


def _is_ours(frame: FrameType | None) -> bool:
    return frame is not None and (
        frame.f_code.co_filename.startswith(("<string>", "<doctest "))
        or (frame.f_code.co_filename.startswith(OURS) and frame.f_code.co_filename != __file__)
    )


def _is_for_us() -> bool:
    """Tell whether code of ours has made this call, directly or through a library of files."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and BETWEEN.search(frame.f_code.co_filename):
        frame = frame.f_back
    return _is_ours(frame)


def _look(module: ModuleType, absent: set[str], other: dict[str, Any]) -> None:
    """Have a module look otherwise to code of ours."""

    class Seen(ModuleType):
        def __new__(cls, *args: Any) -> ModuleType:  # type: ignore[misc]
            return ModuleType(*args)  # the import system makes modules of the type that sys has

        def __reduce__(self) -> tuple[Any, ...]:
            return importlib.import_module, (module.__name__,)  # cloudpickle knows modules by type

        def __getattribute__(self, name: str) -> Any:
            if (name in absent or name in other) and _is_ours(sys._getframe(1)):
                if name in other:
                    return other[name]
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return ModuleType.__getattribute__(self, name)

    module.__class__ = Seen


def _imported(name: str, *args: Any, **kwargs: Any) -> Any:
    if name.partition(".")[0] in NO_MODULES and _is_ours(sys._getframe(1)):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import(name, *args, **kwargs)


def _text_or_bytes(name: Any, kind: type) -> Any:
    """Encode or decode the name of a file as Windows does."""
    name = os.fspath(name)
    if isinstance(name, kind):
        return name
    change = name.decode if kind is str else name.encode
    return change("utf-8", "surrogatepass")


def _kill(pid: int, number: int) -> None:
    """End a process at once, whatever it handles; or send it a Ctrl-Break."""
    if number == 0:
        raise AssertionError("os.kill would send a Ctrl-C")
    if number == 1:
        _real["kill"](pid, SIGBREAK)
    elif pid == os.getpid() and is_pytest():
        raise AssertionError("os.kill would end this process")
    else:
        _real["kill"](pid, signal.SIGKILL)


def _started(self: Any, args: Any, *rest: Any, **options: Any) -> None:
    if _is_for_us():
        for name in ("pass_fds", "preexec_fn"):
            if options.get(name):
                raise ValueError(f"{name} is not supported on Windows platforms")
        options.pop("creationflags", None)
        options.pop("start_new_session", None)
        if any(options.get(name) for name in ("text", "universal_newlines", "errors")):
            options["encoding"] = options.get("encoding") or ENCODING
        if startup := options.pop("startupinfo", None):
            options["pass_fds"] = startup.lpAttributeList["handle_list"]
    _start(self, args, *rest, **options)


def _sent(self: Any, number: int) -> None:
    if not _is_for_us() or number == signal.SIGKILL:  # which is `kill`
        return _send(self, number)
    if number == 1:
        return _send(self, SIGBREAK)
    if number != signal.SIGTERM:
        raise ValueError(f"Unsupported signal: {number}")
    return _send(self, signal.SIGKILL)


def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    if flags & os.O_CREAT:
        _refuse_name(path)
    if _is_for_us() and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return _real["open"](path, flags, mode, dir_fd=dir_fd)  # type: ignore[no-any-return]


def _mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    _refuse_name(path)
    _real["mkdir"](path, mode, dir_fd=dir_fd)


def _io_opened(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *rest: Any,
    **options: Any,
) -> Any:
    reads = mode.startswith("r")
    if not reads:
        _refuse_name(file)
    if _is_for_us():
        if not isinstance(file, int) and os.path.isdir(file):
            raise PermissionError(errno.EACCES, "Permission denied", file)
        if "b" not in mode:
            encoding = ENCODING if encoding in (None, "locale") else encoding
            newline = newline if reads or newline is not None else "\r\n"
    return _io_open(file, mode, buffering, encoding, errors, newline, *rest, **options)


def _refuse_name(path: Any) -> None:
    """Refuse the name of a new file, whoever makes it."""
    if not isinstance(path, int):
        name = os.fsencode(path).decode("utf-8", "surrogateescape").rstrip("/")
        if _NO_NAME.search(os.path.basename(name)):
            raise OSError(errno.EINVAL, "Invalid argument", path)


def _checked(call: str) -> Callable[..., None]:
    """Return a function of `os` that refuses what Windows does."""

    def changed(*paths: Any, **options: Any) -> None:
        if len(paths) == 2:
            _refuse_name(paths[1])
        if _is_for_us() and not any(options.values()):
            for path in paths:
                if _is_open(path):
                    message = "The process cannot access the file because it is being used"
                    raise PermissionError(errno.EACCES, message, path)
            last = paths[-1]
            if call == "rename" and os.path.lexists(last) and last != paths[0]:
                raise FileExistsError(errno.EEXIST, "Cannot create a file that exists", last)
            if call != "rmdir" and _stays(last):
                raise PermissionError(errno.EACCES, "Access is denied", last)
        _real[call](*paths, **options)

    return changed


def _stays(path: Any) -> bool:
    """Tell whether a name is that of a folder or of a file that is read-only."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not mode & stat.S_IWUSR)


def _is_open(path: Any) -> bool:
    """Tell whether a process has a file, or one within a folder, open, or this one mapped."""
    try:
        wanted = os.lstat(path)
    except OSError:
        return False
    if stat.S_ISDIR(wanted.st_mode):
        inside = os.path.realpath(os.fsdecode(path)) + os.sep
        return any(name.startswith(inside) for name in _open_names())
    if not stat.S_ISREG(wanted.st_mode):
        return False
    for link in _open_links():
        try:
            if os.path.samestat(os.stat(link), wanted):
                return True
        except OSError:
            continue
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return any(line.split()[4] == str(wanted.st_ino) for line in maps)


def _open_names() -> list[str]:
    """Return what processes of Python have open, and their current folders."""
    names = []
    for link in _open_links():
        try:
            names.append(os.readlink(link) + os.sep * link.endswith("/cwd"))
        except OSError:
            continue
    return names


def _open_links() -> Iterator[str]:
    """Yield the links of /proc to what processes of Python have open, and their current folders."""
    own = os.readlink("/proc/self/exe")
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{process}/exe") == own:
                yield f"/proc/{process}/cwd"
                folder = f"/proc/{process}/fd/"
                yield from [folder + number for number in os.listdir(folder)]
        except OSError:
            continue


if __name__ == "__main__":
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "DECAF_TEST_FAKE_WINDOWS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment)

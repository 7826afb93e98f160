"""The Windows that is not one hides what Windows has not, and tests about POSIX are few."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import systems

HERE = Path(__file__).parent
FAKE = HERE / "support" / "fake_windows" / "windows.py"
MOST = 60

CODE = """
import multiprocessing, os, pathlib, platform, signal, subprocess, sys, tempfile
assert (sys.platform, os.name) == ("win32", "nt")
assert platform.platform().startswith("Linux")  # a module that is new now is like any other
for module in ("fcntl", "resource", "pty", "termios", "grp", "pwd"):
    try:
        __import__(module)
    except ImportError:
        continue
    raise AssertionError(module)
for name in ("fork", "forkpty", "getuid", "geteuid", "sched_getaffinity", "pread", "O_NOFOLLOW"):
    assert not hasattr(os, name), name
for name in ("SIGKILL", "SIGALRM", "SIGHUP", "pthread_sigmask", "pause"):
    assert not hasattr(signal, name), name
assert multiprocessing.get_all_start_methods()[0] == multiprocessing.get_start_method() == "spawn"
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a")
    with open(path, "w"):
        for change in (lambda: os.unlink(path), lambda: os.replace(path, path + "b")):
            try:
                change()
            except PermissionError:
                continue
            raise AssertionError("an open file was taken away")
    os.rename(path, path)
    os.replace(path, path + "b")
    command = [sys.executable, "-c", f"file = open({path + 'b'!r}); print(); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
        child.stdout.readline()
        try:
            os.rename(path + "b", path + "b")
        except PermissionError:
            child.communicate(b"\\n")
        else:
            raise AssertionError("a file that another process has open was renamed")
    for refused in (
        lambda: pathlib.Path(folder, "a:b").write_bytes(b""),
        lambda: pathlib.Path(folder, "nul.txt").touch(),
        lambda: os.mkdir(path + "."),
        lambda: open(folder),
        lambda: os.unlink(folder),
        lambda: os.replace(path + "b", folder),
    ):
        try:
            refused()
        except OSError:
            continue
        raise AssertionError("Windows has no such name, or refuses a folder")
    text = pathlib.Path(folder, "text")
    text.write_text("\\xd7\\n")
    assert text.read_bytes() == b"\\xd7\\r\\n"
    text.write_text("\\xd7\\n", encoding="utf-8", newline="\\n")
    assert text.read_bytes() == b"\\xc3\\x97\\n"
    command = [sys.executable, "-c", "print('\\xd7')"]
    assert subprocess.run(command, capture_output=True).stdout == b"\\xd7\\r\\n"
    os.chdir(folder)
    try:
        os.rmdir(folder)
    except PermissionError:
        os.chdir(os.path.dirname(folder))
    else:
        raise AssertionError("the current folder was taken away")
import numpy, torch  # which are those of Linux
if len(sys.argv) == 1:
    command = [sys.executable, "-c", sys.stdin.read(), "again"]
    sys.exit(subprocess.run(command, stdin=subprocess.DEVNULL).returncode)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or systems.WINDOWS, reason="it is faked on Linux")
def test_what_windows_has_not_is_hidden_from_us_and_our_children() -> None:
    command = [sys.executable, FAKE, "-c", CODE]
    done = subprocess.run(command, input=CODE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tests_about_posix_are_few_and_say_what_they_are_about() -> None:
    marks = [
        reason
        for path in HERE.rglob("test_*.py")
        if path != Path(__file__)
        for reason in re.findall(r"mark\.posix\((.*?)\)", path.read_text(encoding="utf-8"))
    ]
    assert {mark.strip('"') for mark in marks} <= set(systems.POSIX)
    assert 0 < len(marks) <= MOST

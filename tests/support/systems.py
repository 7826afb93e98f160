"""What differs between systems for tests: how a process is killed, and what only POSIX has."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

WINDOWS = sys.platform == "win32"
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

POSIX = {
    "signals": "Windows has neither these signals nor groups of processes that get them",
    "pipes": "Windows has no pipes in folders, and no devices",
    "modes": "Windows has neither these permissions nor other users' files",
    "fork": "nothing is forked on Windows, nor by decaf on macOS",
    "flock": "Windows locks otherwise",
    "halves": "messages between processes arrive on Windows as a whole",
    "limits": "Windows sets a process no such limits",
    "proc": "Windows and macOS have no /proc",
    "names": "Windows has no such names of files",
    "open files": "Windows deletes and renames no open file",
}
"""What a test with ``@pytest.mark.posix(…)`` is about, and why it is left out on Windows."""


def possible_name(name: str) -> str:
    """Return the name of a file, with what no name of Windows holds as HTML might write it."""
    if not WINDOWS:
        return name
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', lambda sign: f"&#{ord(sign[0])};", name)


def lacks(what: str) -> bool:
    """Tell whether this system has not what a test is about."""
    # macOS forks, but decaf does not fork there.
    return WINDOWS or (sys.platform == "darwin" and what in ("fork", "proc"))


# On Windows os.kill ends a process at once, whatever the signal.
KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)


def kill_itself() -> None:
    """End this process as a power failure would."""
    os.kill(os.getpid(), KILL)


def open_files() -> int:
    """Count the descriptors of this process; 0 where the system does not tell."""
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


def was_killed(code: int | None) -> bool:
    """Tell whether an exit code is that of a killed process."""
    # On Windows that of Popen.kill, or the signal that os.kill was given.
    return code == -KILL or (WINDOWS and code in (1, KILL, -9))


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own size, which takes root's rights."""
    if shutil.which("mount") is None:
        pytest.skip("no small disk to be had")
    folder.mkdir()
    tried = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"no small disk to be had: {tried.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)

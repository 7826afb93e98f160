"""The lock of a directory that only one run may write to."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from decaf.errors import OutputError

__all__ = ["LOCK_NAME", "acquire"]

LOCK_NAME = "lock"


def acquire(directory: Path) -> int:
    """Make a directory and take its lock, which the kernel gives back when the process ends.

    Parameters
    ----------
    directory : Path
        May be there already.

    Returns
    -------
    int
        A file descriptor; the lock is given back when it is closed.

    Raises
    ------
    OutputError
        Where another process holds the lock, or something else has the directory's name.
    OSError
        Where the disk refuses.
    """
    while True:
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError:
            raise OutputError(
                f"{directory}: is needed for unfinished work and is no folder; "
                "move it, or give another --out"
            ) from None
        try:
            lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # a run that just finished took the directory away
        try:
            if _hold(directory, lock):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was deleted by a run that finished meanwhile


def _hold(directory: Path, lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 200, 0).decode(errors="replace").strip() or "it has just begun"
        raise OutputError(
            f"{directory}: another run is writing here ({owner}); wait for it or give another --out"
        ) from None
    try:
        if os.stat(directory / LOCK_NAME).st_ino != os.fstat(lock).st_ino:
            return False
    except FileNotFoundError:
        return False
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return True

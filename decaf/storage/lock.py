"""The lock of a directory that only one run may write to."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from decaf.errors import OutputError

__all__ = ["LOCK_NAME", "acquire"]

LOCK_NAME = "lock"

# What the holder writes begins like this, and has this many bytes.
_HOLDER = b"process "
_LENGTH = 200


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
        Where another process holds the lock, or something else has the directory's name or that
        of the lock: a link, a file of another user, or one that no run has written.
    OSError
        Where the disk refuses.
    """
    while True:
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError:
            raise OutputError(
                f"{directory}: is needed for unfinished work and is no folder; "
                "move it, or give another `out`"
            ) from None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(directory / LOCK_NAME, flags, 0o644)
        except FileNotFoundError:
            continue  # a run that just finished took the directory away
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise _not_ours(directory) from error
            raise
        try:
            _check_own(directory, lock)
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
        owner = os.pread(lock, _LENGTH, 0).decode(errors="replace").strip() or "it has just begun"
        raise OutputError(
            f"{directory}: another run is writing here ({owner}); wait for it or give another `out`"
        ) from None
    try:
        if os.stat(directory / LOCK_NAME).st_ino != os.fstat(lock).st_ino:
            return False
    except FileNotFoundError:
        return False
    # Of one length, so that nothing is ever cut off: not of an earlier holder's, nor of a file that
    # slipped through the checks.
    holder = _HOLDER + f"{os.getpid()} on {os.uname().nodename}".encode()
    os.pwrite(lock, holder[: _LENGTH - 1].ljust(_LENGTH - 1) + b"\n", 0)
    return True


def _check_own(directory: Path, lock: int) -> None:
    """Refuse what lies under the lock's name and was not made as a lock by this user."""
    status = os.fstat(lock)
    mine = os.geteuid() in (status.st_uid, 0)
    alone = stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and mine
    start = os.pread(lock, len(_HOLDER), 0) if alone else b"?"
    if not _HOLDER.startswith(start):  # a part of it is what a crash has left
        raise _not_ours(directory)


def _not_ours(directory: Path) -> OutputError:
    return OutputError(
        f"{directory / LOCK_NAME}: is a link, or a file that no run of yours has written; move it, "
        "or give another `out`"
    )

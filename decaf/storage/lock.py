"""The lock of a directory that only one run may write to."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from decaf.errors import OutputError
from decaf.storage.file_locks import lock_file, open_own_file

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
            lock = open_own_file(directory / LOCK_NAME, os.O_CREAT)
        except FileNotFoundError:
            continue  # a run that just finished took the directory away
        if lock is None:
            raise _not_ours(directory)
        try:
            if not _HOLDER.startswith(_HOLDER[:1] + _read(lock)[: len(_HOLDER) - 1]):
                raise _not_ours(directory)  # else a part of it is what a crash has left
            if _hold(directory, lock):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was deleted by a run that finished meanwhile


def _hold(directory: Path, lock: int) -> bool:
    if not lock_file(lock):
        owner = (_HOLDER[:1] + _read(lock)).decode(errors="replace").strip()
        begun = owner if len(owner) > len(_HOLDER) else "it has just begun"
        raise OutputError(
            f"{directory}: another run is writing here ({begun}); wait for it or give another `out`"
        )
    try:
        if not os.path.samestat(os.stat(directory / LOCK_NAME), os.fstat(lock)):
            return False
    except FileNotFoundError:
        return False
    # Of one length, so that nothing is ever cut off: not of an earlier holder's, nor of a file that
    # slipped through the checks.
    holder = _HOLDER + f"{os.getpid()} on {platform.node()}".encode()
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, holder[: _LENGTH - 1].ljust(_LENGTH - 1) + b"\n")
    return True


def _read(lock: int) -> bytes:
    """Return what the file holds but for its first byte, which Windows locks for reading too."""
    os.lseek(lock, 1, os.SEEK_SET)
    return os.read(lock, _LENGTH)


def _not_ours(directory: Path) -> OutputError:
    return OutputError(
        f"{directory / LOCK_NAME}: is a link, or a file that no run of yours has written; move it, "
        "or give another `out`"
    )

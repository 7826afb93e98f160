"""Files that several processes may have open: their locks, and what an open one withstands.

A lock is given back when its process ends, however it ends. Windows needs none for a file that is
being written: it lets nobody rename, replace or delete what is open.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

__all__ = ["OPEN_FILES_STAY", "lock_file", "open_own_file"]

OPEN_FILES_STAY = sys.platform == "win32"
"""Whether a file that is open, here or elsewhere, can be neither renamed, replaced nor deleted."""

_FLAGS = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # or opening a pipe would wait for its other end
    | getattr(os, "O_BINARY", 0)
)


def open_own_file(path: Path, flags: int = 0) -> int | None:
    """Open a file of which decaf alone is to know, for reading and writing.

    Parameters
    ----------
    path : Path
    flags : int
        More flags of `os.open`.

    Returns
    -------
    int or None
        A descriptor; None where the name is that of a link, a folder, a pipe, a file that has
        another name too, or one of another user.

    Raises
    ------
    OSError
    """
    try:
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            return None
        descriptor = os.open(path, _FLAGS | flags, 0o644)
    except OSError as error:
        # Windows opens no folder, and says that it is not allowed to.
        strange = error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES)
        if strange and os.path.lexists(path):
            return None
        raise
    status = os.fstat(descriptor)
    mine = not hasattr(os, "geteuid") or os.geteuid() in (status.st_uid, 0)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and mine:
        return descriptor
    os.close(descriptor)
    return None


def lock_file(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file; tell whether nobody else has.

    Parameters
    ----------
    descriptor : int
        The lock is given back when it is closed.
    shared : bool
        Others may take such a lock too; there is none on Windows, where while a file is locked
        nobody else reads its first byte.
    wait : bool
        Wait for those who have it.

    Raises
    ------
    OSError
        Where the disk refuses, or knows no locks.
    """
    if sys.platform == "win32":
        from filelock import lock_descriptor

        assert not shared
        return lock_descriptor(descriptor, blocking=wait)
    import fcntl

    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True

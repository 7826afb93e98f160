"""Writing so that what has a name is complete, and telling clearly where the disk refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decaf.errors import OutputError

__all__ = ["append_line", "disk_errors", "reserve", "sync_directory", "write_atomically"]

NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent under its name, whatever happens."""
    # With the process in its name: where one process of a shared run outlives the others, it must
    # not write into a file of the next run.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Put a line at the end of a file, for good. A line torn by an earlier crash is ended first."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        _write_all(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(path: Path, size: int) -> None:
    """Take the room that an HDF5 file will need before HDF5 writes to it.

    HDF5 does not bear a full disk well: what fails inside it leaves the library in a state in which
    closing the file fails too. With the blocks allocated in advance the disk cannot fill up under
    it; closing the file gives back what was too much.

    Parameters
    ----------
    path : Path
        The file, there already, and not open.
    size : int
        Bytes that it will have at most.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path, kept: str) -> Iterator[None]:
    """Turn failures of the disk into one line that says what was kept and how to go on.

    Parameters
    ----------
    path : Path
        What was being written.
    kept : str
        What is safe, as a clause.

    Raises
    ------
    OutputError
        For any `OSError`; one that is there already is passed on.
    """
    try:
        yield
    except OutputError:  # an OSError too
        raise
    except OSError as error:
        # h5py knows the reason only as a part of its text.
        reason = NO_SPACE.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(
            f"{path}: cannot be written: {reason}; {kept}; mend that and run the same command again"
        ) from error

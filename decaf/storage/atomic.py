"""The one way to write a file: complete under its name or not there, whatever happens meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from decaf.errors import DiskError, OutputError

__all__ = [
    "NO_SPACE",
    "SUFFIX",
    "append_line",
    "disk_errors",
    "remove_leftover",
    "sync_directory",
    "temporary_path",
    "whole_file",
    "write_atomically",
]

NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}

SUFFIX = ".decaf-tmp"
"""Ending of the name that a file has until it is complete; no other program uses it."""

# What a file system answers that knows no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def temporary_path(path: Path) -> Path:
    """Return the name that a file has until it is complete.

    Parameters
    ----------
    path : Path
        The name that it is to have.
    """
    return path.with_name(path.name + SUFFIX)


@contextmanager
def whole_file(path: Path, *, wait: bool = False) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name when the body ends without an error.

    Until then it has the name that `temporary_path` gives, where the body may read it back (after
    ``flush``) to check it. It is on the disk before it is renamed, and the renaming before this
    ends. The file is locked meanwhile, which is how a run tells what a killed one has left, and
    takes away, from what another one is writing.

    Parameters
    ----------
    path : Path
        A file of this name is replaced.
    wait : bool
        Where another run is writing a file of this name, wait for it.

    Yields
    ------
    binary stream
        Its ``name`` is that of the temporary file; it can be read by its descriptor too.

    Raises
    ------
    OutputError
        Where another run is writing it, or something that is not decaf's has the temporary name.
    OSError
        Where the disk fails; nothing has changed under `path` then. Where only the last step fails,
        which makes the renaming survive a power failure, this is a `DiskError` that says so.
    """
    temporary = temporary_path(path)
    descriptor = _make(temporary, path, wait)
    with open(temporary, "wb", opener=lambda *_: descriptor) as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if not _has_name(descriptor, temporary):
                raise OutputError(f"{temporary}: was taken away while it was being written")
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                if _has_name(descriptor, temporary):
                    temporary.unlink()
            raise
    try:
        sync_directory(path.parent)
    except OSError as error:
        raise DiskError(
            f"{path}: is written, but a power failure may take it away, since its folder cannot be "
            f"made durable: {_reason(error)}; mend that and run the same command again"
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file from its bytes; see `whole_file`.

    Parameters
    ----------
    path : Path
    data : bytes
    """
    with whole_file(path, wait=True) as stream:
        stream.write(data)


def remove_leftover(path: Path) -> None:
    """Take away what a killed run has left of a file that it was writing.

    What another run is writing, and what is not decaf's, stays.

    Parameters
    ----------
    path : Path
        The name that the file was to have.
    """
    with suppress(OSError):
        _remove(temporary_path(path), path, wait=False)


def _make(temporary: Path, path: Path, wait: bool) -> int:
    """Make the temporary file and lock it.

    The lock is a shared one, so that HDF5, which takes one too, can read the file back.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileExistsError:
            _remove(temporary, path, wait)
            continue
        try:
            _lock(descriptor, fcntl.LOCK_SH)
            if _has_name(descriptor, temporary):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another run took it for a leftover before it was locked


def _remove(temporary: Path, path: Path, wait: bool) -> None:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(temporary, flags)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES):
            raise _not_ours(temporary) from error
        raise
    try:
        status = os.fstat(descriptor)
        mine = os.geteuid() in (status.st_uid, 0)
        if not (stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and mine):
            raise _not_ours(temporary)
        try:
            _lock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise OutputError(
                f"{path}: another run is writing it; wait for that, or give another name"
            ) from None
        if _has_name(descriptor, temporary):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _not_ours(temporary: Path) -> OutputError:
    return OutputError(
        f"{temporary}: is needed for work and is a link, or no file of yours; move it away"
    )


def append_line(path: Path, line: bytes) -> None:
    """Put a line at the end of a file, for good. A line torn by an earlier crash is ended first.

    Parameters
    ----------
    path : Path
    line : bytes
        With its end.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power failure.

    Parameters
    ----------
    path : Path
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
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
    DiskError
        For any `OSError`; an `OutputError` is passed on.
    """
    try:
        yield
    except OutputError:  # an OSError too
        raise
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written: {_reason(error)}; {kept}; mend that and run the same "
            "command again"
        ) from error


def _reason(error: OSError) -> str:
    return NO_SPACE.get(error.errno or 0, error.strerror or str(error))

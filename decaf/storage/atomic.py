"""The one way to write a file: complete under its name or not there, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from decaf.errors import DiskError, OutputError
from decaf.storage.file_locks import OPEN_FILES_STAY, lock_file, open_own_file

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
_BINARY: int = getattr(os, "O_BINARY", 0)
# On Windows: tries to rename what somebody may have open for a moment; looks, more than those, at
# a closed file before it is a leftover; seconds between them.
_TRIES, _LOOKS, _PAUSE = 20, 40, 0.05


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
    made = os.fstat(descriptor)
    with open(temporary, "wb", opener=lambda *_: descriptor) as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if not _is(temporary, made):
                raise OutputError(f"{temporary}: was taken away while it was being written")
            if OPEN_FILES_STAY:
                stream.close()
            _replace(temporary, path)
        except BaseException:
            if OPEN_FILES_STAY:
                with suppress(OSError):
                    stream.close()
            with suppress(OSError):
                if _is(temporary, made):
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
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
    while True:
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileExistsError:
            _remove(temporary, path, wait)
            continue
        except PermissionError:
            if not temporary.is_dir():  # of which Windows says this
                raise
            raise _not_ours(temporary) from None
        try:
            if OPEN_FILES_STAY:
                return descriptor
            _lock(descriptor, shared=True, wait=True)
            if _is(temporary, os.fstat(descriptor)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another run took it for a leftover before it was locked


def _remove(temporary: Path, path: Path, wait: bool) -> None:
    if OPEN_FILES_STAY:
        return _remove_closed(temporary, path, wait)
    try:
        descriptor = open_own_file(temporary)
    except FileNotFoundError:
        return
    if descriptor is None:
        raise _not_ours(temporary)
    try:
        if not _lock(descriptor, shared=False, wait=wait):
            raise _busy(path)
        if _is(temporary, os.fstat(descriptor)):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _remove_closed(temporary: Path, path: Path, wait: bool) -> None:
    """Take a leftover away on Windows, where it is told by nobody having it open.

    Its writer closes it before the renaming: who waits for others takes what stays closed.
    """
    looks = 0  # at the closed file
    while True:
        try:
            status = os.lstat(temporary)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise _not_ours(temporary)
            if not wait or looks > _LOOKS:
                return os.unlink(temporary)
            os.rename(temporary, temporary)  # does nothing, and is refused where it is open
            looks += 1
        except FileNotFoundError:
            return
        except PermissionError:
            if not wait:
                raise _busy(path) from None
            looks = 0
        time.sleep(_PAUSE)


def _lock(descriptor: int, *, shared: bool, wait: bool) -> bool:
    try:
        return lock_file(descriptor, shared=shared, wait=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True


def _replace(temporary: Path, path: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            return os.replace(temporary, path)
        except PermissionError:
            if not OPEN_FILES_STAY or path.is_dir():
                raise
            if not left:
                if not path.is_file():
                    raise
                raise OutputError(
                    f"{path}: is open in this program or another one, and Windows replaces no open "
                    "file; close it and run the same command again"
                ) from None
        time.sleep(_PAUSE)  # another run reads it, or a search for viruses what is new


def _is(path: Path, made: os.stat_result) -> bool:
    try:
        return os.path.samestat(made, os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _busy(path: Path) -> OutputError:
    return OutputError(f"{path}: another run is writing it; wait for that, or give another name")


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
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, max(0, size - 1), os.SEEK_SET)
        if size and os.read(descriptor, 1) != b"\n":
            line = b"\n" + line
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power failure, which Windows sees to itself.

    Parameters
    ----------
    path : Path
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
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

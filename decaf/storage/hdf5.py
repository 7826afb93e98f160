"""HDF5 files written so that a failing disk is told once, in words, and never from within HDF5.

HDF5 does not bear a write that fails: it is told late or not at all (a chunk that is written as its
dataset is freed is lost without a word, and reads as zeros), closing the file then fails as well,
and ends in a crash as often as in an error. Here HDF5 writes to an object of ours, for which every
write succeeds: the first failure is remembered, and raised when HDF5 is out of the way.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import h5py

__all__ = ["HDF5Output", "hdf5_output"]


class HDF5Output:
    """An HDF5 file that is being written; see `hdf5_output`.

    Attributes
    ----------
    file : h5py.File
    """

    def __init__(self, file: h5py.File, device: _Device) -> None:
        self.file = file
        self._device = device

    def check(self) -> None:
        """Raise what the disk has answered to a write since the file was begun.

        To be called between blocks of rows, so that a full disk is told soon.

        Raises
        ------
        OSError
        """
        self._device.check()


@contextmanager
def hdf5_output(stream: IO[bytes], libver: tuple[str, str]) -> Iterator[HDF5Output]:
    """Write an HDF5 file to a stream that has a descriptor.

    Parameters
    ----------
    stream : binary stream
        Empty, and open for reading too, as `decaf.storage.atomic.whole_file` gives it.
    libver : (str, str)
        Bounds of the format, as of `h5py.File`.

    Yields
    ------
    HDF5Output

    Raises
    ------
    OSError
        Where a write has failed; it may then have failed long before.
    """
    device = _Device(stream.fileno())
    try:
        with h5py.File(device, "w", libver=libver) as file:
            yield HDF5Output(file, device)
    finally:
        device.check()  # what it raises says more than an error that came of it


class _Device(io.RawIOBase):
    """The file as HDF5 sees it, which never fails."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0
        self._error: OSError | None = None
        # What could not be written, so that HDF5 reads back what it wrote: few bytes, since the
        # writing ends at the next `check`.
        self._lost: list[tuple[int, bytes]] = []

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size, done = len(view), 0
        try:
            while self._error is None and done < size:
                done += os.pwrite(self._descriptor, view[done:], self._place + done)
        except OSError as error:
            self._error = error
        if done < size:
            self._lost.append((self._place + done, bytes(view[done:])))
        self._place += size
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))  # what lies behind the end
        done = 0
        try:
            while done < len(view) and (
                read := os.preadv(self._descriptor, [view[done:]], self._place + done)
            ):
                done += read
        except OSError as error:
            self._error = self._error or error
        for start, data in self._lost:
            first = max(start, self._place)
            last = min(start + len(data), self._place + len(view))
            if first < last:
                view[first - self._place : last - self._place] = data[first - start : last - start]
        self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += self._size()
        self._place = offset
        return offset

    def _size(self) -> int:
        ends = [start + len(data) for start, data in self._lost]
        return max([os.fstat(self._descriptor).st_size, *ends])

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        size = self._place if size is None else size
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._error = self._error or error
        return size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

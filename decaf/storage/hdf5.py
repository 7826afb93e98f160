"""HDF5 files written so that a failing disk is told once, in words, and never from within HDF5.

HDF5 does not bear a write that fails: it is told late or not at all (a chunk that is written as its
dataset is freed is lost without a word, and reads as zeros), closing the file then fails as well,
and ends in a crash as often as in an error. Here HDF5 writes to an object of ours, for which every
write succeeds: the first failure is remembered, and raised when HDF5 is out of the way.

Text is UTF-8 of fixed length, padded with NUL. HDF5 keeps text of variable length in a heap of its
own, which has no checksums, and in which a damaged length of zero makes the library (2.0 and
before) search for ever. Text of fixed length lies where the numbers lie, with their checksums.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import h5py
import numpy as np

__all__ = [
    "LIBVER",
    "HDF5Output",
    "decode_text",
    "hdf5_output",
    "text_array",
    "write_text_attribute",
]

# HDF5's format of 1.10: the first in which all metadata carries checksums, so that damage outside
# the data is found as well; every HDF5 since 2016 reads it.
LIBVER = ("v110", "v110")


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
def hdf5_output(
    stream: IO[bytes], *, libver: tuple[str, str] = LIBVER, userblock: int = 0
) -> Iterator[HDF5Output]:
    """Write an HDF5 file to a stream that has a descriptor.

    Parameters
    ----------
    stream : binary stream
        Empty, and open for reading too, as `decaf.storage.atomic.whole_file` gives it.
    libver : tuple of str
        The formats of HDF5 that may be used.
    userblock : int
        Bytes at the beginning that are not HDF5's.

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
        with h5py.File(device, "w", libver=libver, userblock_size=userblock) as file:
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
            os.lseek(self._descriptor, self._place, os.SEEK_SET)
            while self._error is None and done < size:
                done += os.write(self._descriptor, view[done:])
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
            os.lseek(self._descriptor, self._place, os.SEEK_SET)
            while read := os.read(self._descriptor, len(view) - done):
                view[done : done + len(read)] = read
                done += len(read)
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


def text_array(texts: Sequence[str], width: int | None = None) -> np.ndarray:
    """Encode texts for a dataset.

    Parameters
    ----------
    texts : sequence of str
        Signs that UTF-8 cannot hold are escaped; a NUL would end the text and is left out.
    width : int, optional
        Bytes of each; longer texts are cut between two signs. By default the longest's.

    Returns
    -------
    ndarray, shape (len(texts),)
        Texts of the fixed-length type that h5py writes as UTF-8.

    Examples
    --------
    >>> text_array(["née", "a"]).tolist()
    [b'n\\xc3\\xa9e', b'a']
    >>> text_array(["née"], width=2).tolist()
    [b'n']
    """
    encoded = [text.replace("\0", "").encode("utf-8", "backslashreplace") for text in texts]
    if width is None:
        width = max([1, *(len(text) for text in encoded)])
    cut = [
        text if len(text) <= width else text[:width].decode("utf-8", "ignore").encode("utf-8")
        for text in encoded
    ]
    return np.array(cut, h5py.string_dtype("utf-8", width))


def write_text_attribute(file: h5py.File, name: str, text: str) -> None:
    """Write a root attribute as text of fixed length.

    Parameters
    ----------
    file : h5py.File
    name, text : str
    """
    (value,) = values = text_array([text])
    file.attrs.create(name, value, dtype=values.dtype)


def decode_text(value: str | bytes) -> str:
    """Read one text as h5py gives it.

    Parameters
    ----------
    value : str or bytes

    Raises
    ------
    UnicodeError
        Where it is not UTF-8.
    """
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    # h5py lets bytes that are not UTF-8 through as surrogates.
    text.encode("utf-8")
    return text

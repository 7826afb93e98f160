"""A folder that files are published in: of this machine, or a prefix of an object store.

A file is published whole: renamed into its place here, a finished upload there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from decaf.storage.atomic import SUFFIX, disk_errors, whole_file, write_atomically
from decaf.storage.object_store import (
    StoreError,
    copy_file,
    file_facts,
    file_system,
    is_remote,
    list_folder,
    local_path,
    patiently,
    read_file,
)

__all__ = ["LocalFolder", "Place", "RemoteFolder", "open_place"]

# A larger file is uploaded in pieces from the disk, by the store's own protocol.
_WHOLE_BYTES = 1 << 30


class Place(ABC):
    """A folder that files are published in, here or in a store.

    Attributes
    ----------
    url : str
        With a slash at its end.
    """

    url: str

    @abstractmethod
    def names(self, below: str = "") -> set[str]:
        """List the files directly in a folder below; none where that is not there.

        Parameters
        ----------
        below : str
            Such as ``"records"``.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file.

        Parameters
        ----------
        name : str
            Below the place.

        Raises
        ------
        FileNotFoundError
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Tell whether a file is there.

        Parameters
        ----------
        name : str
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from its bytes, whole.

        Parameters
        ----------
        name : str
        data : bytes
        """

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Publish a small file where there is none yet, and tell whether this was done.

        Parameters
        ----------
        name : str
        data : bytes
        """

    @abstractmethod
    def publish(self, name: str, make: Callable[[Path], None]) -> None:
        """Publish a file that a function writes.

        Parameters
        ----------
        name : str
        make : callable
            Takes the path to write to; the file appears there whole or not at all.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Take a file away, where it is there.

        Parameters
        ----------
        name : str
        """

    @abstractmethod
    def open(self, name: str) -> Any:
        """Open a file for reading, of which parts may be read.

        Parameters
        ----------
        name : str
        """

    @abstractmethod
    def local(self, name: str) -> Any:
        """Return a context manager that gives the path of a file on this machine.

        Parameters
        ----------
        name : str
        """


class LocalFolder(Place):
    """A folder of this machine, or of a file system that is mounted here.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"{path}/"

    def names(self, below: str = "") -> set[str]:
        """List the files directly in a folder below; see `Place.names`."""
        try:
            with os.scandir(self.path / below) as entries:
                return {e.name for e in entries if not e.is_dir() and not e.name.endswith(SUFFIX)}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def read(self, name: str) -> bytes:
        """Read a file; see `Place.read`."""
        return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Tell whether a file is there; see `Place.exists`."""
        return (self.path / name).is_file()

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from its bytes; see `Place.write`."""
        with disk_errors(self.path, "finished parts are kept"):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Publish a small file where there is none yet; see `Place.create`."""
        path = self.path / name
        with disk_errors(self.path, "nothing was begun"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                # Of several that come at once, each has the temporary file for itself in turn.
                with whole_file(path, wait=True) as stream:
                    if path.exists():
                        raise FileExistsError
                    stream.write(data)
                return True
        return False

    def publish(self, name: str, make: Callable[[Path], None]) -> None:
        """Publish a file that a function writes; see `Place.publish`."""
        with disk_errors(self.path, "finished parts are kept"):
            self.path.mkdir(parents=True, exist_ok=True)
            make(self.path / name)

    def remove(self, name: str) -> None:
        """Take a file away; see `Place.remove`."""
        (self.path / name).unlink(missing_ok=True)

    def open(self, name: str) -> Any:
        """Open a file for reading; see `Place.open`."""
        return open(self.path / name, "rb")

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give the path of a file; see `Place.local`."""
        yield self.path / name


class RemoteFolder(Place):
    """A prefix of an object store.

    Parameters
    ----------
    url : str
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") + "/"

    def names(self, below: str = "") -> set[str]:
        """List the files directly in a folder below; see `Place.names`."""
        return set(list_folder(self.url + below))

    def read(self, name: str) -> bytes:
        """Read a file; see `Place.read`."""
        return read_file(self.url + name)

    def exists(self, name: str) -> bool:
        """Tell whether a file is there; see `Place.exists`."""
        system, _ = file_system(self.url)
        system.invalidate_cache()
        return file_facts(self.url + name) is not None

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file from its bytes; see `Place.write`."""
        system, path = file_system(self.url + name)
        patiently(self.url + name, lambda: system.pipe_file(path, data))

    def create(self, name: str, data: bytes) -> bool:
        """Publish a small file where there is none yet; see `Place.create`."""
        system, path = file_system(self.url + name)
        if self.exists(name):
            return False
        try:
            patiently(self.url + name, lambda: system.pipe_file(path, data, mode="create"))
        except FileExistsError:
            return self.read(name) == data  # perhaps by a first try whose answer was lost
        except (TypeError, NotImplementedError, StoreError):
            # A store without conditional writes: the check above is all there is.
            self.write(name, data)
        return True

    def publish(self, name: str, make: Callable[[Path], None]) -> None:
        """Publish a file that a function writes; see `Place.publish`."""
        url = self.url + name
        system, path = file_system(url)
        with tempfile.TemporaryDirectory(prefix="decaf-part-") as scratch:
            made = Path(scratch, name.rpartition("/")[2])
            make(made)
            if made.stat().st_size <= _WHOLE_BYTES:
                data = made.read_bytes()
                patiently(url, lambda: system.pipe_file(path, data))
            else:
                patiently(url, lambda: system.put_file(str(made), path))

    def remove(self, name: str) -> None:
        """Take a file away; see `Place.remove`."""
        system, path = file_system(self.url + name)
        try:
            patiently(self.url + name, lambda: system.rm_file(path))
        except FileNotFoundError:
            return

    def open(self, name: str) -> Any:
        """Open a file for reading; see `Place.open`."""
        system, path = file_system(self.url + name)
        return patiently(self.url + name, lambda: system.open(path, "rb"))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give the path of a copy of a file; see `Place.local`."""
        scratch = tempfile.mkdtemp(prefix="decaf-part-")
        try:
            copy = Path(scratch, name.rpartition("/")[2])
            copy_file(self.url + name, copy)
            yield copy
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def open_place(url: str | os.PathLike[str]) -> Place:
    """Return the folder or prefix of a path or URL, which need not be there yet.

    Parameters
    ----------
    url : str or path
    """
    text = os.fspath(url)
    if is_remote(text):
        file_system(text)  # a library that is missing is told now
        return RemoteFolder(text)
    return LocalFolder(Path(local_path(text)))

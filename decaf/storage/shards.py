"""Shards: files of finished rows in a folder, and the manifest that says which of them are whole.

The folder, such as ``NAME.h5.parts/``, holds

- ``lock``, held by the one run that may write;
- ``run.json``: the settings, and how the rows are cut into shards;
- ``inputs.jsonl``: for each image its name, size, time of change and label;
- ``START-STOP.shard``: rows START to STOP, written under a temporary name, synced, renamed;
- ``manifest-RANK.txt``: one line for each finished shard, with the SHA-256 of its bytes, and a
  checksum of the line itself. A shard counts when its line does.

A process may be killed between any two system calls: what it leaves is either not yet named in a
manifest, and done again, or complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from decaf.errors import OutputError, Stopped
from decaf.runtime.progress import Progress
from decaf.storage.atomic import SUFFIX, append_line, disk_errors, write_atomically
from decaf.storage.file_locks import OPEN_FILES_STAY
from decaf.storage.lock import LOCK_NAME

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "HEADER_NAME",
    "INPUTS_NAME",
    "OWN_FILES",
    "Shard",
    "ShardDirectory",
    "ShardRows",
    "ShardWriter",
    "manifest_line",
    "read_manifest",
]

HEADER_NAME = "run.json"
INPUTS_NAME = "inputs.jsonl"
# The names of all that a run leaves in its folder, half-written files among them. Anything else
# there is somebody's, and stays.
OWN_FILES = re.compile(
    rf"(run\.json|inputs\.jsonl|[0-9]{{10,}}-[0-9]{{10,}}\.shard)({re.escape(SUFFIX)})?"
    r"|manifest-[0-9]+\.txt"
)
# Shards that wait for the disk before the computing waits too.
WRITE_AHEAD = 2


class ShardRows(Protocol):
    """Consecutive rows of any kind of file, as a shard keeps them.

    Attributes
    ----------
    start, stop : int
        Which rows.
    """

    start: int
    stop: int

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the rows as arrays, by name."""

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> Self:
        """Make rows from what `to_arrays` returned.

        Parameters
        ----------
        start, stop : int
            Which rows.
        arrays : dict of str to ndarray
        """


R = TypeVar("R", bound=ShardRows)


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard, as its line in the manifest names it.

    Attributes
    ----------
    start, stop : int
        Its rows.
    size : int
        Bytes of its file.
    sha256 : str
        SHA-256 of its file.
    """

    start: int
    stop: int
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the folder."""
        return f"{self.start:010d}-{self.stop:010d}.shard"


def manifest_line(shard: Shard) -> bytes:
    """Return the line of a manifest that names a shard.

    Parameters
    ----------
    shard : Shard
    """
    text = f"{shard.start} {shard.stop} {shard.size} {shard.sha256}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def read_manifest(data: bytes) -> Iterator[Shard]:
    """Read the lines of a manifest, passing over those that a crash has torn.

    Parameters
    ----------
    data : bytes
        Contents of the manifest.

    Yields
    ------
    Shard
    """
    for line in data.split(b"\n"):
        text, _, checksum = line.rpartition(b" ")
        if f"{zlib.crc32(text):08x}".encode() != checksum:
            continue  # torn by a crash, or what follows a torn line
        start, stop, size, sha256 = text.decode().split()
        yield Shard(int(start), int(stop), int(size), sha256)


class ShardDirectory(Generic[R]):
    """The folder of shards of an unfinished run.

    `decaf.storage.resumable.open_shards` makes it, or takes it up. A process that shares a run
    with the one that opened it makes this object itself, and knows of the shards alone that it
    writes.

    Parameters
    ----------
    path : Path
        The folder.
    rows : type
        What a shard holds.
    header : dict, optional
        Contents of ``run.json``.
    lock : int, optional
        Descriptor of the lock that this process holds.
    rank : int
        Number of this process among those of the run.

    Attributes
    ----------
    path : Path
    header : dict
    finished : dict of int to Shard
        The finished shards, by first row.
    """

    def __init__(
        self,
        path: Path,
        rows: type[R],
        header: dict[str, Any] | None = None,
        lock: int | None = None,
        rank: int = 0,
    ) -> None:
        self.path = path
        self.header = header or {}
        self.finished: dict[int, Shard] = {}
        self._rows = rows
        self._lock = lock
        self._manifest = path / f"manifest-{rank:05d}.txt"

    def read_manifests(self, check: Callable[[], object] | None = None) -> None:
        """Find the finished shards. A shard whose file is not what its line says is left out.

        Parameters
        ----------
        check : callable, optional
            Called before each shard is read; what it raises ends this.
        """
        self.finished = {}
        for manifest in sorted(self.path.glob("manifest-*.txt")):
            for shard in read_manifest(manifest.read_bytes()):
                if check is not None:
                    check()
                if self._intact(shard):
                    self.finished[shard.start] = shard

    def _intact(self, shard: Shard) -> bool:
        try:
            with open(self.path / shard.file_name, "rb") as file:
                if os.fstat(file.fileno()).st_size != shard.size:
                    return False
                digest = hashlib.sha256()
                while block := file.read(1 << 20):
                    digest.update(block)
                return digest.hexdigest() == shard.sha256
        except OSError:
            return False

    def missing(self, count: int) -> list[tuple[int, int]]:
        """List the ranges of rows, of `count`, that are still to be made.

        Parameters
        ----------
        count : int
            Rows in all.
        """
        return [
            (start, stop)
            for start, stop in self._ranges(count)
            if start not in self.finished or self.finished[start].stop != stop
        ]

    def _ranges(self, count: int) -> Iterator[tuple[int, int]]:
        step: int = self.header["shard_rows"]
        return ((start, min(start + step, count)) for start in range(0, count, step))

    def write(self, rows: R) -> None:
        """Put a shard on the disk for good, then name it in the manifest.

        Parameters
        ----------
        rows : ShardRows
        """
        data = safetensors.numpy.save(rows.to_arrays())
        shard = Shard(rows.start, rows.stop, len(data), hashlib.sha256(data).hexdigest())
        write_atomically(self.path / shard.file_name, data)
        append_line(self._manifest, manifest_line(shard))
        self.finished[shard.start] = shard

    def read(self, shard: Shard) -> R:
        """Read a shard back.

        Parameters
        ----------
        shard : Shard
            One of `finished`.

        Raises
        ------
        OutputError
            Where it is not what was written.
        """
        data = (self.path / shard.file_name).read_bytes()
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise OutputError(
                f"{self.path / shard.file_name}: has changed since it was written; "
                "run the same command again to make its rows anew"
            )
        return self._rows.from_arrays(shard.start, shard.stop, safetensors.numpy.load(data))

    def peek(self, shard: Shard, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read some arrays of a shard without going through the rest, nor proving its checksum.

        Parameters
        ----------
        shard : Shard
            One of `finished`.
        names : sequence of str
            Names of arrays that `ShardRows.to_arrays` returned.
        """
        with safetensors.safe_open(self.path / shard.file_name, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in names}

    def all_rows(self, count: int) -> Iterator[R]:
        """Read `count` rows in their order; none of them may be missing.

        Parameters
        ----------
        count : int
            Rows in all.
        """
        for start, _stop in self._ranges(count):
            yield self.read(self.finished[start])

    def clear(self) -> None:
        """Delete what a run has left in the folder, and nothing else."""
        # The header goes first: without it what is left is no run that could be resumed.
        (self.path / HEADER_NAME).unlink(missing_ok=True)
        for name in os.listdir(self.path):
            if OWN_FILES.fullmatch(name):
                (self.path / name).unlink()

    def remove(self) -> None:
        """Delete the folder: the file it was for is finished.

        What cannot be deleted stays: the next run of the same command tries again.
        """
        with contextlib.suppress(OSError):
            self.clear()
            if OPEN_FILES_STAY:
                self.close()
            # Last, since until then nobody else can begin here.
            (self.path / LOCK_NAME).unlink()
            self.path.rmdir()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class ShardWriter(Generic[R]):
    """Writes shards in a thread of its own, since a sync to disk takes as long as it takes.

    As a context manager: leaving it waits until all is written.

    Parameters
    ----------
    shards : ShardDirectory
        Where to.
    bar : Progress
        Told of each shard that is safe.
    disk_path : Path
        The file that the shards are for, named where the disk fails.
    kept : str
        What is safe then, as a clause.

    Raises
    ------
    OutputError
        From `put` and on leaving, where an earlier shard could not be written.
    """

    def __init__(
        self, shards: ShardDirectory[R], bar: Progress, *, disk_path: Path, kept: str
    ) -> None:
        self._shards = shards
        self._bar = bar
        self._disk_path = disk_path
        self._kept = kept
        self._queue: queue.Queue[R | None] = queue.Queue(WRITE_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decaf-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and (kind is None or kind is Stopped):
            raise self._error

    def put(self, rows: R) -> None:
        """Hand over a finished shard; raises what went wrong with an earlier one.

        Parameters
        ----------
        rows : ShardRows
        """
        self._queue.put(rows)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (rows := self._queue.get()) is not None:
            if self._error is not None:
                continue  # the queue is emptied, so that nobody waits on it
            try:
                with disk_errors(self._disk_path, self._kept):
                    self._shards.write(rows)
                self._bar.advance(rows.stop - rows.start)
            except BaseException as error:
                self._error = error

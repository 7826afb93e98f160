"""The unfinished feature file: a directory of shards beside the file that is to be.

``NAME.h5.parts/`` holds

- ``lock``, held (flock) by the one run that may write;
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
import functools
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from decaf.errors import OutputError, ResumeError
from decaf.features.parts.inputs import Entry, changed_content, changed_list, dump, parse
from decaf.features.rows import Rows, ShardRows
from decaf.features.run import differences
from decaf.storage.atomic import SUFFIX, append_line, write_atomically
from decaf.storage.lock import LOCK_NAME, acquire
from decaf.storage.manifest import Shard, from_lines, to_line
from decaf.storage.records import fingerprint

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Parts", "Shard", "ShardDirectory"]

R = TypeVar("R", bound=ShardRows)

LAYER_PREFIX = "features/"
HEADER_NAME = "run.json"
INPUTS_NAME = "inputs.jsonl"
# The names of all that a run leaves in its directory, half-written files among them. Anything else
# there is somebody's, and stays.
OWN_FILES = re.compile(
    rf"(run\.json|inputs\.jsonl|[0-9]{{10,}}-[0-9]{{10,}}\.shard)({re.escape(SUFFIX)})?"
    r"|manifest-[0-9]+\.txt"
)
# What of a header may differ where a run is taken up: the beginning's stands.
BEGINNING = ("shard_rows", "created", "run", "fingerprint")


class ShardDirectory(ABC, Generic[R]):
    """The directory of an unfinished run, opened and locked.

    Use `open` (or `join`, in processes that share a run with the one that opened it). What a shard
    holds is a derived class's to say, in `encode` and `decode`.

    Attributes
    ----------
    path : Path
        The directory.
    header : dict
        Contents of ``run.json``.
    shards : dict of int to Shard
        What is finished, by first row.
    resumed : int
        Rows that were there already.
    """

    def __init__(self, path: Path, header: dict[str, Any], lock: int | None, rank: int) -> None:
        self.path = path
        self.header = header
        self.shards: dict[int, Shard] = {}
        self.resumed = 0
        self._lock = lock
        self._manifest = path / f"manifest-{rank:05d}.txt"

    @classmethod
    def open(
        cls,
        path: Path,
        header: dict[str, Any],
        inputs: Sequence[Entry],
        digest: Callable[[int], bytes],
        *,
        discard: bool = False,
        between: Callable[[], object] | None = None,
    ) -> Self:
        """Begin a run, or take up one that was left.

        Parameters
        ----------
        path : Path
            The directory.
        header : dict
            Keys ``run``, ``fingerprint``, ``shard_rows``, ``created``, and whatever else determines
            the file (``decaf_version``, ``class_names``). ``shard_rows`` and ``created`` are taken
            from the run that is resumed, the others must agree with it.
        inputs : sequence of [name, size, mtime_ns, label]
            One for each row, names with surrogate escapes.
        digest : callable
            Gives the SHA-256 that the image of a row has now.
        discard : bool
            Throw away what an earlier run left.
        between : callable, optional
            Called before each finished shard is looked at; what it raises ends this, and leaves all
            as it was.

        Raises
        ------
        OutputError
            Where another run holds the directory, it cannot be made, or it holds something else.
        ResumeError
            Where the run that was left had other inputs or settings, or cannot be made out.
        """
        if path.is_symlink():
            raise OutputError(
                f"{path}: is needed for unfinished work and is a link; move it, or give another "
                "`out`"
            )
        lock = acquire(path)
        try:
            _refuse_irregular(path)
            parts = cls(path, header, lock, rank=0)
            if (path / HEADER_NAME).exists() and not discard:
                parts._take_up(inputs, digest, between)
            else:
                _refuse_strangers(path)
                _clear(path)
                write_atomically(path / INPUTS_NAME, dump(inputs))
                write_atomically(path / HEADER_NAME, json.dumps(header, indent=1).encode())
            return parts
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def join(cls, path: Path, rank: int) -> Self:
        """Take part in a run that another process has opened, under its lock.

        Its `shards` are those that are written here: what is missing, the other process knows.
        """
        return cls(path, {}, None, rank)

    @classmethod
    def tidy(cls, path: Path, fingerprint: str) -> None:
        """Delete what the run of a finished file left because it was killed as it deleted it."""
        # Where another run holds it, or it cannot be made out, it is not ours to delete.
        with contextlib.suppress(OutputError, ResumeError, OSError):
            if not path.is_dir():
                return
            parts = cls(path, {}, acquire(path), rank=0)
            try:
                header = path / HEADER_NAME
                if not header.exists() or _parse_header(header)["fingerprint"] == fingerprint:
                    parts.remove()
            finally:
                parts.close()

    def _take_up(
        self,
        inputs: Sequence[Entry],
        digest: Callable[[int], bytes],
        between: Callable[[], object] | None,
    ) -> None:
        before = _parse_header(self.path / HEADER_NAME)
        found = differences(before["run"], self.header["run"])
        for key in (key for key in self.header if key not in BEGINNING):
            found += differences({key: before.get(key)}, {key: self.header[key]})
        if found:
            raise ResumeError(
                f"{self.path}: was begun with other settings ({'; '.join(found)}); "
                "give another `out`, or `overwrite=True` to start anew"
            )
        self.header = before
        for name in os.listdir(self.path):
            if name.endswith(SUFFIX) and OWN_FILES.fullmatch(name):
                (self.path / name).unlink()
        self.read_manifests(between)
        entries = _parse_inputs(self.path / INPUTS_NAME)
        done = {
            (shard.start, shard.stop): functools.partial(self.read, shard)
            for shard in self.shards.values()
        }
        changed = changed_list(entries, inputs) or changed_content(entries, inputs, done, digest)
        if changed:
            raise ResumeError(
                f"{self.path}: was begun with other images ({changed}); "
                "give another `out`, or `overwrite=True` to start anew"
            )
        self.resumed = sum(shard.stop - shard.start for shard in self.shards.values())

    def read_manifests(self, between: Callable[[], object] | None = None) -> None:
        """Find the finished shards. A shard whose file is not what its line says is left out."""
        self.shards = {}
        for manifest in sorted(self.path.glob("manifest-*.txt")):
            for shard in from_lines(manifest.read_bytes()):
                if between is not None:
                    between()
                if self._intact(shard):
                    self.shards[shard.start] = shard

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
        """List the ranges of rows, of `count`, that are still to be made."""
        return [
            (start, stop)
            for start, stop in self._ranges(count)
            if start not in self.shards or self.shards[start].stop != stop
        ]

    def _ranges(self, count: int) -> Iterator[tuple[int, int]]:
        step: int = self.header["shard_rows"]
        return ((start, min(start + step, count)) for start in range(0, count, step))

    @abstractmethod
    def encode(self, rows: R) -> dict[str, np.ndarray]:
        """Return a shard's rows as arrays, by name."""

    @abstractmethod
    def decode(self, start: int, stop: int, arrays: dict[str, np.ndarray]) -> R:
        """Make the rows of a shard from what `encode` gave."""

    def write(self, rows: R) -> None:
        """Put a shard on the disk for good, then name it in the manifest."""
        data = safetensors.numpy.save(self.encode(rows))
        shard = Shard(rows.start, rows.stop, len(data), hashlib.sha256(data).hexdigest())
        write_atomically(self.path / shard.file_name, data)
        append_line(self._manifest, to_line(shard))
        self.shards[shard.start] = shard

    def read(self, shard: Shard) -> R:
        """Read a shard back.

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
        return self.decode(shard.start, shard.stop, safetensors.numpy.load(data))

    def peek(self, shard: Shard, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read some arrays of a shard without going through the rest, nor proving its checksum."""
        with safetensors.safe_open(self.path / shard.file_name, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in names}

    def all_rows(self, count: int) -> Iterator[R]:
        """Read `count` rows in their order; none of them may be missing."""
        for start, _stop in self._ranges(count):
            yield self.read(self.shards[start])

    def remove(self) -> None:
        """Delete the directory: the file it was for is finished.

        What cannot be deleted stays: the next run of the same command tries again.
        """
        with contextlib.suppress(OSError):
            _clear(self.path)
            # Last, since until then nobody else can begin here.
            (self.path / LOCK_NAME).unlink()
            self.path.rmdir()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Parts(ShardDirectory[Rows]):
    """The directory of an unfinished feature file."""

    def encode(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return rows of features as arrays, by name."""
        messages = json.dumps(rows.messages).encode()
        return {
            **{LAYER_PREFIX + layer: values for layer, values in rows.features.items()},
            "status": rows.status,
            "source_size": rows.source_size,
            "content_sha256": rows.content_sha256,
            "messages": np.frombuffer(messages, np.uint8),
        }

    def decode(self, start: int, stop: int, arrays: dict[str, np.ndarray]) -> Rows:
        """Make rows of features from what `encode` gave."""
        return Rows(
            start=start,
            stop=stop,
            features={
                name.removeprefix(LAYER_PREFIX): values
                for name, values in arrays.items()
                if name.startswith(LAYER_PREFIX)
            },
            status=arrays["status"],
            source_size=arrays["source_size"],
            content_sha256=arrays["content_sha256"],
            messages=json.loads(arrays["messages"].tobytes()),
        )


def _parse_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_bytes())
        if header["fingerprint"] != fingerprint(header["run"]):
            raise ValueError("its settings are not those of its fingerprint")
        if type(header["shard_rows"]) is not int or header["shard_rows"] < 1:
            raise ValueError("it has no size of shards")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    found: dict[str, Any] = header
    return found


def _parse_inputs(path: Path) -> list[Entry]:
    try:
        return parse(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ResumeError:
    return ResumeError(
        f"{path}: is damaged ({type(error).__name__}: {error}), so that nothing tells what the "
        "finished rows beside it belong to; give `overwrite=True` to start anew, or another `out`"
    )


def _clear(path: Path) -> None:
    # The header goes first: without it what is left is no run that could be resumed.
    (path / HEADER_NAME).unlink(missing_ok=True)
    for name in os.listdir(path):
        if OWN_FILES.fullmatch(name):
            (path / name).unlink()


def _refuse_irregular(path: Path) -> None:
    # A line would be written to what a link leads to, and reading a pipe would never end.
    with os.scandir(path) as entries:
        strange = [each.name for each in entries if not each.is_file(follow_symlinks=False)]
    for name in sorted(strange):
        if OWN_FILES.fullmatch(name):
            raise OutputError(
                f"{path / name}: is needed for unfinished work and is no plain file; move it, or "
                "give another `out`"
            )


def _refuse_strangers(path: Path) -> None:
    for name in sorted(os.listdir(path)):
        if name != LOCK_NAME and not OWN_FILES.fullmatch(name):
            raise OutputError(
                f"{path}: is needed for unfinished work and holds something else "
                f"({name!r}); move that, or give another `out`"
            )

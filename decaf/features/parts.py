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

import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from decaf.errors import OutputError, ResumeError
from decaf.features.pipeline import Rows

__all__ = ["Parts", "Shard", "disk_errors", "sync_directory", "write_atomically"]

LAYER_PREFIX = "features/"


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard, as its manifest line names it.

    Attributes
    ----------
    start, stop : int
        Its rows.
    size : int
        Of its file, in bytes.
    sha256 : str
        Of its file.
    """

    start: int
    stop: int
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the directory."""
        return f"{self.start:010d}-{self.stop:010d}.shard"


class Parts:
    """The directory of an unfinished run, opened and locked.

    Use `open` (or `join`, in processes that share a run with the one that opened it).

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
        inputs: Sequence[Sequence[Any]],
        digest: Callable[[int], bytes],
        *,
        discard: bool = False,
    ) -> Parts:
        """Begin a run, or take up one that was left.

        Parameters
        ----------
        path : Path
            The directory.
        header : dict
            Keys ``run``, ``fingerprint``, ``decaf_version``, ``class_names``, ``shard_rows`` and
            ``created``. The last two are taken from the run that is resumed, the others must agree
            with it.
        inputs : sequence of [name, size, mtime_ns, label]
            One for each row, names with surrogate escapes.
        digest : callable
            Gives the SHA-256 that the image of a row has now.
        discard : bool
            Throw away what an earlier run left.

        Raises
        ------
        OutputError
            Where another run holds the directory, or it cannot be made.
        ResumeError
            Where the run that was left had other inputs or settings.
        """
        lock = _acquire(path)
        try:
            if discard:
                _clear(path)
            parts = cls(path, header, lock, rank=0)
            if (path / "run.json").exists():
                parts._take_up(inputs, digest)
            else:
                _clear(path)
                lines = "".join(json.dumps(entry) + "\n" for entry in inputs)
                write_atomically(path / "inputs.jsonl", lines.encode())
                write_atomically(path / "run.json", json.dumps(header, indent=1).encode())
            return parts
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def join(cls, path: Path, rank: int) -> Parts:
        """Take part in a run that another process has opened, under its lock."""
        parts = cls(path, json.loads((path / "run.json").read_bytes()), None, rank)
        parts.read_manifests()
        return parts

    def _take_up(self, inputs: Sequence[Sequence[Any]], digest: Callable[[int], bytes]) -> None:
        from decaf.features.run import differences

        before = json.loads((self.path / "run.json").read_bytes())
        found = differences(before["run"], self.header["run"])
        for key in ("decaf_version", "class_names"):
            found += differences({key: before.get(key)}, {key: self.header[key]})
        if found:
            raise ResumeError(
                f"{self.path}: was begun with other settings ({'; '.join(found)}); "
                "give another --out, or --overwrite to start anew"
            )
        self.header = before
        for stray in self.path.glob("*.tmp"):
            stray.unlink()
        self.read_manifests()
        self._compare_inputs(inputs, digest)
        self.resumed = sum(shard.stop - shard.start for shard in self.shards.values())

    def _compare_inputs(
        self, inputs: Sequence[Sequence[Any]], digest: Callable[[int], bytes]
    ) -> None:
        """Refuse other images, other labels, and images that changed after their row was made."""
        with open(self.path / "inputs.jsonl", "rb") as file:
            before = [json.loads(line) for line in file]
        names_before, names_now = [e[0] for e in before], [e[0] for e in inputs]
        if names_before != names_now:
            gone = set(names_before) - set(names_now)
            new = set(names_now) - set(names_before)
            parts = [f"{len(names_before)} images there, {len(names_now)} now"]
            parts += [f"{len(new)} new (such as {min(new)!r})"] if new else []
            parts += [f"{len(gone)} gone (such as {min(gone)!r})"] if gone else []
            parts += ["in another order"] if not new and not gone else []
            self._refuse_inputs("; ".join(parts))
        relabelled = [e[0] for e, now in zip(before, inputs, strict=True) if e[3] != now[3]]
        if relabelled:
            self._refuse_inputs(f"{len(relabelled)} other labels (such as of {relabelled[0]!r})")
        # A file that was only touched is told from one that changed by its bytes.
        touched = {
            row
            for row, (entry, now) in enumerate(zip(before, inputs, strict=True))
            if list(entry[1:3]) != list(now[1:3])
        }
        changed = []
        for shard in self.shards.values() if touched else ():
            rows = self.read(shard)
            changed += [
                before[row][0]
                for row in touched.intersection(range(shard.start, shard.stop))
                if rows.content_sha256[row - shard.start].tobytes() != digest(row)
            ]
        if changed:
            self._refuse_inputs(
                f"{len(changed)} images changed since their rows were made (such as {changed[0]!r})"
            )

    def _refuse_inputs(self, text: str) -> None:
        raise ResumeError(
            f"{self.path}: was begun with other images ({text}); "
            "give another --out, or --overwrite to start anew"
        )

    def read_manifests(self) -> None:
        """Find the finished shards. A shard whose file is not what its line says is left out."""
        self.shards = {}
        for manifest in sorted(self.path.glob("manifest-*.txt")):
            for shard in _manifest_lines(manifest.read_bytes()):
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
        step = int(self.header["shard_rows"])
        ranges = [(start, min(start + step, count)) for start in range(0, count, step)]
        return [
            (start, stop)
            for start, stop in ranges
            if start not in self.shards or self.shards[start].stop != stop
        ]

    def write(self, rows: Rows) -> None:
        """Put a shard on the disk for good, then name it in the manifest."""
        arrays = {LAYER_PREFIX + layer: values for layer, values in rows.features.items()}
        arrays["status"] = rows.status
        arrays["source_size"] = rows.source_size
        arrays["content_sha256"] = rows.content_sha256
        messages = json.dumps(rows.messages).encode()
        arrays["messages"] = np.frombuffer(messages, np.uint8)
        data = safetensors.numpy.save(arrays)
        shard = Shard(rows.start, rows.stop, len(data), hashlib.sha256(data).hexdigest())
        write_atomically(self.path / shard.file_name, data)
        _append(self._manifest, _manifest_line(shard))
        self.shards[shard.start] = shard

    def read(self, shard: Shard) -> Rows:
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
        arrays = safetensors.numpy.load(data)
        features = {
            name.removeprefix(LAYER_PREFIX): values
            for name, values in arrays.items()
            if name.startswith(LAYER_PREFIX)
        }
        return Rows(
            start=shard.start,
            stop=shard.stop,
            features=features,
            status=arrays["status"],
            source_size=arrays["source_size"],
            content_sha256=arrays["content_sha256"],
            messages=json.loads(arrays["messages"].tobytes()),
        )

    def all_rows(self) -> Iterator[Rows]:
        """Read all shards in the order of their rows."""
        for start in sorted(self.shards):
            yield self.read(self.shards[start])

    def remove(self) -> None:
        """Delete the directory: the file it was for is finished."""
        # The header goes first: without it what is left is no run that could be resumed.
        (self.path / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _acquire(path: Path) -> int:
    """Make the directory and take its lock."""
    while True:
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be made ({error.strerror})") from error
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # a run that just finished took the directory away
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 200, 0).decode(errors="replace").strip()
            os.close(lock)
            raise OutputError(
                f"{path}: another run is writing here ({owner}); wait for it or give another --out"
            ) from None
        try:
            current = os.stat(path / "lock").st_ino
        except FileNotFoundError:
            current = -1
        if current == os.fstat(lock).st_ino:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
            return lock
        os.close(lock)  # it was deleted by a run that finished meanwhile


def _clear(path: Path) -> None:
    (path / "run.json").unlink(missing_ok=True)
    for entry in path.iterdir():
        if entry.name != "lock":
            entry.unlink()


def _manifest_line(shard: Shard) -> bytes:
    text = f"{shard.start} {shard.stop} {shard.size} {shard.sha256}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _manifest_lines(data: bytes) -> Iterator[Shard]:
    for line in data.split(b"\n"):
        text, _, checksum = line.rpartition(b" ")
        if f"{zlib.crc32(text):08x}".encode() != checksum:
            continue  # torn by a crash, or what follows a torn line
        start, stop, size, sha256 = text.decode().split()
        yield Shard(int(start), int(stop), int(size), sha256)


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # A line torn by an earlier crash is ended first, so that it spoils no other.
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        _write_all(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent under its name, whatever happens."""
    temporary = path.with_name(path.name + ".tmp")
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


NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path, kept: str) -> Iterator[None]:
    """Turn failures of the disk into one line that says what was kept and how to go on.

    Parameters
    ----------
    path : Path
        What was being written.
    kept : str
        What is safe, as a clause.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = "the disk is full" if error.errno in NO_SPACE else (error.strerror or str(error))
        raise OutputError(
            f"{path}: cannot be written: {reason}; {kept}; mend that and run the same command again"
        ) from error

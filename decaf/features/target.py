"""The feature file that an extraction is to fill: begun, taken up, or there already."""

from __future__ import annotations

import hashlib
import json
import math
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import decaf
from decaf.errors import FeatureFileError, OutputError, ResumeError, Stopped
from decaf.features import schema
from decaf.features.assemble import FileHead, write_feature_file
from decaf.features.file import FeatureFile
from decaf.features.parts import Parts, disk_errors
from decaf.features.pipeline import Rows
from decaf.features.progress import Progress, progress_for
from decaf.features.ranks import Ranks, ranks_of_run
from decaf.features.run import differences, environment

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.features.session import Session
    from decaf.images.sources import ImageList

__all__ = ["Target", "describe"]

# A shard holds two batches on a CPU and four on a GPU: what a crash may cost, against the price
# of a sync to disk for each.
SHARD_BATCHES = {"cpu": 2, "cuda": 4}
SHARD_BYTES = 64 << 20
# Shards that wait for the disk before the computing waits too.
WRITE_AHEAD = 2


class Target:
    """Where an extraction writes to.

    Parameters
    ----------
    path : Path
        The feature file.
    overwrite : bool
        Replace a file, or the remains of a run, that differ from what is asked for now.

    Raises
    ------
    OutputError
        Where `path` cannot be a file.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self.overwrite = overwrite
        self.parts_path = path.with_name(path.name + ".parts")
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file, such as {path}/f.h5")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}")

    def fill(
        self,
        session: Session,
        backbone: Backbone,
        *,
        progress: bool | Callable[[int, int], Any] | None,
        stop: threading.Event | None,
        raise_bad: bool,
    ) -> FeatureFile:
        """Compute what is missing, write the file, and open it.

        Raises
        ------
        Stopped
            Where `stop` was set before the last row was begun.
        ResumeError, OutputError, ImageError
            As `decaf.extract` says.
        """
        images = session.images
        head = self._head(session, backbone)
        layers = _row_shapes(session, backbone)
        with ranks_of_run() as ranks:
            if not self._begin(session, head, layers, ranks):
                return FeatureFile(self.path)
            parts = self._parts
            try:
                if raise_bad:
                    _forget_bad(parts)
                todo = parts.missing(len(images))[ranks.rank :: ranks.world]
                done = len(images) - sum(stop_ - start for start, stop_ in todo)
                with progress_for(progress if ranks.rank == 0 else False, len(images), done) as bar:
                    try:
                        self._compute(session, todo, parts, bar, stop, raise_bad)
                    except Stopped:
                        raise Stopped(
                            f"{self.path}: stopped after {bar.done} of {len(images)} images; they "
                            f"are kept in {self.parts_path}; run the same command again to go on"
                        ) from None
                ranks.all_agree(True)
                if ranks.rank == 0:
                    self._assemble(session, head, layers, ranks)
                else:
                    ranks.share(None)
            finally:
                parts.close()
        return FeatureFile(self.path)

    def _head(self, session: Session, backbone: Backbone) -> FileHead:
        return FileHead(
            names=session.images.names,
            labels=session.images.labels,
            class_names=session.images.class_names,
            run=session.settings.record(backbone),
            environment=environment(
                str(session.device),
                session.images.sources,
                session.threads * session.torch_threads,
            ),
            decaf_version=decaf.__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _begin(
        self, session: Session, head: FileHead, layers: dict[str, tuple[int, ...]], ranks: Ranks
    ) -> bool:
        """Open the directory of shards in all processes; False where the file is complete."""
        inputs = describe(session.images)
        digest = hashlib.sha256(json.dumps([entry[::3] for entry in inputs]).encode()).hexdigest()
        begun: Any = None
        if ranks.rank == 0:
            try:
                begun = None if self._is_complete(head, session.images) else digest
                if begun is not None:
                    row_bytes = sum(math.prod(shape) for shape in layers.values())
                    row_bytes *= np.dtype(session.settings.dtype).itemsize
                    self._parts = self._open_parts(session, head, inputs, row_bytes)
            except Exception as error:
                ranks.share(error)
                raise
        begun = ranks.share(begun)
        if begun is None:
            return False
        if ranks.rank != 0:
            if begun != digest:
                raise OutputError(f"{self.path}: rank {ranks.rank} sees other images than rank 0")
            self._parts = Parts.join(self.parts_path, ranks.rank)
        return True

    def _is_complete(self, head: FileHead, images: ImageList) -> bool:
        """Tell whether the file is there and is what was asked for; refuse it if it is another."""
        if not self.path.exists() or self.overwrite:
            return False
        try:
            with FeatureFile(self.path) as file:
                found = differences(file.run, head.run)
                if list(file.paths) != list(head.names):
                    found.append(f"{len(file)} images there, {len(head.names)} now, or others")
                elif not np.array_equal(file.labels, head.labels):
                    found.append("other labels")
                elif images.in_memory:
                    found.append("images in memory, which cannot be compared with its rows")
                elif not found:
                    found += _changed(file, images)
        except FeatureFileError as error:
            raise OutputError(
                f"{self.path}: exists and is no feature file that can be read ({error}); "
                "give another --out, or --overwrite"
            ) from error
        if found:
            raise OutputError(
                f"{self.path}: exists and differs from this run ({'; '.join(found)}); "
                "give another --out, or --overwrite"
            )
        return True

    def _open_parts(
        self, session: Session, head: FileHead, inputs: list[list[Any]], row_bytes: int
    ) -> Parts:
        header = {
            "run": head.run,
            "fingerprint": schema.fingerprint(head.run),
            "decaf_version": head.decaf_version,
            "class_names": list(head.class_names),
            "created": head.created,
            "shard_rows": _shard_rows(session, row_bytes),
        }

        def digest(row: int) -> bytes:
            return _content_digest(session.images, row)

        def open_parts(discard: bool) -> Parts:
            with disk_errors(self.parts_path, "nothing was begun"):
                return Parts.open(self.parts_path, header, inputs, digest, discard=discard)

        if session.images.in_memory:
            return open_parts(discard=True)  # nothing tells whether these are the same images
        try:
            return open_parts(discard=False)
        except ResumeError:
            if not self.overwrite:
                raise
            return open_parts(discard=True)

    def _compute(
        self,
        session: Session,
        todo: list[tuple[int, int]],
        parts: Parts,
        bar: Progress,
        stop: threading.Event | None,
        raise_bad: bool,
    ) -> None:
        kept = f"finished rows are kept in {self.parts_path}"
        with _Writer(parts, bar, disk_path=self.path, kept=kept) as writer:
            for rows in session.rows(todo, stop=stop, raise_bad=raise_bad):
                writer.put(rows)

    def _assemble(
        self, session: Session, head: FileHead, layers: dict[str, tuple[int, ...]], ranks: Ranks
    ) -> None:
        parts = self._parts
        try:
            parts.read_manifests()
            if missing := parts.missing(len(session.images)):
                raise OutputError(
                    f"{self.path}: rows {missing[0][0]} to {missing[0][1] - 1} are not in "
                    f"{self.parts_path}; run the same command again to make them anew"
                )
            kept = f"all {len(session.images)} rows are kept in {self.parts_path}"
            with disk_errors(self.path, kept):
                write_feature_file(self.path, head, layers, parts.all_rows())
            parts.remove()
        except Exception as error:
            ranks.share(error)
            raise
        ranks.share(None)


class _Writer:
    """Writes shards in a thread of its own, since a sync to disk takes as long as it takes."""

    def __init__(self, parts: Parts, bar: Progress, *, disk_path: Path, kept: str) -> None:
        self._parts = parts
        self._bar = bar
        self._disk_path = disk_path
        self._kept = kept
        self._queue: queue.Queue[Rows | None] = queue.Queue(WRITE_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decaf-writer", daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and (kind is None or kind is Stopped):
            raise self._error

    def put(self, rows: Rows) -> None:
        """Hand over a finished shard; raises what went wrong with an earlier one."""
        self._queue.put(rows)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (rows := self._queue.get()) is not None:
            if self._error is not None:
                continue  # the queue is emptied, so that nobody waits on it
            try:
                with disk_errors(self._disk_path, self._kept):
                    self._parts.write(rows)
                self._bar.advance(rows.stop - rows.start)
            except BaseException as error:
                self._error = error


def _row_shapes(session: Session, backbone: Backbone) -> dict[str, tuple[int, ...]]:
    from decaf.backbone.spec import layer_shape

    stack = (10,) if session.settings.crops == "ten-stack" else ()
    return {
        layer: (*stack, *layer_shape(backbone.spec, layer)) for layer in session.settings.layers
    }


def describe(images: ImageList) -> list[list[Any]]:
    """List what an unfinished run remembers of its images: name, size, time of change, label."""
    entries = []
    for row, name in enumerate(images.names):
        size, changed = (-1, -1) if images.refs is None else images.refs[row].stat()
        text = name.decode("utf-8", "surrogateescape")
        entries.append([text, size, changed, int(images.labels[row])])
    return entries


def _shard_rows(session: Session, row_bytes: int) -> int:
    batches = min(
        SHARD_BATCHES[session.device.type], SHARD_BYTES // (session.batch_size * row_bytes)
    )
    return session.batch_size * max(1, batches)


def _forget_bad(parts: Parts) -> None:
    """Have bad images looked at again where they are an error now."""
    for start, shard in list(parts.shards.items()):
        if parts.read(shard).status.any():
            del parts.shards[start]


def _content_digest(images: ImageList, row: int) -> bytes:
    from decaf.errors import ImageError
    from decaf.images.status import NO_DIGEST

    if images.refs is None:
        return NO_DIGEST
    try:
        return hashlib.sha256(images.refs[row].load()).digest()
    except ImageError:
        return NO_DIGEST


def _changed(file: FeatureFile, images: ImageList) -> list[str]:
    """Compare the images' bytes with those that a finished file was made of."""
    digests = file.content_sha256
    for row in range(len(images)):
        if digests[row].tobytes() != _content_digest(images, row):
            return [f"the content of {images.names[row].decode(errors='backslashreplace')!r}"]
    return []

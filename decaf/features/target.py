"""The feature file that an extraction is to fill: begun, taken up, or there already."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import DecafError, FeatureFileError, OutputError, ResumeError, Stopped
from decaf.features.parts.directory import Parts
from decaf.features.parts.inputs import Entry, content_digest, describe, differs_from_file
from decaf.features.parts.writer import ShardWriter
from decaf.features.run import differences, environment
from decaf.features.store.assemble import FileHead, write_feature_file
from decaf.features.store.file import FeatureFile
from decaf.runtime.processes import World, world_of_run
from decaf.runtime.progress import Progress, progress_for
from decaf.storage.atomic import disk_errors, remove_leftover
from decaf.storage.records import fingerprint
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.features.session import Session
    from decaf.images.listing.sources import ImageList

__all__ = ["Target"]

# A shard holds two batches on a CPU and four on a GPU: what a crash may cost, against the price
# of a sync to disk for each.
SHARD_BATCHES = {"cpu": 2, "cuda": 4}
SHARD_BYTES = 64 << 20

GO_ON = "finished rows are kept: run the same command again to go on"


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
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file, such as {path}/f.h5")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}")
        self.path = path
        self.overwrite = overwrite
        self.parts_path = path.with_name(path.name + ".parts")

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
        # What the processes say to each other is said by CPUs, wherever the network is.
        with world_of_run("cpu", go_on=GO_ON) as world:
            if not self._begin(session, head, layers, world):
                return FeatureFile(self.path)
            parts = self._parts
            try:
                if raise_bad:
                    _forget_bad(parts)
                # Of one mind about what is missing: a rank that looked for itself would see what
                # a faster one had finished meanwhile, and the shares would not fit together.
                missing = world.share(parts.missing(len(images)) if world.chief else [])
                todo = missing[world.rank :: world.size]
                left = _rows_in(todo)
                total = len(images) - _rows_in(missing) + left  # without what other ranks will do
                with progress_for(progress if world.chief else False, total, total - left) as bar:
                    try:
                        self._compute(session, todo, parts, bar, stop, raise_bad)
                        _wait(world, stop)
                    except Stopped:
                        raise Stopped(
                            f"{self.path}: stopped after {bar.done} of {len(images)} images; they "
                            f"are kept in {self.parts_path}; run the same command again to go on"
                        ) from None
                world.on_chief(lambda: self._assemble(session, head, layers))
            finally:
                parts.close()
        return FeatureFile(self.path)

    def _head(self, session: Session, backbone: Backbone) -> FileHead:
        return FileHead(
            names=session.images.names,
            labels=session.images.labels,
            class_names=session.images.class_names,
            splits=session.images.splits,
            groups=session.images.groups,
            run=session.settings.record(backbone),
            environment=environment(
                str(session.device),
                session.images.sources,
                session.threads * session.torch_threads,
            ),
            decaf_version=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _begin(
        self, session: Session, head: FileHead, layers: dict[str, tuple[int, ...]], world: World
    ) -> bool:
        """Open the directory of shards in all processes; False where the file is complete."""
        inputs = describe(session.images)
        digest = hashlib.sha256(json.dumps([entry[::3] for entry in inputs]).encode()).hexdigest()

        def begin() -> str | None:
            if self._is_complete(head, session.images):
                Parts.tidy(self.parts_path, fingerprint(head.run))
                remove_leftover(self.path)
                return None
            row_bytes = sum(math.prod(shape) for shape in layers.values())
            row_bytes *= np.dtype(session.settings.dtype).itemsize
            self._parts = self._open_parts(session, head, inputs, row_bytes)
            return digest if self._is_needed(head, session.images) else None

        begun = world.share(world.on_chief(begin))
        if begun is None:
            return False
        if not world.chief:
            if begun != digest:
                raise OutputError(f"{self.path}: rank {world.rank} sees other images than rank 0")
            self._parts = Parts.join(self.parts_path, world.rank)
        return True

    def _is_needed(self, head: FileHead, images: ImageList) -> bool:
        """Look again, under the lock: another run may have finished a moment ago."""
        parts = self._parts
        try:
            if self._is_complete(head, images):
                parts.remove()
                parts.close()
                return False
            # Of a run that was killed as it assembled: the room it takes may be needed.
            remove_leftover(self.path)
        except BaseException:
            parts.close()
            raise
        return True

    def _is_complete(self, head: FileHead, images: ImageList) -> bool:
        """Tell whether the file is there and is what was asked for.

        Another one is refused, or with `overwrite` taken for none; so is then one with images that
        could not be read, which may be there by now.
        """
        if not self.path.exists():
            return False
        try:
            with FeatureFile(self.path) as file:
                found = differences(file.run, head.run)
                # With other settings nobody has to wait until all images are compared.
                changed = "" if found else differs_from_file(file, images)
                found += [changed] if changed else []
                whole = bool(file.ok.all())
        except FeatureFileError as error:
            if self.overwrite:
                return False
            raise OutputError(
                f"{self.path}: exists and is no feature file that can be read ({error}); "
                "give another `out`, or `overwrite=True`"
            ) from error
        if found and not self.overwrite:
            raise OutputError(
                f"{self.path}: exists and differs from this run ({'; '.join(found)}); "
                "give another `out`, or `overwrite=True`"
            )
        return not found and (whole or not self.overwrite)

    def _open_parts(
        self, session: Session, head: FileHead, inputs: list[Entry], row_bytes: int
    ) -> Parts:
        header = {
            "run": head.run,
            "fingerprint": fingerprint(head.run),
            "decaf_version": head.decaf_version,
            "class_names": list(head.class_names),
            "created": head.created,
            "shard_rows": _shard_rows(session, row_bytes),
        }

        def digest(row: int) -> bytes:
            return content_digest(session.images, row)

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
        with (
            ShardWriter(parts, bar, disk_path=self.path, kept=kept) as writer,
            # Closed by hand, so that its threads have ended when an error leaves here.
            closing(session.rows(todo, stop=stop, raise_bad=raise_bad)) as stream,
        ):
            for rows in stream:
                writer.put(rows)

    def _assemble(
        self, session: Session, head: FileHead, layers: dict[str, tuple[int, ...]]
    ) -> None:
        parts = self._parts
        head = replace(head, created=parts.header["created"])  # that of the run's beginning
        parts.read_manifests()
        if missing := parts.missing(len(session.images)):
            raise OutputError(
                f"{self.path}: rows {missing[0][0]} to {missing[0][1] - 1} are not in "
                f"{self.parts_path}; run the same command again to make them anew"
            )
        kept = f"all {len(session.images)} rows are kept in {self.parts_path}"
        with disk_errors(self.path, kept):
            write_feature_file(self.path, head, layers, parts.all_rows(len(session.images)))
        parts.remove()


def _wait(world: World, stop: threading.Event | None) -> None:
    try:
        world.wait()
    except DecafError:
        # A rank that waits when all of them are stopped sees the others go.
        if stop is not None and stop.is_set():
            raise Stopped from None
        raise


def _rows_in(ranges: list[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


def _row_shapes(session: Session, backbone: Backbone) -> dict[str, tuple[int, ...]]:
    from decaf.backbone.spec import layer_shape

    stack = (10,) if session.settings.crops == "ten-stack" else ()
    return {
        layer: (*stack, *layer_shape(backbone.spec, layer, backbone.preprocess.crop))
        for layer in session.settings.layers
    }


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

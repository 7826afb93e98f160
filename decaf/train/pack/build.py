"""`make_pack`: a data set in, a training pack out; begun, taken up, or there already."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from decaf.errors import OutputError, PackError, ResumeError, SettingError, Stopped
from decaf.features.parts.inputs import UNKNOWN_CONTENT, content_digest
from decaf.features.parts.writer import ShardWriter
from decaf.features.run import differences
from decaf.features.session import start_decoders
from decaf.images.status import STATUS_NAMES
from decaf.images.workers.pool import InlinePool, Pool
from decaf.runtime.cores import available_cores
from decaf.runtime.progress import progress_for
from decaf.storage.atomic import disk_errors, remove_leftover
from decaf.storage.records import fingerprint
from decaf.train.pack.assemble import PackHead, need_room, write_pack
from decaf.train.pack.readable import ReadableImages
from decaf.train.pack.reader import Pack
from decaf.train.pack.rows import PackParts
from decaf.train.pack.settings import PackSettings
from decaf.train.pack.sources import PackSource, Source, find_source
from decaf.train.pack.stream import bad_image, stream_rows
from decaf.version import __version__

__all__ = ["make_pack"]

ON_ERROR = ("raise", "record")
# Of a shard: what a crash may cost, against the price of a sync to disk for each.
SHARD_BYTES = 16 << 20
SHARD_ROWS = (16, 1024)
# The size where none is given: the paper's, and that of the images of Tiny-ImageNet.
DEFAULT_SIZE = 256
TINY_SIZE = 64
MAX_THREADS = 8
# Images in memory for each process and thread: enough that none of them waits for the next.
IN_FLIGHT = 8
_UNKNOWN = {STATUS_NAMES[code] for code in UNKNOWN_CONTENT}


def make_pack(
    source: Source | PackSource,
    out: Source,
    *,
    val: Source | None = None,
    devkit: Source | None = None,
    split_val: float | None = None,
    seed: int = 0,
    labels: Any = "folder",
    layout: str = "auto",
    groups: Any = None,
    min_images: int | None = None,
    size: int | None = None,
    encoding: str = "jpeg",
    quality: int = 92,
    resize: str = "shorter-side",
    workers: int | None = None,
    on_error: str = "raise",
    overwrite: bool = False,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
) -> Pack:
    """Turn a data set into a training pack.

    The same call resumes a run that was interrupted, and makes nothing where the pack is complete
    and the images are as they were. What is made does not depend on interruptions or `workers`.

    Parameters
    ----------
    source : path or PackSource
        A folder, or a tar or zip of it: a folder for each class; ``train`` and ``val`` (or
        ``test``) with these; Tiny-ImageNet's layout; or the tar of ImageNet's training images as
        given out for ILSVRC 2012, or a folder that holds it and those below. Tars are not unpacked.
        Of ``test`` beside ``val`` nothing is packed; alone it stays ``test``, and is not validated
        on unless `decaf.train.run.train` is told to. Or a data set whose images are listed
        already, for which `val`, `devkit` and `split_val` are left out.
    out : path
        The file to write.
    val : path, optional
        Where the validation images are, if they are elsewhere.
    devkit : path, optional
        ImageNet's development kit, which has the classes of ImageNet's validation images.
    split_val : float, optional
        Take this share of each class's training images for validation.
    seed : int
        Of that draw.
    labels : "folder", path, or sequence
        As in `decaf.extract`; images without a label are left out, with a word.
    layout : {"auto", "splits", "classes"}
        As in `decaf.extract`.
    groups : str, path or sequence, optional
        As in `decaf.extract`: `split_val` draws whole groups.
    min_images : int, optional
        Leave out classes with fewer training images, with a word; by default those with none, or a
        single one where some are drawn for validation.
    size : int, optional
        Side of the images; 256 when not given, and 64 for Tiny-ImageNet's layout.
    encoding : {"jpeg", "raw"}
        How images are stored. JPEGs that have the size already keep their bytes.
    quality : int
        Of the JPEGs, 1 to 100. Their colour differences have half the resolution, as is usual.
    resize : {"shorter-side", "warp", "none"}
        Make the shorter side `size` and cut out the centre, or make the whole image square.
    workers : int, optional
        Decoding processes; one a core when not given, 0 to decode in this process.
    on_error : {"raise", "record"}
        At an image that cannot be read: raise `ImageError` (default; on the command line "record"
        is), or leave it out and write it down.
    overwrite : bool
        Replace `out` if it exists and differs.
    progress : bool or callable, optional
        True, False, or a function of (images done, images in all); by default a bar on terminals.
    stop : threading.Event, optional
        Set it to end the run early: what has been begun is finished and kept, then `Stopped` is
        raised. So it is while a pack is compared or put together.

    Returns
    -------
    Pack
        Open.

    Raises
    ------
    SettingError, InputError
        For what cannot be asked for, and a data set that cannot be trained on.
    ImageError
        For a bad image, with ``on_error="raise"``.
    ResumeError, OutputError
        Where `out` belongs to another run, or cannot be written.
    """
    # Wrong values are told before a data set is listed, which may take a while.
    first = DEFAULT_SIZE if size is None else size
    settings = PackSettings(first, encoding, quality, resize)
    if on_error not in ON_ERROR:
        raise SettingError(f"`on_error` {on_error!r} is not one of {', '.join(ON_ERROR)}")
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise SettingError(f"`workers` {workers!r}: must be a whole number from 0 on")
    path = Path(os.fsdecode(out))
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file, such as {path}/data.pack")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
    if isinstance(source, PackSource):
        found = source
    else:
        found = find_source(
            source,
            val=val,
            devkit=devkit,
            split_val=split_val,
            seed=seed,
            labels=labels,
            layout=layout,
            groups=groups,
            min_images=min_images,
        )
    if size is None and found.kind == "tiny-imagenet":
        settings = replace(settings, size=TINY_SIZE)
    raise_bad = on_error == "raise"
    run = _Run(found, path, settings, split_val, seed, overwrite, raise_bad, stop)
    with ExitStack() as stack:
        decoders = start_decoders(found.images, workers)
        if decoders is not None:
            stack.callback(decoders.close)
        head = run.head()
        parts = run.begin(head)
        if parts is None:
            return Pack.open(path)
        stack.callback(parts.close)
        pool: Pool
        if decoders is None:
            pool = InlinePool(settings.spec, ten=False)
        else:
            decoders.configure(settings.spec, ten=False)
            pool = decoders
        processes = available_cores() if workers is None else workers
        threads = max(1, min(processes, MAX_THREADS))
        in_flight = IN_FLIGHT * (processes + threads)
        run.fill(parts, pool, threads, in_flight, progress)
        run.assemble(head, parts)
    return Pack.open(path)


@dataclass(frozen=True)
class _Run:
    """One call of `make_pack`."""

    source: PackSource
    path: Path
    settings: PackSettings
    split_val: float | None
    seed: int
    overwrite: bool
    raise_bad: bool
    stop: threading.Event | None

    def check(self) -> None:
        """Raise `Stopped` where the run is to end."""
        if self.stop is not None and self.stop.is_set():
            raise Stopped(f"{self.path}: stopped; run the same command again to go on")

    @property
    def parts_path(self) -> Path:
        return self.path.with_name(self.path.name + ".parts")

    def head(self) -> PackHead:
        drawn = self.split_val is not None
        return PackHead(
            source=self.source,
            run={
                "source": self.source.kind,
                "split_val": self.split_val,
                "seed": self.seed if drawn else None,
                **self.settings.record(),
            },
            environment={
                "platform": platform.platform(),
                "python": platform.python_version(),
                "sources": list(self.source.images.sources),
            },
            decaf_version=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def begin(self, head: PackHead) -> PackParts | None:
        """Open the directory of shards; None where the pack is complete."""
        if self._is_complete(head):
            PackParts.tidy(self.parts_path, fingerprint(head.run))
            remove_leftover(self.path)
            return None
        low, high = SHARD_ROWS
        header = {
            "run": head.run,
            "fingerprint": fingerprint(head.run),
            "decaf_version": head.decaf_version,
            "wnids": list(self.source.wnids),
            "class_names": list(self.source.class_names),
            "created": head.created,
            "shard_rows": min(max(SHARD_BYTES // self.settings.image_bytes, low), high),
        }
        parts = self._open_parts(header)
        try:
            # Again, under the lock: another run may have finished a moment ago.
            if self._is_complete(head):
                parts.remove()
                parts.close()
                return None
            # Of a run that was killed as it assembled: the room it takes may be needed.
            remove_leftover(self.path)
            if self.raise_bad:
                _forget_bad(parts)
            left = sum(stop - start for start, stop in parts.missing(len(self.source.images)))
            # The shards, and then the pack beside them.
            each = self.settings.image_bytes // (1 if self.settings.encoding == "raw" else 2)
            size = (left + len(self.source.images)) * each
            need_room(self.path, size, f"what was finished is kept in {self.parts_path}")
        except BaseException:
            parts.close()
            raise
        return parts

    def _open_parts(self, header: dict[str, Any]) -> PackParts:
        inputs = self.source.entries()

        def digest(row: int) -> bytes:
            self.check()
            return content_digest(self.source.images, row)

        def open_parts(discard: bool) -> PackParts:
            with disk_errors(self.parts_path, "nothing was begun"):
                return PackParts.open(
                    self.parts_path, header, inputs, digest, discard=discard, between=self.check
                )

        try:
            return open_parts(discard=False)
        except ResumeError:
            if not self.overwrite:
                raise
            return open_parts(discard=True)

    def _is_complete(self, head: PackHead) -> bool:
        """Tell whether the pack is there and is what was asked for.

        Another one is refused, or with `overwrite` taken for none.
        """
        if not self.path.exists():
            return False
        try:
            with Pack.open(self.path) as pack:
                found = differences(pack.run, head.run)
                changed = "" if found else _changed(pack, self.source, self.check)
                found += [changed] if changed else []
                bad = pack.bad
        except PackError as error:
            if self.overwrite:
                return False
            raise OutputError(
                f"{self.path}: exists and is no training pack that can be read ({error}); "
                "give another `out`, or `overwrite=True`"
            ) from error
        if found and not self.overwrite:
            raise OutputError(
                f"{self.path}: exists and differs from this run ({'; '.join(found)}); "
                "give another `out`, or `overwrite=True`"
            )
        if found:
            return False
        if bad and self.raise_bad:
            _split, name, status, message = bad[0]
            if self.overwrite and status in _UNKNOWN:
                return False  # the image may do better now
            raise bad_image(name, status, message)
        return True

    def fill(
        self,
        parts: PackParts,
        pool: Pool,
        threads: int,
        in_flight: int,
        progress: bool | Callable[[int, int], Any] | None,
    ) -> None:
        """Make the shards that are missing."""
        count = len(self.source.images)
        readable = ReadableImages(self.source, str(self.parts_path))
        for shard in parts.shards.values():
            readable.count(shard.start, parts.peek(shard, ["status"])["status"])
        missing = parts.missing(count)
        left = sum(stop_row - start for start, stop_row in missing)
        with progress_for(progress, count, count - left) as bar:
            kept = f"finished images are kept in {self.parts_path}"
            stream = stream_rows(
                self.source.images,
                missing,
                pool=pool,
                settings=self.settings,
                train=self.source.splits["train"],
                threads=threads,
                in_flight=in_flight,
                stop=self.stop,
                raise_bad=self.raise_bad,
            )
            try:
                with (
                    ShardWriter(parts, bar, disk_path=self.path, kept=kept) as writer,
                    closing(stream),
                ):
                    for rows in stream:
                        # Before it is written: what is not, can be mended and made once more.
                        readable.count(rows.start, rows.status)
                        writer.put(rows)
            except Stopped:
                raise Stopped(
                    f"{self.path}: stopped after {bar.done} of {count} images; they are kept in "
                    f"{self.parts_path}; run the same command again to go on"
                ) from None

    def assemble(self, head: PackHead, parts: PackParts) -> None:
        """Make the file of the shards, and delete them."""
        count = len(self.source.images)
        head = replace(head, created=parts.header["created"])  # that of the run's beginning
        if missing := parts.missing(count):
            raise OutputError(
                f"{self.path}: images {missing[0][0]} to {missing[0][1] - 1} are not in "
                f"{self.parts_path}; run the same command again to make them anew"
            )
        with disk_errors(self.path, f"all {count} images are kept in {self.parts_path}"):
            write_pack(self.path, head, parts, self.check)
        parts.remove()


def _changed(pack: Pack, source: PackSource, between: Callable[[], object]) -> str:
    """Say in what the images of a finished pack are not these ones; an empty text if in nothing."""
    if pack.wnids != source.wnids or pack.class_names != source.class_names:
        return "other classes"
    if list(pack.splits) != list(source.splits):
        return f"splits: {', '.join(pack.splits)} there, {', '.join(source.splits)} now"
    start = 0
    for name, count in source.splits.items():
        rows = pack.table(name)
        if len(rows.names) != count:
            return f"{name}: {len(rows.names)} images there, {count} now"
        if rows.names != source.images.names[start : start + count]:
            return f"{name}: other images"
        if not np.array_equal(rows.labels, source.images.labels[start : start + count]):
            return f"{name}: other labels"
        for row in range(count):
            between()
            if rows.statuses.get(row) in _UNKNOWN:
                continue
            if rows.content_sha256[row].tobytes() != content_digest(source.images, start + row):
                return f"the content of {rows.names[row].decode(errors='backslashreplace')!r}"
        start += count
    return ""


def _forget_bad(parts: PackParts) -> None:
    """Have bad images looked at again where they are an error now."""
    for start, shard in list(parts.shards.items()):
        if parts.peek(shard, ["status"])["status"].any():
            del parts.shards[start]

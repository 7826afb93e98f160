"""`make_pack`: a data set in, a training pack out; begun, taken up, or there already."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.errors import InputError, PackError
from decaf.images import ImageList, ListingSettings
from decaf.images.status import STATUS_NAMES
from decaf.images.workers.decoders import Decoders, warm_decoders
from decaf.runtime.cores import available_cores
from decaf.runtime.disk import need_room
from decaf.runtime.names import name_text
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.runtime.wording import counted
from decaf.storage import Entry, ShardDirectory, ShardedFile, check_output, differences, fill
from decaf.storage.unfinished import UNKNOWN_CONTENT, changed_image
from decaf.train.pack.assemble import PackHead, write_pack
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import Source, find_source, pack_entries
from decaf.train.pack.stored_images import PackRows, PackSettings
from decaf.train.pack.stream import bad_image, stream_rows
from decaf.version import __version__

__all__ = ["NoneReadable", "make_pack"]

_logger = logging.getLogger(__name__)

# Of a shard: what a crash may cost, against the price of a sync to disk for each.
SHARD_BYTES = 16 << 20
SHARD_ROWS = (16, 1024)
# The size of the images of Tiny-ImageNet, which is taken where none is given.
TINY_SIZE = 64
MAX_THREADS = 8
# Images in memory for each process and thread: enough that none of them waits for the next.
IN_FLIGHT = 8
_UNKNOWN = {STATUS_NAMES[code] for code in UNKNOWN_CONTENT}


def make_pack(
    source: Source | ImageList,
    out: Source,
    *,
    val: Source | None = None,
    devkit: Source | None = None,
    split_val: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    settings: PackSettings | None = None,
    listing: ListingSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Pack:
    """Turn a data set into a training pack.

    The same call resumes a run that was interrupted, and makes nothing where the pack is complete
    and the images are as they were. What is made does not depend on interruptions or `workers`.

    Parameters
    ----------
    source : path or ImageList
        A folder, or a tar or zip of it: a folder for each class; ``train`` and ``val`` (or
        ``test``) with these; Tiny-ImageNet's layout; or the tar of ImageNet's training images as
        given out for ILSVRC 2012, or a folder that holds it and those below. Tars are not unpacked.
        Images of ``test`` beside ``val`` are not packed; alone it stays ``test``, and is not
        validated on unless `decaf.train_network` is told to. Or a data set whose images are
        listed already, for which `val`, `devkit` and `split_val` are left out.
    out : path
        The file to write.
    val : path, optional
        Where the validation images are, if they are elsewhere.
    devkit : path, optional
        ImageNet's development kit, which has the classes of ImageNet's validation images.
    split_val : float, optional
        Take this share of each class's training images for validation.
    seed : int
        Seed of that draw.
    overwrite : bool
        Replace `out` if it exists and differs.
    settings : PackSettings, optional
        How the images are stored; or its fields by their names, as of the objects below:

        - size : side of the images; 256 when not given, and 64 for Tiny-ImageNet's layout.
        - encoding : "jpeg" (default) or "raw". JPEGs that have the size already keep their bytes.
        - quality : quality of the JPEGs, 1 to 100, 92 when not given.
        - resize : "shorter-side" (default) makes the shorter side `size` and cuts out the centre,
          "warp" makes the whole image square, "none" takes images that have the size.
    listing : ListingSettings, optional
        How the images are listed:

        - labels : as in `decaf.extract`; images without a label are left out, with a word.
        - layout : "auto", "splits" or "classes", as in `decaf.extract`.
        - groups : as in `decaf.extract`: `split_val` draws whole groups.
        - splits : ``"FILE:COLUMN"`` of a table, or train, val or test for each image, where folders
          do not say it; as for `decaf.collect`.
        - crops_from, margin, min_confidence, categories : boxes as images of their own, as
          `decaf.collect` takes them.
        - min_images : leave out classes with fewer training images, with a word; by default those
          with none, or a single one where some are drawn for validation.
        - on_error : at an image that cannot be read, "raise" `ImageError` (default; on the command
          line "record" is), or leave it out and "record" it.
    compute : ComputeSettings, optional
        How the work is done:

        - workers : decoding processes; one a core when not given, 0 to decode in this process.
        - progress : True, False, or a function of (images done, images in all); by default a bar
          on terminals.
        - stop : a `threading.Event`. Set it to end the run early: what has been begun is finished
          and kept, then `Stopped` is raised. So it is while a pack is compared or put together.
    **named
        Fields of `settings`, `listing` and `compute` by their names: ``size=128, workers=2``.

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
    made = settings_from(
        make_pack,
        named,
        Part("settings", PackSettings, settings),
        Part("listing", ListingSettings, listing, without=("val_labels", "val_fraction")),
        Part("compute", ComputeSettings, compute, without=("device",)),
    )
    settings, listing, compute = made
    path = Path(name_text(out))
    check_output(path, "pack", example="data.pack")
    if isinstance(source, ImageList) and source.for_training:
        data = source
    else:
        data = find_source(source, listing, val=val, devkit=devkit, split_val=split_val, seed=seed)
    if settings.size is None and data.layout == "tiny-imagenet":
        settings = replace(settings, size=TINY_SIZE)
    drawn = {"split_val": split_val, "seed": None if split_val is None else seed}
    warm_decoders(data, compute.workers)
    import torch

    from decaf.runtime.processes import World

    raise_bad = listing.on_error == "raise"
    output = _PackOutput(
        path, data, settings, drawn, compute, overwrite=overwrite, raise_bad=raise_bad
    )
    fill(output, World(torch.device("cpu")), compute.progress)
    pack = Pack.open(path)
    _tell_of_copies(pack)
    return pack


def _tell_of_copies(pack: Pack) -> None:
    """Warn of images that would be measured on and are learnt from, and of those in two classes."""
    contents = {
        name: [row.tobytes() for row in split.content_sha256] for name, split in pack.splits.items()
    }
    unknown = bytes(32)  # of images in memory
    known = set(contents["train"]) - {unknown}
    for name in set(contents) - {"train"}:
        if twice := sum(digest in known for digest in contents[name]):
            _logger.warning(
                "%s: %d of %d %s images are training images too: what is measured on them says "
                "little",
                pack.path, twice, len(contents[name]), "validation" if name == "val" else name,
            )  # fmt: skip
    classes: dict[bytes, set[int]] = {}
    for name, digests in contents.items():
        for digest, label in zip(digests, pack.splits[name].labels.tolist(), strict=True):
            if digest != unknown:
                classes.setdefault(digest, set()).add(label)
    if doubtful := sum(len(labels) > 1 for labels in classes.values()):
        _logger.warning(
            "%s: %s in several classes: what is right there is not known",
            pack.path, counted(doubtful, "image", "are"),
        )  # fmt: skip


class _PackOutput(ShardedFile[PackRows]):
    noun, error, rows = "training pack", PackError, PackRows

    def __init__(
        self,
        path: Path,
        source: ImageList,
        settings: PackSettings,
        drawn: dict[str, Any],
        compute: ComputeSettings,
        *,
        overwrite: bool,
        raise_bad: bool,
    ) -> None:
        super().__init__(path, source, overwrite=overwrite, raise_bad=raise_bad, stop=compute.stop)
        self._settings = settings
        self._run = {"source": source.layout, **drawn, **settings.record()}
        self._workers = compute.workers

    def header(self) -> dict[str, Any]:
        low, high = SHARD_ROWS
        return {
            "run": self._run,
            "wnids": list(self.images.class_names),
            "class_names": list(self.images.class_titles),
            "shard_rows": min(max(SHARD_BYTES // self._settings.image_bytes, low), high),
        }

    def entries(self) -> list[Entry]:
        return pack_entries(self.images)

    def compare(self) -> tuple[list[str], bool]:
        with Pack.open(self.path) as pack:
            differing = differences(pack.run, self._run)
            changed = "" if differing else _changed(pack, self.images, self.check_stop)
            bad = pack.bad if self.raise_bad and not (differing or changed) else []
        if bad:
            _split, name, status, message = bad[0]
            if not (self.overwrite and status in _UNKNOWN):  # the image may do better now
                raise bad_image(name, status, message)
        return differing + ([changed] if changed else []), bool(bad)

    def check_room(self, shards: ShardDirectory[PackRows]) -> None:
        left = sum(stop - start for start, stop in shards.missing(len(self.images)))
        # The shards, and then the pack beside them.
        each = self._settings.image_bytes // (1 if self._settings.encoding == "raw" else 2)
        kept = f"what was finished is kept in {self.shards_path}"
        remedy = f"or give a smaller `size`, and run again: {kept}"
        need_room(self.path, (left + len(self.images)) * each, "the pack takes", remedy)

    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[PackRows]
    ) -> Generator[PackRows, None, None]:
        readable = _ReadableImages(self.images, str(self.shards_path))
        for shard in shards.finished.values():
            readable.count(shard.start, shards.peek(shard, ["status"])["status"])
        processes = available_cores() if self._workers is None else self._workers
        threads = max(1, min(processes, MAX_THREADS))
        spec = self._settings.spec
        with Decoders(self.images, self._workers, spec, ten=False) as pool:
            stream = stream_rows(
                self.images,
                ranges,
                pool=pool,
                settings=self._settings,
                train=self.images.split_counts["train"],
                threads=threads,
                in_flight=IN_FLIGHT * (processes + threads),
                stop=self.stop,
                raise_bad=self.raise_bad,
            )
            with closing(stream):
                for rows in stream:
                    # Before it is written: what is not, can be mended and made once more.
                    readable.count(rows.start, rows.status)
                    yield rows

    def assemble(self, shards: ShardDirectory[PackRows]) -> None:
        head = PackHead(
            images=self.images,
            run=self._run,
            environment={
                "platform": platform.platform(),
                "python": platform.python_version(),
                "sources": list(self.images.sources),
            },
            decaf_version=__version__,
            created=shards.header["created"],
        )
        write_pack(self.path, head, shards, self.check_stop)


class NoneReadable(InputError):
    """A class or a split without an image that can be read.

    Parameters
    ----------
    text : str
        The error and its remedy.
    kept : str
        Remedy for the images that were packed, after `text`.
    """

    def __init__(self, text: str, kept: str) -> None:
        super().__init__(text + kept)
        self.text = text
        self.kept = kept

    def __reduce__(self) -> tuple[type[NoneReadable], tuple[str, str]]:
        return type(self), (self.text, self.kept)


class _ReadableImages:
    """Counts, of each split and each class of train, the images not known to be bad.

    Parameters
    ----------
    images : ImageList
        As `find_source` returns it.
    kept : str
        Where finished images are kept, for the error.
    """

    def __init__(self, images: ImageList, kept: str) -> None:
        self._images = images
        self._kept = kept
        counts = images.split_counts
        labels = images.labels[: counts["train"]]
        self._of_class = np.bincount(labels, minlength=len(images.class_names))
        self._counts = counts
        self._stops = np.cumsum(list(counts.values()))
        self._of_split = np.array(list(counts.values()))

    def count(self, start: int, status: np.ndarray) -> None:
        """Count the bad images among consecutive ones.

        Parameters
        ----------
        start : int
            Row of the first.
        status : ndarray of uint8, shape (n,)
            0 for a good one.

        Raises
        ------
        InputError
            Where a split, or a class of train, has no image left that may be good.
        """
        for row in (np.flatnonzero(status) + start).tolist():
            reason = STATUS_NAMES[int(status[row - start])]
            split = int(np.searchsorted(self._stops, row, side="right"))
            self._of_split[split] -= 1
            if not self._of_split[split]:
                name = list(self._counts)[split]
                self._refuse(
                    f"none of the {counted(self._counts[name], f'{name} image')} can be read",
                    row,
                    reason,
                )
            if split == 0:
                label = int(self._images.labels[row])
                self._of_class[label] -= 1
                if not self._of_class[label]:
                    name = self._images.class_names[label]
                    what = f"no training image of the class {name!r} can be read"
                    self._refuse(what, row, reason)

    def _refuse(self, what: str, row: int, reason: str) -> None:
        example = name_text(self._images.names[row])
        raise NoneReadable(
            f"{what} (such as {example!r}: {reason}); mend these images, or remove them and "
            "their folder",
            f", and run the same command again with `overwrite=True`: what is finished is in "
            f"{self._kept} and is used where nothing else has changed",
        )


def _changed(pack: Pack, source: ImageList, check: Callable[[], object]) -> str:
    """Describe how the images of a finished pack differ from these; an empty text if in nothing."""
    if pack.wnids != source.class_names or pack.class_names != source.class_titles:
        return "other classes"
    if list(pack.splits) != list(source.split_counts):
        return f"splits: {', '.join(pack.splits)} there, {', '.join(source.split_counts)} now"
    start = 0
    for name, count in source.split_counts.items():
        rows, statuses = pack.sources(name)
        if len(rows.names) != count:
            return f"{name}: {counted(len(rows.names), 'image')} there, {count} now"
        if rows.names != source.names[start : start + count]:
            return f"{name}: other images"
        if not np.array_equal(rows.labels, source.labels[start : start + count]):
            return f"{name}: other labels"
        assert rows.content_sha256 is not None
        known = [row for row in range(count) if statuses.get(row) not in _UNKNOWN]
        images = source.take(np.arange(start, start + count))
        if told := changed_image(images, known, rows.content_sha256, check):
            return told
        start += count
    return ""

"""The feature file of an extraction: what its shards are, what determines them, how it is made."""

from __future__ import annotations

import math
import os
import platform
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import FeatureFileError
from decaf.features.rows import Rows
from decaf.features.store.assemble import FileHead, write_feature_file
from decaf.features.store.feature_file import FeatureFile
from decaf.runtime.wording import counted
from decaf.storage import ShardDirectory, ShardedFile, differences
from decaf.storage.unfinished import UNKNOWN_CONTENT, changed_image
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.features.extraction import Extraction
    from decaf.features.settings import RunSettings
    from decaf.images import ImageList

__all__ = ["GO_ON", "FeatureOutput", "row_shapes"]

# A shard holds two batches on a CPU and four on a GPU: what a crash may cost, against the price
# of a sync to disk for each.
CPU_BATCHES, GPU_BATCHES = 2, 4
SHARD_BYTES = 64 << 20

GO_ON = "finished rows are kept: run the same command again to go on"


class FeatureOutput(ShardedFile[Rows]):
    """The feature file of an extraction; see `decaf.storage.resumable.ShardedFile`.

    Parameters
    ----------
    path : Path
        The feature file.
    extraction : Extraction
        Extraction that computes its rows.
    overwrite : bool
        Replace a file, or the shards of a run, that differ from what is asked for now.
    raise_bad : bool
        Raise at the first bad image.
    stop : threading.Event, optional
        Set it to end the run early.
    """

    noun, error, rows = "feature file", FeatureFileError, Rows

    def __init__(
        self,
        path: Path,
        extraction: Extraction,
        *,
        overwrite: bool,
        raise_bad: bool,
        stop: threading.Event | None,
    ) -> None:
        super().__init__(
            path, extraction.images, overwrite=overwrite, raise_bad=raise_bad, stop=stop
        )
        self._extraction = extraction
        self._run = extraction.settings.record(extraction.backbone)
        self._layers = row_shapes(extraction.backbone, extraction.settings)

    def header(self) -> dict[str, Any]:
        row_bytes = sum(math.prod(shape) for shape in self._layers.values())
        row_bytes *= np.dtype(self._extraction.settings.dtype).itemsize
        return {
            "run": self._run,
            "class_names": list(self.images.class_names),
            "shard_rows": _shard_rows(self._extraction, row_bytes),
        }

    def compare(self) -> tuple[list[str], bool]:
        with FeatureFile(self.path) as file:
            differing = differences(file.run, self._run)
            # With other settings nobody has to wait until all images are compared.
            changed = "" if differing else _changed(file, self.images, self.check_stop)
            bad = np.flatnonzero(~file.ok)
            # Images that could not be read may be there by now.
            again = self.overwrite and len(bad) > 0
            if self.raise_bad and len(bad) and not (again or differing or changed):
                row = int(bad[0])
                status, message = file.status_names[file.status[row]], file.messages[row]
                told = f"{message}, as {self.path} has it, which is finished"
                raise self._extraction.bad_image(row, status, told)
        return differing + ([changed] if changed else []), again

    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[Rows]
    ) -> Generator[Rows, None, None]:
        return self._extraction.rows(ranges, stop=self.stop, raise_bad=self.raise_bad)

    def assemble(self, shards: ShardDirectory[Rows]) -> None:
        extraction, images = self._extraction, self.images
        head = FileHead(
            names=images.names,
            labels=images.labels,
            class_names=images.class_names,
            splits=images.splits,
            groups=images.groups,
            crops=images.crops,
            run=self._run,
            environment=_environment(extraction),
            decaf_version=__version__,
            created=shards.header["created"],
        )
        write_feature_file(self.path, head, self._layers, shards.all_rows(len(images)))


def _environment(extraction: Extraction) -> dict[str, Any]:
    """Describe where a run took place: recorded for the reader, no part of the fingerprint."""
    from decaf.runtime.device import device_name

    described = {
        "device": str(extraction.device),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "threads": extraction.threads * extraction.torch_threads,
        "directory": os.getcwd(),
        "sources": list(extraction.images.sources),
    }
    if (gpu := device_name(extraction.device)) is not None:
        described["gpu"] = gpu
    return described


def row_shapes(backbone: Backbone, settings: RunSettings) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row of each layer.

    Parameters
    ----------
    backbone : Backbone
    settings : RunSettings
    """
    from decaf.backbone.steps import layer_shape

    stack = (10,) if settings.crops == "ten-stack" else ()
    return {
        layer: (*stack, *layer_shape(backbone.spec, layer, backbone.preprocess.crop))
        for layer in settings.layers
    }


def _shard_rows(extraction: Extraction, row_bytes: int) -> int:
    size = extraction.batch_size
    batches = CPU_BATCHES if extraction.device.type == "cpu" else GPU_BATCHES
    return size * max(1, min(batches, SHARD_BYTES // (size * row_bytes)))


def _changed(file: FeatureFile, images: ImageList, check: Callable[[], object]) -> str:
    """Say in what the images of a finished file are not these ones; an empty text if in nothing."""
    if list(file.path_bytes) != list(images.names):
        return f"{counted(len(file), 'image')} there, {len(images.names)} now, or others"
    if not np.array_equal(file.labels, images.labels):
        return "other labels"
    for what, there, now in (
        ("splits", file.splits, images.splits),
        ("groups", file.groups, images.groups),
    ):
        if there != now:
            with_them = "without" if there is None else "with other"
            return f"a file {with_them} {what}"
    if [crop and crop.text for crop in file.crops or ()] != [
        crop and crop.text for crop in images.crops or ()
    ]:
        return "other boxes"
    if images.in_memory:
        return "images in memory, which cannot be compared with its rows"
    known = np.flatnonzero(~np.isin(file.status, UNKNOWN_CONTENT))
    return changed_image(images, known.tolist(), file.content_sha256, check)

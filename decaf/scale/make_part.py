"""One shard, one task, one finished part: `PartMaker`, which every engine runs."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import DecafError, DiskError, SettingError, Stopped
from decaf.features.extraction import MAX_THREADS, Extraction
from decaf.features.rows import Rows
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.features.store.assemble import FileHead, write_feature_file
from decaf.features.store.parquet_part import write_parquet_part
from decaf.features.store.part_folder import InputShard, PartFolder, ShardRecord
from decaf.features.write import row_shapes
from decaf.images.status import STATUS_NAMES, status_code
from decaf.runtime.cores import local_rank
from decaf.scale.open_shard import OpenShard, open_shard
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["GROUP_ROWS", "PartJob", "PartMaker"]

GROUP_ROWS = 1024
"""Rows that are written together, where they are not too large."""

_GROUP_BYTES = 64 << 20
_READ_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class PartJob:
    """All that a worker has to know, besides the shard; plain values, so that it can be sent.

    Attributes
    ----------
    out : str
        Folder or URL of the part set.
    network : NetworkSettings
    settings : RunSettings
    device : str
        As `decaf.extract` has it.
    workers : int or None
        Decoding processes.
    """

    out: str
    network: NetworkSettings
    settings: RunSettings
    device: str = "auto"
    workers: int | None = None

    def load_backbone(self) -> Backbone:
        """Load the network, and check that it has the layers."""
        from decaf.backbone.model import load_backbone
        from decaf.backbone.steps import resolve_layers

        backbone = load_backbone(self.network.weights)
        resolve_layers(backbone.spec, self.settings.layers)
        return backbone.with_preprocess(self.network.preprocess)


class PartMaker:
    """Makes parts, one after the other, with a network that is loaded once.

    Parameters
    ----------
    job : PartJob
    stop : threading.Event, optional
        Set it to end the part that is being made, which is then not there.
    """

    def __init__(self, job: PartJob, *, stop: threading.Event | None = None) -> None:
        from decaf.backbone.engine import Engine
        from decaf.runtime.device import choose_device

        self._job, self._stop = job, stop
        self._folder = PartFolder(job.out)
        self.backbone = job.load_backbone()
        self.device = choose_device(job.device, local_rank=local_rank())
        self._engine = Engine(
            self.backbone,
            job.settings.layers,
            crops=job.settings.crops,
            precision=job.settings.precision,
            device=self.device,
        )
        self._run: dict[str, Any] | None = None

    def make(self, shard: InputShard) -> ShardRecord:
        """Make the part of a shard, unless it is there; or write down why there can be none.

        Parameters
        ----------
        shard : InputShard

        Returns
        -------
        ShardRecord
            Its `rows` are 0 where another run made it meanwhile.

        Raises
        ------
        Stopped
            After `stop` was set.
        DecafError
            For what concerns all shards: other settings, a full disk.
        """
        body = self._begun()
        stem = shard.stem(body["fingerprint"])
        name = f"{stem}.{body['part_format']}"
        if self._folder.place.exists(name):
            return ShardRecord(shard.name)
        began = time.time()
        try:
            with open_shard(shard) as opened:
                record = self._make(shard, opened, name, body, began)
            self._folder.write_record(stem, record)
        except (DiskError, Stopped):
            raise
        except (DecafError, OSError, MemoryError) as error:
            if self._stop is not None and self._stop.is_set():
                raise Stopped(f"{shard.name}: stopped") from error
            reason = " ".join(str(error).split()) or type(error).__name__
            record = ShardRecord(
                shard.name, seconds=time.time() - began, ended=time.time(), failed=reason[:500]
            )
            if not self._folder.place.exists(name):
                self._folder.write_record(stem, record)
        return record

    def _begun(self) -> dict[str, Any]:
        """Return what ``run.json`` holds, which must be of these settings still."""
        if self._run is None:
            body = self._folder.read_run()
            if body is None or body["run"] != self._job.settings.record(self.backbone):
                raise SettingError(
                    f"{self._folder.url}: was begun anew with other settings meanwhile, or this "
                    "worker has other versions or weights than the one that began"
                )
            self._run = body
        return self._run

    def _make(
        self, shard: InputShard, opened: OpenShard, name: str, body: dict[str, Any], began: float
    ) -> ShardRecord:
        samples, images = opened.samples, opened.images
        head = FileHead(
            names=images.names,
            labels=images.labels,
            class_names=(),
            run=body["run"],
            environment={
                "shard": {
                    "name": shard.name,
                    "size": shard.size,
                    "version": shard.version,
                    "sha256": opened.sha256,
                },
                "sources": list(images.sources),
            },
            decaf_version=__version__,
            created=body["created"],
            samples={"key": samples.keys, "txt": samples.txt, "json": samples.json},
        )
        statuses: Counter[str] = Counter()
        identity: list[tuple[int, str]] = []

        def write(path: Path) -> None:
            with (
                _one_thread_a_pass(),
                Extraction(
                    images,
                    self.backbone,
                    self._job.settings,
                    device=self.device,
                    workers=self._job.workers,
                    batch_size=self._job.network.batch_size,
                    in_one_go=False,
                    engine=self._engine,
                ) as extraction,
            ):
                layers = row_shapes(self.backbone, self._job.settings)
                ranges = _ranges(extraction, layers, np.dtype(self._job.settings.dtype))
                computed = extraction.rows(ranges, stop=self._stop)
                rows = _told(_in_order(computed), opened, statuses)
                if body["part_format"] == "parquet":
                    write_parquet_part(path, head, layers, rows)
                else:
                    write_feature_file(path, head, layers, rows, wait=True)
            identity.append(_identity(path))

        self._folder.place.publish(name, write)
        size, sha256 = identity[-1]
        return ShardRecord(
            shard.name,
            rows=len(images),
            statuses=dict(sorted(statuses.items())),
            bytes=size,
            sha256=sha256,
            seconds=round(time.time() - began, 3),
            ended=time.time(),
        )


@contextmanager
def _one_thread_a_pass() -> Iterator[None]:
    """Let no pass have more than one thread: its sums are then the same on every machine.

    `Extraction` has a pass for each thread of torch, and no more passes than `MAX_THREADS`.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, MAX_THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ranges(
    extraction: Extraction, layers: dict[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> list[tuple[int, int]]:
    """Cut the rows into ranges of whole batches, the same ones on every machine."""
    size = extraction.batch_size
    row_bytes = sum(math.prod(shape) for shape in layers.values()) * dtype.itemsize
    step = size * max(1, min(GROUP_ROWS // size, _GROUP_BYTES // (size * row_bytes)))
    count = len(extraction.images)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _in_order(computed: Iterable[Rows]) -> Iterator[Rows]:
    """Give out ranges of rows in order; few wait, since they were begun in order."""
    waiting: dict[int, Rows] = {}
    expected = 0
    for rows in computed:
        waiting[rows.start] = rows
        while expected in waiting:
            ready = waiting.pop(expected)
            expected = ready.stop
            yield ready


def _told(rows: Iterable[Rows], opened: OpenShard, statuses: Counter[str]) -> Iterator[Rows]:
    """Tell of images that are not there at all as the shard knows it, and count what became."""
    samples = opened.samples
    for block in rows:
        for row in range(block.start, block.stop):
            place = row - block.start
            if row in samples.problems:
                status, block.messages[place] = samples.problems[row]
                block.status[place] = status_code(status)
                block.content_sha256[place] = 0
            elif row in samples.notes and block.status[place] == 0:
                block.messages[place] = samples.notes[row]
        codes, counts = np.unique(block.status, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            statuses[STATUS_NAMES[code]] += count
        yield block


def _identity(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()

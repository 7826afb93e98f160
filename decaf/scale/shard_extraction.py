"""`extract_shards`: shards of images in, a part of features out for each."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.features.store.part_folder import InputShard, PartFolder, ShardRecord
from decaf.features.store.part_set import open_part
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.scale.engines import GO_ON, RETRIES, ScaleSettings, run_local, run_ray, run_share
from decaf.scale.make_part import PartJob
from decaf.scale.shard_list import list_shards
from decaf.scale.status import ShardStatus, record_of_part, shard_status
from decaf.storage.object_store import is_remote, local_path

__all__ = ["extract_shards"]


def extract_shards(
    shards: Any,
    out: str | os.PathLike[str],
    layer: str | Sequence[str] = "fc6",
    *,
    dtype: str = "float32",
    overwrite: bool = False,
    scale: ScaleSettings | None = None,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> ShardStatus:
    """Compute the features of shards of images: one shard, one task, one finished part.

    The same call goes on with what is not there yet, makes the parts of shards that have changed
    anew, and tries those again that failed. Several calls may work in one folder, on the same
    shards or on others; all of them write the same bytes, whatever the engine, the order and the
    number of workers (on processors of one kind, and with the same batch size).

    Parameters
    ----------
    shards : str, path, or sequence of them
        Paths, URLs that fsspec knows, and patterns (``s3://bucket/{000000..000999}.tar``,
        ``shards/*.parquet``) of:

        - tars of webdataset: the members of a sample are adjacent, else the shard is refused;
          ``.cls`` becomes the label, ``.txt`` and ``.json`` the columns of that name;
        - other tars, and zips, of images;
        - Parquet files with a column of encoded images, as img2dataset and Hugging Face write them;
        - lists of images (``.txt``, ``.lst``, ``.list``), a path or URL a line.
    out : str or path
        A folder, or the URL of a prefix of a store.
    layer : str or sequence of str
        As in `decaf.extract`.
    dtype : {"float32", "float16"}
        Type of the rows.
    overwrite : bool
        Where `out` was begun with other settings, begin anew.
    scale : ScaleSettings, optional
        How shards become parts; or its fields by their names, as of the objects below:

        - format : "parquet" (default) or "h5", a feature file for each part.
        - engine : "local" (default), "torchrun" or "ray".
        - actors, actor_cores : of Ray.
        - shard_images : lines of a list that are one shard, 10,000 when not given.
    network : NetworkSettings, optional
        The network: weights, preprocess, crops, precision, batch_size, as in `decaf.extract`.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress (a function of (parts done, parts in all)),
        stop, as in `decaf.extract`. Once stopped, the part in work is not there.
    **named
        Fields of `scale`, `network` and `compute` by their names.

    Returns
    -------
    ShardStatus
        Which shards are done, and why others are not. `decaf.open_features` reads the parts.

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for.
    ResumeError
        Where `out` was begun with other settings.
    OutputError
        Where it cannot be written.
    Stopped
        After `stop` was set; finished parts are kept.

    Examples
    --------
    >>> status = extract_shards(
    ...     "s3://photos/{000000..000999}.tar", "s3://features/fc7/", "fc7", dtype="float16"
    ... )  # doctest: +SKIP
    """
    made = settings_from(
        extract_shards,
        named,
        Part("scale", ScaleSettings, scale),
        Part("network", NetworkSettings, network),
        Part("compute", ComputeSettings, compute),
    )
    scale, network, compute = made
    settings = RunSettings(
        layers=(layer,) if isinstance(layer, str) else tuple(layer),
        crops=network.crops or "center",
        precision=network.precision or "fp32",
        dtype=dtype,
    )
    job = PartJob(_absolute(out), _loadable(network), settings, compute.device, compute.workers)
    begin = _Beginning(shards, job, scale, overwrite)
    if scale.engine == "torchrun":
        from decaf.runtime.processes import world_of_run

        with world_of_run("cpu", go_on=GO_ON) as world:
            listed, todo = world.share(world.on_chief(begin)) or ([], [])
            with progress_for(
                compute.progress if world.chief else False,
                len(todo[world.rank :: world.size]),
                0,
                "parts",
            ) as bar:
                run_share(job, todo, lambda _: bar.advance(1), compute.stop, world)
            world.on_chief(lambda: begin.end(listed, todo))
            return shard_status(job.out)
    listed, todo = begin()
    with progress_for(compute.progress, len(listed), len(listed) - len(todo), "parts") as bar:

        def tell(_record: ShardRecord) -> None:
            bar.advance(1)

        if scale.engine == "ray":
            run_ray(job, todo, tell, compute.stop, scale)
        else:
            run_local(job, todo, tell, compute.stop)
    begin.end(listed, todo)
    return shard_status(job.out)


class _Beginning:
    """What one process does before the others and after them."""

    def __init__(self, shards: Any, job: PartJob, scale: ScaleSettings, overwrite: bool) -> None:
        self._given, self._job, self._scale, self._overwrite = shards, job, scale, overwrite
        self._folder = PartFolder(job.out)
        self._fingerprint = ""

    def __call__(self) -> tuple[list[InputShard], list[InputShard]]:
        """List the shards, begin the part set, and return all of them and those to be made."""
        listed = list_shards(self._given, shard_images=self._scale.shard_images)
        run = self._job.settings.record(self._job.load_backbone())
        body = self._folder.begin(run, self._scale.format, overwrite=self._overwrite)
        self._fingerprint = body["fingerprint"]
        self._folder.write_list(listed)
        there = self._folder.stems()
        todo = [shard for shard in listed if shard.stem(self._fingerprint) not in there]
        # Several runs on the same shards take them in orders of their own, and find what another
        # has made; in the same order they would make the same part at the same time.
        random.Random(f"{platform.node()} {os.getpid()} {time.time_ns()}").shuffle(todo)
        return listed, todo

    def end(self, listed: list[InputShard], todo: list[InputShard]) -> None:
        """Write down which shards were lost with their workers, and take away what is stale."""
        folder, there = self._folder, self._folder.stems()
        self._recover(listed, there)
        stems = {shard.stem(self._fingerprint): shard for shard in todo}
        lost = [stem for stem in stems if stem not in there]
        known = folder.records(lost)
        for stem in lost:
            if stem not in known:
                reason = f"its worker ended {RETRIES + 1} times as it made the part"
                folder.write_record(
                    stem, ShardRecord(stems[stem].name, ended=time.time(), failed=reason)
                )
        folder.remove_stale(listed, self._fingerprint)

    def _recover(self, listed: list[InputShard], there: set[str]) -> None:
        """Write the records of parts whose runs were killed before they wrote them."""
        recorded = self._folder.recorded()
        for shard in listed:
            stem = shard.stem(self._fingerprint)
            if stem in there and stem not in recorded:
                with open_part(self._folder, f"{stem}.{self._scale.format}") as part:
                    self._folder.write_record(stem, record_of_part(part, shard.name))


def _absolute(out: str | os.PathLike[str]) -> str:
    """Return a folder so that a worker finds it that was started elsewhere."""
    name = os.fspath(out)
    return name if is_remote(name) else os.path.abspath(local_path(name))


def _loadable(network: NetworkSettings) -> NetworkSettings:
    """Return the network so that a worker finds its file that was started elsewhere."""
    weights = DEFAULT_WEIGHTS if network.weights is None else network.weights
    if isinstance(weights, (str, os.PathLike)) and os.path.isfile(weights):
        weights = os.path.abspath(weights)
    return replace(network, weights=weights)

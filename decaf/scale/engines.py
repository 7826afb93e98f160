"""The engines that run the tasks: a plain loop, the processes of a torchrun, the actors of Ray.

Each takes a list of shards, has every one of them made by a `PartMaker`, and tells of each record.
Nothing here queues or sends: a loop, the ranks that torchrun has started, and Ray's own actor pool,
which starts an actor again where it died and gives it its task once more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from decaf.errors import DecafError, SettingError, Stopped
from decaf.features.store.part_folder import FORMATS, InputShard, ShardRecord
from decaf.runtime.settings import one_of, refuse, whole_number
from decaf.scale.make_part import PartJob, PartMaker
from decaf.scale.shard_list import SHARD_IMAGES

if TYPE_CHECKING:
    from decaf.runtime.processes import World

__all__ = ["ENGINES", "GO_ON", "RETRIES", "ScaleSettings", "run_local", "run_ray", "run_share"]

ENGINES = ("local", "torchrun", "ray")

# Times that Ray gives a task to an actor anew after one has died of it.
RETRIES = 3

GO_ON = "finished parts are kept: run the same command again to go on"
_ACTOR_CORES = 4
# Seconds between two looks at whether the run is to end.
_PATIENCE = 1.0
# What goes through Ray's store are records, of some hundred bytes.
_STORE_BYTES = 128 << 20

Tell = Callable[[ShardRecord], object]


@dataclass(frozen=True)
class ScaleSettings:
    """How shards become parts.

    Parameters
    ----------
    format : {"parquet", "h5"}
        Format of the parts.
    engine : {"local", "torchrun", "ray"}
        A plain loop; the processes that torchrun has started; or the actors of a Ray cluster.
    actors : int, optional
        Actors of Ray; by default one a GPU where there are any, else as many as the cluster has
        room for.
    actor_cores : int, optional
        Cores of each; by default 4, or all that a smaller machine has.
    shard_images : int
        Lines of a list of images that are one shard.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    format: str = "parquet"
    engine: str = "local"
    actors: int | None = None
    actor_cores: int | None = None
    shard_images: int = SHARD_IMAGES

    def __post_init__(self) -> None:
        wrong = [*one_of("format", self.format, FORMATS), *one_of("engine", self.engine, ENGINES)]
        wrong += whole_number("actors", self.actors, 1, optional=True)
        wrong += whole_number("actor_cores", self.actor_cores, 1, optional=True)
        wrong += whole_number("shard_images", self.shard_images, 1)
        if self.engine != "ray" and (self.actors or self.actor_cores):
            wrong.append("`actors` and `actor_cores` are for `engine='ray'`")
        refuse(wrong)


def run_local(
    job: PartJob, shards: Sequence[InputShard], tell: Tell, stop: threading.Event | None
) -> None:
    """Make parts one after the other in this process.

    Parameters
    ----------
    job : PartJob
    shards : sequence of InputShard
    tell : callable
        Takes each record.
    stop : threading.Event, optional

    Raises
    ------
    Stopped
        After `stop` was set.
    """
    maker = PartMaker(job, stop=stop) if shards else None
    for shard in shards:
        _check_stop(stop)
        assert maker is not None
        tell(maker.make(shard))


def run_share(
    job: PartJob,
    shards: Sequence[InputShard],
    tell: Tell,
    stop: threading.Event | None,
    world: World,
) -> None:
    """Make the parts of this process's share, and wait for the other processes.

    Parameters
    ----------
    job, shards, tell, stop
        As in `run_local`; the same shards in the same order everywhere.
    world : World
    """
    run_local(job, shards[world.rank :: world.size], tell, stop)
    try:
        world.wait()
    except DecafError:
        _check_stop(stop)  # a rank that waits when all of them are stopped sees the others go
        raise


def run_ray(
    job: PartJob,
    shards: Sequence[InputShard],
    tell: Tell,
    stop: threading.Event | None,
    settings: ScaleSettings,
) -> None:
    """Make parts with the actors of a Ray cluster: the one that runs, or one on this machine.

    Parameters
    ----------
    job, shards, tell, stop
        As in `run_local`.
    settings : ScaleSettings

    Raises
    ------
    SettingError
        Where Ray is not installed, or the cluster has no room for an actor.
    """
    ray = _load_ray()
    if not shards:
        return
    began = not ray.is_initialized()
    if began:
        _join_cluster(ray)
    try:
        _run_actors(ray, job, shards, tell, stop, settings)
    finally:
        if began:
            ray.shutdown()


def _load_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise SettingError("`engine='ray'` needs Ray: pip install 'decaf-features[ray]'") from None
    return ray


def _join_cluster(ray: Any) -> None:
    """Join the cluster that the environment names, or begin one on this machine."""
    # Else actors without a GPU see them all, and Ray warns that this will change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        ray.init(include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)


def _room(ray: Any, settings: ScaleSettings, shards: int) -> tuple[int, int, int]:
    """Return the actors, and the cores and GPUs of each, that the cluster has room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    largest = max([int(node.get("CPU", 0)) for node in nodes], default=0)
    cores = settings.actor_cores or min(_ACTOR_CORES, largest)
    if not 1 <= cores <= largest:
        raise SettingError(
            f"`actor_cores` {cores}: no machine of the cluster has as many; the largest has "
            f"{largest}"
        )
    room = gpus or sum(int(node.get("CPU", 0)) // cores for node in nodes)
    return max(1, min(settings.actors or room, shards)), cores, 1 if gpus else 0


class _Actor:
    """A `PartMaker` in a process of Ray's."""

    def __init__(self, job: PartJob, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._maker = PartMaker(job)

    def make(self, shard: InputShard) -> ShardRecord:
        return self._maker.make(shard)


def _run_actors(
    ray: Any,
    job: PartJob,
    shards: Sequence[InputShard],
    tell: Tell,
    stop: threading.Event | None,
    settings: ScaleSettings,
) -> None:
    from ray import util

    count, cores, gpus = _room(ray, settings, len(shards))
    if job.workers is None:
        # Several actors on a machine would else have all its cores each.
        job = replace(job, workers=0 if cores == 1 else cores)
    options = {"max_restarts": -1, "max_task_retries": RETRIES}
    remote = ray.remote(num_cpus=cores, num_gpus=gpus, **options)(_Actor)
    actors = [remote.remote(job, cores) for _ in range(count)]
    pool: Any = util.ActorPool(actors)
    try:
        for shard in shards:
            pool.submit(lambda actor, each: actor.make.remote(each), shard)
        while pool.has_next():
            _check_stop(stop)
            try:
                tell(pool.get_next_unordered(timeout=_PATIENCE))
            except TimeoutError:
                continue
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, DecafError) else error) from None
            except ray.exceptions.RayActorError:
                # It died with every try: the caller sees that this shard has no record.
                continue
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())[:300]
                raise DecafError(f"Ray has ended the run: {reason}; {GO_ON}") from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _check_stop(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped(f"stopped; {GO_ON}")

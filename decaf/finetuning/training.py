"""The training of a fine-tuning: with a batch that fits into the memory that there is.

On a CPU what a step takes is estimated before, since there the system kills instead of refusing.
"""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.steps import layer_shape
from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import SettingError, WeightsError
from decaf.finetuning.data import Packed
from decaf.finetuning.frozen_head import FrozenHead
from decaf.finetuning.job import Job
from decaf.finetuning.settings import with_half_the_batch
from decaf.finetuning.work_folder import WorkFolder
from decaf.runtime.device import give_back_memory, is_out_of_memory
from decaf.runtime.memory import available_memory
from decaf.runtime.processes import World
from decaf.train.log import read_log
from decaf.train.recipe import TrainSettings
from decaf.train.train_network import draw, train_to_end
from decaf.train.training_run import TrainingData, TrainingRun

__all__ = ["Trained", "step_memory", "train_on_pack"]

# The share of free memory that a step may take on a CPU, where the system kills instead of
# refusing: the rest is left to others, and to what the estimate does not see.
MEMORY_SHARE = 0.8
# What stays of a layer's value until the backward pass and beside it: the value before and after
# the activation, their gradients, and the reordered copies that convolutions make.
COPIES = 6

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training.

    Attributes
    ----------
    weights : Weights
        Weights with which validation went best.
    settings : TrainSettings
        Settings that were used.
    seconds, epochs : float
        Time spent, and epochs done.
    steps : int
        Steps done.
    history : list of dict
        The rows of the log; see `decaf.train.log.COLUMNS`.
    """

    weights: Weights
    settings: TrainSettings
    seconds: float
    epochs: float
    steps: int
    history: list[dict[str, float]]


def train_on_pack(job: Job, data: Packed, head: FrozenHead, work: WorkFolder) -> Trained:
    """Train, with a smaller batch where memory does not suffice.

    Parameters
    ----------
    job : Job
    data : Packed
    head : FrozenHead
        The beginning of the new last layer, where the settings say so.
    work : WorkFolder
        Has the folder of the training run.
    """
    world, settings = job.world, _fitting_settings(job, data, work)
    while True:
        finished = _finished_before(world, data, settings, work)
        if finished is not None:
            return finished
        try:
            return _train_once(job, data, head, settings, work)
        except Exception as error:
            if not is_out_of_memory(error) or world.size > 1:
                raise
            smaller = with_half_the_batch(settings)
            if smaller is None:
                raise SettingError(
                    f"a batch of {settings.batch_size} image does not fit into memory; use a "
                    "smaller network, or a machine with more"
                ) from error
        _tell_smaller(settings, smaller)
        settings = smaller
        work.adjust(settings.to_dict())
        give_back_memory()


def _fitting_settings(job: Job, data: Packed, work: WorkFolder) -> TrainSettings:
    """Return settings whose batch fits into the memory that there is."""

    def choose() -> TrainSettings:
        adjusted = work.adjusted()
        if adjusted is not None:
            return TrainSettings.from_dict(adjusted)
        asked = settings = job.training(len(data.train))
        available = available_memory() if job.world.device.type != "cuda" else None
        spec = asked.spec(len(data.pack.wnids), job.begun.spec)
        while available is not None and step_memory(spec, settings) > MEMORY_SHARE * available:
            smaller = with_half_the_batch(settings, job.world.size)
            if smaller is None:
                raise SettingError(
                    f"fine-tuning {job.begun.name} takes about "
                    f"{step_memory(spec, settings) / 2**30:.2g} GiB of memory with a batch of "
                    f"{settings.batch_size}, and {available / 2**30:.2g} GiB are free; close "
                    "other programs, or freeze layers of a smaller network"
                )
            settings = smaller
        if settings != asked:
            _tell_smaller(asked, settings)
            work.adjust(settings.to_dict())
        return settings

    settings = job.world.share(job.world.on_chief(choose))
    assert isinstance(settings, TrainSettings)
    return settings


def _tell_smaller(before: TrainSettings, now: TrainSettings) -> None:
    _logger.warning(
        "a batch of %d does not fit into memory: going on with %d, and a rate of %.3g "
        "instead of %.3g",
        before.batch_size,
        now.batch_size,
        now.lr,
        before.lr,
    )


def _train_once(
    job: Job, data: Packed, head: FrozenHead, settings: TrainSettings, work: WorkFolder
) -> Trained:
    other = None if data.val_pack is data.pack else data.val_pack.fingerprint
    run = TrainingRun(
        TrainingData(data.pack, data.train, data.val, other),
        work.run,
        settings,
        job.world,
        saving=job.saving,
        compute=job.compute,
        begun=job.begun,
        head=(head.coef, head.intercept) if job.settings.start == "head" else None,
        origin={"start": job.settings.start, "val_fraction": job.val_fraction},
    )
    try:
        run.begin()
        result = train_to_end(run)
    finally:
        run.close()
    # Others than rank 0 may see the file later than it was written.
    weights = job.world.share(job.world.on_chief(lambda: load_weights(result.weights)))
    assert isinstance(weights, Weights)
    return Trained(
        weights=weights,
        settings=settings,
        seconds=result.seconds,
        epochs=result.epochs,
        steps=run.trainer.step,
        history=read_log(work.run / "log.csv"),
    )


def _finished_before(
    world: World, data: Packed, settings: TrainSettings, work: WorkFolder
) -> Trained | None:
    """Return what was trained to the end before, if it was."""

    def read() -> Weights | None:
        with contextlib.suppress(WeightsError):
            weights = load_weights(work.run / "weights.safetensors")
            known = weights.provenance
            if known.get("finished") is True and (known.get("settings"), known.get("pack")) == (
                settings.to_dict(),
                data.pack.fingerprint,
            ):
                draw(work.run)  # where a kill came between weights and curves
                return weights
        return None

    weights = world.share(world.on_chief(read))
    if not isinstance(weights, Weights):
        return None
    known = weights.provenance
    return Trained(
        weights=weights,
        settings=settings,
        seconds=float(known["seconds"]),
        epochs=float(known["epochs"]),
        steps=int(known["steps"]),
        history=read_log(work.run / "log.csv"),
    )


def step_memory(spec: ArchSpec, settings: TrainSettings) -> int:
    """Estimate the bytes of a step: parameters with all that belongs to them, and the batch.

    Parameters
    ----------
    spec : ArchSpec
        Spec of the network that is trained.
    settings : TrainSettings
        Settings, of which optimiser, precision and batch size count.
    """
    parameters = sum(math.prod(shape) for shape in parameter_shapes(spec).values())
    # Values and gradients, the optimiser's moments, the average, the best so far.
    copies = 2 + 1 + (settings.optimizer == "adamw") + (settings.average > 0) + settings.keep_best
    width = 4 if settings.precision == "fp32" else 2
    layers = [f"conv{n}" for n in range(1, 6)] + ["pool1", "pool2", "pool5", "fc6", "fc7"]
    values = sum(math.prod(layer_shape(spec, layer)) for layer in layers)
    image = COPIES * width * (values + 3 * spec.input_size**2)
    casts = 0 if width == 4 else parameters * width
    return parameters * 4 * copies + casts + settings.batch_size * image

"""Training, from a pack to a folder with weights, log, curves and checkpoints; and its loop."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from decaf.backbone.weights.load import load_weights
from decaf.errors import DecafError, SettingError, Stopped
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import world_of_run
from decaf.runtime.progress import Progress, progress_for
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.train.augment import Normaliser
from decaf.train.checkpoint import CURVES_FILE, LOG_FILE
from decaf.train.feed import Batch, Feed
from decaf.train.log import Log, can_draw, draw_curves
from decaf.train.pack.reader import Pack
from decaf.train.presets import with_changes
from decaf.train.recipe import TrainSettings
from decaf.train.step import guessing_loss
from decaf.train.training_run import (
    SavingSettings,
    TrainingData,
    TrainingRun,
    TrainResult,
    check_threads,
)
from decaf.train.validate import Validation

__all__ = ["Diverged", "draw", "train_network", "train_to_end"]

# Steps between two looks at whether to stop, where that takes a message between processes, or
# waiting for a GPU.
LOOK_EVERY = 10
# A loss this many times that of guessing is one that will not come back.
EXPLODED = 10.0

_logger = logging.getLogger(__name__)


def train_network(
    pack: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    *,
    val: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    saving: SavingSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> TrainResult:
    """Train a network on a pack.

    The folder `out` gets ``run.json`` (all settings), ``log.csv``, ``tensorboard/``,
    ``checkpoints/``, ``weights.safetensors`` (after every validation) and ``curves.png`` (at the
    end). Under ``torchrun`` the processes share every batch; rank 0 writes.

    Parameters
    ----------
    pack : path
        Made by `decaf.train.pack.build.make_pack`.
    out : path
        Folder of the run.
    settings : TrainSettings, optional
        How: the preset "modern" by default. Or its fields by their names, as of the objects below;
        ``preset="small"`` names another preset that they change.
    val : path, optional
        A pack whose validation images to validate on, instead of those of `pack`: its "val", else
        its "test", else all its images.
    init_from : str or path, optional
        Weights to start from, as for `decaf.load_backbone`. Where their classes are not the pack's,
        fc8 begins anew (Krizhevsky et al. 2012, section 6.1: networks pre-trained on a larger set).
    saving : SavingSettings, optional
        How the run is saved:

        - resume : go on from the last intact checkpoint in `out`, or begin where there is none.
          With more epochs than before, the schedule becomes that of the longer run, which is told
          with both learning rates and recorded in ``run.json``; with fewer it is refused.
        - checkpoint_minutes : time between two checkpoints, 10 when not given; there is one at
          every validation too.
        - checkpoint_steps : steps between two checkpoints, besides.
        - keep : checkpoints to keep, 3 when not given.
        - log_every : steps between two rows of the log, 50 when not given.
        - at_validation : False writes neither checkpoint nor weights at a validation, but the
          weights at the end.
        - tensorboard : write TensorBoard's events; by default where it is installed.
    compute : ComputeSettings, optional
        How the work is done:

        - device : "auto", "cpu", "cuda" or "cuda:N".
        - workers : threads that decode; one a core by default.
        - progress : as for `decaf.extract`.
        - stop : a `threading.Event`; when set, the run writes a checkpoint and ends with `Stopped`.
    **named
        Fields of `settings`, `saving` and `compute` by their names: ``epochs=30, resume=True``.

    Returns
    -------
    TrainResult

    Raises
    ------
    SettingError, InputError, WeightsError
        If what was asked for cannot be trained.
    OutputError
        If `out` holds a run and `resume` is not given, is in use, or cannot be written.
    ResumeError
        If the run in `out` had other settings, or no checkpoint is intact.
    Diverged
        If the loss became NaN, infinite or far worse than guessing.
    Stopped
        If `stop` was set.

    Notes
    -----
    On CPUs with the same number of threads, the same settings give the same weights to the bit,
    however often the run is stopped and resumed.
    """
    made = settings_from(
        train_network,
        named,
        Part("settings", TrainSettings, settings, make=partial(with_changes, default="modern")),
        Part("saving", SavingSettings, saving),
        Part("compute", ComputeSettings, compute),
    )
    settings, saving, compute = made
    check_threads(compute)
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(compute.device))
        stack.enter_context(strict_float32(world.device))
        data = _open_data(pack, val, stack)
        run = TrainingRun(
            data,
            Path(out),
            settings,
            world,
            saving=saving,
            compute=compute,
            begun=None if init_from is None else load_weights(init_from),
        )
        stack.callback(run.close)
        run.begin()
        if world.chief and not can_draw():
            _logger.warning("matplotlib is not installed: there will be no curves.png")
        return train_to_end(run)


def _open_data(
    path: str | os.PathLike[str], val: str | os.PathLike[str] | None, stack: ExitStack
) -> TrainingData:
    """Open the pack, and that of the validation images where it is another."""
    pack = stack.enter_context(Pack.open(path))
    train = pack.splits["train"]
    if val is None:
        return TrainingData(pack, train, pack.splits.get("val"))
    other = stack.enter_context(Pack.open(val))
    _check_alike(pack, other)
    name = next(name for name in ("val", "test", "train") if name in other.splits)
    return TrainingData(pack, train, other.splits[name], other.fingerprint)


def _check_alike(pack: Pack, other: Pack) -> None:
    """Refuse a validation pack that does not belong to the training pack."""
    if other.wnids != pack.wnids:
        here, there = set(pack.wnids), set(other.wnids)
        raise SettingError(
            f"{other.path}: has other classes than {pack.path}: {len(there - here)} more "
            f"({_some(there - here)}), {len(here - there)} missing ({_some(here - there)})"
        )
    if other.size != pack.size:
        raise SettingError(
            f"{other.path}: holds images of {other.size} pixels, {pack.path} of {pack.size}; "
            "pack both alike"
        )


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) or "none"


class Diverged(DecafError):
    """A run whose loss became NaN, infinite, or far worse than guessing."""


def train_to_end(run: TrainingRun) -> TrainResult:
    """Train to the end of a run that has begun.

    Parameters
    ----------
    run : TrainingRun

    Raises
    ------
    Diverged, OutputError, Stopped
    """
    trainer, chief, size = run.trainer, run.world.chief, run.settings.batch_size
    if trainer.ended and run.is_saved():
        if chief:
            draw(run.folder)
        return run.result()
    before = run.settings.keep_best and trainer.step == 0
    with (
        progress_for(
            run.compute.progress if chief else False, trainer.steps * size, trainer.step * size
        ) as bar,
        # What was validated before the first step is about to be validated again.
        Log(run.folder, -1 if before else trainer.step, run.saving.tensorboard)
        if chief
        else contextlib.nullcontext() as log,
        _feed(run).batches(trainer.step, trainer.steps) as batches,
    ):
        loop = _Loop(run, bar, log)
        if before:
            loop.look_before()
        for batch in batches if not trainer.ended else ():
            loop.step(batch)
            if trainer.ended:
                break
        if not run.saving.at_validation:  # else the last validation has
            loop.settle()
    if not run.is_saved():
        run.save_weights()
    if chief:
        draw(run.folder, anew=True)
    return run.result()


def _feed(run: TrainingRun) -> Feed:
    normaliser = run.normaliser
    if run.targets is not None:
        # Views that a teacher sees too are cut on the CPU: they come in several sizes.
        normaliser = Normaliser(run.preprocess, None, normaliser.dtype, torch.device("cpu"))
    return Feed(
        run.split,
        run.settings,
        side=run.pack.size,
        pca=run.pack.pca,
        normaliser=normaliser,
        crop=run.spec.input_size,
        device=run.world.device,
        rank=run.world.rank,
        world=run.world.size,
        workers=run.workers,
        targets=run.targets,
    )


def draw(folder: Path, *, anew: bool = False) -> None:
    """Draw the curves of a run, where matplotlib is installed.

    Parameters
    ----------
    folder : Path
        The run's.
    anew : bool
        Also where there are some.
    """
    out = folder / CURVES_FILE
    if can_draw() and (anew or not out.exists()):
        draw_curves(folder / LOG_FILE, out)


class _Loop:
    """The work around a step: logging, looking out for trouble, validation, checkpoints.

    Parameters
    ----------
    run : TrainingRun
    bar : Progress
    log : Log or None
        None in processes that do not write.
    """

    def __init__(self, run: TrainingRun, bar: Progress, log: Log | None) -> None:
        self.run = run
        self.bar = bar
        self.log = log
        self.worst = torch.zeros((), device=run.world.device)
        self.guess = guessing_loss(len(run.pack.wnids))
        if run.targets is not None:
            self.guess = run.targets.guess
        if run.trainer.class_weight is not None:
            self.guess *= max(1.0, float(run.trainer.class_weight.max()))
        on_gpu = run.world.device.type != "cpu"
        self.look_every = LOOK_EVERY if on_gpu or run.world.size > 1 else 1
        self.note = ""
        self.logged = (time.monotonic(), run.trainer.step)
        self.saved = self.tick = time.monotonic()

    def look_before(self) -> None:
        """Validate what the run begins with."""
        validation = self.run.validate()
        if validation is not None:
            self._tell(validation, 0.0)

    def step(self, batch: Batch) -> None:
        """Do a step, and what is due after it.

        Raises
        ------
        Diverged
            If the loss is NaN, infinite or far worse than guessing, or a weight is not finite.
        Stopped
            If that was asked for, after a checkpoint.
        """
        run, trainer = self.run, self.run.trainer
        rate = trainer.rate()
        loss = trainer.take(batch)
        # NaN wins in maximum: one bad loss is seen at the next look.
        self.worst = torch.maximum(self.worst, loss)
        ended = trainer.step == trainer.steps
        every = run.settings.validate_every * trainer.steps_per_epoch
        validating = ended or trainer.step % every == 0
        due = trainer.step % run.saving.log_every == 0
        steps = run.saving.checkpoint_steps
        saving = steps is not None and trainer.step % steps == 0
        look = validating or saving or trainer.step % self.look_every == 0
        stop, save = self._look(saving) if look else (False, False)
        if (validating or save or stop) and not trainer.is_finite():
            # A step can break the weights after a loss that was fine. All processes see it.
            raise Diverged(run.diverged("a weight is no finite number"))
        if due or validating:
            self._write(rate)
        self.bar.advance(run.settings.batch_size, self.note)
        if validating:
            self._validate(rate, save or stop or run.saving.at_validation)
        elif save or stop:
            self._save()
        if stop and not run.trainer.ended:
            raise Stopped(
                f"stopped after step {trainer.step}; {run.folder} holds a checkpoint: "
                "run the same again with `resume=True` to go on"
            )

    def _look(self, saving: bool) -> tuple[bool, bool]:
        """Agree with the other processes on whether to stop, and whether to save."""
        run, now = self.run, time.monotonic()
        worst = float(self.worst)
        # Where the best weights are kept a loss may be large for a while: nothing is lost by it.
        limit = math.inf if run.settings.keep_best else EXPLODED * self.guess
        bad = not worst <= limit or worst == math.inf
        save = saving or now - self.saved >= 60 * run.saving.checkpoint_minutes
        stop, save, bad = run.world.any([run.compute.stopped, save, bad])
        if bad:
            what = (
                "the loss is not a finite number"
                if not math.isfinite(worst)
                else f"the loss is {worst:.3g}, and that of a guess {self.guess:.2g}"
            )
            raise Diverged(run.diverged(what))
        self.worst = torch.zeros_like(self.worst)
        return stop, save

    def settle(self) -> None:
        """Add the time since it was last added."""
        now = time.monotonic()
        self.run.seconds += now - self.tick
        self.tick = now

    def _save(self) -> None:
        self.settle()
        self.run.checkpoint()
        self.saved = time.monotonic()

    def _write(self, rate: float) -> None:
        trainer, now = self.run.trainer, time.monotonic()
        images, loss, wrong = self.run.world.total(trainer.sums.clone()).tolist()
        trainer.sums.zero_()
        then, step = self.logged
        speed = (trainer.step - step) * self.run.settings.batch_size / max(now - then, 1e-9)
        self.logged = (now, trainer.step)
        if images == 0 or self.log is None:
            return
        self.note = f"epoch {trainer.epoch:.2f}, loss {loss / images:.3f}, lr {rate:.2g}"
        if self.run.last is not None:
            self.note += f", top-1 error {self.run.last.top1_error:.1f} %"
        self.log.add(
            {
                "step": trainer.step,
                "epoch": trainer.epoch,
                "lr": rate,
                "train_loss": loss / images,
                "train_top1_error": 100 * wrong / images,
                "images_per_second": speed,
                "seconds": self.run.seconds + now - self.tick,
            }
        )

    def _validate(self, rate: float, save: bool) -> None:
        run = self.run
        validation = run.validate()
        if validation is not None:
            self._tell(validation, rate)
        if save:
            self._save()
        if run.saving.at_validation:
            run.save_weights()
        self.logged = (time.monotonic(), run.trainer.step)

    def _tell(self, validation: Validation, rate: float) -> None:
        run = self.run
        if self.log is not None:
            row = {
                "step": run.trainer.step,
                "epoch": run.trainer.epoch,
                "lr": rate,
                "val_loss": validation.loss,
                "val_top1_error": validation.top1_error,
                "seconds": run.seconds + time.monotonic() - self.tick,
            }
            if validation.top5_error is not None:
                row["val_top5_error"] = validation.top5_error
            self.log.add(row)

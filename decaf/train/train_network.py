"""Training, from a pack to a folder with weights, log, curves and checkpoints."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from decaf.backbone.weights.load import load_weights
from decaf.errors import SettingError
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import world_of_run
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.train.log import can_draw
from decaf.train.loop import train_to_end
from decaf.train.pack.reader import Pack
from decaf.train.presets import with_changes
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import (
    SavingSettings,
    TrainingData,
    TrainingRun,
    TrainResult,
    check_threads,
)

__all__ = ["train_network"]

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

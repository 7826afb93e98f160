"""Training, from a pack to a folder with weights, log, curves and checkpoints."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from decaf.backbone.weights.load import load_weights
from decaf.errors import SettingError
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import world_of_run
from decaf.train.log import can_draw, wants_tensorboard
from decaf.train.loop import train_to_end
from decaf.train.pack.reader import Pack
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import SavingSettings, TrainingData, TrainingRun, TrainResult

__all__ = ["train"]

_logger = logging.getLogger(__name__)


def train(
    pack: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    *,
    val: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int | None = None,
    checkpoint_minutes: float = 10.0,
    checkpoint_steps: int | None = None,
    keep: int = 3,
    log_every: int = 50,
    tensorboard: bool | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
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
        The preset "modern" by default.
    val : path, optional
        A pack whose validation images to validate on, instead of those of `pack`: its "val", else
        its "test", else all its images.
    init_from : str or path, optional
        Weights to start from, as for `decaf.load_backbone`. Where their classes are not the pack's,
        fc8 begins anew (Krizhevsky et al. 2012, section 6.1: networks pre-trained on a larger set).
    resume : bool
        Go on from the last intact checkpoint in `out`, or begin where there is none. With more
        epochs than before, the schedule becomes that of the longer run, which is told with both
        learning rates and recorded in ``run.json``; with fewer it is refused.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    workers : int, optional
        Threads that decode; one a core by default.
    checkpoint_minutes : float
        Time between two checkpoints; there is one at every validation too.
    checkpoint_steps : int, optional
        Steps between two checkpoints, besides.
    keep : int
        Checkpoints to keep.
    log_every : int
        Steps between two rows of the log.
    tensorboard : bool, optional
        Write TensorBoard's events; by default where it is installed.
    progress : bool, callable or None
        As for `decaf.extract`.
    stop : threading.Event, optional
        When set, the run writes a checkpoint and ends with `Stopped`.

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
    chosen = settings or TrainSettings()
    if workers is not None and workers < 1:
        raise SettingError(f"`workers` must be 1 or more, got {workers}")
    saving = SavingSettings(checkpoint_minutes, checkpoint_steps, keep, log_every)
    wants_tensorboard(tensorboard)
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(device))
        stack.enter_context(strict_float32(world.device))
        data = _open_data(pack, val, stack)
        run = TrainingRun(
            data,
            Path(out),
            chosen,
            world,
            saving=saving,
            begun=None if init_from is None else load_weights(init_from),
            workers=workers,
        )
        stack.callback(run.close)
        run.begin(resume)
        if world.chief and not can_draw():
            _logger.warning("matplotlib is not installed: there will be no curves.png")
        return train_to_end(
            run, tensorboard=tensorboard, progress=progress, stop=stop or threading.Event()
        )


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

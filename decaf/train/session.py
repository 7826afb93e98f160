"""A training run under way: its folder, its parts, and the loop over the steps."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decaf import __version__
from decaf.backbone.state import Weights
from decaf.backbone.weights import load_weights, save_weights
from decaf.errors import OutputError, ResumeError, SettingError
from decaf.features.disk import disk_errors, write_atomically
from decaf.features.parts.lock import LOCK_NAME, acquire
from decaf.features.progress import progress_for
from decaf.features.ranks import local_world_size
from decaf.features.run import available_cores, differences
from decaf.train.beginning import preprocess_of, start_state
from decaf.train.checkpoint import Checkpoints
from decaf.train.curves import draw_curves
from decaf.train.distributed import World
from decaf.train.feed import Feed, Normaliser
from decaf.train.log import Log
from decaf.train.loop import Diverged, Loop
from decaf.train.pack.reader import Pack, PackSplit
from decaf.train.recipe import TrainSettings
from decaf.train.trainer import DTYPES, Trainer
from decaf.train.validate import Validation, validate

__all__ = ["Rhythm", "TrainResult", "TrainingRun"]

CHECKPOINTS = "checkpoints"
SETTINGS_FILE = "run.json"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"


@dataclass(frozen=True)
class Rhythm:
    """How often a run saves and tells; none of it changes the weights.

    Parameters
    ----------
    checkpoint_minutes : float
        Time between two checkpoints; there is one at every validation too.
    checkpoint_steps : int, optional
        Steps between two checkpoints, besides.
    keep : int
        Checkpoints to keep.
    log_every : int
        Steps between two rows of the log.

    Raises
    ------
    SettingError
        Where one of them is not above 0.
    """

    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep: int = 3
    log_every: int = 50

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value <= 0:
                raise SettingError(f"{name} must be above 0, got {value:g}")


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves.

    Attributes
    ----------
    folder : Path
        Of the run.
    weights : Path
        The weights file.
    sha256 : str
        Of the weights in it.
    epochs : float
        Done.
    validation : Validation or None
        The last one; None without validation images.
    seconds : float
        Spent training, over all sessions.
    """

    folder: Path
    weights: Path
    sha256: str
    epochs: float
    validation: Validation | None
    seconds: float


class TrainingRun:
    """A run under way.

    Parameters
    ----------
    pack : Pack
    validation : PackSplit or None
    folder : Path
    settings : TrainSettings
    world : World
    rhythm : Rhythm
    init_from : str or path, optional
    workers : int, optional
    """

    def __init__(
        self,
        pack: Pack,
        validation: PackSplit | None,
        folder: Path,
        settings: TrainSettings,
        world: World,
        *,
        rhythm: Rhythm,
        init_from: str | os.PathLike[str] | None,
        workers: int | None,
    ) -> None:
        self.pack = pack
        self.folder = folder
        self.settings = settings
        self.world = world
        self.rhythm = rhythm
        self.split = pack.splits["train"]
        self.validation_split = validation
        self.workers = workers or max(1, available_cores() // local_world_size())
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, rhythm.keep)
        self.spec = settings.spec(len(pack.wnids))
        self.preprocess, self.mean_image = preprocess_of(pack, settings, self.spec.input_size)
        self._check()
        begun = load_weights(init_from) if init_from is not None else None
        self.trainer = Trainer(
            self.spec,
            start_state(self.spec, pack, settings, begun),
            settings,
            world,
            len(self.split) // settings.batch_size,
        )
        dtype = DTYPES[settings.precision]
        self.normaliser = Normaliser(self.preprocess, self.mean_image, dtype, world.device)
        self.record: dict[str, Any] = {
            "format": "decaf-train",
            "schema": 1,
            "decaf_version": __version__,
            "pack": pack.fingerprint,
            "images": len(self.split),
            "validation_images": 0 if validation is None else len(validation),
            "init_from": None if begun is None else begun.sha256,
            "settings": settings.to_dict(),
        }
        self.seconds = 0.0
        self.sha256 = ""
        self.last: Validation | None = None
        self._lock: int | None = None

    def _check(self) -> None:
        size, world = self.settings.batch_size, self.world.size
        problems = []
        if len(self.pack.wnids) < 2:
            problems.append(f"{self.pack.path} has one class only: there is nothing to tell apart")
        if len(self.split) < size:
            problems.append(f"batch_size {size} is more than the {len(self.split)} training images")
        if size % world:
            problems.append(f"batch_size {size} cannot be shared evenly by {world} processes")
        if self.settings.crop == "random" and self.pack.size < self.spec.input_size:
            problems.append(
                f"crop 'random' needs images of at least the network's {self.spec.input_size} "
                f"pixels, {self.pack.path} holds {self.pack.size}; pack "
                "with --size, or crop 'resized'"
            )
        if self.settings.schedule == "plateau" and self.validation_split is None:
            problems.append("the plateau schedule needs validation images, and there are none")
        if self.settings.precision == "fp16" and self.world.device.type == "cpu":
            problems.append("precision fp16 is for GPUs; use bf16 or fp32")
        if problems:
            raise SettingError("training: " + "; ".join(problems))

    def begin(self, resume: bool) -> None:
        """Take the folder, and go back to the last intact checkpoint where there is one.

        Raises
        ------
        OutputError
            If it holds a run and `resume` is not wanted, holds something else, or is in use.
        ResumeError
            If the run in it was another, or none of its checkpoints is intact.
        """
        found, problem = None, None
        if self.world.chief:
            try:
                found = self._open_folder(resume)
            except Exception as error:
                problem = error
        self.world.share(problem)
        # The other processes are told rank 0's state rather than left to find the same file.
        state = self.world.share(None if found is None else found[0])
        if state is None:
            return
        tensors = self.world.share_tensors(None if found is None else found[1])
        assert isinstance(state, dict)
        self.trainer.restore(state["trainer"], tensors)
        self.seconds = state["seconds"]
        self.last = Validation(**state["last"]) if state["last"] else None

    def _open_folder(self, resume: bool) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        path = self.folder / SETTINGS_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is no folder; give another --out")
        if path.exists() and not resume:
            raise OutputError(
                f"{self.folder}: holds a run already; give --resume to go on with it, "
                "or another --out"
            )
        if self.folder.is_dir() and not path.exists():
            strange = sorted(set(os.listdir(self.folder)) - {LOCK_NAME})
            if strange:
                raise OutputError(
                    f"{self.folder}: holds something else ({strange[0]!r}); give another --out"
                )
        with disk_errors(self.folder, "nothing was begun"):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock = acquire(self.folder)
            if not path.exists():
                write_atomically(path, json.dumps(self.record, indent=1).encode())
                return None
        try:
            found = differences(json.loads(path.read_bytes()), self.record)
        except (ValueError, AttributeError) as error:
            raise ResumeError(f"{path}: is damaged ({error}); give another --out") from error
        if found:
            raise ResumeError(
                f"{self.folder}: was begun with other settings ({'; '.join(found)}); "
                "give those, or another --out"
            )
        return self.checkpoints.newest()

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def go(
        self,
        *,
        tensorboard: bool | None,
        progress: bool | Callable[[int, int], Any] | None,
        stop: threading.Event,
    ) -> TrainResult:
        """Train to the end.

        Raises
        ------
        Diverged, OutputError
        """
        trainer, chief = self.trainer, self.world.chief
        size = self.settings.batch_size
        feed = Feed(
            self.split,
            self.settings,
            side=self.pack.size,
            pca=self.pack.pca,
            normaliser=self.normaliser,
            crop=self.spec.input_size,
            device=self.world.device,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.workers,
        )
        wish = progress if chief else False
        with (
            progress_for(wish, trainer.steps * size, trainer.step * size) as bar,
            Log(self.folder, trainer.step, tensorboard) if chief else nullcontext() as log,
            feed.batches(trainer.step, trainer.steps) as batches,
        ):
            loop = Loop(self, bar, log, stop)
            for batch in batches if not trainer.schedule.finished else ():
                loop.step(batch)
                if trainer.schedule.finished:
                    break
        self.save_weights(finished=True)
        if chief:
            _draw(self.folder)
        return TrainResult(
            self.folder,
            self.folder / WEIGHTS_FILE,
            self.sha256,
            trainer.epoch,
            self.last,
            self.seconds,
        )

    def validate(self) -> Validation | None:
        """Validate, tell the schedule, and remember the result."""
        if self.validation_split is None:
            return None
        found = validate(
            self.trainer.predict,
            self.validation_split,
            self.preprocess,
            self.normaliser,
            self.world,
            workers=self.workers,
        )
        self.trainer.schedule.validated(found.top1_error)
        self.last = found
        return found

    def checkpoint(self) -> None:
        """Write a checkpoint (rank 0; the other processes have the same state)."""
        sums = self.world.total(self.trainer.sums.clone())
        if not self.world.chief:
            return
        if not self.trainer.is_finite():
            raise Diverged(self.diverged("a weight is no finite number"))
        state = {
            "trainer": self.trainer.state(),
            "seconds": self.seconds,
            "last": None if self.last is None else asdict(self.last),
        }
        tensors = {**self.trainer.tensors(), "sums": sums}
        self.checkpoints.write(self.trainer.step, state, tensors)

    def save_weights(self, *, finished: bool) -> None:
        """Write the weights file, of the plain network."""
        if not self.world.chief:
            return
        metrics = {} if self.last is None else {"validation": asdict(self.last)}
        weights = Weights.of(
            WEIGHTS_FILE,
            self.spec,
            self.preprocess,
            self.trainer.result().folded(),
            class_names=self.pack.class_names,
            mean_image=self.mean_image,
            metrics=metrics,
            provenance={
                "source": "decaf train",
                "decaf_version": __version__,
                "torch_version": str(torch.__version__),
                "finished": finished,
                "steps": self.trainer.step,
                "epochs": self.trainer.epoch,
                "seconds": round(self.seconds, 1),
                "processes": self.world.size,
                "device": self.world.device.type,
                "wnids": list(self.pack.wnids),
                **{k: self.record[k] for k in ("pack", "images", "init_from", "settings")},
            },
        )
        with disk_errors(self.folder / WEIGHTS_FILE, "checkpoints are kept"):
            self.sha256 = save_weights(self.folder / WEIGHTS_FILE, weights, overwrite=True)

    def diverged(self, what: str) -> str:
        """Word the end of a run that went wrong."""
        rate, kept = self.trainer.rate(), self.checkpoints.paths()
        where = f"the last good state is {kept[-1]}" if kept else "there was no checkpoint yet"
        return (
            f"step {self.trainer.step} (epoch {self.trainer.epoch:.2f}), learning rate {rate:.3g}: "
            f"{what}; {where}; try a lower --lr (such as {rate / 3:.1g}), a longer "
            "--warmup-epochs, --clip-norm 1 or --precision fp32"
        )


def _draw(folder: Path) -> None:
    try:
        draw_curves(folder / LOG_FILE, folder / CURVES_FILE)
    except SettingError as error:
        print(f"decaf: no {CURVES_FILE}: {error}", flush=True)

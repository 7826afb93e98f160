"""A training run under way: its folder, network, data and settings, and what is saved of it."""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.backbone.spec import parameter_shapes
from decaf.backbone.steps import layer_shape
from decaf.backbone.weights.load import load_weights, save_weights
from decaf.backbone.weights.state import Weights
from decaf.errors import OutputError, SettingError, WeightsError
from decaf.images.listing.names import some_of
from decaf.runtime.cores import cores_of_process
from decaf.runtime.device import bf16_is_native
from decaf.runtime.processes import World
from decaf.runtime.settings import ComputeSettings
from decaf.storage import disk_errors
from decaf.train.augment import Normaliser
from decaf.train.checkpoint import WEIGHTS_FILE, TrainingFolder
from decaf.train.feed import Split, steps_per_epoch
from decaf.train.initial_weights import preprocess_of, start_state
from decaf.train.log import wants_tensorboard
from decaf.train.pack.reader import Pack
from decaf.train.recipe import LEARNED, TrainSettings
from decaf.train.step import DTYPES, Trainer
from decaf.train.validate import Validation, centre_crops, validate
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.train.distillation.photographs import Photographs
    from decaf.train.distillation.soft_targets import SoftTargets

__all__ = ["SavingSettings", "TrainResult", "TrainingData", "TrainingRun", "check_threads"]

# Images whose statistics batch normalisation begins with where weights are gone on from.
CALIBRATED = 256
KEPT = "checkpoints are kept, for `resume=True`"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavingSettings:
    """The settings of saving and logging; none of them changes the weights.

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
    at_validation : bool
        Save at every validation: a checkpoint and the weights as they are. Short epochs take less
        time than that; without it the weights are written at the end.
    resume : bool
        Go on from the last intact checkpoint, or begin where there is none.
    tensorboard : bool, optional
        Write TensorBoard's events; by default where it is installed.

    Raises
    ------
    SettingError
        Where one of the numbers is not above 0, or TensorBoard is asked for and not installed.
    """

    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep: int = 3
    log_every: int = 50
    at_validation: bool = True
    resume: bool = False
    tensorboard: bool | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"`{name}` must be above 0, got {value:g}"
            for name, value in asdict(self).items()
            if value is not None and not isinstance(value, bool) and value <= 0
        ]
        if wrong:
            raise SettingError("; ".join(wrong))
        wants_tensorboard(self.tensorboard)


def check_threads(compute: ComputeSettings) -> None:
    """Refuse to train without a thread that decodes.

    Parameters
    ----------
    compute : ComputeSettings

    Raises
    ------
    SettingError
    """
    if compute.workers == 0:
        raise SettingError("`workers` must be 1 or more, got 0")


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished run.

    Attributes
    ----------
    folder : Path
        Folder of the run.
    weights : Path
        The weights file.
    sha256 : str
        SHA-256 of the weights in it.
    epochs : float
        Epochs that were done.
    validation : Validation or None
        Validation of the weights: the last, or where the best are kept the best; None without
        validation images.
    seconds : float
        Time spent on training, over all sessions.
    """

    folder: Path
    weights: Path
    sha256: str
    epochs: float
    validation: Validation | None
    seconds: float


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The images of a run.

    Parameters
    ----------
    pack : Pack or Photographs
        Has the classes.
    train : Split
        Training images, perhaps some of those of the pack.
    validation : Split or None
    validation_pack : str, optional
        Fingerprint of the pack that `validation` is of, where it is another.
    """

    pack: Pack | Photographs
    train: Split
    validation: Split | None
    validation_pack: str | None = None


class TrainingRun:
    """A run under way.

    Parameters
    ----------
    data : TrainingData
    folder : Path
    settings : TrainSettings
    world : World
    saving : SavingSettings
    compute : ComputeSettings
        How it is done, on the device of `world`.
    begun : Weights, optional
        To start from.
    head : tuple of Tensor, optional
        Weight and bias to start fc8 from.
    origin : dict, optional
        JSON values to be kept with the record of the run, which they are a part of.
    targets : SoftTargets, optional
        A teacher's answers, which are learnt in place of the images' classes.
    """

    def __init__(
        self,
        data: TrainingData,
        folder: Path,
        settings: TrainSettings,
        world: World,
        *,
        saving: SavingSettings,
        compute: ComputeSettings,
        begun: Weights | None = None,
        head: tuple[Tensor, Tensor] | None = None,
        origin: dict[str, Any] | None = None,
        targets: SoftTargets | None = None,
    ) -> None:
        self.targets = targets
        self.pack = pack = data.pack
        self.folder = folder
        self.settings = settings
        self.world = world
        self.saving = saving
        self.compute = compute
        self.split = data.train
        self.validation_split = data.validation
        self.workers = compute.workers or cores_of_process()
        self.spec = settings.spec(len(pack.wnids), None if begun is None else begun.spec)
        self.begun = begun
        self._check()
        self.origin = origin or {}
        self.record: dict[str, Any] = {
            "pack": pack.fingerprint,
            "validation_pack": data.validation_pack,
            "images": len(self.split),
            "validation_images": 0 if data.validation is None else len(data.validation),
            "init_from": None if begun is None else begun.sha256,
            "settings": settings.to_dict(),
            **self.origin,
        }
        self.run_folder = TrainingFolder(folder, self.record, saving.keep)
        # Before the network is made, which takes seconds.
        world.on_chief(lambda: self.run_folder.refuse_other(saving.resume))
        self.preprocess, self.mean_image = preprocess_of(
            pack, settings, self.spec.input_size, begun
        )
        self.trainer = Trainer(
            self.spec,
            start_state(self.spec, pack, settings, begun, head),
            settings,
            world,
            steps_per_epoch(len(self.split), settings),
            class_weight=self._class_weight(),
            loss=None if targets is None else targets.loss,
        )
        dtype = DTYPES[settings.precision]
        self.normaliser = Normaliser(self.preprocess, self.mean_image, dtype, world.device)
        self.seconds = 0.0
        self.sha256 = ""
        self.last: Validation | None = None

    def _check(self) -> None:
        size, world = self.settings.batch_size, self.world.size
        problems = [] if self.targets is not None else self._class_problems()
        if len(self.split) < size and self.settings.last_batch == "dropped":
            problems.append(
                f"`batch_size` {size} is more than the {len(self.split)} training images: give "
                f"at most {len(self.split)}"
            )
        if size % world:
            problems.append(f"`batch_size` {size} cannot be shared evenly by {world} processes")
        if self.settings.crop == "random" and self.pack.size < self.spec.input_size:
            problems.append(
                f"`crop` 'random' needs images of at least the network's {self.spec.input_size} "
                f"pixels, {self.pack.path} holds {self.pack.size}; pack "
                "with another size, or `crop='resized'`"
            )
        if self.settings.schedule == "plateau" and self.validation_split is None:
            problems.append(
                f"the plateau schedule needs validation images, and {self.pack.path} has none: "
                "give another pack's as `val`, pack some for validation, or choose another schedule"
            )
        if self.validation_split is None and (
            self.settings.keep_best or self.settings.early_stopping
        ):
            problems.append("`keep_best` and `early_stopping` need validation images")
        if self.settings.precision == "fp16" and self.world.device.type == "cpu":
            problems.append("precision fp16 is for GPUs; use bf16 or fp32")
        problems += self._size_problems()
        if self.settings.init_layers is not None and self.begun is None:
            problems.append("`init_layers` needs weights to take them from (`init_from`)")
        if problems:
            raise SettingError("training: " + "; ".join(problems))
        device = self.world.device
        if self.settings.precision == "bf16" and self.world.chief and not bf16_is_native(device):
            _logger.warning(
                "precision bf16: this %s has no native bfloat16 arithmetic and emulates it, which "
                "takes many times as long; `precision='fp32'` is faster here",
                device.type.upper(),
            )

    def _size_problems(self) -> list[str]:
        """List what is wrong with the size of the views, where it is not the network's own."""
        settings, spec = self.settings, self.spec
        problems = []
        for side in {settings.train_size, settings.grow_from} - {None}:
            try:
                layer_shape(spec, "fc6", side)
            except SettingError as error:
                problems.append(str(error))
        last = settings.side_at(1 - 1e-9, spec.input_size)
        if settings.grow_from is not None and settings.grow_from > last:
            problems.append(f"`grow_from` must be at most {last}, got {settings.grow_from}")
        return problems

    def _class_problems(self) -> list[str]:
        """List what is wrong with the classes, where images are learnt by these."""
        problems = []
        if len(self.pack.wnids) < 2:
            problems.append(f"{self.pack.path} has one class only: there is nothing to tell apart")
        empty = np.flatnonzero(np.bincount(self.split.labels, minlength=len(self.pack.wnids)) == 0)
        if len(empty):
            names = some_of((self.pack.wnids[i] for i in empty), 3)
            problems.append(f"{self.pack.path} has no training images of {names}")
        return problems

    def _class_weight(self) -> Tensor | None:
        """Return what the losses of each class are multiplied by; over all images the mean is 1."""
        if self.settings.class_weights == "none":
            return None
        counts = np.bincount(self.split.labels, minlength=len(self.pack.wnids))
        weights = len(self.split) / (len(counts) * np.maximum(counts, 1))
        return torch.from_numpy(weights.astype(np.float32))

    def begin(self) -> None:
        """Take the folder, and go back to the last intact checkpoint where `resume` asks for it.

        Raises
        ------
        OutputError
            If it holds a run and `resume` is not wanted, holds something else, or is in use.
        ResumeError
            If the run in it was another, or none of its checkpoints is intact.
        """
        resume = self.saving.resume
        checkpoint = self.world.on_chief(lambda: self.run_folder.open(resume, self._room()))
        # The other processes are told rank 0's state rather than left to find the same file.
        state = self.world.share(None if checkpoint is None else checkpoint[0])
        if state is None:
            if self.begun is not None and self.settings.batch_norm:
                self._calibrate(self.begun)
            return
        tensors = self.world.share_tensors(None if checkpoint is None else checkpoint[1])
        assert isinstance(state, dict)
        self.trainer.restore(state["trainer"], tensors)
        self.seconds = state["seconds"]
        self.last = Validation(**state["last"]) if state["last"] else None
        if self.run_folder.grown:
            was = self.run_folder.lengthened[-1]["epochs"]
            _logger.warning("%s: %s", self.folder, self.trainer.lengthened(was))

    def _calibrate(self, begun: Weights) -> None:
        """Set the normalisations so that layers compute what they did without them."""
        taken = self.settings.init_layers or LEARNED[-1]
        layers = LEARNED[: LEARNED.index(taken) + 1]
        # Of all sources and classes, which packs have one after the other.
        count = min(CALIBRATED, len(self.split))
        rows = np.linspace(0, len(self.split) - 1, count).astype(np.int64)
        batches = centre_crops(self.split, rows, self.preprocess, self.workers)
        pixels = torch.cat([crops for _, crops in batches]).to(self.world.device)
        biases = {layer: begun.state[f"{layer}.bias"] for layer in layers}
        images = self.normaliser(pixels).float()
        side = self.settings.side_at(0, self.spec.input_size)
        if side != images.shape[-1]:
            size = (side, side)
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        self.trainer.network.calibrate(images, biases)
        # GPUs may differ in last digits, and processes are to hold the same network.
        mine = self.trainer.network.norms.state_dict() if self.world.chief else None
        self.trainer.calibrated(self.world.share_tensors(mine))

    def close(self) -> None:
        """Release the folder."""
        self.run_folder.close()

    def _room(self) -> int:
        """Return the bytes that checkpoints and weights are going to take."""
        # One more than are kept is there while it is written; then the weights, twice likewise.
        weights = 4 * sum(math.prod(shape) for shape in parameter_shapes(self.spec).values())
        return (self.saving.keep + 1) * self.trainer.bytes() + 2 * weights

    def is_saved(self) -> bool:
        """Tell, to all processes alike, whether the weights file is that of the whole run."""
        sha256 = ""
        if self.world.chief:
            with contextlib.suppress(WeightsError):
                saved = load_weights(self.folder / WEIGHTS_FILE)
                steps = saved.provenance.get("steps")
                if saved.provenance.get("finished") is True and steps == self.trainer.step:
                    sha256 = saved.sha256
        self.sha256 = str(self.world.share(sha256))
        return bool(self.sha256)

    def result(self) -> TrainResult:
        """Return what a finished run leaves."""
        return TrainResult(
            self.folder,
            self.folder / WEIGHTS_FILE,
            self.sha256,
            self.trainer.epoch,
            self.last,
            self.seconds,
        )

    def validate(self) -> Validation | None:
        """Validate, tell the schedule, and remember the result."""
        if self.validation_split is None:
            return None
        validation = validate(
            self.trainer.predict,
            self.validation_split,
            self.preprocess,
            self.normaliser,
            self.world,
            workers=self.workers,
        )
        best = self.trainer.validated(validation.top1_error, validation.loss)
        if best or not self.settings.keep_best:
            self.last = validation
        return validation

    def checkpoint(self) -> None:
        """Write a checkpoint (rank 0; the other processes have the same state)."""
        sums = self.world.total(self.trainer.sums.clone())
        if not self.world.chief:
            return
        state = {
            "trainer": self.trainer.state(),
            "seconds": self.seconds,
            "last": None if self.last is None else asdict(self.last),
        }
        tensors = {**self.trainer.tensors(), "sums": sums}
        self.run_folder.checkpoints.write(self.trainer.step, state, tensors)

    def save_weights(self) -> None:
        """Write the weights file, of the plain network."""
        if not self.world.chief:
            return
        metrics = {} if self.last is None else {"validation": asdict(self.last)}
        weights = Weights.of(
            WEIGHTS_FILE,
            self.spec,
            self.preprocess,
            self.trainer.outcome(),
            class_names=self.pack.class_names,
            mean_image=self.mean_image,
            metrics=metrics,
            provenance={
                "source": "decaf train" if self.targets is None else "decaf distil",
                "decaf_version": __version__,
                "torch_version": str(torch.__version__),
                "finished": self.trainer.ended,
                "steps": self.trainer.step,
                "epochs": self.trainer.epoch,
                "seconds": round(self.seconds, 1),
                "processes": self.world.size,
                "device": self.world.device.type,
                "wnids": list(self.pack.wnids),
                **{k: self.record[k] for k in ("pack", "images", "init_from", "settings")},
                "lengthened": self.run_folder.lengthened,
                **({} if self.targets is None else {**self.origin, **self.targets.described()}),
            },
        )
        path = self.folder / WEIGHTS_FILE
        with disk_errors(path, KEPT):
            try:
                self.sha256 = save_weights(path, weights, overwrite=True)
            except OutputError as error:
                raise OutputError(
                    f"{error}; {KEPT}; mend that and run the same command again"
                ) from error

    def diverged(self, what: str) -> str:
        """Word the end of a run that went wrong.

        Parameters
        ----------
        what : str
            Description of what went wrong.
        """
        rate, kept = self.trainer.rate(), self.run_folder.checkpoints.paths()
        where = "nothing was saved yet"
        if kept:
            where = f"the last good state is {kept[-1]}"
            if (self.folder / WEIGHTS_FILE).exists():
                where += f", the last good weights are {self.folder / WEIGHTS_FILE}"
        return (
            f"step {self.trainer.step} (epoch {self.trainer.epoch:.2f}), learning rate {rate:.3g}: "
            f"{what}; {where}; try, with another `out`, a lower `lr` (such as {rate / 3:.1g}), a "
            "longer `warmup_epochs`, `clip_norm=1` or `precision='fp32'`"
        )

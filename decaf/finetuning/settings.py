"""The settings of fine-tuning: every choice, as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from decaf.errors import SettingError
from decaf.train.recipe import ARCH_OF_WEIGHTS, TrainSettings

__all__ = ["STARTS", "VAL_FRACTION", "FinetuneSettings", "with_half_the_batch"]

STARTS = ("head", "new")

# The share of the images for validation, where nothing else is said.
VAL_FRACTION = 0.2

# Where no batch size is given: at most this many images, and at least so many steps an epoch.
LARGEST_BATCH = 64
LEAST_STEPS = 4
SMALLEST_BATCH = 8
# Where no number of epochs is given.
MOST_EPOCHS = 30
FEWEST_EPOCHS = 5
IMAGES = 20_000
# Validations of a run, where nothing else is said: each costs about a twelfth of an epoch.
VALIDATIONS = 15
# Likewise, the part of a run over which the rate rises.
WARMUP = 15


@dataclass(frozen=True)
class FinetuneSettings:
    """All that determines a fine-tuning besides its images and the weights it starts from.

    The defaults of optimizer, rates and freezing were chosen by measurement on four small data sets
    (``benchmarks/finetune_defaults.py``); how often many images are gone through, for time.

    Parameters
    ----------
    start : {"head", "new"}
        How the new last layer begins: as the logistic regression that was fitted to the frozen
        fc7, so that the network begins where the frozen features end; or with small random numbers.
    epochs : float, optional
        How many times the training images are gone through, at most; by default 30 times, and less
        often where that were more than 20,000 images, but 5 times at least.
    batch_size : int, optional
        Images a step; by default up to 64, and fewer where the images are few.
    optimizer : {"sgd", "adamw"}
    lr : float
        The rate that `lr_by_layer` multiplies.
    lr_by_layer : str
        Factors on the rate of single layers, such as "fc8=10" or "conv1=0.1,fc8=10"; that of the
        others is 1.
    weight_decay : float
    schedule : {"cosine", "step", "constant"}
    warmup_epochs : float, optional
        The rate rises linearly over these; by default over a fifteenth of all.
    freeze : str, optional
        Leave the layers up to this one as they are, such as "conv3".
    head_epochs : float
        Train the new layer alone for so many of the epochs, before the rest is released.
    early_stopping : int
        Validations without a better one after which the run ends; 0 for never. The best state of
        those before is what is kept, or what was begun with: see `decaf.finetune`.
    validate_every : int, optional
        Epochs between validations; by default about 15 validations are made.
    dropout : float
        Probability of dropping a unit of fc6 and fc7.
    label_smoothing : float
    class_weights : {"none", "balanced"}
        "balanced" weighs the losses of a class by the inverse of its share of the training images.
    sampling : {"shuffled", "balanced"}
        "balanced" shows every class equally often.
    crop_area : tuple of 2 float
        Least and greatest part of the image's area that a training step sees.
    crop_ratio : tuple of 2 float
        Least and greatest aspect ratio of that part.
    mirror : bool
        Mirror every second image.
    lighting : float
        Standard deviation of the alpha of Krizhevsky et al. 2012, section 4.1; 0 for none.
    clip_norm : float
        Greatest norm of the gradient; 0 for no limit.
    average : float
        Decay a step of the exponential moving average of the weights; 0 for none.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Arithmetic of the steps; "auto" is bf16 where the processor computes in it, else fp32.
    compile : {"no", "yes", "auto"}
        `torch.compile`, which takes longer than a short run; "auto" is on GPUs.
    seed : int
        Seed of all randomness, and of the draw of validation images.

    Raises
    ------
    SettingError
        Naming every value out of its bounds, and those that contradict each other.
    """

    start: Literal["head", "new"] = "head"
    epochs: float | None = None
    batch_size: int | None = None
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-4
    lr_by_layer: str = "fc8=10"
    weight_decay: float = 0.01
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float | None = None
    freeze: str | None = None
    head_epochs: float = 0.0
    early_stopping: int = 0
    validate_every: int | None = None
    dropout: float = 0.5
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    crop_area: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: bool = True
    lighting: float = 0.1
    clip_norm: float = 0.0
    average: float = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.start not in STARTS:
            problems.append(f"`start` must be one of {', '.join(STARTS)}, got {self.start!r:.60}")
        if str(self.schedule) == "plateau":
            problems.append("`schedule` must be one of cosine, step, constant, got 'plateau'")
        if self.precision == "auto" or not problems:
            try:
                self.training(1000, "fp32" if self.precision == "auto" else self.precision)
            except SettingError as error:
                problems.append(str(error).removeprefix("training: "))
        if problems:
            raise SettingError("fine-tuning: " + "; ".join(problems))
        self._check_together()

    def _check_together(self) -> None:
        """Refuse settings that contradict each other."""
        problems = []
        asked = self.training(1000, "fp32")
        factors = asked.rate_factors()
        frozen = [layer for layer in asked.frozen() if factors[layer] not in (0.0, 1.0)]
        if frozen:
            problems.append(
                f"`lr_by_layer` {self.lr_by_layer!r:.60} gives a rate to {', '.join(frozen)}, "
                f"which `freeze` {self.freeze!r} leaves as it is"
            )
        if self.class_weights == self.sampling == "balanced":
            problems.append(
                "`class_weights` and `sampling` are both 'balanced', which weighs small classes "
                "twice: choose one"
            )
        if problems:
            raise SettingError("fine-tuning: " + "; ".join(problems))

    def training(self, images: int, precision: str, processes: int = 1) -> TrainSettings:
        """Return the settings of the training run.

        Parameters
        ----------
        images : int
            For training.
        precision : str
            "fp32", "bf16" or "fp16", in place of "auto".
        processes : int
            Number of processes that share a batch evenly.
        """
        values: dict[str, Any] = asdict(self)
        for name in ("start", "batch_size", "validate_every", "precision"):
            del values[name]
        size = self.batch_size
        if size is None:
            size = _batch_for(images)
            size = max(processes, size - size % processes)
        every, epochs = self.validate_every, self.epochs
        if epochs is None:
            epochs = float(round(min(MOST_EPOCHS, max(FEWEST_EPOCHS, IMAGES / max(1, images)))))
            values["epochs"] = epochs
        real = isinstance(epochs, (int, float)) and math.isfinite(epochs)
        if every is None:
            every = max(1, round(epochs / VALIDATIONS)) if real else 1
        if self.warmup_epochs is None:
            values["warmup_epochs"] = epochs / WARMUP if real else 0.0
        return TrainSettings(
            preset="finetune",
            arch=ARCH_OF_WEIGHTS,
            batch_size=size,
            validate_every=every,
            precision=precision,  # type: ignore[arg-type]  # checked by TrainSettings
            nesterov=False,
            batch_norm=False,
            crop="resized",
            last_batch="wrapped",
            keep_best=True,
            **values,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def with_half_the_batch(settings: TrainSettings, processes: int = 1) -> TrainSettings | None:
    """Return settings for half the batch, with the rate that goes with it.

    Half of SGD's rate, so that an epoch moves the weights as far (Goyal et al. 2017, section 2.1);
    of AdamW's, whose steps have one size whatever the gradient's, the square root of a half.

    Parameters
    ----------
    settings : TrainSettings
    processes : int
        Number of processes that share a batch evenly.

    Returns
    -------
    TrainSettings or None
        None where there is nothing left to halve.
    """
    size = settings.batch_size // 2
    size -= size % processes
    if size < 1:
        return None
    share = size / settings.batch_size
    return replace(
        settings,
        batch_size=size,
        lr=settings.lr * (math.sqrt(share) if settings.optimizer == "adamw" else share),
    )


def _batch_for(images: int) -> int:
    """Return the largest power of two up to 64 that leaves some steps an epoch, at least 8."""
    size = LARGEST_BATCH
    while size > SMALLEST_BATCH and images < LEAST_STEPS * size:
        size //= 2
    return size

"""The settings of a training run: every choice, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from decaf.backbone.spec import ArchSpec, LRNSpec, PoolSpec, architecture
from decaf.errors import SettingError
from decaf.runtime.settings import wrong_types

__all__ = ["ARCH_OF_WEIGHTS", "GROWTH", "LEARNED", "TrainSettings"]

LEARNED: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
"""The layers that have parameters."""

GROWTH = 32
"""Pixels by which views grow; see `TrainSettings.grow_from`."""

ARCH_OF_WEIGHTS = "weights"
"""In place of an architecture's name: that of the weights that are gone on from."""


@dataclass(frozen=True)
class TrainSettings:
    """All that determines a training run besides its images.

    Parameters
    ----------
    preset : str
        Name of the preset these began as; a record.
    arch : str
        A name of `decaf.backbone.ARCHITECTURES`, or "weights" for the network of the weights
        that are gone on from.
    activation : {"relu", "tanh"}, optional
        In place of the architecture's own (ablation of Krizhevsky et al. 2012, 3.1).
    lrn : bool, optional
        With or without local response normalisation (3.3); None for the architecture's own.
    overlap : bool, optional
        Overlapping 3/2 pooling or plain 2/2 pooling (3.4); None for the architecture's own.
    dropout : float, optional
        Probability of dropping a unit of fc6 and fc7 (4.2); None for the architecture's own.
    seed : int
        All randomness comes from it.
    epochs : float
        How many times the training images are gone through. With the plateau schedule, at most.
    batch_size : int
        Images a step, over all processes together.
    optimizer : {"sgd", "adamw"}
    lr : float
        Learning rate of the whole batch; it is not scaled by the number of processes, since neither
        is the batch.
    momentum : float
        Momentum of SGD; the first beta of AdamW.
    nesterov : bool
        Nesterov's momentum; SGD only.
    weight_decay : float
    decay_all : bool
        Decay biases and the parameters of batch normalisation too.
    schedule : {"plateau", "cosine", "step", "constant"}
        "plateau" divides the rate when validation error stops improving (the paper, section 5);
        "cosine" falls to nothing over the run; "step" divides at equal thirds.
    warmup_epochs : float
        The rate rises linearly over these.
    lr_factor : float
        Factor by which "plateau" and "step" multiply the rate.
    patience : int
        Validations without improvement before "plateau" acts.
    max_drops : int
        "plateau" ends the run where it would act once more than this.
    label_smoothing : float
    init : {"paper", "he"}
        Weights before the first step: drawn as He et al. 2015 or the paper (section 5) have them.
    init_layers : str, optional
        Last layer that is taken from weights that are gone on from, such as "conv5"; the
        others begin anew, and need not have the same shape.
    precision : {"fp32", "bf16", "fp16"}
        Arithmetic of the forward and backward pass; parameters are float32 always. "fp16" scales
        the loss, and is for GPUs.
    batch_norm : bool
        Batch normalisation after conv1 to fc7 while training, folded into the weights afterwards.
    average : float
        Decay a step of the exponential moving average of the weights; 0 for none.
    crop : {"random", "resized"}
        "random" cuts the input's size out of the stored image; "resized" cuts a box of random area
        and aspect ratio and resizes it.
    crop_area : tuple of 2 float
        Least and greatest part of the stored image's area, for "resized".
    crop_ratio : tuple of 2 float
        Least and greatest aspect ratio (width by height), for "resized".
    train_size : int, optional
        Side in pixels of the views that are trained on, where it is not that of the network's
        input; for networks that pool adaptively before fc6, with crop "resized".
    grow_from : int, optional
        Side of the first views: it grows in steps of 32 pixels to that of the last, over the
        epochs, which saves time while the filters are coarse (Tan & Le 2021, "EfficientNetV2",
        section 4).
    mirror : bool
        Mirror every second image.
    lighting : float
        Standard deviation of the paper's alpha (section 4.1), 0 for none.
    pixels : {"0-255", "standard"}
        The network sees pixels less their mean, or divided by their standard deviation too. Where
        weights are gone on from, it sees what they are used to, whatever this and `mean` say.
    mean : {"channel", "image", "auto"}
        Mean that is subtracted. "auto" is the mean image where the pack was warped to its square.
    resize_to : int, optional
        Side of the image whose centre is cut in evaluation; by default the pack's own where it
        is larger than the network's input, else 9/8 of the input.
    clip_norm : float
        Greatest norm of the gradient; 0 for no limit.
    channels_last : bool
    compile : {"auto", "yes", "no"}
        `torch.compile`; "auto" on GPUs only, since it gained nothing on CPUs.
    validate_every : int
        Epochs between validations.
    freeze : str, optional
        Leave the layers up to this one as they are, such as "conv3".
    lr_by_layer : str
        Factors on the learning rate of single layers, such as "fc8=10" or "conv1=0.1,fc8=10"; that
        of the others is 1.
    head_epochs : float
        Train the last layer alone for so many of the epochs, at a constant rate, before the
        schedule begins for all.
    class_weights : {"none", "balanced"}
        "balanced" weighs the losses of a class by the inverse of its share of the training images.
    sampling : {"shuffled", "balanced"}
        "shuffled" goes through all images once an epoch; "balanced" shows every class equally
        often.
    last_batch : {"dropped", "wrapped"}
        Images left over at the end of an epoch: leave it out, or fill the batch up with images of
        the next epoch, which small sets need.
    keep_best : bool
        Validate before the first step too, and keep the weights with which validation went best,
        instead of the last; of equals those begun with, or else those with the lower loss.
    early_stopping : int
        Validations without a better one after which the run ends; 0 for never.

    Raises
    ------
    SettingError
        Naming every value out of its bounds.
    """

    preset: str = "modern"
    arch: str = "alexnet"
    activation: Literal["relu", "tanh"] | None = None
    lrn: bool | None = None
    overlap: bool | None = None
    dropout: float | None = None
    seed: int = 0
    epochs: float = 90.0
    batch_size: int = 256
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: Literal["plateau", "cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = 1.0
    lr_factor: float = 0.1
    patience: int = 5
    max_drops: int = 3
    label_smoothing: float = 0.1
    init: Literal["paper", "he"] = "he"
    init_layers: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    batch_norm: bool = True
    average: float = 0.999
    crop: Literal["random", "resized"] = "resized"
    crop_area: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    train_size: int | None = None
    grow_from: int | None = None
    mirror: bool = True
    lighting: float = 0.0
    pixels: Literal["0-255", "standard"] = "standard"
    mean: Literal["channel", "image", "auto"] = "channel"
    resize_to: int | None = None
    clip_norm: float = 0.0
    channels_last: bool = True
    compile: Literal["auto", "yes", "no"] = "auto"
    validate_every: int = 1
    freeze: str | None = None
    lr_by_layer: str = ""
    head_epochs: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    last_batch: Literal["dropped", "wrapped"] = "dropped"
    keep_best: bool = False
    early_stopping: int = 0

    def __post_init__(self) -> None:
        problems = wrong_types(self)
        if not problems:
            problems += [text for wrong, text in _rules(self) if wrong]
        if problems:
            raise SettingError("training: " + "; ".join(problems))
        if self.arch != ARCH_OF_WEIGHTS:
            architecture(self.arch)

    def spec(self, classes: int, begun: ArchSpec | None = None) -> ArchSpec:
        """Return the network that these settings train.

        Parameters
        ----------
        classes : int
        begun : ArchSpec, optional
            Architecture of the weights that are gone on from, which ``arch="weights"`` needs.

        Raises
        ------
        SettingError
            For ``arch="weights"`` without weights.
        """
        if self.arch != ARCH_OF_WEIGHTS:
            spec = architecture(self.arch)
        elif begun is not None:
            spec = begun
        else:
            raise SettingError(
                "training: `arch='weights'` needs weights to start from (`init_from`)"
            )
        changes: dict[str, Any] = {"classes": classes}
        if self.activation is not None:
            changes["activation"] = self.activation
        if self.lrn is not None:
            changes["lrn"] = (spec.lrn or LRNSpec()) if self.lrn else None
        if self.overlap is not None:
            changes["pool"] = PoolSpec(3, 2) if self.overlap else PoolSpec(2, 2)
        if self.dropout is not None:
            changes["dropout"] = self.dropout
        return replace(spec, **changes)

    def side_at(self, done: float, input_size: int) -> int:
        """Return the side of the views in pixels, after this part of the run.

        Parameters
        ----------
        done : float
            From 0 to below 1.
        input_size : int
            Side of the network's input.

        Examples
        --------
        >>> settings = TrainSettings(grow_from=128)
        >>> [settings.side_at(done, 224) for done in (0, 0.3, 0.6, 0.99)]
        [128, 160, 192, 224]
        """
        last = self.train_size or input_size
        if self.grow_from is None:
            return last
        sides = [*range(self.grow_from, last, GROWTH), last]
        side: int = sides[int(done * len(sides))]
        return side

    def rate_factors(self) -> dict[str, float]:
        """Return what the learning rate of each layer is multiplied by."""
        factors = dict.fromkeys(LEARNED, 1.0)
        factors.update(_factors(self.lr_by_layer) or {})
        return factors

    def frozen(self) -> tuple[str, ...]:
        """Name the layers that `freeze` leaves as they are, in forward order."""
        return () if self.freeze is None else LEARNED[: LEARNED.index(self.freeze) + 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; `from_dict` is the way back."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Make settings of what `to_dict` returned.

        Parameters
        ----------
        values : mapping

        Raises
        ------
        SettingError
            For unknown names and for values out of their bounds.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise SettingError(f"training: no setting {', '.join(map(repr, unknown))}.{hint}")
        checked: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**checked)


def _rules(s: TrainSettings) -> list[tuple[bool, str]]:
    low, high = s.crop_area
    thin, wide = s.crop_ratio
    return [
        (not 0 <= s.seed < 2**63, f"`seed` must be from 0 to 2**63 - 1, got {s.seed}"),
        (
            not 0 < s.epochs <= 100_000,
            f"`epochs` must be above 0 and at most 100,000, got {s.epochs:g}",
        ),
        (not 1 <= s.batch_size <= 1_000_000, f"`batch_size` must be 1 or more, got {s.batch_size}"),
        (not 0 < s.lr <= 100, f"`lr` must be above 0 and at most 100, got {s.lr:g}"),
        (not 0 <= s.momentum < 1, f"`momentum` must be from 0 to below 1, got {s.momentum:g}"),
        (not 0 <= s.weight_decay <= 10, f"`weight_decay` must be 0 to 10, got {s.weight_decay:g}"),
        (
            s.epochs > 0 and not 0 <= s.warmup_epochs < s.epochs,
            f"`warmup_epochs` must be 0 to below `epochs` ({s.epochs:g}), got {s.warmup_epochs:g}",
        ),
        (not 0 < s.lr_factor < 1, f"`lr_factor` must be between 0 and 1, got {s.lr_factor:g}"),
        (s.patience < 1, f"`patience` must be 1 or more, got {s.patience}"),
        (s.max_drops < 0, f"`max_drops` must be 0 or more, got {s.max_drops}"),
        (not 0 <= s.label_smoothing < 1, "`label_smoothing` must be from 0 to below 1"),
        (not 0 <= s.average < 1, f"`average` must be from 0 to below 1, got {s.average:g}"),
        (not 0 < low <= high <= 1, "`crop_area` must be two numbers, 0 < least <= greatest <= 1"),
        (not 0 < thin <= wide <= 100, "`crop_ratio` must be two numbers, 0 < least <= greatest"),
        (not 0 <= s.lighting <= 10, f"`lighting` must be from 0 to 10, got {s.lighting:g}"),
        (s.clip_norm < 0, f"`clip_norm` must be 0 or more, got {s.clip_norm:g}"),
        (
            any(
                side is not None and not 32 <= side <= 4096 for side in (s.train_size, s.grow_from)
            ),
            "`train_size` and `grow_from` must be from 32 to 4096",
        ),
        (
            s.crop == "random" and (s.train_size or s.grow_from) is not None,
            "`train_size` and `grow_from` are for `crop='resized'`",
        ),
        (
            s.train_size is not None and s.grow_from is not None and s.grow_from > s.train_size,
            f"`grow_from` must be at most `train_size` ({s.train_size}), got {s.grow_from}",
        ),
        (s.validate_every < 1, f"`validate_every` must be 1 or more, got {s.validate_every}"),
        (s.resize_to is not None and s.resize_to < 1, "`resize_to` must be 1 or more"),
        (s.dropout is not None and not 0 <= s.dropout < 1, "`dropout` must be from 0 to below 1"),
        (
            s.nesterov and not s.momentum and s.optimizer == "sgd",
            "`nesterov` needs a `momentum` above 0",
        ),
        (s.batch_norm and s.batch_size < 2, "`batch_norm` needs a `batch_size` of 2 or more"),
        (
            s.freeze is not None and s.freeze not in LEARNED[:-1],
            f"`freeze` must be one of {', '.join(LEARNED[:-1])}, got {s.freeze!r:.60}",
        ),
        (
            s.init_layers is not None and s.init_layers not in LEARNED,
            f"`init_layers` must be one of {', '.join(LEARNED)}, got {s.init_layers!r:.60}",
        ),
        (s.freeze is not None and s.batch_norm, "`freeze` is for networks without `batch_norm`"),
        (
            _factors(s.lr_by_layer) is None,
            (
                "`lr_by_layer` must be layers with factors from 0 to 10000, such as "
                f"'conv1=0.1,fc8=10' (layers: {', '.join(LEARNED)}), got {s.lr_by_layer!r:.60}"
            ),
        ),
        (
            s.head_epochs < 0 or (0 < s.head_epochs > s.epochs - s.warmup_epochs),
            (
                "`head_epochs` must be 0 or more, and with `warmup_epochs` at most `epochs` "
                f"({s.epochs:g}), got {s.head_epochs:g}"
            ),
        ),
        (s.head_epochs > 0 and s.batch_norm, "`head_epochs` is for networks without `batch_norm`"),
        (s.early_stopping < 0, f"`early_stopping` must be 0 or more, got {s.early_stopping}"),
    ]


def _factors(text: str) -> dict[str, float] | None:
    """Read ``layer=factor,…``; None where it is not that."""
    factors: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        layer, _, number = part.partition("=")
        try:
            factor = float(number)
        except ValueError:
            return None
        if layer not in LEARNED or layer in factors or not 0 <= factor <= 1e4:
            return None
        factors[layer] = factor
    return factors

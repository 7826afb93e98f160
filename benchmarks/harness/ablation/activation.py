"""ReLU beside tanh: epochs until a training error is reached (Krizhevsky et al. 2012, figure 1)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.errors import SettingError, Stopped
from decaf.runtime.device import choose_device, strict_float32
from decaf.train import Pack
from harness.ablation.image_packs import small_pack
from harness.protocol.result_store import versions
from harness.protocol.run import BenchmarkRun, ProtocolSettings

__all__ = [
    "ACTIVATIONS",
    "ActivationSettings",
    "Activations",
    "Curve",
    "compare_activations",
    "epochs_until",
    "error_curve",
    "four_layers",
]

ACTIVATIONS = ("relu", "tanh")
SIDE = 32
TARGET = 25.0
"""Training error in percent that figure 1 reads the epochs at."""

_BATCH = 128
_MOMENTUM = 0.9


@dataclass(frozen=True)
class ActivationSettings:
    """The settings of the comparison.

    Parameters
    ----------
    data : Path
        CIFAR-10 as PNG files below ``train/CLASS``, or a pack of images of 32 pixels.
    rates : tuple of float
        Learning rates that are tried, in this order.
    seeds : int
    epochs : int
        At most.
    per_class : int, optional
        The first so many training images of each class; all when not given.

    Raises
    ------
    SettingError
    """

    data: Path
    rates: tuple[float, ...] = (0.01, 0.03, 0.003)
    seeds: int = 3
    epochs: int = 40
    per_class: int | None = None

    def __post_init__(self) -> None:
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise SettingError(f"learning rates {self.rates}: give some, all above 0")
        counts = (self.seeds, self.epochs, 1 if self.per_class is None else self.per_class)
        if min(counts) < 1:
            raise SettingError("seeds, epochs and images a class must be 1 or more")


@dataclass(frozen=True)
class Curve:
    """The training error of one run.

    Attributes
    ----------
    errors : tuple of float
        Of each epoch, in percent.
    seconds : float
    """

    errors: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Activations:
    """The runs of all activations.

    Attributes
    ----------
    settings : ActivationSettings
    images, classes : int
        Of the training set.
    grid : dict of activation to dict of rate to Curve
        Those of seed 0.
    best : dict of activation to float
        The learning rate that was fastest.
    curves : dict of activation to tuple of Curve
        Those of the best rate, of each seed.
    """

    settings: ActivationSettings
    images: int
    classes: int
    grid: Mapping[str, Mapping[float, Curve]]
    best: Mapping[str, float]
    curves: Mapping[str, tuple[Curve, ...]]

    @property
    def chance(self) -> float:
        """The error of guessing, in percent."""
        return 100 * (1 - 1 / self.classes)

    def epochs(self, activation: str) -> list[float | None]:
        """Return the epochs until the target of each seed; None where it was not reached.

        Parameters
        ----------
        activation : str
        """
        return [epochs_until(c.errors, TARGET, self.chance) for c in self.curves[activation]]


def epochs_until(errors: Sequence[float], target: float, start: float) -> float | None:
    """Return after how many epochs an error falls to a target, read off the curve.

    The curve has `start` at 0 and the error of the k-th epoch at k, with straight lines between
    them; its first crossing counts, whatever comes after.

    Parameters
    ----------
    errors : sequence of float
        Error of each epoch.
    target : float
    start : float
        Error before any training.

    Returns
    -------
    float or None
        None where no epoch has an error of `target` or less.

    Examples
    --------
    >>> epochs_until([60.0, 40.0, 20.0], 25.0, 90.0)
    2.75
    >>> epochs_until([60.0, 40.0], 25.0, 90.0) is None
    True
    """
    before = start
    for done, error in enumerate(errors):
        if error <= target:
            return done + ((before - target) / (before - error) if before > target else 0.0)
        before = error
    return None


def four_layers(activation: str, classes: int, seed: int) -> nn.Sequential:
    """Make a network of four layers for images of 32 pixels: three convolutions and a classifier.

    The paper does not describe its network. This one has the sizes of the usual small networks of
    cuda-convnet (5x5 kernels, 32-32-64 channels, 3/2 pooling); no `ArchSpec` has four layers.

    Parameters
    ----------
    activation : {"relu", "tanh"}
        Weights are drawn from a normal distribution with the gain that belongs to it (He et al.
        2015, equation 10; 5/3 for tanh), those of the classifier with a deviation of 0.01.
    classes : int
    seed : int
    """
    random = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    inputs = 3
    for channels in (32, 32, 64):
        conv = nn.Conv2d(inputs, channels, 5, padding=2)
        gain = math.sqrt(2) if activation == "relu" else 5 / 3
        deviation = gain / math.sqrt(25 * inputs)
        nn.init.normal_(conv.weight, 0.0, deviation, generator=random)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        act = nn.ReLU() if activation == "relu" else nn.Tanh()
        layers += [conv, act, nn.MaxPool2d(3, 2, padding=1)]
        inputs = channels
    last = nn.Linear(64 * (SIDE // 8) ** 2, classes)
    nn.init.normal_(last.weight, 0.0, 0.01, generator=random)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, nn.Flatten(), last)


def error_curve(
    pixels: Tensor,
    labels: Tensor,
    activation: str,
    rate: float,
    *,
    seed: int,
    epochs: int,
    stop: threading.Event | None = None,
) -> Curve:
    """Train without any regularisation until the training error is 25 % or less.

    SGD with momentum 0.9, batches of 128 and a constant rate; neither weight decay nor dropout nor
    augmentation. The error of an epoch is that of its images as they are passed through, each
    before the step that learns from it. A run whose loss is no longer finite ends there.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, 3, 32, 32)
    labels : Tensor of int64, shape (n,)
        On the device of `pixels`, where the training takes place.
    activation : {"relu", "tanh"}
    rate : float
        Learning rate.
    seed : int
        Seed of weights and order.
    epochs : int
        At most.
    stop : Event, optional

    Raises
    ------
    Stopped
    """
    device = pixels.device
    network = four_layers(activation, int(labels.max()) + 1, seed).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=_MOMENTUM)
    random = torch.Generator().manual_seed(seed)
    sample = pixels[:: max(1, len(pixels) // 5000)].float()
    mean, std = (each.view(1, 3, 1, 1) for each in (sample.mean((0, 2, 3)), sample.std((0, 2, 3))))
    errors: list[float] = []
    began = time.perf_counter()
    with strict_float32(device):
        while len(errors) < epochs and (not errors or errors[-1] > TARGET):
            wrong = torch.zeros((), dtype=torch.int64, device=device)
            total = torch.zeros((), device=device)
            for rows in torch.randperm(len(pixels), generator=random).split(_BATCH):
                if stop is not None and stop.is_set():
                    raise Stopped("stopped; finished runs are kept: the same command goes on")
                rows = rows.to(device)
                images = ((pixels[rows].float() - mean) / std.clamp(min=1)).contiguous(
                    memory_format=torch.channels_last
                )
                logits = network(images)
                loss = functional.cross_entropy(logits, labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                wrong += (logits.detach().argmax(1) != labels[rows]).sum()
                total += loss.detach()
            if not math.isfinite(float(total)):
                break
            errors.append(100 * int(wrong) / len(pixels))
    return Curve(tuple(errors), time.perf_counter() - began)


def compare_activations(
    run: BenchmarkRun[ProtocolSettings], settings: ActivationSettings
) -> Activations:
    """Find the best learning rate of each activation, and train with it from all seeds.

    The rates are tried with seed 0. Once one has reached the target, the others are given no more
    epochs than it took, rounded up: what they would do later cannot make them the faster one. Where
    none reaches it, the one with the lowest last error counts as the best.

    Parameters
    ----------
    run : BenchmarkRun
    settings : ActivationSettings

    Raises
    ------
    InputError, SettingError, PackError, Stopped
    """
    with small_pack(run, settings.data, SIDE) as pack:
        pixels, labels = _loaded(pack, settings.per_class)
        fingerprint = pack.fingerprint
    device = choose_device(run.settings.device)
    run.tell(f"activations: {len(pixels):,} images on {device}")
    pixels, labels = pixels.to(device), labels.to(device)
    run.fingerprints["pack of the activations"] = fingerprint
    classes = int(labels.max()) + 1
    chance = 100 * (1 - 1 / classes)

    def train(activation: str, rate: float, seed: int, epochs: int) -> Curve:
        key = {
            "ablation": {"activation": activation, "rate": rate, "seed": seed, "epochs": epochs},
            "pack": fingerprint,
            "per_class": settings.per_class,
            "device": device.type,
            "versions": versions(("torch",)),
        }
        curve = run.result(
            key,
            Curve,
            lambda: error_curve(
                pixels, labels, activation, rate, seed=seed, epochs=epochs, stop=run.stop
            ),
        )
        last = f"{curve.errors[-1]:.1f} %" if curve.errors else "no finite loss"
        run.tell(
            f"{activation}, learning rate {rate:g}, seed {seed}: {last} after "
            f"{len(curve.errors)} epochs, {curve.seconds:.0f} s"
        )
        return curve

    grid: dict[str, dict[float, Curve]] = {}
    best: dict[str, float] = {}
    curves: dict[str, tuple[Curve, ...]] = {}
    for activation in ACTIVATIONS:
        own = grid[activation] = {}
        limit = settings.epochs
        ranks: dict[float, tuple[float, float]] = {}
        for rate in settings.rates:
            own[rate] = train(activation, rate, 0, limit)
            errors = own[rate].errors
            reached = epochs_until(errors, TARGET, chance)
            ranks[rate] = (
                math.inf if reached is None else reached,
                errors[-1] if len(errors) == limit else math.inf,
            )
            if reached is not None:
                limit = min(limit, math.ceil(reached))
        best[activation] = rate = min(ranks, key=ranks.__getitem__)
        others = [train(activation, rate, s, settings.epochs) for s in range(1, settings.seeds)]
        curves[activation] = (own[rate], *others)
    return Activations(settings, len(pixels), classes, grid, best, curves)


def _loaded(pack: Pack, per_class: int | None) -> tuple[Tensor, Tensor]:
    """Load the training images, or the first of each class, and their classes."""
    split = pack.splits["train"]
    rows = np.concatenate(
        [np.flatnonzero(split.labels == each)[:per_class] for each in np.unique(split.labels)]
    )
    pixels = torch.from_numpy(np.stack([split.pixels(int(row)) for row in rows]))
    labels = torch.from_numpy(np.asarray(split.labels[rows], np.int64))
    return pixels.permute(0, 3, 1, 2).contiguous(), labels

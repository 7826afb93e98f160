"""What each part of the 2012 network and of its training is worth: with it, and without it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import decaf
import decaf.backbone
import decaf.train
from decaf.errors import InputError, SettingError
from decaf.runtime.device import choose_device
from decaf.train import Diverged, Pack, SavingSettings, TrainSettings, preset
from decaf.train.feed import steps_per_epoch
from decaf.train.log import read_log
from harness.ablation.image_packs import drawn_pack
from harness.protocol.result_store import versions
from harness.protocol.run import BenchmarkRun, ProtocolSettings

__all__ = ["ALL", "SWITCHES", "Switch", "SwitchSettings", "Switches", "Trained", "train_switches"]

SIDE = 72
"""Side of the stored images; the network sees crops of 64 pixels."""

ALL = "all"
"""The network and the training with all parts."""


@dataclass(frozen=True)
class Switch:
    """One part, and what training without it is.

    Parameters
    ----------
    key : str
    title : str
        What is measured: "without …".
    changes : mapping of str to object
        Fields of `TrainSettings` by which the part is taken away.
    published : tuple of str
        By how many points the paper's top-1 and top-5 errors are higher without the part, or what
        it says instead.
    """

    key: str
    title: str
    changes: Mapping[str, Any]
    published: tuple[str, str] = ("", "")


_OVERFITS = "overfits"

SWITCHES = (
    Switch("lrn", "without local response normalisation", {"lrn": False}, ("1.4", "1.2")),
    Switch("overlap", "2/2 pooling, which does not overlap", {"overlap": False}, ("0.4", "0.3")),
    Switch("dropout", "without dropout", {"dropout": 0.0}, (_OVERFITS, _OVERFITS)),
    Switch("lighting", "without the change of colours", {"lighting": 0.0}, ("more than 1", "")),
    # The whole image, shrunk to the network's input, in training and in the test.
    Switch(
        "crop",
        "without random crops",
        {"crop": "resized", "crop_area": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "resize_to": 64},
        (_OVERFITS, _OVERFITS),
    ),
    Switch("mirror", "without mirroring", {"mirror": False}, (_OVERFITS, _OVERFITS)),
    Switch(
        "towers",
        "one tower with half the kernels",
        {"arch": "alexnet-2012-64-one-tower"},
        ("1.7", "1.2"),
    ),
)
"""Sections 3.3, 3.4, 4.2, 4.1 (three times) and 3.2 of the paper."""


@dataclass(frozen=True)
class SwitchSettings:
    """The settings of the ablations.

    Parameters
    ----------
    data : Path
        A folder with ``train`` and ``val`` (or ``test``), or a pack with validation images.
    seeds : int
        Each draws its own training images, first weights, batches and views.
    epochs : float
    per_class, test_per_class : int, optional
        Images of each class of a folder at most; all when not given.
    batch_size : int
    lr : float
        Learning rate.
    precision : {"fp32", "bf16"}
    switches : tuple of str
        Keys of `SWITCHES`; all when empty.
    arch : str
        The network with all parts.

    Raises
    ------
    SettingError
    """

    data: Path
    seeds: int = 3
    epochs: float = 15.0
    per_class: int | None = 200
    test_per_class: int | None = 200
    batch_size: int = 64
    lr: float = 3e-4
    precision: str = "bf16"
    switches: tuple[str, ...] = ()
    arch: str = "alexnet-2012-64"

    def __post_init__(self) -> None:
        known = [switch.key for switch in SWITCHES]
        unknown = [key for key in self.switches if key not in known]
        if unknown:
            raise SettingError(f"switches {', '.join(unknown)}: there are {', '.join(known)}")
        counts = (self.seeds, self.per_class, self.test_per_class)
        if any(count is not None and count < 1 for count in counts):
            raise SettingError("seeds and images a class must be 1 or more")

    @property
    def chosen(self) -> tuple[Switch, ...]:
        """The switches, in the order of the paper."""
        return tuple(s for s in SWITCHES if s.key in (self.switches or [e.key for e in SWITCHES]))

    def recipe(self, switch: Switch | None, seed: int) -> TrainSettings:
        """Return how a network is trained.

        It is the paper's recipe, made to fit few images and little time: AdamW and a cosine in
        place of SGD and a rate that is divided by hand, so that no test image has a part in it.
        Pixels from 0 to 255 less their mean and the paper's first weights stay: with others, local
        response normalisation, whose constants are absolute numbers, would do nothing.

        Parameters
        ----------
        switch : Switch or None
            What is taken away; None for nothing.
        seed : int
        """
        values: dict[str, Any] = {
            "arch": self.arch,
            "seed": seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": "adamw",
            "lr": self.lr,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_epochs": min(1.0, self.epochs / 10),
            "precision": self.precision,
            "mean": "channel",
            "validate_every": max(1, math.ceil(self.epochs)),
            "last_batch": "wrapped",
        }
        return preset("alexnet-2012", **{**values, **(switch.changes if switch else {})})


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one training has come to.

    Attributes
    ----------
    top1_error, top5_error : float
        On the test images, in percent; the latter is None where there are no more than five
        classes.
    train_errors : tuple of float
        Top-1 error of the training images of each epoch, as they are passed through: augmented, and
        with dropout.
    images, test_images, classes : int
    seconds : float
    """

    top1_error: float
    top5_error: float | None
    train_errors: tuple[float, ...]
    images: int
    test_images: int
    classes: int
    seconds: float


@dataclass(frozen=True)
class Switches:
    """The results of all trainings.

    Attributes
    ----------
    settings : SwitchSettings
    runs : dict of key to tuple of Trained
        Of `ALL` and of each switch, seed by seed.
    """

    settings: SwitchSettings
    runs: Mapping[str, tuple[Trained, ...]] = field(default_factory=dict)

    def differences(self, key: str, name: str) -> list[float]:
        """Return by how many points an error is higher without a part, seed by seed.

        Parameters
        ----------
        key : str
            Key of the switch.
        name : {"top1_error", "top5_error"}

        Returns
        -------
        list of float
            Empty where there is no such error.
        """
        pairs = zip(self.runs[key], self.runs[ALL], strict=True)
        errors = [(getattr(without, name), getattr(whole, name)) for without, whole in pairs]
        return [a - b for a, b in errors if a is not None and b is not None]


def train_switches(run: BenchmarkRun[ProtocolSettings], settings: SwitchSettings) -> Switches:
    """Train with all parts, and without each of them, from every seed.

    Parameters
    ----------
    run : BenchmarkRun
    settings : SwitchSettings

    Raises
    ------
    InputError, SettingError, PackError, OutputError, Stopped, Diverged
    """
    plan: dict[str, Switch | None] = {ALL: None, **{s.key: s for s in settings.chosen}}
    runs: dict[str, list[Trained]] = {key: [] for key in plan}
    count = len(plan) * settings.seeds
    for seed in range(settings.seeds):
        with drawn_pack(
            run,
            settings.data,
            SIDE,
            seed=seed,
            per_class=settings.per_class,
            test_per_class=settings.test_per_class,
        ) as pack:
            run.fingerprints[f"pack of seed {seed}"] = pack.fingerprint
            for key, switch in plan.items():
                recipe = settings.recipe(switch, seed)
                trained = _trained(run, pack, recipe, f"{key}, seed {seed}")
                runs[key].append(trained)
                run.tell(
                    f"{sum(map(len, runs.values()))}/{count} {'with' if switch is None else 'no'} "
                    f"{key}, seed {seed}: top-1 error {trained.top1_error:.1f} %, "
                    f"{trained.seconds:.0f} s"
                )
    return Switches(settings, {key: tuple(each) for key, each in runs.items()})


def _trained(
    run: BenchmarkRun[ProtocolSettings], pack: Pack, recipe: TrainSettings, title: str
) -> Trained:
    key = {
        "ablation": recipe.to_dict(),
        "pack": pack.fingerprint,
        "device": choose_device(run.settings.device).type,
        "versions": versions(("torch",), decaf.backbone, decaf.train),
    }
    try:
        return run.result(key, Trained, lambda: _train(run, pack, recipe))
    except Diverged as error:
        raise Diverged(f"{title}: {error}") from error


def _train(run: BenchmarkRun[ProtocolSettings], pack: Pack, recipe: TrainSettings) -> Trained:
    train = pack.splits["train"]
    # A training that is stopped begins anew: it takes minutes, and the others are kept.
    with tempfile.TemporaryDirectory(prefix="ablation-", dir=run.cache) as folder:
        result = decaf.train_network(
            pack.path,
            Path(folder, "run"),
            recipe,
            saving=SavingSettings(
                log_every=max(1, steps_per_epoch(len(train), recipe)),
                at_validation=False,
                tensorboard=False,
            ),
            device=run.settings.device,
            workers=run.settings.workers or None,  # 0 decodes packs in this process
            progress=False,
            stop=run.stop,
        )
        rows = read_log(result.folder / "log.csv")
    validation = result.validation
    if validation is None:
        raise InputError(f"{pack.path}: has no validation images")
    return Trained(
        top1_error=validation.top1_error,
        top5_error=validation.top5_error,
        train_errors=tuple(r["train_top1_error"] for r in rows if "train_top1_error" in r),
        images=len(train),
        test_images=validation.images,
        classes=len(pack.wnids),
        seconds=result.seconds,
    )

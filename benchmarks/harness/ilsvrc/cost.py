"""The cost of the tables on ImageNet itself, reckoned from the steps that were measured here."""

from __future__ import annotations

import shlex

from decaf.backbone.summary import summarise
from decaf.exploration.page import Text
from decaf.train import TrainSettings, preset
from harness.ilsvrc.networks import FOLDER, ImageNetSettings
from harness.ilsvrc.published import CLASSES, TRAIN_IMAGES

__all__ = ["hours_a_network", "on_imagenet", "work_of_an_image"]


def work_of_an_image(settings: TrainSettings, classes: int) -> int:
    """Return the multiply-adds of a forward pass over one training view.

    Parameters
    ----------
    settings : TrainSettings
    classes : int
    """
    spec = settings.spec(classes)
    side = settings.side_at(1 - 1e-9, spec.input_size)
    return summarise(spec, None if side == spec.input_size else side).multiply_adds


def hours_a_network(speed: float, factor: float, epochs: float) -> float:
    """Return the hours that one network takes on ILSVRC-2012.

    Parameters
    ----------
    speed : float
        Training images a second, as measured.
    factor : float
        How many times as much an image is to compute there.
    epochs : float

    Examples
    --------
    >>> round(hours_a_network(1000.0, 1.0, 90), 2)
    32.03
    """
    return TRAIN_IMAGES * epochs * factor / speed / 3600


def on_imagenet(settings: ImageNetSettings, classes: int, speed: float | None) -> Text:
    """Say what the tables take on ImageNet: the time, and the commands for a cluster.

    Parameters
    ----------
    settings : ImageNetSettings
    classes : int
        Of the pack that was trained on here.
    speed : float or None
        Training images a second, the median of this run's logs; None where nothing is known.
    """
    here, full = settings.recipe, preset(settings.recipe.preset)
    arch = full.spec(CLASSES)
    task = (
        f"The recipe {full.preset!r} goes through ILSVRC-2012's {TRAIN_IMAGES:,} training images "
        f"{full.epochs:g} times at most, with {arch.name} at {arch.input_size} pixels."
    )
    told = [task]
    if speed is not None:
        factor = work_of_an_image(full, CLASSES) / work_of_an_image(here, classes)
        hours = hours_a_network(speed, factor, full.epochs)
        how = ""
        if factor != 1:
            spec = here.spec(classes)
            side = here.side_at(1 - 1e-9, spec.input_size)
            how = (
                f"An image of {arch.name} takes {factor:.3g} times the multiply-adds of one of "
                f"{spec.name} at {side} pixels here, so by these, which is a rough reckoning, "
            )
        told.append(
            f"The steps of {here.batch_size} images took "
            f"{_shown(1000 * here.batch_size / speed)} ms here, {_shown(speed)} images/s (the "
            f"median of the logs of this run's networks; {here.precision}). {how}"
            f"{'one' if how else 'One'} network is {_shown(hours)} hours of this machine, and the "
            f"{settings.networks} that are trained on ILSVRC-2012 alone are "
            f"{_shown(settings.networks * hours)}. {_pretraining(settings, hours)}"
            "Processes share a batch, so that as many of them take a fraction of that, as far as "
            "images come fast enough. The paper's network took five to six days on two GTX 580."
        )
    told.append(
        "On a machine with eight GPUs these commands make the networks (on several machines, "
        "torchrun with --nnodes and --rdzv-endpoint on each), and the last one evaluates what they "
        "have trained, trains nothing again, and writes this report. Networks may be trained side "
        "by side, on a machine each; all of the commands may be killed and given again."
    )
    return Text("What it takes on ImageNet", "\n\n".join(told), _commands(settings, full))


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _pretraining(settings: ImageNetSettings, hours: float) -> str:
    if not settings.pretrained:
        return ""
    return (
        f"Each of the {settings.pretrained} with a star takes as long, after the larger set, which "
        f"is {_shown(hours)} hours for as many images and epochs as ILSVRC-2012 has. "
    )


def _commands(settings: ImageNetSettings, full: TrainSettings) -> str:
    """Return the commands, which `harness.ilsvrc.networks.plan` would train alike."""
    train = "torchrun --nproc-per-node 8 -m decaf train"
    recipe = f"--preset {shlex.quote(full.preset)}"
    alone, every = settings.networks, settings.networks + settings.pretrained
    lines = [
        "decaf pack ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \\",
        "    --devkit ILSVRC2012_devkit_t12.tar.gz -o imagenet.pack",
        f"for k in $(seq {alone}); do",
        f"  {train} imagenet.pack -o tables/{FOLDER}/cnn-$k \\",
        f"    {recipe} --seed $((k - 1)) --resume",
        "done",
    ]
    last = "python benchmarks/imagenet.py imagenet.pack --out tables"
    if settings.pretrained:
        lines += [
            "decaf pack fall2011/ --split-val 0.01 -o larger.pack",
            f"for k in $(seq {every - alone}); do",
            f"  {train} larger.pack -o tables/{FOLDER}/larger-$k \\",
            f"    {recipe} --seed $((k + {alone - 1})) --resume",
            f"  {train} imagenet.pack -o tables/{FOLDER}/continued-$k \\",
            f"    --init-from tables/{FOLDER}/larger-$k/weights.safetensors \\",
            f"    {recipe} --seed $((k + {alone - 1})) --resume",
            "done",
        ]
        last += " --pretrain larger.pack"
    usual = {"--preset": (full.preset, "alexnet-2012"), "--networks": (alone, 5)}
    usual["--pretrained"] = (settings.pretrained, 2)
    last += "".join(
        f" {flag} {value}" for flag, (value, default) in usual.items() if value != default
    )
    return "\n".join([*lines, last])

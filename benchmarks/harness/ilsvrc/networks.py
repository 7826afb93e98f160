"""The networks of the tables: trained, or taken as an earlier run has left them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import decaf
from decaf.train import SavingSettings, TrainSettings
from decaf.train.log import read_log
from harness.protocol.run import BenchmarkRun, ProtocolSettings

__all__ = ["FOLDER", "ImageNetSettings", "Network", "Trained", "images_per_second", "plan", "train"]

FOLDER = "networks"

# What a network that has finished needs to be known as such, and one to fall back to.
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, kw_only=True)
class ImageNetSettings(ProtocolSettings):
    """What is trained and measured.

    Attributes
    ----------
    pack : path
        Of the classes that are told apart; with "val" or "test" images.
    larger : path, optional
        A pack of more classes, which some networks begin on.
    recipe : TrainSettings
        Settings of all networks; each further one has the next seed.
    pretrain_epochs : float, optional
        Epochs on the larger pack; those of the recipe by default.
    networks, pretrained : int
        How many networks are trained on `pack` alone, and how many begin on `larger`.
    """

    pack: str | os.PathLike[str]
    larger: str | os.PathLike[str] | None = None
    recipe: TrainSettings
    pretrain_epochs: float | None = None
    networks: int = 5
    pretrained: int = 2


@dataclass(frozen=True)
class Network:
    """A network that is to be trained.

    Attributes
    ----------
    name : str
        Folder of its run, below `FOLDER`.
    pack : path
    settings : TrainSettings
    begins_as : str, optional
        Name of the network that it goes on from.
    """

    name: str
    pack: str | os.PathLike[str]
    settings: TrainSettings
    begins_as: str | None = None


@dataclass(frozen=True)
class Trained:
    """A network that has been trained.

    Attributes
    ----------
    name : str
    weights : Path
    sha256 : str
    seconds : float
        Time that its training took, over all sessions.
    """

    name: str
    weights: Path
    sha256: str
    seconds: float


def plan(settings: ImageNetSettings) -> list[Network]:
    """List the networks, each after the one that it goes on from.

    Parameters
    ----------
    settings : ImageNetSettings

    Returns
    -------
    list of Network
        ``cnn-1`` … on the pack; then ``larger-1`` on the larger pack, and ``continued-1``, which
        goes on from it on the pack (the paper's CNN*); and so on.
    """
    recipe = settings.recipe
    seeded = [
        replace(recipe, seed=recipe.seed + number)
        for number in range(settings.networks + settings.pretrained)
    ]
    networks = [
        Network(f"cnn-{number}", settings.pack, each)
        for number, each in enumerate(seeded[: settings.networks], 1)
    ]
    if settings.larger is None:
        return networks
    for number, each in enumerate(seeded[settings.networks :], 1):
        epochs = settings.pretrain_epochs or each.epochs
        begin = Network(f"larger-{number}", settings.larger, replace(each, epochs=epochs))
        networks += [begin, Network(f"continued-{number}", settings.pack, each, begin.name)]
    return networks


def train(networks: Sequence[Network], run: BenchmarkRun[ImageNetSettings]) -> dict[str, Trained]:
    """Train networks, each in a folder of its own; one that is finished is taken as it is.

    Parameters
    ----------
    networks : sequence of Network
    run : BenchmarkRun
        A run that is stopped leaves a checkpoint, from which the next one goes on.

    Returns
    -------
    dict of str to Trained
        By name, in their order.

    Raises
    ------
    DecafError
        As `decaf.train_network`; ``ResumeError`` where a folder has a run of other settings.
    """
    trained: dict[str, Trained] = {}
    for number, network in enumerate(networks, 1):
        folder = run.out / FOLDER / network.name
        pack = Path(network.pack).name
        run.tell(f"network {number} of {len(networks)}, {network.name}: {pack}")
        before = network.begins_as
        result = decaf.train_network(
            network.pack,
            folder,
            network.settings,
            init_from=None if before is None else trained[before].weights,
            saving=SavingSettings(resume=True, keep=KEPT_CHECKPOINTS),
            device=run.settings.device,
            # Without decoding processes there is one thread that decodes all the same.
            workers=None if run.settings.workers is None else max(1, run.settings.workers),
            progress=run.progress,
            stop=run.stop,
        )
        trained[network.name] = Trained(network.name, result.weights, result.sha256, result.seconds)
        run.timing[f"training {network.name}, over all sessions"] = result.seconds
        run.fingerprints[f"weights {network.name}"] = result.sha256
    return trained


def images_per_second(trained: Sequence[Trained]) -> float | None:
    """Return the speed of training steps: the median over the rows of the networks' logs.

    Parameters
    ----------
    trained : sequence of Trained

    Returns
    -------
    float or None
        None where the logs say nothing.
    """
    speeds = [
        row["images_per_second"]
        for each in trained
        for row in read_log(each.weights.parent / "log.csv")
        if row.get("images_per_second", 0) > 0
    ]
    return statistics.median(speeds) if speeds else None

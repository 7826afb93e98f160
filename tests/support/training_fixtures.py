"""A data set small enough to train on in a second, packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_network
from decaf.backbone import spec as specs
from decaf.train import train_network
from decaf.train.pack.build import make_pack
from decaf.train.presets import preset
from decaf.train.recipe import TrainSettings

CLASSES = ("ants", "bees", "cats", "dogs")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training and 5 validation images of each of four classes, which differ in colour."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 5)):
        for number, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            # 21 for validation: no number of processes shares them evenly.
            for i in range(count + (split == "val" and number == 0)):
                pixels = random.integers(0, 160, (40, 44, 3), dtype=np.uint8)
                pixels[:, :, number % 3] //= 1 + number
                pixels[:, :, 2 - number % 3] += 60
                Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return root


@pytest.fixture(scope="session")
def pack_path(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their pack: raw, 40 pixels."""
    path = tmp_path_factory.mktemp("packs") / "photographs.pack"
    make_pack(photographs, path, size=40, encoding="raw", resize="warp", workers=0).close()
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let settings name the networks of tiny_network.py; one thread, so that bits repeat."""
    before, threads = specs.ARCHITECTURES, torch.get_num_threads()
    tiny_network.install()
    torch.set_num_threads(1)
    monkeypatch.setattr(train_network, "draw_curves", lambda *_: None)  # longer than such a run
    yield
    torch.set_num_threads(threads)
    specs.ARCHITECTURES = before


@pytest.fixture(scope="session")
def settings_of() -> Callable[..., TrainSettings]:
    """Make settings of a short run of the smallest network."""

    def make(name: str = "modern", **changes: object) -> TrainSettings:
        short = {"arch": "tiny", "epochs": 3, "batch_size": 16, "precision": "fp32", "lr": 0.02}
        return preset(name, **{**short, **changes})

    return make

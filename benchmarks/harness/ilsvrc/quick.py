"""Packs for ``--quick``: an excerpt of one that is given, or images that are made up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import decaf
from decaf.images import collect
from decaf.train import Pack

__all__ = ["excerpt", "made_up"]

CLASSES, LARGER_CLASSES = 10, 20
TRAIN, TEST = 32, 4  # images of a class
SIZE = 144

Pixels = npt.NDArray[np.uint8]


def excerpt(pack: Pack, out: Path, classes: int) -> None:
    """Pack the first images of the first classes of a pack, small.

    Parameters
    ----------
    pack : Pack
    out : Path
        The file to write; one that is there is replaced.
    classes : int
        How many at most.
    """

    def images() -> Iterator[tuple[str, str, Pixels]]:
        for name, split in pack.splits.items():
            for label, wnid in enumerate(pack.wnids[:classes]):
                rows = np.flatnonzero(split.labels == label)
                for row in rows[: TRAIN if name == "train" else TEST].tolist():
                    yield name, wnid, split.pixels(row)

    _pack(images(), out, dict(zip(pack.wnids, pack.class_names, strict=True)))


def made_up(out: Path, classes: int) -> None:
    """Pack images of stripes, a direction and colour for each class.

    Parameters
    ----------
    out : Path
        The file to write; one that is there is replaced.
    classes : int
    """
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))

    def images() -> Iterator[tuple[str, str, Pixels]]:
        for label in range(classes):
            angle = np.pi * label / classes
            colour = 60 + 60 * np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))
            place = across * np.cos(angle) + down * np.sin(angle)
            for split in ("train",) * TRAIN + ("val",) * TEST:
                wave = np.sin(place / random.uniform(4, 8) + random.uniform(0, 6))
                pixels = 90 + colour * wave[:, :, None] + random.normal(0, 30, (SIZE, SIZE, 3))
                yield split, f"stripes-{label:02}", pixels.clip(0, 255).astype(np.uint8)

    _pack(images(), out, {})


def _pack(images: Iterator[tuple[str, str, Pixels]], out: Path, titles: dict[str, str]) -> None:
    """Pack images, each with its split and class; the same images make the same pack."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (split, name, pixels) in enumerate(images):
            file = Path(folder, split, name, f"{number:05}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        listed = collect(folder)
        names = tuple(titles.get(name, name) for name in listed.class_names)
        listed = replace(listed, titles=names)
        decaf.make_pack(listed, out, size=SIZE, overwrite=True, workers=0).close()

"""The packs that the ablations train on, made of a folder once and kept in the cache."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.errors import InputError
from decaf.images import ImageList
from decaf.images.listing.draws import draw_order
from decaf.train import Pack
from decaf.train.pack.build import make_pack
from decaf.train.pack.sources import find_source
from harness.protocol.run import BenchmarkRun
from harness.protocol.splits import salt_of

__all__ = ["drawn_pack", "small_pack"]


def small_pack(run: BenchmarkRun[Any], source: Path, side: int) -> Pack:
    """Open a pack of images that have the size already, or make it of a folder.

    Parameters
    ----------
    run : BenchmarkRun
    source : Path
        The folder, or a pack.
    side : int
        In pixels.

    Raises
    ------
    InputError, ImageError, PackError, OutputError, Stopped
    """
    pack = Pack.open(source) if source.is_file() else _packed(run, source, source, side, "none")
    if pack.size != side:
        pack.close()
        raise InputError(f"{source}: holds images of {pack.size} pixels, expected {side}")
    return pack


def drawn_pack(
    run: BenchmarkRun[Any],
    source: Path,
    side: int,
    *,
    seed: int,
    per_class: int | None,
    test_per_class: int | None,
) -> Pack:
    """Open a pack with images drawn by a seed for training, and the same ones for every test.

    Parameters
    ----------
    run : BenchmarkRun
    source : Path
        A folder with ``train`` and ``val`` (or ``test``); a pack is taken as it is.
    side : int
        Side of the stored images, in pixels.
    seed : int
    per_class, test_per_class : int, optional
        Images of each class at most; all when not given.

    Raises
    ------
    InputError, ImageError, PackError, OutputError, Stopped
    """
    if source.is_file():
        pack = small_pack(run, source, side)
        if "val" not in pack.splits:
            pack.close()
            raise InputError(f"{source}: has no validation images, which the errors are counted on")
        return pack
    images = find_source(source)
    splits = np.array(images.splits)
    for_training = splits == "train"
    if for_training.all():
        raise InputError(f"{source}: has no folder val or test, which the errors are counted on")
    rows = [
        order[:most]
        for part, most, salt in (
            (for_training, per_class, salt_of(seed, 0)),
            (~for_training, test_per_class, salt_of(0, 0)),
        )
        for order in draw_order(images.labels, images.names, salt=salt, testable=part)
    ]
    drawn = images.take(np.sort(np.concatenate(rows)))
    # Networks are validated on images of "val" alone.
    named = tuple("train" if split == "train" else "val" for split in drawn.splits or ())
    drawn = replace(drawn, splits=named)
    what = f"{seed}-{per_class}-{test_per_class}"
    return _packed(run, source, drawn, side, "shorter-side", what)


def _packed(
    run: BenchmarkRun[Any],
    folder: Path,
    images: Path | ImageList,
    side: int,
    resize: str,
    what: str = "all",
) -> Pack:
    """Make a pack of raw pixels in the cache, or open the one that is there."""
    key = hashlib.sha256(f"{folder.resolve()} {what} {resize}".encode()).hexdigest()[:16]
    return make_pack(
        images,
        run.cache / f"ablations-{side}-{key}.pack",
        size=side,
        encoding="raw",
        resize=resize,
        overwrite=True,
        workers=run.settings.workers,
        progress=run.progress,
        stop=run.stop,
    )

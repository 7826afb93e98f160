"""The training images that are nearest to test images at the last hidden layer (figure 4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import decaf
from decaf.exploration.page import NearestImages, Neighbour, Neighbours
from decaf.images import ImageList
from decaf.train import Pack
from harness.ilsvrc.networks import ImageNetSettings
from harness.protocol.run import BenchmarkRun

__all__ = ["Nearest", "chosen", "nearest_images", "nearest_rows"]

IMAGES, NEAREST = 5, 6  # of the paper's figure
LAYER = "fc7"
BLOCK = 8192  # training images whose features are in memory at a time, 128 MiB


@dataclass(frozen=True, eq=False)
class Nearest:
    """Rows that are nearest to others.

    Attributes
    ----------
    rows : array of int64, shape (Q, k)
        The nearest first; of equally near ones the first row first.
    distances : array of float64, shape (Q, k)
        Euclidean.
    """

    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]


def nearest_rows(
    queries: npt.NDArray[np.float32], blocks: Iterator[npt.NDArray[np.float32]], count: int
) -> Nearest:
    """Find the rows of a matrix, given block by block, that are nearest to others.

    Parameters
    ----------
    queries : array of float32, shape (Q, D)
    blocks : iterator of array of float32, shape (n, D)
        Rows that are NaN are never near.
    count : int
        How many to find; all where there are fewer.
    """
    rows = np.empty((len(queries), 0), np.int64)
    distances = np.empty((len(queries), 0))
    start = 0
    for block in blocks:
        # Differences, and not the expanded square, which loses digits where rows are near.
        here = np.array([np.linalg.norm(block - query, axis=1) for query in queries], np.float64)
        here[np.isnan(here)] = np.inf
        numbers = np.broadcast_to(np.arange(start, start + len(block)), here.shape)
        distances = np.concatenate([distances, here], axis=1)
        rows = np.concatenate([rows, numbers], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(distances, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
        start += len(block)
    return Nearest(rows, distances)


def chosen(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw images by chance, of as many classes as can be.

    Parameters
    ----------
    labels : array of int64, shape (N,)
    count : int
        How many; all where there are fewer.
    seed : int
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    first = np.sort(np.unique(labels[order], return_index=True)[1])
    others = np.setdiff1d(np.arange(len(order)), first)
    drawn: npt.NDArray[np.int64] = order[np.concatenate([first, others])[:count]]
    return drawn


def nearest_images(
    weights: Path, name: str, split: str, pack: Pack, run: BenchmarkRun[ImageNetSettings]
) -> tuple[NearestImages, dict[str, npt.NDArray[np.uint8]]]:
    """Find the training images nearest to five test images, as figure 4 (right) of the paper.

    Parameters
    ----------
    weights : Path
        Network whose last hidden layer is taken.
    name : str
        Its name, for the caption.
    split : str
        Split that the test images are of.
    pack : Pack
    run : BenchmarkRun

    Returns
    -------
    section : NearestImages
    pictures : dict of str to array of uint8, shape (H, W, 3)
        The images by their names in the section.
    """
    network = decaf.load_backbone(weights)

    def features(images: ImageList) -> npt.NDArray[np.float32]:
        result = decaf.extract(
            images,
            LAYER,
            weights=network,
            on_error="record",
            device=run.settings.device,
            workers=run.settings.workers,
            progress=False,
            stop=run.stop,
        )
        assert isinstance(result, np.ndarray)
        return result.astype(np.float32, copy=False)

    tests, training = pack.images(split), pack.images("train")
    picked = chosen(tests.labels, IMAGES, run.settings.recipe.seed)
    run.tell(f"{LAYER} of {len(training):,} training images")
    with run.timed(f"nearest images at {LAYER}"):
        blocks = (
            features(training.take(np.arange(start, min(start + BLOCK, len(training)))))
            for start in range(0, len(training), BLOCK)
        )
        found = nearest_rows(features(tests.take(picked)), blocks, NEAREST)

    pictures: dict[str, npt.NDArray[np.uint8]] = {}
    # ImageNet has two classes that are called crane.
    titles = [
        f"{title} ({wnid})" if pack.class_names.count(title) > 1 else title
        for title, wnid in zip(pack.class_names, pack.wnids, strict=True)
    ]

    def shown(of: str, row: int) -> tuple[str, str]:
        images = pack.splits[of]
        name = os.fsdecode(images.names[row])
        title = name if name.startswith(f"{of}/") else f"{of}/{name}"
        pictures[title] = images.pixels(row)
        return title, titles[images.labels[row]]

    rows = tuple(
        Neighbours(
            *shown(split, int(row)),
            tuple(
                Neighbour(*shown("train", int(near)), float(distance))
                for near, distance in zip(found.rows[k], found.distances[k], strict=True)
                if np.isfinite(distance)
            ),
        )
        for k, row in enumerate(picked)
    )
    same = sum(each.class_name == row.class_name for row in rows for each in row.nearest)
    caption = (
        f"As figure 4 (right) of the paper: {len(rows)} {split} images, drawn by chance and of "
        f"different classes where there are so many, and the {found.rows.shape[1]} of "
        f"{len(training):,} training images whose {LAYER} of {name} (behind the ReLU, centre crop) "
        f"has the least Euclidean distance. {same} of {found.rows.size} are of the test image's "
        "class."
    )
    return NearestImages("Nearest images at the last hidden layer", rows, caption), pictures

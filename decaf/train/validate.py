"""Errors on the validation images of a pack, exact whatever the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.images.preprocess import resized_crops
from decaf.images.spec import PreprocessSpec
from decaf.runtime.device import float64_device
from decaf.runtime.processes import World
from decaf.train.augment import Normaliser
from decaf.train.feed import Split, ahead, decoding_threads

__all__ = ["Validation", "centre_crops", "validate"]

BATCH = 128


@dataclass(frozen=True)
class Validation:
    """The errors that a validation has measured.

    Attributes
    ----------
    images : int
        Number that were counted, each once.
    loss : float
        Mean cross-entropy, in nats, without label smoothing.
    top1_error : float
        In percent.
    top5_error : float or None
        In percent; None where there are no more than five classes.
    """

    images: int
    loss: float
    top1_error: float
    top5_error: float | None


def validate(
    forward: Callable[[Tensor], Tensor],
    split: Split,
    preprocess: PreprocessSpec,
    normaliser: Normaliser,
    world: World,
    *,
    workers: int,
) -> Validation:
    """Compute the errors of centre crops.

    The images are dealt out to the processes without padding or repeats, and what is summed over
    them is counts (and losses in float64), so that every number of processes finds the same errors.

    Parameters
    ----------
    forward : callable
        From normalised images (n, 3, crop, crop) to logits (n, classes).
    split : Split
        With at least one image.
    preprocess : PreprocessSpec
    normaliser : Normaliser
    world : World
    workers : int
        Threads that decode.
    """
    mine = np.arange(world.rank, len(split), world.size)
    place = float64_device(world.device)
    sums = torch.zeros(4, dtype=torch.float64, device=place)
    with torch.inference_mode():
        for indices, crops in centre_crops(split, mine, preprocess, workers):
            labels = torch.from_numpy(np.asarray(split.labels[indices], np.int64)).to(place)
            logits = forward(normaliser(crops.to(world.device))).to(place, torch.float32)
            sums += _counts(logits, labels)
    world.total(sums)
    images, loss, first, five = sums.tolist()
    return Validation(
        int(images),
        loss / images,
        100 * (images - first) / images,
        None if math.isnan(five) else 100 * (images - five) / images,
    )


def centre_crops(
    split: Split, indices: np.ndarray, preprocess: PreprocessSpec, workers: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Decode images and cut their centres, a few batches ahead.

    Parameters
    ----------
    split : Split
    indices : ndarray of int
        Numbers of its images, in the order that is wanted.
    preprocess : PreprocessSpec
    workers : int
        Threads that decode.

    Yields
    ------
    ndarray of int
        The next of `indices`.
    Tensor of uint8, shape (n, crop, crop, 3)
        Their crops.
    """

    def prepare(part: np.ndarray) -> Tensor:
        crops = [resized_crops(split.pixels(int(i)), preprocess) for i in part]
        return torch.from_numpy(np.concatenate(crops))

    parts = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
    with decoding_threads(workers) as pool:
        for place, future in ahead(
            range(len(parts)), lambda i: (i, pool.submit(prepare, parts[i])), lambda work: work, 4
        ):
            yield parts[place], future.result()


def _counts(logits: Tensor, labels: Tensor) -> Tensor:
    """Return images, summed loss, and how many have their class first and among the first five.

    The last is NaN, which stays in sums, where there are no more than five classes.
    """
    own = logits.gather(1, labels[:, None])
    # Classes with a greater logit, and with the same one but an earlier number: as a stable sort
    # would rank them. A logit that is no number ranks last.
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ahead_of_it = ((logits > own) | ((logits == own) & earlier)).sum(1)
    broken = own.squeeze(1).isnan()
    loss = functional.cross_entropy(logits.double(), labels, reduction="sum")
    first = ((ahead_of_it < 1) & ~broken).sum()
    five = ((ahead_of_it < 5) & ~broken).sum().double()
    if logits.shape[1] <= 5:
        five = torch.full_like(five, torch.nan)
    count = torch.tensor(float(len(labels)), device=logits.device, dtype=torch.float64)
    return torch.stack([count, loss, first.double(), five])

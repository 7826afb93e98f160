"""Errors on the validation images of a pack, exact whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.images.preprocess import resized_crops
from decaf.images.spec import PreprocessSpec
from decaf.train.distributed import World
from decaf.train.feed import Normaliser, Split, ahead, decoding_threads

__all__ = ["Validation", "validate"]

BATCH = 128


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes
    ----------
    images : int
        How many were counted, each once.
    loss : float
        Mean cross-entropy, in nats, without label smoothing.
    top1_error, top5_error : float
        In percent.
    """

    images: int
    loss: float
    top1_error: float
    top5_error: float


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
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)

    def prepare(indices: np.ndarray) -> Tensor:
        crops = [
            resized_crops(torch.from_numpy(split.pixels(int(i))).permute(2, 0, 1), preprocess)
            for i in indices
        ]
        return torch.cat(crops)

    starts = range(0, len(mine), BATCH)
    with decoding_threads(workers) as pool, torch.inference_mode():
        for start, future in ahead(
            starts, lambda i: (i, pool.submit(prepare, mine[i : i + BATCH])), lambda work: work, 4
        ):
            indices = mine[start : start + BATCH]
            pixels = future.result().to(world.device)
            labels = torch.from_numpy(np.asarray(split.labels[indices], np.int64)).to(world.device)
            logits = forward(normaliser(pixels)).float()
            sums += _counts(logits, labels)
    world.total(sums)
    images, loss, first, five = sums.tolist()
    return Validation(
        int(images), loss / images, 100 * (images - first) / images, 100 * (images - five) / images
    )


def _counts(logits: Tensor, labels: Tensor) -> Tensor:
    """Give images, summed loss, and how many have their class first and among the first five."""
    own = logits.gather(1, labels[:, None])
    # Classes with a greater logit, and with the same one but an earlier number: as a stable sort
    # would rank them. A logit that is no number ranks last.
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ahead_of_it = ((logits > own) | ((logits == own) & earlier)).sum(1)
    broken = own.squeeze(1).isnan()
    loss = functional.cross_entropy(logits.double(), labels, reduction="sum")
    first = ((ahead_of_it < 1) & ~broken).sum()
    five = ((ahead_of_it < 5) & ~broken).sum()
    count = torch.tensor(float(len(labels)), device=logits.device, dtype=torch.float64)
    return torch.stack([count, loss, first.double(), five.double()])

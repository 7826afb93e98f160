"""All the randomness of a training run, as functions of its seed and a place in the run.

Nothing is drawn from a generator that lives: what step 4,711 draws depends on the seed and on the
number 4,711 alone. A run that is resumed, or that is spread over other numbers of processes or
decoding threads, draws the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

__all__ = ["balanced_order", "dropout_mask", "epoch_order", "generator", "key", "shared_order"]


def key(seed: int, purpose: str, *place: int) -> int:
    """Return the 63-bit number that seeds what `purpose` draws at one place of the run.

    Parameters
    ----------
    seed : int
        Seed of the run.
    purpose : str
        Name of the draw, such as ``"order"``.
    *place : int
        Place in the run, such as the number of the epoch or step.

    Examples
    --------
    >>> key(0, "order", 3) == key(0, "order", 3), key(0, "order", 3) == key(0, "order", 4)
    (True, False)
    """
    text = ":".join([str(seed), purpose, *map(str, place)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """Return numpy's generator for one place of the run.

    Parameters
    ----------
    seed, purpose, *place
        As in `key`.
    """
    return np.random.Generator(np.random.Philox(key(seed, purpose, *place)))


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order in which an epoch visits the training images.

    Parameters
    ----------
    seed, epoch : int
    count : int
        Count of the training images.

    Returns
    -------
    ndarray of int64, shape (count,)
        A permutation.
    """
    return generator(seed, "order", epoch).permutation(count)


def balanced_order(seed: int, epoch: int, labels: np.ndarray) -> np.ndarray:
    """Return an order in which an epoch shows every class equally often.

    As many places as there are images are shared by the classes, to within one. Of a class with
    more images than its share some are left out this time, others come next time; of one with
    fewer, all come as often as others of it, to within one.

    Parameters
    ----------
    seed, epoch : int
    labels : ndarray of int64, shape (count,)
        Classes from 0 on.

    Returns
    -------
    ndarray of int64, shape (count,)
    """
    random = generator(seed, "balanced order", epoch)
    classes = np.unique(labels)
    share, more = divmod(len(labels), len(classes))
    wanted = np.full(len(classes), share)
    wanted[random.permutation(len(classes))[:more]] += 1
    return _order(random, labels, classes, wanted)


def shared_order(seed: int, epoch: int, source: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return an order in which an epoch shows images of several sources in given proportions.

    As in `balanced_order`, none of a source is shown again before all of it were, in an epoch.

    Parameters
    ----------
    seed, epoch : int
    source : ndarray of int64, shape (count,)
        Source of each image, from 0 on.
    shown : ndarray of float64, shape (sources,)
        Share of each source in the `count` places; the sum is 1.

    Returns
    -------
    ndarray of int64, shape (count,)
    """
    random = generator(seed, "shared order", epoch)
    # The ends of the sources' parts are rounded, so that each is met to within one place.
    ends = np.rint(np.cumsum(shown) * len(source)).astype(np.int64)
    return _order(random, source, np.arange(len(shown)), np.diff(ends, prepend=0))


def _order(
    random: np.random.Generator, group: np.ndarray, groups: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Shuffle so many places of each group, whose rows come in rounds through all of them."""
    parts = []
    for each, count in zip(groups, wanted, strict=True):
        rows = np.flatnonzero(group == each)
        rounds = [random.permutation(rows) for _ in range(-(-int(count) // max(1, len(rows))))]
        parts.append(np.concatenate([*rounds, rows[:0]])[:count])
    return random.permutation(np.concatenate(parts))


def dropout_mask(
    shape: tuple[int, int], keep: float, seed: int, place: tuple[int, int], device: torch.device
) -> Tensor:
    """Draw a dropout mask for a whole global batch.

    Each process draws it whole and takes its rows, so that a step does not depend on how many
    processes share it.

    Parameters
    ----------
    shape : (int, int)
        Images in the global batch, and units.
    keep : float
        Probability that a unit stays.
    seed : int
        Seed of the run.
    place : (int, int)
        Step, and number of the layer.
    device : torch.device
        Where; the numbers differ between kinds of device.

    Returns
    -------
    Tensor of bool
        True where the unit stays.
    """
    source = torch.Generator(device).manual_seed(key(seed, "dropout", *place))
    # Bytes, not float32: a quarter of the memory that the mask takes until the backward pass.
    mask = torch.empty(shape, dtype=torch.bool, device=device)
    return mask.bernoulli_(keep, generator=source)

"""Timing of steps that take turns, so that their ratios hold when the machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from decaf.train.feed import Batch

__all__ = ["again", "seconds_of", "spread"]


def again(batch: Batch, steps: int) -> Iterator[Batch]:
    """Return a batch so many times.

    Parameters
    ----------
    batch : Batch
    steps : int
    """
    return (batch for _ in range(steps))


def seconds_of(
    take: Callable[[Batch], object], batches: Iterator[Batch], device: torch.device
) -> float:
    """Time steps, each batch taken as it comes.

    Parameters
    ----------
    take : callable
        The step, which takes a batch.
    batches : iterator of Batch
    device : torch.device
        Device of the step, which is waited for.
    """
    _wait(device)
    began = time.perf_counter()
    for batch in batches:
        take(batch)
    _wait(device)
    return time.perf_counter() - began


def spread(speeds: list[float]) -> dict[str, float]:
    """Return the median of rounds and their ends.

    Parameters
    ----------
    speeds : list of float
        Images a second, of each round.
    """
    return {
        "images_per_s": round(statistics.median(speeds), 1),
        "slowest": round(min(speeds), 1),
        "fastest": round(max(speeds), 1),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

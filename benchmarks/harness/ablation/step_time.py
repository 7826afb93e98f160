"""The time of a training step of the 2012 network on a GPU, beside that on the CPU."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import repeat

import torch

from decaf.backbone.spec import architecture
from decaf.backbone.weights.random_weights import random_state
from decaf.runtime.device import strict_float32
from decaf.train.feed import Batch
from speed.steps import BareStep, seconds_of

__all__ = ["StepTime", "step_times"]

ARCH, BATCH = "alexnet-2012", 128
_ROUNDS = 3
_STEPS = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step: forward pass, backward pass and update, in float32.

    Attributes
    ----------
    device : str
        Name of the device in words.
    seconds : float
        Median of the rounds.
    """

    device: str
    seconds: float


def step_times(device: torch.device, cpu: str) -> tuple[StepTime, StepTime] | None:
    """Time a step on a GPU and on the CPU, round by round.

    Parameters
    ----------
    device : torch.device
    cpu : str
        Name of the processor.

    Returns
    -------
    gpu, cpu : StepTime
        None where `device` is no GPU.
    """
    if device.type == "cpu":
        return None
    spec = architecture(ARCH)
    state = random_state(spec, 0, "paper")
    taken: dict[str, list[float]] = {"cuda": [], "cpu": []}
    with strict_float32(device):
        steps = {
            each.type: BareStep(spec, BATCH, each, state=state, dtype=torch.float32)
            for each in (device, torch.device("cpu"))
        }
        for number in range(_ROUNDS + 1):
            for kind, bare in steps.items():
                batches = repeat(Batch(0, bare.images, bare.labels), _STEPS[kind])
                seconds = seconds_of(bare, batches, bare.device)
                if number:  # the first round compiles and fills caches
                    taken[kind].append(seconds / _STEPS[kind])
    names = {"cuda": torch.cuda.get_device_name(device), "cpu": cpu}
    gpu, processor = (StepTime(names[k], statistics.median(taken[k])) for k in ("cuda", "cpu"))
    return gpu, processor

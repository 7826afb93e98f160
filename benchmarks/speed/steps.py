"""The bare training step that loops are compared with, and the timing of steps that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from decaf.backbone.network import AlexNet
from decaf.backbone.spec import ArchSpec
from decaf.train.feed import Batch

__all__ = ["BareStep", "seconds_of", "spread"]


class Step(Protocol):
    """What takes a step on a batch, as decaf's trainer does."""

    def take(self, batch: Batch, /) -> object:
        """Take one step."""


class BareStep:
    """A network, its optimizer and a batch that is there already; nothing around them.

    Parameters
    ----------
    spec : ArchSpec
    batch_size : int
    device : torch.device
    optimizer : {"sgd", "adamw"}
    state : dict of str to Tensor
        Parameters of the network.
    dtype : torch.dtype
        Type of the arithmetic.
    """

    def __init__(
        self,
        spec: ArchSpec,
        batch_size: int,
        device: torch.device,
        *,
        optimizer: str = "sgd",
        state: dict[str, Tensor],
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        network = AlexNet(spec)
        network.load_state_dict(state)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        self.forward: Any = torch.compile(self.network) if device.type == "cuda" else self.network
        self.optimizer: torch.optim.Optimizer
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(
                self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
            )
        else:
            self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.device, self.dtype = device, dtype
        self.loss = torch.zeros(())
        side = spec.input_size
        source = torch.Generator().manual_seed(0)
        pixels = 60 * torch.randn(batch_size, 3, side, side, generator=source)
        self.images = pixels.to(dtype).to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(spec.classes, (batch_size,), generator=source).to(device)

    def take(self, _batch: Batch) -> None:
        """Take one step, on its own images whatever it is given."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = functional.cross_entropy(self.forward(self.images).float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()


def seconds_of(step: Step, batches: Iterator[Batch], device: torch.device) -> float:
    """Time steps, each batch taken as it comes.

    Parameters
    ----------
    step : Trainer or BareStep
    batches : iterator of Batch
    device : torch.device
        Device of the step, which is waited for.
    """
    _wait(device)
    began = time.perf_counter()
    for batch in batches:
        step.take(batch)
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

"""Batch normalisation over the batches of all processes, on any kind of device.

torch's own `SyncBatchNorm` refuses CPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SynchronisedBatchNorm"]


class SynchronisedBatchNorm(nn.Module):
    """Batch normalisation of (N, C) or (N, C, H, W); torch's own where it is not shared.

    Parameters
    ----------
    channels : int
    together : bool
        Whether mean and variance are those of the batches of all processes.
    momentum : float
        Part of the new batch in the running statistics.
    eps : float
        Added to the variance.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, together: bool = False, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.together = together
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the batch, which also moves the running statistics."""
        if not (self.training and self.together):
            return functional.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        # The running mean is taken off first: a variance as the mean of the squares less the
        # square of the mean has no digits left where the mean is much larger than the deviation.
        near = self.running_mean.clone()
        wide = x.float() - near.view(shape)
        local = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
        # One message: the sum of every channel, of its square, and how many values there are.
        sums = torch.cat([wide.sum(axes), (wide * wide).sum(axes), local])
        total: Tensor = _SumOverProcesses.apply(sums)
        count = total[-1].detach()
        mean, square = (total[:-1] / count).chunk(2)
        variance = (square - mean * mean).clamp(min=0)
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean + near, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        factor = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * factor
        return (wide * factor.view(shape) + shift.view(shape)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """A sum that all processes get; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total

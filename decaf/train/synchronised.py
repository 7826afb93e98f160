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
        out: Tensor
        out, mean, variance, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.float(), self.momentum)
            self.running_var.lerp_(unbiased.float(), self.momentum)
        return out


class _Normalise(torch.autograd.Function):
    """Normalisation by the statistics of all processes.

    With h = (x - m) / s over the N values of a channel, y = w h + b and g the gradient of y
    (Ioffe & Szegedy 2015, section 3):

        dL/dx = w / s * (g - sum(g) / N - h * sum(g h) / N),  dL/dw = sum(g h),  dL/db = sum(g)

    where the sums of the first are over all processes, and those of the others this process's
    part: summing gradients of parameters is DistributedDataParallel's.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        variance, mean = torch.var_mean(x.float(), axes, correction=0)
        # What is sent is in float64: the mean of the squares less the square of the mean has no
        # digits left in float32 where the mean is much larger than the deviation.
        mean, variance = mean.double(), variance.double()
        count = mean.new_full((1,), x.numel() // x.shape[1])
        total = torch.cat([mean * count, (variance + mean * mean) * count, count])
        dist.all_reduce(total)
        count = total[-1]
        mean, square = (total[:-1] / count).chunk(2)
        variance = (square - mean * mean).clamp_(min=0)
        inverse = (variance + eps).rsqrt().float()
        ctx.save_for_backward(x, weight, mean.float(), inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        scaled = (x.float() - _spread(mean.float(), x)) * _spread(inverse * weight, x)
        out = (scaled + _spread(bias, x)).to(x.dtype)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        axes = [0, *range(2, x.dim())]
        above = gradients[0].float()
        hat = (x.float() - _spread(mean, x)) * _spread(inverse, x)
        own = torch.cat([above.sum(axes), (above * hat).sum(axes)])
        total = own.double()
        dist.all_reduce(total)
        first, second = (total / count).float().chunk(2)
        inner = above - _spread(first, x) - hat * _spread(second, x)
        of_bias, of_weight = own.chunk(2)
        return (inner * _spread(weight * inverse, x)).to(x.dtype), of_weight, of_bias, None


def _spread(channels: Tensor, x: Tensor) -> Tensor:
    """Reshape one value a channel to the axes of `x`."""
    return channels.view(1, -1, *[1] * (x.dim() - 2))

"""The network while it is trained: batch normalisation and dropout around the plain AlexNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.network import AlexNet
from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.steps import Step
from decaf.runtime.device import float64_device

__all__ = ["NORMALISED", "SynchronisedBatchNorm", "TrainedAlexNet"]

NORMALISED: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
"""Layers that batch normalisation follows, where it is used."""


class TrainedAlexNet(nn.Module):
    """An AlexNet in training.

    Parameters
    ----------
    spec : ArchSpec
    state : mapping of str to Tensor
        The parameters to start from, by decaf's names.
    batch_norm : bool
        Whether a batch normalisation stands between each of `NORMALISED` and its activation
        (Ioffe & Szegedy 2015). The layer's bias is then that of the normalisation.
    synchronised : bool
        Whether its statistics are those of the batches of all processes together.

    Attributes
    ----------
    plain : AlexNet
        Holds the parameters.
    norms : torch.nn.ModuleDict
        The normalisations by layer; empty without them.
    dropped : tuple of str
        Names of the dropouts, in the order in which `forward` takes their masks.
    left : tuple of str
        Layers that `leave` has set aside.
    """

    def __init__(
        self,
        spec: ArchSpec,
        state: Mapping[str, Tensor],
        *,
        batch_norm: bool,
        synchronised: bool = False,
    ) -> None:
        super().__init__()
        self.plain = AlexNet(spec)
        self.plain.load_state_dict(state)
        self.norms = nn.ModuleDict()
        for layer in NORMALISED if batch_norm else ():
            module = self.plain.get_submodule(layer)
            bias = module.bias
            assert isinstance(bias, Tensor)
            norm = SynchronisedBatchNorm(len(bias), together=synchronised)
            with torch.no_grad():
                norm.bias.copy_(bias)
            self.norms[layer] = norm
            # Ahead of a normalisation a bias has no effect: it is not trained.
            bias.requires_grad_(False).zero_()
        steps = [step for step in self.plain.steps() if step.kind != "softmax"]
        dropping = spec.dropout > 0
        self.dropped = tuple(s.name for s in steps if s.kind == "dropout" and dropping)
        self._steps = _pool_before_activation(steps)
        self.left: tuple[str, ...] = ()

    def leave(self, layers: Sequence[str]) -> None:
        """Leave layers as they are: no gradient is computed for them, nor for what lies before.

        Parameters
        ----------
        layers : sequence of str
            The first ones, in forward order; the others are trained. Of a network without batch
            normalisation.
        """
        self.left = tuple(layers)
        for name, parameter in self.plain.named_parameters():
            parameter.requires_grad_(name.partition(".")[0] not in self.left)

    def dropped_widths(self) -> tuple[int, ...]:
        """Return the number of units that each of `dropped` acts on."""
        shapes = parameter_shapes(self.plain.spec)
        at_input = self.plain.spec.dropout_at == "input"
        return tuple(shapes[f"fc{name[-1]}.weight"][1 if at_input else 0] for name in self.dropped)

    def forward(self, x: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Compute the logits.

        Parameters
        ----------
        x : Tensor of float, shape (N, 3, H, W)
        masks : sequence of Tensor of bool
            For each of `dropped` which units of which image stay, (N, units); none of them for a
            pass without dropout.

        Returns
        -------
        Tensor of float, shape (N, classes)
        """
        waiting = list(masks)
        names = [step.name for step in self._steps]
        cut = names.index(self.left[-1]) + 1 if self.left else 0
        if cut:
            # Without a graph nothing of these steps is kept for a backward pass.
            with torch.no_grad():
                x = self._walk(self._steps[:cut], x, waiting)
        return self._walk(self._steps[cut:], x, waiting)

    def _walk(self, steps: Sequence[Step], x: Tensor, waiting: list[Tensor]) -> Tensor:
        spec = self.plain.spec
        for step in steps:
            if step.kind in ("conv", "linear") and step.name in self.norms:
                x = self.norms[step.name](_without_bias(self.plain.get_submodule(step.name), x))
            elif step.kind == "act" and spec.activation == "relu":
                # In place: what comes before it keeps its inputs for the backward pass, not this.
                x = functional.relu(x, inplace=True)
            elif step.kind == "dropout":
                if waiting:
                    # "Inverted" dropout: the paper halves the outputs at test time instead.
                    x = x * waiting.pop(0) * (1 / (1 - spec.dropout))
            else:
                x = self.plain.run_step(step, x)
        return x

    @torch.no_grad()
    def calibrate(self, x: Tensor, biases: Mapping[str, Tensor]) -> None:
        """Set normalisations so that layers compute what they did without them.

        With m and s the mean and deviation over `x` of a layer's values without their bias b, the
        normalisation g (y - m) / s + c with g = s and c = m + b gives y + b.

        Parameters
        ----------
        x : Tensor of float, shape (N, 3, H, W)
            Images to take the statistics of.
        biases : mapping of str to Tensor
            Biases of the layers to set, by name. The others normalise by the statistics of `x`.
        """
        for step in self._steps:
            if step.name not in self.norms:
                x = self._walk([step], x, [])
                continue
            y = _without_bias(self.plain.get_submodule(step.name), x)
            norm = self.norms[step.name]
            assert isinstance(norm, SynchronisedBatchNorm)
            variance, mean = torch.var_mean(y.float(), [0, *range(2, y.dim())], correction=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            if step.name in biases:
                norm.weight.copy_((variance + norm.eps).sqrt())
                norm.bias.copy_(mean + biases[step.name].to(mean.device))
            shape = (1, -1, *[1] * (y.dim() - 2))
            scale = norm.weight / (variance + norm.eps).sqrt()
            x = (y - mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)

    def folded(self) -> dict[str, Tensor]:
        """Return the parameters of the plain network that this one is in evaluation.

        A normalisation with the statistics it has gathered is a linear map:
        g (w x - m) / s + b = (g / s) w x + (b - g m / s), with s = sqrt(v + eps); computed in
        float64.

        Returns
        -------
        dict of str to Tensor
            Float32 on the CPU, by decaf's names, in forward order.
        """
        state: dict[str, Tensor] = {}
        place = float64_device(self.plain.conv1.weight.device)

        def exact(value: Tensor) -> Tensor:
            return value.detach().to(place, torch.float64)

        for layer in (*NORMALISED, "fc8"):
            module = self.plain.get_submodule(layer)
            assert isinstance(module, (nn.Conv2d, nn.Linear))
            assert module.bias is not None
            weight, bias = exact(module.weight), exact(module.bias)
            if layer in self.norms:
                norm = self.norms[layer]
                assert isinstance(norm, SynchronisedBatchNorm)
                mean, variance = exact(norm.running_mean), exact(norm.running_var)
                factor = exact(norm.weight) / torch.sqrt(variance + norm.eps)
                weight = weight * factor.view(-1, *[1] * (weight.dim() - 1))
                bias = exact(norm.bias) - mean * factor
            state[f"{layer}.weight"] = weight.float().cpu().contiguous()
            state[f"{layer}.bias"] = bias.float().cpu().contiguous()
        return state


def _without_bias(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.Conv2d):
        return functional.conv2d(
            x, module.weight, None, module.stride, module.padding, groups=module.groups
        )
    assert isinstance(module, nn.Linear)
    return functional.linear(x, module.weight)


def _pool_before_activation(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Pool, then activate: the same numbers, since activations are monotone, for less work."""
    ordered = list(steps)
    for i in range(len(ordered) - 1):
        if ordered[i].kind == "act" and ordered[i + 1].kind == "pool":
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return tuple(ordered)


class SynchronisedBatchNorm(nn.Module):
    """Batch normalisation of (N, C) or (N, C, H, W); torch's own where it is not shared.

    torch's `SyncBatchNorm` refuses CPUs; this one runs on any kind of device.

    Parameters
    ----------
    channels : int
    together : bool
        Whether mean and variance are those of the batches of all processes.
    """

    momentum = 0.1  # part of the new batch in the running statistics
    eps = 1e-5  # added to the variance

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, together: bool = False) -> None:
        super().__init__()
        self.together = together
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the batch, which also moves the running statistics.

        Parameters
        ----------
        x : Tensor, shape (N, C) or (N, C, H, W)
        """
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

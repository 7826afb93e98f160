"""Local response normalisation as the 2012 paper has it, at the speed of memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["local_response_norm"]

# Pixels (rows of C channels) done at a time: with 96 or 256 channels the two float32 work areas
# stay in the caches, so that only the first and the last of the passes below go to memory. Half or
# twice as many measured within a tenth of this.
_ROWS = 4096


def local_response_norm(
    x: Tensor,
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Divide every activation by a power of the energy in its neighbouring channels.

    b_i = a_i / (k + alpha * sum of a_j^2 over the `size` channels around i) ^ beta, channels
    beyond the first and last counting as zero. `alpha` is **not** divided by `size`, as in the
    paper; `torch.nn.functional.local_response_norm` and Caffe do divide it, so that their
    ``alpha=5e-4`` is this function's ``1e-4`` at ``size=5``.

    Parameters
    ----------
    x : Tensor of float, shape (N, C, H, W)
        Best in channels-last strides; then no copy of another layout is made. Values of less
        than 32 bits are widened for the computation.
    size : int
        Number of channels summed over, odd.
    k, alpha, beta : float
        Constants of the formula.
    out : Tensor, optional
        Where to write the result, of the shape and dtype of `x`; may be `x` itself. Only where
        no gradient is recorded.

    Returns
    -------
    Tensor
        Shape and dtype of `x`, channels-last.

    Raises
    ------
    ValueError
        If `x` has not four axes, `size` is even, or `out` does not fit or would break a gradient.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, section 3.3.
    """
    if x.dim() != 4 or size % 2 == 0:
        raise ValueError(f"needs (N, C, H, W) and an odd `size`, got {tuple(x.shape)} and {size}")
    recording = torch.is_grad_enabled() and x.requires_grad
    if out is not None and (recording or out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError("`out` needs the shape and dtype of `x`, and no gradient being recorded")
    pixels = x.permute(0, 2, 3, 1)
    if recording and x.device.type == "cpu":
        normalised: Tensor = _Recorded.apply(x, size, k, alpha, beta)
        return normalised
    if recording or pixels.dtype == torch.float64:
        # On a GPU the formula is left to autograd, and to torch.compile, which makes one kernel.
        return _plain(pixels, size, k, alpha, beta, out).permute(0, 3, 1, 2)
    if out is None:
        out = torch.empty_like(x, memory_format=torch.channels_last)
    into = out.permute(0, 2, 3, 1)
    if not pixels.is_contiguous() or not into.is_contiguous():
        into.copy_(_plain(pixels.float(), size, k, alpha, beta, None))
    elif pixels.numel():
        channels = x.shape[1]
        _by_rows(pixels.view(-1, channels), into.view(-1, channels), size, k, alpha, beta)
    return out


def _plain(
    pixels: Tensor, size: int, k: float, alpha: float, beta: float, out: Tensor | None
) -> Tensor:
    """Compute the formula as it stands, over the last axis; differentiable."""
    channels = pixels.shape[-1]
    wide = pixels if pixels.dtype == torch.float64 else pixels.float()
    squares = functional.pad(wide * wide, (size // 2, size // 2))
    energy = sum(squares[..., first : first + channels] for first in range(size))
    result = (wide * (k + alpha * energy) ** -beta).to(pixels.dtype)
    return result if out is None else out.permute(0, 2, 3, 1).copy_(result)


def _by_rows(x: Tensor, out: Tensor, size: int, k: float, alpha: float, beta: float) -> None:
    """Compute the same over rows of channels, a cache-full at a time, into `out` (perhaps `x`)."""
    rows, channels = x.shape
    half = size // 2
    # On a GPU there is no such cache to stay in, and many small launches would only cost.
    step = _ROWS if x.device.type == "cpu" else rows
    # The margins of `squares` stay zero: they are the channels beyond the first and the last.
    squares = torch.zeros(
        min(rows, step), channels + 2 * half, dtype=torch.float32, device=x.device
    )
    factor = torch.empty(min(rows, step), channels, dtype=torch.float32, device=x.device)
    constant = torch.tensor(k, dtype=torch.float32, device=x.device)
    for first in range(0, rows, step):
        part = x[first : first + step]
        energy, padded = factor[: len(part)], squares[: len(part)]
        middle = padded[:, half : half + channels]
        if part.dtype == torch.float32:
            torch.mul(part, part, out=middle)
        else:
            middle.copy_(part).square_()
        _sum_of_window(padded, size, alpha, constant, energy)
        if beta == 0.75:
            # d^-0.75 = r * sqrt(r) with r = 1/sqrt(d): pow() would take as long as all the rest.
            torch.sqrt(energy.rsqrt_(), out=middle)
            energy *= middle
        else:
            energy.pow_(-beta)
        torch.mul(part, energy, out=out[first : first + step])


class _Recorded(torch.autograd.Function):
    """The normalisation with its gradient, both at the speed of memory.

    With d_i = k + alpha * sum of a_j^2 over j in N(i) and b_i = a_i d_i^-beta,

        db_i / da_j = [i = j] d_i^-beta - 2 alpha beta a_i a_j d_i^(-beta - 1) [j in N(i)]

    and, since j is in N(i) where i is in N(j), the gradient g of b becomes that of a by

        dL/da_j = g_j d_j^-beta - 2 alpha beta a_j * sum of g_i b_i / d_i over i in N(j).

    Only a is kept for it: d is made again, which costs less than to read it back from memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, k: float, alpha: float, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.constants = (size, k, alpha, beta)
        return local_response_norm(x, size, k, alpha, beta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        channels = x.shape[1]
        pixels = x.permute(0, 2, 3, 1).contiguous().view(-1, channels)
        above = gradients[0].permute(0, 2, 3, 1).contiguous().view(-1, channels)
        out = torch.empty_like(pixels)
        if pixels.numel():
            _gradient_by_rows(pixels, above, out, *ctx.constants)
        shape = (x.shape[0], *x.shape[2:], channels)
        return out.view(shape).permute(0, 3, 1, 2), None, None, None, None


def _gradient_by_rows(
    x: Tensor, above: Tensor, out: Tensor, size: int, k: float, alpha: float, beta: float
) -> None:
    rows, channels = x.shape
    half = size // 2
    step = min(rows, _ROWS // 4)  # twice the work areas, which are to stay in the caches too
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    # The margins stay zero, as in _by_rows.
    margins = torch.zeros(step, channels + 2 * half, dtype=dtype)
    areas = torch.empty(4, step, channels, dtype=dtype)
    constant = torch.tensor(k, dtype=dtype)
    for first in range(0, rows, step):
        a, g = x[first : first + step], above[first : first + step]
        padded, (wide, energy, factor, spare) = margins[: len(a)], areas[:, : len(a)]
        middle = padded[:, half : half + channels]
        wide.copy_(a)
        torch.mul(wide, wide, out=middle)
        _sum_of_window(padded, size, alpha, constant, energy)
        if beta == 0.75:
            torch.rsqrt(energy, out=factor)
            torch.sqrt(factor, out=spare)
            factor *= spare
        else:
            torch.pow(energy, -beta, out=factor)
        spare.copy_(g)
        factor *= spare  # g d^-beta
        torch.mul(wide, factor, out=spare)
        torch.div(spare, energy, out=middle)
        _sum_of_window(padded, size, -2 * alpha * beta, torch.zeros((), dtype=dtype), energy)
        energy *= wide
        torch.add(factor, energy, out=wide)
        out[first : first + step].copy_(wide)


def _sum_of_window(padded: Tensor, size: int, scale: float, constant: Tensor, out: Tensor) -> None:
    """Return `constant` plus `scale` times the sum over every window of `size` columns."""
    channels = out.shape[1]
    torch.add(constant, padded[:, :channels], alpha=scale, out=out)
    for shift in range(1, size):
        out.add_(padded[:, shift : shift + channels], alpha=scale)

"""How far to go along a descent direction, for each column by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["search"]

Extra = TypeVar("Extra")


def search(
    derivative: Callable[[Tensor], tuple[Tensor, Extra]],
    begin: Tensor,
    *,
    below: float,
    above: float,
    rounds: int,
) -> tuple[Tensor, Extra]:
    """Find where the derivative of a convex function has nearly gone.

    The derivative of a convex function rises, so a bracket and the secant through its ends suffice,
    and no function value is needed: their differences drown in rounding long before the slopes do.

    Parameters
    ----------
    derivative : callable
        From steps (K,) to the derivatives there (K,) in float64, and other values that belong to
        them.
    begin : Tensor of float64, shape (K,)
        Derivative at 0, not above 0.
    below, above : float
        A step is good where the derivative lies between `below` and `above` times ``-begin``,
        `below` negative.
    rounds : int
        How often to try at most.

    Returns
    -------
    step : Tensor of float64, shape (K,)
    extra
        The other values that `derivative` returned at these steps.
    """
    low, slope_low = torch.zeros_like(begin), begin.clone()
    high, slope_high = torch.full_like(begin, torch.inf), torch.zeros_like(begin)
    step = torch.ones_like(begin)
    slope, extra = derivative(step)
    for _ in range(rounds):
        short = slope < below * begin.abs()
        long = slope > above * begin.abs()
        if not bool((short | long).any()):
            break
        low, slope_low = torch.where(short, step, low), torch.where(short, slope, slope_low)
        high, slope_high = torch.where(long, step, high), torch.where(long, slope, slope_high)
        bracketed = torch.isfinite(high)
        width = torch.where(bracketed, high - low, torch.ones_like(low))
        share = -slope_low / (slope_high - slope_low).clamp(min=torch.finfo(low.dtype).tiny)
        inside = low + width * share.clamp(0.05, 0.95)
        # No end on the right yet: extend the line through begin and the last point.
        rise = (slope - begin).clamp(min=torch.finfo(low.dtype).tiny)
        ahead = (-begin / rise).clamp(1.5, 4.0)
        step = torch.where(short | long, torch.where(bracketed, inside, step * ahead), step)
        slope, extra = derivative(step)
    return step, extra

"""Losses of the decision values, without dropout, and the search for a step along a direction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

__all__ = [
    "Derivative",
    "Logistic",
    "Loss",
    "Multinomial",
    "Piecewise",
    "derivative_along",
    "dot",
    "line_search",
    "make_loss",
    "signs_of",
    "squared_hinge",
    "total",
]

# From steps (K,) to the derivatives there (K,) in float64, and the slopes of the loss (n, K).
Derivative = Callable[[Tensor], tuple[Tensor, Tensor]]


def signs_of(codes: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Return 1 where a row is of the column's class and -1 elsewhere.

    Parameters
    ----------
    codes : Tensor of int64, shape (n,)
    n_classes : int
        Two classes give one column, positive for class 1.
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (n, K)
    """
    if n_classes == 2:
        return (2 * codes - 1).to(dtype)[:, None]
    signs = torch.full((len(codes), n_classes), -1.0, dtype=dtype, device=codes.device)
    return signs.scatter_(1, codes[:, None], 1.0)


class Loss(ABC):
    """A convex function of the decision values, summed over the rows, one value a column."""

    coupled: ClassVar[bool] = False
    """Whether the columns belong together."""

    @abstractmethod
    def value(self, decisions: Tensor) -> Tensor:
        """Return the loss summed over the rows (n, K) → (K,), in float64.

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    @abstractmethod
    def slope(self, decisions: Tensor) -> Tensor:
        """Return the derivative by the decision values (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    @abstractmethod
    def curvature(self, decisions: Tensor) -> Tensor:
        """Return the second derivative by each decision value by itself (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    @abstractmethod
    def columns(self, kept: Tensor) -> Loss:
        """Return the loss of some columns only.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """


@dataclass(frozen=True)
class Logistic(Loss):
    """Σ c log(1 + exp(-y f)), one-vs-rest.

    Parameters
    ----------
    signs : Tensor, shape (n, K)
        y, -1 or 1.
    cost : Tensor, shape (n, 1)
        c, C times the weight of the row.
    """

    signs: Tensor
    cost: Tensor

    def value(self, decisions: Tensor) -> Tensor:
        each = torch.nn.functional.softplus(-self.signs * decisions, threshold=80)
        return (each * self.cost).sum(0, dtype=torch.float64)

    def slope(self, decisions: Tensor) -> Tensor:
        return -self.cost * self.signs * torch.sigmoid(-self.signs * decisions)

    def curvature(self, decisions: Tensor) -> Tensor:
        p = torch.sigmoid(decisions)
        return self.cost * p * (1 - p)

    def columns(self, kept: Tensor) -> Logistic:
        return Logistic(self.signs[:, kept], self.cost)


@dataclass(frozen=True)
class Multinomial(Loss):
    """Σ c (log Σ_k exp f_k - f_y). The columns belong together: the value stands in the first.

    Parameters
    ----------
    codes : Tensor of int64, shape (n,)
    cost : Tensor, shape (n, 1)
        c, C times the weight of the row.
    """

    codes: Tensor
    cost: Tensor
    coupled: ClassVar[bool] = True

    def value(self, decisions: Tensor) -> Tensor:
        each = torch.logsumexp(decisions, 1) - decisions.gather(1, self.codes[:, None])[:, 0]
        total = decisions.new_zeros(decisions.shape[1], dtype=torch.float64)
        total[0] = (each * self.cost[:, 0]).sum(dtype=torch.float64)
        return total

    def slope(self, decisions: Tensor) -> Tensor:
        slope = torch.softmax(decisions, 1)
        slope.scatter_add_(1, self.codes[:, None], slope.new_full((len(slope), 1), -1.0))
        return slope.mul_(self.cost)

    def curvature(self, decisions: Tensor) -> Tensor:
        p = torch.softmax(decisions, 1)
        return self.cost * p * (1 - p)

    def columns(self, kept: Tensor) -> Multinomial:
        return self  # no column can go without the others


@dataclass(frozen=True)
class Piecewise(Loss):
    """Hinge losses: max over 0 ≤ α ≤ u of α (1 - y f) - ½ σ (α - p)², one-vs-rest.

    With p = 0, u = ∞ and σ = 1/(2c) that is the squared hinge c max(0, 1 - y f)². With u = c it is
    the hinge, smoothed by a proximal term around p; at the solution of the hinge the smoothing is
    gone when p is the dual solution (the method of multipliers, Rockafellar 1976).

    Parameters
    ----------
    signs : Tensor, shape (n, K)
        y, -1 or 1.
    sigma : Tensor, shape (n, 1) or (n, K)
    upper : Tensor, shape (n, 1)
    centre : Tensor, shape (n, K), or None
        p; None is 0.
    """

    signs: Tensor
    sigma: Tensor
    upper: Tensor
    centre: Tensor | None = None

    def dual(self, decisions: Tensor) -> Tensor:
        """Return the α of each row and column (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        alpha = (1 - self.signs * decisions) / self.sigma
        if self.centre is not None:
            alpha += self.centre
        return torch.minimum(alpha.clamp_(min=0), self.upper)

    def value(self, decisions: Tensor) -> Tensor:
        alpha = self.dual(decisions)
        away = alpha if self.centre is None else alpha - self.centre
        each = alpha * (1 - self.signs * decisions) - 0.5 * self.sigma * away.square()
        return each.sum(0, dtype=torch.float64)

    def slope(self, decisions: Tensor) -> Tensor:
        return self.dual(decisions).mul_(self.signs).neg_()

    def curvature(self, decisions: Tensor) -> Tensor:
        alpha = self.dual(decisions)
        return ((alpha > 0) & (alpha < self.upper)) / self.sigma

    def columns(self, kept: Tensor) -> Piecewise:
        return Piecewise(
            self.signs[:, kept],
            self.sigma if self.sigma.shape[1] == 1 else self.sigma[:, kept],
            self.upper,
            None if self.centre is None else self.centre[:, kept],
        )


def squared_hinge(signs: Tensor, cost: Tensor) -> Piecewise:
    """Return Σ c max(0, 1 - y f)².

    Parameters
    ----------
    signs : Tensor, shape (n, K)
    cost : Tensor, shape (n, 1)

    Returns
    -------
    Piecewise
    """
    return Piecewise(signs, 0.5 / cost, torch.full_like(cost, torch.inf))


def make_loss(name: str, codes: Tensor, n_classes: int, cost: Tensor) -> Loss:
    """Return the loss of all columns by its name, `hinge` apart.

    Parameters
    ----------
    name : str
        ``"multinomial"``, ``"logistic"`` or ``"squared_hinge"``.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    cost : Tensor, shape (n, 1)
        C times the weight of each row.
    """
    if name == "multinomial" and n_classes > 2:
        return Multinomial(codes, cost)
    signs = signs_of(codes, n_classes, cost.dtype)
    return squared_hinge(signs, cost) if name == "squared_hinge" else Logistic(signs, cost)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each column, (K,) in float64.

    Parameters
    ----------
    a, b : Tensor, shape (m, K)
    """
    return (a * b).sum(0).double()


def total(each: Tensor, coupled: bool) -> Tensor:
    """Return the values of columns, or of coupled ones for each the sum of all.

    Parameters
    ----------
    each : Tensor, shape (K,)
    coupled : bool
    """
    return each.sum().expand(each.shape) if coupled else each


def derivative_along(
    loss: Loss, decisions: Tensor, forward: Tensor, first: Tensor, rise: Tensor
) -> Derivative:
    """Return the derivative of ½‖w‖² + loss by the length of a step, as `line_search` takes it.

    Parameters
    ----------
    loss : Loss
    decisions, forward : Tensor, shape (n, K)
        Decision values, and what a step of 1 adds to them.
    first, rise : Tensor of float64, shape (K,)
        ½‖w‖² has first + step * rise in the derivative; for a coupled loss of all columns together.
    """

    def derivative(step: Tensor) -> tuple[Tensor, Tensor]:
        slope = loss.slope(torch.addcmul(decisions, forward, step.to(forward.dtype)))
        return first + step * rise + total(dot(slope, forward), loss.coupled), slope

    return derivative


def line_search(
    derivative: Derivative, begin: Tensor, *, below: float, above: float, rounds: int
) -> tuple[Tensor, Tensor]:
    """Find where the derivative of a convex function has nearly gone, for each column by itself.

    The derivative of a convex function rises, so a bracket and the secant through its ends suffice,
    and no function value is needed: their differences drown in rounding long before the slopes do.

    Parameters
    ----------
    derivative : callable
        See `derivative_along`.
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
    slope : Tensor, shape (n, K)
        The slopes of the loss at these steps.
    """
    low, slope_low = torch.zeros_like(begin), begin.clone()
    high, slope_high = torch.full_like(begin, torch.inf), torch.zeros_like(begin)
    step = torch.ones_like(begin)
    value, slope = derivative(step)
    for _ in range(rounds):
        short = value < below * begin.abs()
        long = value > above * begin.abs()
        if not bool((short | long).any()):
            break
        low, slope_low = torch.where(short, step, low), torch.where(short, value, slope_low)
        high, slope_high = torch.where(long, step, high), torch.where(long, value, slope_high)
        bracketed = torch.isfinite(high)
        width = torch.where(bracketed, high - low, torch.ones_like(low))
        share = -slope_low / (slope_high - slope_low).clamp(min=torch.finfo(low.dtype).tiny)
        inside = low + width * share.clamp(0.05, 0.95)
        # No end on the right yet: extend the line through begin and the last point.
        rise = (value - begin).clamp(min=torch.finfo(low.dtype).tiny)
        ahead = (-begin / rise).clamp(1.5, 4.0)
        step = torch.where(short | long, torch.where(bracketed, inside, step * ahead), step)
        value, slope = derivative(step)
    return step, slope

"""Losses of the decision values, without dropout, and the search for a step along a direction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

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

    @property
    def group(self) -> int:
        """How many columns next to each other belong together."""
        return 1

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
    cost : Tensor, shape (n, 1) or (n, K)
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
        return Logistic(self.signs[:, kept], _some(self.cost, kept))


@dataclass(frozen=True)
class Multinomial(Loss):
    """Σ c (log Σ_k exp f_k - f_y) of G problems of K classes, the value in the first of K columns.

    Parameters
    ----------
    codes : Tensor of int64, shape (n,)
    cost : Tensor, shape (n, G)
        c, C times the weight of the row.
    n_classes : int
        K.
    """

    codes: Tensor
    cost: Tensor
    n_classes: int

    @property
    def group(self) -> int:
        return self.n_classes

    def value(self, decisions: Tensor) -> Tensor:
        f = decisions.reshape(len(decisions), -1, self.n_classes)
        each = torch.logsumexp(f, 2) - f.gather(2, self._own(f))[:, :, 0]
        total = decisions.new_zeros(decisions.shape[1], dtype=torch.float64)
        total[:: self.n_classes] = (each * self.cost).sum(0, dtype=torch.float64)
        return total

    def slope(self, decisions: Tensor) -> Tensor:
        slope = self._softmax(decisions)
        own = self._own(slope)
        slope.scatter_add_(2, own, slope.new_full((1, 1, 1), -1.0).expand(own.shape))
        return slope.mul_(self.cost[:, :, None]).view(decisions.shape)

    def curvature(self, decisions: Tensor) -> Tensor:
        p = self._softmax(decisions)
        return (self.cost[:, :, None] * p * (1 - p)).view(decisions.shape)

    def columns(self, kept: Tensor) -> Multinomial:
        problems = kept[:: self.n_classes] // self.n_classes
        return Multinomial(self.codes, self.cost[:, problems], self.n_classes)

    def _softmax(self, decisions: Tensor) -> Tensor:
        return torch.softmax(decisions.reshape(len(decisions), -1, self.n_classes), 2)

    def _own(self, f: Tensor) -> Tensor:
        """Return the place of each row's class (n, G, 1)."""
        return self.codes[:, None, None].expand(-1, f.shape[1], 1)


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
    upper : Tensor, shape (n, 1) or (n, K)
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
            _some(self.sigma, kept),
            _some(self.upper, kept),
            None if self.centre is None else self.centre[:, kept],
        )


def _some(values: Tensor, kept: Tensor) -> Tensor:
    """Return some columns, or the one that is for all."""
    return values if values.shape[1] == 1 else values[:, kept]


def squared_hinge(signs: Tensor, cost: Tensor) -> Piecewise:
    """Return Σ c max(0, 1 - y f)².

    Parameters
    ----------
    signs : Tensor, shape (n, K)
    cost : Tensor, shape (n, 1) or (n, K)
        At least 0.

    Returns
    -------
    Piecewise
    """
    counts = cost > 0  # the others have α = 0 as their only choice
    return Piecewise(signs, 0.5 / torch.where(counts, cost, 1.0), torch.where(counts, torch.inf, 0))


def make_loss(name: str, codes: Tensor, n_classes: int, cost: Tensor) -> Loss:
    """Return the loss of all columns by its name, `hinge` apart.

    Parameters
    ----------
    name : str
        ``"multinomial"``, ``"logistic"`` or ``"squared_hinge"``.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    cost : Tensor, shape (n, G)
        C times the weight of each row, in each of G problems whose columns stand side by side.
    """
    if name == "multinomial" and n_classes > 2:
        return Multinomial(codes, cost, n_classes)
    signs = signs_of(codes, n_classes, cost.dtype)
    if cost.shape[1] > 1:
        cost, signs = (
            cost.repeat_interleave(signs.shape[1], 1),
            signs.repeat(1, cost.shape[1]),
        )
    return squared_hinge(signs, cost) if name == "squared_hinge" else Logistic(signs, cost)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each column, (K,) in float64.

    Parameters
    ----------
    a, b : Tensor, shape (m, K)
    """
    return (a * b).sum(0).double()


def total(each: Tensor, group: int) -> Tensor:
    """Return for each column the sum of those that belong together.

    Parameters
    ----------
    each : Tensor, shape (K,)
    group : int
        How many columns next to each other do; 1 returns the values as they are.
    """
    return each if group == 1 else each.view(-1, group).sum(1).repeat_interleave(group)


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
        ½‖w‖² has first + step * rise in the derivative; of columns that belong together for each
        the sum.
    """

    def derivative(step: Tensor) -> tuple[Tensor, Tensor]:
        slope = loss.slope(torch.addcmul(decisions, forward, step.to(forward.dtype)))
        return first + step * rise + total(dot(slope, forward), loss.group), slope

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

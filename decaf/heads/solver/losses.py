"""Losses of the decision values, without dropout: value and slope, all columns at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Logistic", "Loss", "Multinomial", "Piecewise", "signs_of", "squared_hinge"]


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


class Loss(Protocol):
    """A convex function of the decision values, summed over the rows, one value a column."""

    @property
    def coupled(self) -> bool:
        """Whether the columns belong together."""

    def value(self, decisions: Tensor) -> Tensor:
        """Return the loss summed over the rows (n, K) → (K,), in float64.

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    def slope(self, decisions: Tensor) -> Tensor:
        """Return the derivative by the decision values (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    def curvature(self, decisions: Tensor) -> Tensor:
        """Return the second derivative by each decision value by itself (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """

    def columns(self, kept: Tensor) -> Loss:
        """Return the loss of some columns only.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """


@dataclass(frozen=True)
class Logistic:
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
    coupled: bool = False

    def value(self, decisions: Tensor) -> Tensor:
        """Return the loss summed over the rows (n, K) → (K,), in float64.

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        each = torch.nn.functional.softplus(-self.signs * decisions, threshold=80)
        return (each * self.cost).sum(0, dtype=torch.float64)

    def slope(self, decisions: Tensor) -> Tensor:
        """Return the derivative by the decision values (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        return -self.cost * self.signs * torch.sigmoid(-self.signs * decisions)

    def curvature(self, decisions: Tensor) -> Tensor:
        """Return the second derivative by each decision value by itself (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        p = torch.sigmoid(decisions)
        return self.cost * p * (1 - p)

    def columns(self, kept: Tensor) -> Logistic:
        """Return the loss of some columns only.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """
        return Logistic(self.signs[:, kept], self.cost)


@dataclass(frozen=True)
class Multinomial:
    """Σ c (log Σ_k exp f_k - f_y). The columns belong together: the value stands in the first.

    Parameters
    ----------
    codes : Tensor of int64, shape (n,)
    cost : Tensor, shape (n, 1)
        c, C times the weight of the row.
    """

    codes: Tensor
    cost: Tensor
    coupled: bool = True

    def value(self, decisions: Tensor) -> Tensor:
        """Return the loss summed over the rows (n, K) → (K,), in float64.

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        each = torch.logsumexp(decisions, 1) - decisions.gather(1, self.codes[:, None])[:, 0]
        total = decisions.new_zeros(decisions.shape[1], dtype=torch.float64)
        total[0] = (each * self.cost[:, 0]).sum(dtype=torch.float64)
        return total

    def slope(self, decisions: Tensor) -> Tensor:
        """Return the derivative by the decision values (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        slope = torch.softmax(decisions, 1)
        slope.scatter_add_(1, self.codes[:, None], slope.new_full((len(slope), 1), -1.0))
        return slope.mul_(self.cost)

    def curvature(self, decisions: Tensor) -> Tensor:
        """Return the second derivative by each decision value by itself (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        p = torch.softmax(decisions, 1)
        return self.cost * p * (1 - p)

    def columns(self, kept: Tensor) -> Multinomial:
        """Return the loss itself: no column of it can go without the others.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers, which are all.
        """
        return self


@dataclass(frozen=True)
class Piecewise:
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
    coupled: bool = False

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
        """Return the loss summed over the rows (n, K) → (K,), in float64.

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        alpha = self.dual(decisions)
        away = alpha if self.centre is None else alpha - self.centre
        each = alpha * (1 - self.signs * decisions) - 0.5 * self.sigma * away.square()
        return each.sum(0, dtype=torch.float64)

    def slope(self, decisions: Tensor) -> Tensor:
        """Return the derivative by the decision values (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        return self.dual(decisions).mul_(self.signs).neg_()

    def curvature(self, decisions: Tensor) -> Tensor:
        """Return the second derivative by each decision value by itself (n, K) → (n, K).

        Parameters
        ----------
        decisions : Tensor, shape (n, K)
        """
        alpha = self.dual(decisions)
        return ((alpha > 0) & (alpha < self.upper)) / self.sigma

    def columns(self, kept: Tensor) -> Piecewise:
        """Return the loss of some columns only.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """
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

"""½‖w‖² plus the loss expected under dropout: value and gradient, by matrix products alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from decaf.heads.solver.dropout_loss import (
    expected_hinge,
    expected_logistic,
    expected_squared_hinge,
)
from decaf.heads.solver.signs import signs_of

__all__ = ["DropoutObjective", "Evaluated"]

_EXPECTED = {
    "hinge": expected_hinge,
    "squared_hinge": expected_squared_hinge,
    "logistic": expected_logistic,
    "multinomial": expected_logistic,
}


@dataclass
class Evaluated:
    """The objective at one point.

    Attributes
    ----------
    value : Tensor of float64, shape (K,)
        For coupled classes all of the loss stands in the first.
    gradient : Tensor, shape (d + 1, K)
        The intercept is last.
    ridge : Tensor, shape (d, K)
        What dropout adds to the diagonal of the Hessian: an adaptive ridge (Wager, Wang and Liang
        2013, sec. 2).
    curvature : Tensor, shape (K,)
        About the mean second derivative of the loss by the decision value, summed over the rows.
    """

    value: Tensor
    gradient: Tensor
    ridge: Tensor
    curvature: Tensor

    def columns(self, kept: Tensor) -> Evaluated:
        """Return some columns."""
        return Evaluated(
            self.value[kept], self.gradient[:, kept], self.ridge[:, kept], self.curvature[kept]
        )


@dataclass
class DropoutObjective:
    """The objective of one training set.

    Parameters
    ----------
    name : str
        The loss.
    X : Tensor, shape (n, d)
    squares : Tensor, shape (n, d)
        a∘a, the squared activations.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    cost : Tensor, shape (n, 1)
        C times the weight of each row.
    odds : float
        q = p / (1 - p).
    """

    name: str
    X: Tensor
    squares: Tensor
    codes: Tensor
    n_classes: int
    cost: Tensor
    odds: float
    _signs: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._signs = signs_of(self.codes, self.n_classes, self.cost.dtype)

    @property
    def coupled(self) -> bool:
        """Whether the columns belong together."""
        return self.name == "multinomial" and self.n_classes > 2

    @property
    def penalised(self) -> bool:
        """Whether the intercept is."""
        return self.name in ("hinge", "squared_hinge")

    def at(self, weights: Tensor, columns: Tensor) -> Evaluated:
        """Evaluate.

        Parameters
        ----------
        weights : Tensor, shape (d + 1, K)
            The intercept is last. Dropout does not act on it.
        columns : Tensor of int64, shape (K,)
            Which classes these are; all of them where the classes are coupled.
        """
        w, b = weights[:-1], weights[-1]
        found = self._multinomial(w, b) if self.coupled else self._one_vs_rest(w, b, columns)
        found.value += 0.5 * w.square().sum(0, dtype=torch.float64)
        found.gradient[:-1] += w
        if self.penalised:
            found.value += 0.5 * b.double().square()
            found.gradient[-1] += b
        return found

    def _one_vs_rest(self, w: Tensor, b: Tensor, columns: Tensor) -> Evaluated:
        signs = self._signs[:, columns]
        variance = (self.squares @ w.square()).mul_(self.odds)
        margin = torch.addmm(b, self.X, w).mul_(signs)
        value, by_margin, by_variance = _EXPECTED[self.name](margin, variance)
        total = (self.cost * value).sum(0, dtype=torch.float64)
        slope = by_margin.mul_(signs).mul_(self.cost)
        by_variance = by_variance.mul_(self.cost)
        # ∂s²/∂w_j = 2q a_j² w_j
        ridge = (self.squares.T @ by_variance).mul_(2 * self.odds)
        gradient = torch.cat([torch.addcmul(self.X.T @ slope, ridge, w), slope.sum(0)[None]])
        # Of an expectation over N(μ, s²), ∂²/∂μ² is twice ∂/∂s² (Price's theorem).
        return Evaluated(total, gradient, ridge, 2 * by_variance.sum(0))

    def _multinomial(self, w: Tensor, b: Tensor) -> Evaluated:
        """Bound by Jensen's inequality.

        With r_i = w_{y_i}, v_k = q (Σ w_k² a² - 2 Σ (a² r)·w_k + Σ r² a²): the middle term is a
        product of a²∘r with W. For the gradient let p be the softmax of μ_k - μ_y + ½ v_k (times
        the cost). Then ∂L/∂w_k = Xᵀ(p - 1_y) + q Σ_i p_ik a²(w_k - r_i), and the row's own class
        gets -q Σ_k p_ik a²(w_k - r_i) besides.
        """
        own = self.codes[:, None]
        variance = self.squares @ w.square()
        tied = self.squares * w.T[self.codes]
        variance += variance.gather(1, own) - 2 * (tied @ w)
        logits = torch.addmm(b, self.X, w)
        logits = (logits - logits.gather(1, own)).addcmul_(
            variance.clamp_(min=0).scatter_(1, own, 0.0), torch.tensor(0.5 * self.odds).to(w)
        )
        each = torch.logsumexp(logits, 1, keepdim=True)
        total = logits.new_zeros(logits.shape[1], dtype=torch.float64)
        total[0] = (self.cost * each).sum(dtype=torch.float64)
        p = torch.softmax(logits, 1).mul_(self.cost)
        curvature = p * (1 - p / self.cost)
        slope = p.clone().scatter_add_(1, own, -self.cost)
        both = p.scatter_add(1, own, self.cost)
        ridge = (self.squares.T @ both).mul_(self.odds)
        gradient = torch.addcmul(self.X.T @ slope, ridge, w)
        gradient.addmm_(tied.T, p, alpha=-self.odds)
        torch.mul(self.squares, p @ w.T, out=tied)
        gradient.T.index_add_(0, self.codes, tied, alpha=-self.odds)
        # What a step of one column alone meets; p_own near 1 meets the other classes' rest.
        alone = p.scatter_add(1, own, self.cost - 2 * p.gather(1, own))
        ridge = (self.squares.T @ alone).mul_(self.odds)
        gradient = torch.cat([gradient, slope.sum(0)[None]])
        return Evaluated(total, gradient, ridge, curvature.sum(0))

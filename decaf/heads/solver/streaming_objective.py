"""Value, gradient and duality gap of several heads, from one pass over rows that are not held.

With rows x of mean norm 1, weights r of the rows (those of their classes), c = C r, decision
values f = W x + b and α_i = c_i ∂loss/∂f, the primal value is P = ½‖W‖² + Σ c_i loss(f_i) and by
Fenchel's inequality any α in the domain of the conjugate bounds the optimum from below (Boyd and
Vandenberghe 2004, sec. 5.5; Shalev-Shwartz and Zhang 2013 on linear predictors):

    D(α) = -½‖Xᵀα‖² - Σ c_i loss*(α_i / c_i),  and with a free intercept Σ α_i = 0.

At the α of the present weights Fenchel's inequality is an equality, and with G = Xᵀα

    P - D = ½‖W + G‖² + b · Σ α_i.

*Squared hinge.* α is in the domain whatever it is, and the penalised intercept is the weight of a
constant feature: the gap is half the squared norm of the gradient.

*Logistic losses.* Σ α_i = ρ is zero only where the intercept is at its best. Elsewhere α is mixed
with the dual point of one distribution q for all rows. With p the softmax, y the class as a unit
vector, t = Σ r_i, Y_k = Σ r_i y_ik and ρ = C Σ r_i (p_i - y_i),

    α' = (1 - τ) α + τ c (q - y),   q = Y / t - (1 - τ)/τ · ρ / (C t),   Σ α' = 0.

q is a distribution where τ / (1 - τ) ≥ max_k ρ_k / (C Y_k): that is the τ taken. The conjugate
Σ p log p is convex, so mixing costs at most the mixture of both; with the rows' weighted mean taken
off (which the intercept takes up), S_k the weighted sum of the rows of class k, and
G' = (1 - τ) G - τ C S,

    P - D(α') ≤ ½‖W + G'‖² + τ [Σ c_i log Σ_k exp f_ik - C t (b · q - Σ q log q)],

in which no large numbers cancel, which is never negative, and which is the squared gradient once
the intercept is at its best. For one column against the rest p and q are the probabilities of two
classes with decision values f and 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decaf.heads.solver.row_stream import RowStream

__all__ = ["Evaluation", "StreamedObjective"]


@dataclass
class Evaluation:
    """What one pass tells of G heads of K columns.

    Attributes
    ----------
    loss : Tensor of float64, shape (G, K)
        C Σ r loss; for the multinomial loss all of it is in the first column.
    gradient : Tensor, shape (d, G, K)
        Xᵀα, for rows of mean norm 1, the mean taken off for the logistic losses.
    rest : Tensor of float64, shape (G, K)
        Σ α.
    curvature : Tensor of float64, shape (G, K)
        C Σ r times the second derivative of the loss by each decision value.
    log_sums : Tensor of float64, shape (G, K)
        C Σ r log Σ exp f; zero for the squared hinge, for the multinomial in the first column.
    """

    loss: Tensor
    gradient: Tensor
    rest: Tensor
    curvature: Tensor
    log_sums: Tensor


class StreamedObjective:
    """The losses of all rows of a stream.

    Parameters
    ----------
    stream : RowStream
        Of finite rows.
    loss : {"multinomial", "logistic", "squared_hinge"}
    weight : Tensor of float64, shape (n_classes,)
        Weight of the rows of each class.
    factor : float
        Factor that brings rows to mean norm 1.
    mean : Tensor of float64, shape (d,)
        Weighted mean of the rows as they are, which is taken off them but for the squared hinge.
    dtype : torch.dtype
        In which sums are kept and losses computed.
    bf16 : bool
        Whether the products with the rows are in bfloat16.
    """

    def __init__(
        self,
        stream: RowStream,
        loss: str,
        weight: Tensor,
        *,
        factor: float,
        mean: Tensor,
        dtype: torch.dtype,
        bf16: bool,
    ) -> None:
        self.stream, self.bf16, self.dtype = stream, bf16, dtype
        self.n_classes = len(weight)
        self.loss = "logistic" if loss == "multinomial" and self.n_classes == 2 else loss
        self.weight = weight.to(dtype)
        self.factor, self.mean = factor, mean.to(dtype)
        self.passes = 0

    @property
    def coupled(self) -> bool:
        """Whether the columns of a head belong together."""
        return self.loss == "multinomial"

    def evaluate(self, weights: Tensor, intercept: Tensor, Cs: Tensor) -> Evaluation:
        """Go through the rows once.

        Parameters
        ----------
        weights : Tensor, shape (d, G, K)
        intercept : Tensor, shape (G, K)
            For rows with the mean taken off.
        Cs : Tensor of float64, shape (G,)

        Returns
        -------
        Evaluation
        """
        d, groups, columns = weights.shape
        flat = weights.reshape(d, -1).to(torch.bfloat16 if self.bf16 else self.dtype)
        gradient = weights.new_zeros(d, groups * columns, dtype=self.dtype)
        sums = torch.zeros(4, groups, columns, dtype=torch.float64, device=weights.device)
        loss_of = {
            "multinomial": self._multinomial,
            "logistic": self._logistic,
            "squared_hinge": self._squared_hinge,
        }[self.loss]
        for X, places in self.stream.blocks():
            rows = self.prepared(X)
            codes = torch.from_numpy(self.stream.codes[places]).to(weights.device)
            decisions = (rows @ flat).to(self.dtype).view(len(rows), groups, columns)
            decisions.add_(intercept.to(self.dtype))
            slope = loss_of(decisions, codes, self.weight[codes][:, None, None], sums)
            sums[1] += slope.sum(0, dtype=torch.float64)
            slope = slope.view(len(rows), -1)
            if self.bf16:
                gradient += rows.T @ slope.to(torch.bfloat16)
            else:
                gradient.addmm_(rows.T, slope)
        self.passes += 1
        sums *= Cs[:, None]
        gradient = gradient.view(d, groups, columns).mul_(Cs.to(self.dtype)[:, None])
        return Evaluation(sums[0], gradient, sums[1], sums[2], sums[3])

    def prepared(self, X: np.ndarray) -> Tensor:
        """Return rows on the device: the mean taken off, scaled, in the type of the products.

        Parameters
        ----------
        X : ndarray, shape (r, d)
        """
        rows = torch.from_numpy(X).to(self.mean.device, self.dtype)
        # Two steps, of which the first makes a new tensor: the rows may be those of the caller.
        rows = rows.mul(self.factor) if self.loss == "squared_hinge" else rows.sub(self.mean)
        if self.loss != "squared_hinge":
            rows.mul_(self.factor)
        return rows.to(torch.bfloat16) if self.bf16 else rows

    def decisions(self, X: np.ndarray, weights: Tensor, intercept: Tensor) -> Tensor:
        """Return the decision values of rows (r, G, K).

        Parameters
        ----------
        X : ndarray, shape (r, d)
        weights, intercept
            As in `evaluate`.
        """
        rows = self.prepared(X)
        flat = weights.reshape(len(weights), -1).to(rows.dtype)
        values = (rows @ flat).to(self.dtype)
        return values.view(len(rows), *intercept.shape).add_(intercept.to(self.dtype))

    def _multinomial(self, f: Tensor, codes: Tensor, weight: Tensor, sums: Tensor) -> Tensor:
        """Add up loss, curvature and log Σ exp f in `sums`; return r (p - y), in place of f."""
        place = codes[:, None, None].expand(-1, f.shape[1], 1)
        own = f.gather(2, place)[:, :, 0]
        top = f.amax(2, keepdim=True)
        p = f.sub_(top).exp_()
        total = p.sum(2, keepdim=True)
        log_sum = (top + total.log())[:, :, 0]
        p.div_(total)
        r = weight[:, :, 0]
        sums[0, :, 0] += ((log_sum - own) * r).sum(0, dtype=torch.float64)
        sums[3, :, 0] += (log_sum * r).sum(0, dtype=torch.float64)
        # Σ r p (1 - p)
        sums[2] += torch.einsum("n,ngk->gk", r[:, 0], torch.addcmul(p, p, p, value=-1))
        p.scatter_add_(2, place, p.new_full((1, 1, 1), -1.0).expand(place.shape))
        return p.mul_(weight)

    def _logistic(self, f: Tensor, codes: Tensor, weight: Tensor, sums: Tensor) -> Tensor:
        """Do the same for each column against the rest."""
        y = self._targets(f, codes)
        log_sum = torch.nn.functional.softplus(f, threshold=30)
        sums[0] += ((log_sum - y * f) * weight).sum(0, dtype=torch.float64)
        sums[3] += (log_sum * weight).sum(0, dtype=torch.float64)
        p = torch.sigmoid(f)
        sums[2] += (weight * p * (1 - p)).sum(0, dtype=torch.float64)
        return p.sub_(y).mul_(weight)

    def _squared_hinge(self, f: Tensor, codes: Tensor, weight: Tensor, sums: Tensor) -> Tensor:
        """Do the same for r max(0, 1 - y f)², y -1 or 1, which has no log Σ exp f."""
        y = self._targets(f, codes).mul_(2).sub_(1)
        short = f.mul_(y).neg_().add_(1).clamp_(min=0)
        sums[0] += (short.square() * weight).sum(0, dtype=torch.float64)
        sums[2] += ((short > 0) * (2 * weight)).sum(0, dtype=torch.float64)
        return short.mul_(y).mul_(-2 * weight)

    def _targets(self, f: Tensor, codes: Tensor) -> Tensor:
        """Return 1 where a row is of the column's class, 0 elsewhere (r, 1, K)."""
        if f.shape[2] == 1:
            return codes.to(f.dtype)[:, None, None]
        y = f.new_zeros(len(f), 1, f.shape[2])
        return y.scatter_(2, codes[:, None, None], 1.0)

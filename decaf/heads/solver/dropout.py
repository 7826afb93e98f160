"""Training under dropout, without copies: L-BFGS on the expected loss, all columns at once.

Dropout is an adaptive ridge (Wager, Wang and Liang 2013): its part of the Hessian is close to
diagonal and as large as the loss's own spectrum, a few leading directions apart. The model of the
Hessian is therefore, for each column, diag(D) + c V Λ Vᵀ: D = 1 + ridge as the last evaluation
gave it, V and Λ the leading eigenvectors and eigenvalues of XᵀX (with the constant of the
intercept), c the mean curvature. Its inverse is Woodbury's identity with a small matrix a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decaf.heads.solver.dropout_objective import DropoutObjective, Evaluated
from decaf.heads.solver.losses import dot, total
from decaf.heads.solver.quasi_newton import Minimum

__all__ = ["Leading", "leading_directions", "minimise_expected"]

MEMORY = 8
RANK = 48
REST = 1.0


@dataclass(frozen=True)
class Leading:
    """Leading eigenvectors V (d + 1, r) and eigenvalues Λ (r,) of [X 1]ᵀ[X 1], and what is left.

    `rest` (d + 1,) is the diagonal of [X 1]ᵀ[X 1] - V Λ Vᵀ, and `count` the number of rows. Rows of
    weights r stand in X and count as often as that.
    """

    vectors: Tensor
    values: Tensor
    rest: Tensor
    count: float


def leading_directions(X: Tensor, weight: Tensor | None = None, rank: int = RANK) -> Leading:
    """Find the leading eigenvectors of [X 1]ᵀ[X 1] by subspace iteration.

    Parameters
    ----------
    X : Tensor, shape (n, d)
    weight : Tensor, shape (n, 1), optional
        How often each row counts.
    rank : int

    Returns
    -------
    Leading
        The start is seeded by itself: no global random state is read or changed.
    """
    n, d = X.shape
    rank = min(rank, n, d + 1)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(d + 1, min(rank + 8, n, d + 1), generator=generator)
    basis = torch.linalg.qr(start.to(X)).Q
    one = X.new_ones(n, 1) if weight is None else weight.sqrt()
    if weight is not None:
        X = X * one
    for _ in range(3):
        image = torch.addmm(one * basis[-1], X, basis[:-1])
        basis = torch.linalg.qr(torch.cat([X.T @ image, one.T @ image])).Q
    image = torch.addmm(one * basis[-1], X, basis[:-1]).double()
    values, turn = torch.linalg.eigh(image.T @ image)
    vectors, values = basis @ turn[:, -rank:].to(X), values[-rank:].clamp(min=0).to(X)
    squares = torch.cat([X.square().sum(0), one.square().sum(0)])
    rest = (squares - vectors.square() @ values).clamp(min=0)
    return Leading(vectors, values, rest, float(squares[-1]))


class _Model:
    """The model of the Hessian, diag(D) + c V Λ Vᵀ, of every column."""

    def __init__(self, leading: Leading, point: Evaluated, penalised: bool) -> None:
        last = torch.full_like(point.curvature, 1.0 if penalised else 0.0)[None]
        # A free intercept has only the loss to hold it.
        rise = point.curvature / leading.count
        last = last + (0.0 if penalised else 1e-3) * point.curvature + 1e-12
        self.diagonal = torch.cat([1 + point.ridge, last]) + REST * rise * leading.rest[:, None]
        self.vectors = leading.vectors
        # Σ h_i x_i x_iᵀ by the mean of h: (1/(cΛ) + Vᵀ D⁻¹ V)⁻¹ is the small matrix.
        weight = (leading.values[:, None] * rise).clamp(min=1e-20)
        inner = torch.einsum("jr,jk,js->krs", self.vectors, 1 / self.diagonal, self.vectors)
        inner.diagonal(dim1=1, dim2=2).add_((1 / weight).T)
        self.factor = torch.linalg.cholesky(inner.double()).to(inner.dtype)

    def solve(self, q: Tensor) -> Tensor:
        """Return the inverse times q (d + 1, K)."""
        first = q / self.diagonal
        seen = (self.vectors.T @ first).T[..., None]
        small = torch.cholesky_solve(seen, self.factor)[..., 0].T
        return first - (self.vectors @ small) / self.diagonal

    def keep(self, kept: Tensor) -> None:
        """Keep some columns."""
        self.diagonal, self.factor = self.diagonal[:, kept], self.factor[kept]


def minimise_expected(
    objective: DropoutObjective, leading: Leading, weights: Tensor, *, tol: float, max_iter: int
) -> Minimum:
    """Minimise the objective.

    Parameters
    ----------
    objective : DropoutObjective
    leading : Leading
        Directions of the same rows, or nearly.
    weights : Tensor, shape (d + 1, K)
        Where to begin; the intercept is last.
    tol : float
        Stop where the model promises less than `tol` times the objective, in each column.
    max_iter : int

    Returns
    -------
    Minimum
    """
    columns = torch.arange(weights.shape[1], device=weights.device)
    result, at = weights.clone(), weights
    values = torch.zeros(weights.shape[1], dtype=torch.float64, device=weights.device)
    promises = values.clone()
    point = objective.at(at, columns)
    model = _Model(leading, point, objective.penalised)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    n_iter, since, finished = 0, 0, False
    while True:
        direction = -_times_inverse(model, pairs, point.gradient, objective.group)
        begin = total(dot(point.gradient, direction), objective.group)
        if bool((begin > 0).any()) and pairs:
            pairs = []
            continue
        result[:, columns], values[columns] = at, point.value
        promises[columns] = (-0.5 * begin).clamp(min=0) / (len(begin) if objective.group > 1 else 1)
        before = total(point.value, objective.group)
        done = -0.5 * begin <= tol * before
        finished = bool(done.all())
        if finished or n_iter >= max_iter:
            break
        if objective.group == 1 and int(done.sum()) > 0.1 * len(columns):
            stay = torch.nonzero(~done)[:, 0]
            columns, begin = columns[stay], begin[stay]
            at, direction = at[:, stay], direction[:, stay]
            point, before = point.columns(stay), before[stay]
            model.keep(stay)
            pairs = [(s[:, stay], y[:, stay], rho[stay]) for s, y, rho in pairs]
        step, new = _step(objective, columns, at, direction, begin, before)
        if not bool((step > 0).any()):
            break
        s = direction * step.to(at.dtype)
        y = new.gradient - point.gradient
        sy = total(dot(s, y), objective.group)
        good = sy > 1e-9 * total(dot(s, s), objective.group)
        rho = torch.where(good, 1 / torch.where(good, sy, 1.0), 0.0).to(at.dtype)
        pairs = [*pairs[-(MEMORY - 1) :], (s, y, rho)]
        at, point = at + s, new
        n_iter, since = n_iter + 1, since + 1
        if since == 6:  # the ridge has followed the weights: take it into the model
            model, since = _Model(leading, point, objective.penalised), 0
    value, promise = float(values.sum()), float(promises.sum())
    return Minimum(result[:-1], result[-1], finished, n_iter, objective=value, promise=promise)


def _times_inverse(
    model: _Model, pairs: list[tuple[Tensor, Tensor, Tensor]], gradient: Tensor, group: int
) -> Tensor:
    """Return the inverse Hessian of the model and the pairs, times the gradient (two-loop)."""
    q, factors = gradient.clone(), []
    for s, y, rho in reversed(pairs):
        factor = rho * total(dot(s, q), group).to(q.dtype)
        factors.append(factor)
        q.addcmul_(y, factor, value=-1)
    r = model.solve(q)
    for (s, y, rho), factor in zip(pairs, reversed(factors), strict=True):
        r.addcmul_(s, factor - rho * total(dot(y, r), group).to(r.dtype))
    return r


def _step(
    objective: DropoutObjective,
    columns: Tensor,
    at: Tensor,
    direction: Tensor,
    begin: Tensor,
    before: Tensor,
) -> tuple[Tensor, Evaluated]:
    """Shorten the step of the columns that do not fall as they should; the others go the whole way.

    The slack is the rounding of float32 sums.
    """
    step = torch.ones_like(begin)
    slack = 1e-6 * before.abs()
    point = objective.at(at + direction, columns)

    def evaluate(some: Tensor) -> Evaluated:
        """Evaluate some columns anew, and put what comes out among the others."""
        moved = at[:, some] + direction[:, some] * step[some].to(at.dtype)
        new = objective.at(moved, columns[some])
        point.value[some], point.curvature[some] = new.value, new.curvature
        point.gradient[:, some], point.ridge[:, some] = new.gradient, new.ridge
        return new

    open_ = torch.arange(len(columns), device=at.device)
    new = point
    for _ in range(12):
        value = total(new.value, objective.group)
        here = step[open_]
        short = ~(value <= before[open_] + 1e-4 * here * begin[open_] + slack[open_])
        if not bool(short.any()):
            return step, point
        # The parabola through value and slope at 0 and the value here.
        open_, here, value = open_[short], here[short], value[short]
        bend = (value - before[open_] - here * begin[open_]).clamp(min=1e-300)
        best = (-0.5 * begin[open_] * here * here / bend).nan_to_num(0.0)
        step[open_] = torch.minimum(torch.maximum(best, 0.1 * here), 0.5 * here)
        new = evaluate(open_)
    step[open_] = 0.0
    evaluate(open_)
    return step, point

"""Preconditioned L-BFGS over all columns at once, for losses with a continuous slope.

The objective is ½‖w‖² + loss(Xw + b) with b free, the metric is that of the space, and the first
model of the Hessian is M = I + r XᵀX with r the mean curvature of the loss, so that one iteration
costs two triangular systems, as much as one product with K, in the row space. The
quasi-Newton pairs have to learn how the curvature differs from row to row (Liu and Nocedal 1989;
Morales and Nocedal 2000 on preconditioning).

½‖w‖² makes the objective, minimised over b, 1-strongly convex in w, so its distance from the
optimum is at most ½‖gradient‖². The same number is the duality gap at the dual point that the
slopes of the loss make. That is the certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decaf.heads.solver.losses import Loss, derivative_along, dot, line_search, total
from decaf.heads.solver.space import Space, Weights

__all__ = ["Minimum", "minimise"]

MEMORY = 8  # pairs that are kept
AFRESH = 15  # iterations after which images and decisions are computed from the coefficients
# Iterations after which the model may be made anew for one C; the first steps say little about r.
REMADE = (5, 20, 50, 120)


@dataclass
class Minimum:
    """Coefficients and intercepts where a solver has ended, one column a class.

    Attributes
    ----------
    coef : Tensor, shape (m, K)
        In the solver's own space: m rows or dimensions.
    intercept : Tensor, shape (K,)
    converged : bool
    n_iter : int
    done : Tensor of bool, shape (K,), or None
        Which of the columns converged; None from the other solvers.
    objective, promise : float
        With dropout alone: the objective, and the fall of it that the model still promises,
        absolute, all columns together.
    """

    coef: Tensor
    intercept: Tensor
    converged: bool
    n_iter: int
    done: Tensor | None = None
    objective: float = float("nan")
    promise: float = float("nan")


def minimise(
    space: Space,
    loss: Loss,
    coef: Tensor,
    intercept: Tensor,
    *,
    free_intercept: bool,
    tol: float,
    max_iter: int,
    gap: float = float("inf"),
) -> Minimum:
    """Minimise ½‖w‖² + loss(Xw + b).

    Parameters
    ----------
    space : Space
    loss : Loss
    coef : Tensor, shape (m, K)
        Where to begin.
    intercept : Tensor, shape (K,)
    free_intercept : bool
        Whether b is sought too; else it stays.
    tol : float
        Stop where Newton's model promises less than `tol` times the objective, in each column (in
        those that belong together as one)…
    max_iter : int
    gap : float
        … and where the certified gap is less than `gap` times the objective. Looked at now and
        then, since it takes a product more.

    Returns
    -------
    Minimum
    """
    coef, intercept = coef.clone(), intercept.clone()
    at = space.weights(coef)
    curvature = loss.curvature(at.decisions + intercept)
    # The mean over the rows, each as often as it counts.
    first = max(float(curvature.mean()) * len(curvature) / space.count, 1e-12)
    space.set_ridge(first)
    room = space.ridge * space.count if free_intercept else torch.inf
    kept = torch.arange(coef.shape[1], device=coef.device)
    result, result_b = coef.clone(), intercept.clone()
    slope = loss.slope(at.decisions + intercept)
    pairs: list[_Pair] = []
    gradient, gradient_b = space.gradient(at.coef, slope), slope.sum(0)
    group, converged = loss.group, torch.zeros_like(kept, dtype=torch.bool)
    n_iter = look = 0
    while n_iter < max_iter:
        direction, direction_b = _direction(space, gradient, gradient_b, room, pairs, group)
        if not free_intercept:
            direction_b = torch.zeros_like(direction_b)
        begin = total(dot(gradient, direction.image) + (gradient_b * direction_b).double(), group)
        value = total(0.5 * dot(at.coef, at.image) + loss.value(at.decisions + intercept), group)
        done = -0.5 * begin <= tol * value
        if gap < float("inf") and bool(done.any()):
            if n_iter < look:
                done = torch.zeros_like(done)
            else:
                room_left = total(0.5 * space.norm2(gradient), group)
                done &= room_left <= gap * value
                look = n_iter + 3
        if not bool(torch.isfinite(value).all()):
            break
        result[:, kept], result_b[kept], converged[kept] = at.coef, intercept, done
        if bool(done.all()):
            return Minimum(result, result_b, True, n_iter, converged)
        if int(done.sum()) > 0.25 * len(kept):
            stay = torch.nonzero(~done)[:, 0]
            kept, at, direction = kept[stay], at.columns(stay), direction.columns(stay)
            intercept, direction_b = intercept[stay], direction_b[stay]
            gradient, gradient_b, begin = gradient[:, stay], gradient_b[stay], begin[stay]
            loss, pairs = loss.columns(stay), [pair.columns(stay) for pair in pairs]
            done = done[stay]
        descends = begin < 0
        if not bool((descends | done).all()):  # rounding: begin afresh from the model alone
            if not pairs:
                break
            pairs = []
            continue
        if not bool(descends.all()):  # those that are done stay where they are
            moves = descends.to(coef.dtype)
            direction = direction.scaled(moves)
            direction_b, begin = direction_b * moves, begin * moves
        along = total(dot(at.coef, direction.image), group)
        length = total(dot(direction.coef, direction.image), group)
        if not bool((length >= 0).all()):  # coefficients and images no longer agree
            break
        forward = direction.decisions + direction_b
        line = derivative_along(loss, at.decisions + intercept, forward, along, length)
        step, slope = line_search(line, begin, below=-0.7, above=0.1, rounds=12)
        step = step.to(coef.dtype)
        at = at.moved(direction, step)
        intercept = intercept + step * direction_b
        old, old_b = gradient, gradient_b
        gradient, gradient_b = space.gradient(at.coef, slope), slope.sum(0)
        rise_b = gradient_b - old_b if free_intercept else torch.zeros_like(gradient_b)
        pair, ridge = _make_pair(space, direction, direction_b, step, gradient - old, rise_b, group)
        n_iter += 1
        if n_iter in REMADE and not 0.3 < ridge / space.ridge < 3 and ridge > 1e-3 * first:
            space.set_ridge(ridge)
            room = space.ridge * space.count if free_intercept else torch.inf
        pairs = [*pairs[-(MEMORY - 1) :], pair]
        if n_iter % AFRESH == 0:
            at = space.weights(at.coef)
    return Minimum(result, result_b, False, n_iter, converged)


@dataclass
class _Pair:
    """A step s, its image, the change y of the gradient that it made, and ρ = 1 / s·y."""

    s: Tensor
    image: Tensor
    s_b: Tensor
    y: Tensor
    y_b: Tensor
    rho: Tensor

    def columns(self, kept: Tensor) -> _Pair:
        s = self.s[:, kept]
        image = s if self.image is self.s else self.image[:, kept]
        return _Pair(s, image, self.s_b[kept], self.y[:, kept], self.y_b[kept], self.rho[kept])


def _make_pair(
    space: Space,
    direction: Weights,
    direction_b: Tensor,
    step: Tensor,
    y: Tensor,
    y_b: Tensor,
    group: int,
) -> tuple[_Pair, float]:
    """Return the pair, and the r with which s·(I + r XᵀRX)s is s·y, all columns together."""
    s, s_b = direction.coef * step, step * direction_b
    image = s if direction.image is direction.coef else direction.image * step
    each, norm = dot(image, y), dot(s, image)
    curvature = total(each + (s_b * y_b).double(), group)
    good = curvature > 1e-12 * total(norm, group)
    rho = torch.where(good, 1 / torch.where(good, curvature, 1.0), 0.0)
    seen = direction.decisions * step
    if space.root is not None:
        seen *= space.root
    spread = float(seen.square_().sum(dtype=torch.float64))
    return _Pair(s, image, s_b, y, y_b, rho), float((each - norm).sum()) / max(spread, 1e-300)


def _direction(
    space: Space,
    gradient: Tensor,
    gradient_b: Tensor,
    room: float,
    pairs: list[_Pair],
    group: int,
) -> tuple[Weights, Tensor]:
    """Return minus the inverse Hessian of the model and the pairs, times the gradient."""
    q, q_b = gradient.clone(), gradient_b.clone()
    factors = []
    for pair in reversed(pairs):
        factor = (pair.rho * total(dot(pair.image, q) + (pair.s_b * q_b).double(), group)).to(
            q.dtype
        )
        factors.append(factor)
        q.addcmul_(pair.y, factor, value=-1)
        q_b.addcmul_(pair.y_b, factor, value=-1)
    coef, image = space.solve(q)
    r_b = q_b / room
    for pair, factor in zip(pairs, reversed(factors), strict=True):
        back = (pair.rho * total(dot(pair.y, image) + (pair.y_b * r_b).double(), group)).to(q.dtype)
        weight = factor - back
        same = coef is image
        coef = torch.addcmul(coef, pair.s, weight)
        image = coef if same else torch.addcmul(image, pair.image, weight)
        r_b = torch.addcmul(r_b, pair.s_b, weight)
    same = coef is image
    coef = -coef
    return space.finish(coef, coef if same else -image), -r_b

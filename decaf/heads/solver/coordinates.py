"""Dual coordinate descent for the hinge, all columns at once: what ends where multipliers stall.

Where the costs of rows differ by many powers of ten, no one penalty suits all rows, and the
multipliers of the small ones creep. Coordinate descent (Hsieh et al. 2008, algorithm 1) has a step
of its own for each row,

    α_i ← min(max(α_i - (y_i f_i - 1) / K_ii, 0), c_i),     f ← f + K_i Δ(y_i α_i),

and needs K. It takes many rounds for rows that are hard to separate, so that it is not the first
choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decaf.heads.solver.gram import Gram, KeptGram

__all__ = ["MOST_ROWS", "descend"]

# Rows up to which K is made for it.
MOST_ROWS = 4096
LOOK_EVERY = 10


def descend(
    gram: Gram, signs: Tensor, cost: Tensor, alpha: Tensor, *, tol: float, rounds: int
) -> tuple[Tensor, Tensor]:
    """Minimise ½‖w‖² + Σ c max(0, 1 - y f) for each column, from α on.

    Parameters
    ----------
    gram : Gram
    signs : Tensor, shape (n, K)
        y, -1 or 1.
    cost : Tensor, shape (n, 1)
        c.
    alpha : Tensor, shape (n, K)
        0 ≤ α ≤ c.
    tol : float
        Relative duality gap of each column.
    rounds : int
        Over all rows, at most.

    Returns
    -------
    alpha : Tensor, shape (n, K)
    done : Tensor of bool, shape (K,)
        Which columns reached `tol`.
    """
    K = gram.matrix if isinstance(gram, KeptGram) else gram.X @ gram.X.T
    alpha = alpha.clone()
    decisions = K @ (signs * alpha)
    floor = 1e-12 * float(K.diagonal().mean())
    steps = (1 / K.diagonal().clamp(min=floor)).tolist()
    done = torch.zeros(signs.shape[1], dtype=torch.bool, device=signs.device)
    for number in range(rounds):
        if number % LOOK_EVERY == 0:
            decisions = K @ (signs * alpha)  # without the rounding of the updates
            norm = (signs * alpha * decisions).sum(0).double()
            lost = (cost * (1 - signs * decisions).clamp(min=0)).sum(0).double()
            done = norm + lost - alpha.sum(0).double() <= tol * (0.5 * norm + lost)
            if bool(done.all()):
                break
        for row, step in enumerate(steps):
            sign = signs[row]
            moved = alpha[row] - (sign * decisions[row] - 1) * step
            moved = torch.minimum(moved.clamp_(min=0), cost[row])
            decisions.addr_(K[row], sign * (moved - alpha[row]))
            alpha[row] = moved
    return alpha, done

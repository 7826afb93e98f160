"""How near coefficients are to the optimum, in float64, from the rows themselves.

With ½‖w‖² in it the objective is 1-strongly convex in w once it is minimised over a free intercept,
so objective - optimum ≤ ½‖∇‖², the duality gap at the dual point that the slopes of the loss make.
The hinge has no slope at its corner; there the dual variables that the solver found make the point.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from decaf.heads.solver.losses import Loss, Multinomial, signs_of
from decaf.heads.solver.training import make_loss

__all__ = ["blocks", "certify"]

BLOCK = 1 << 20  # numbers of one block of rows: its copy in float64 stays in the cache


def blocks(
    X: np.ndarray, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows on the device, so that no second copy of all of X is made.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    device : torch.device
    dtype : torch.dtype
    """
    rows = max(64, BLOCK // max(1, X.shape[1]))
    for first in range(0, len(X), rows):
        part = slice(first, min(first + rows, len(X)))
        yield part, torch.from_numpy(X[part]).to(device, dtype)


def certify(
    X: np.ndarray,
    name: str,
    codes: Tensor,
    n_classes: int,
    cost: Tensor,
    coef: Tensor,
    intercept: Tensor,
    signed: Tensor | None = None,
) -> tuple[float, float, Tensor]:
    """Return objective, duality gap and the intercept that is best for these coefficients.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    name : str
        The loss.
    codes : Tensor, shape (n,)
    n_classes : int
    cost : Tensor of float64, shape (n, 1)
    coef : Tensor of float64, shape (d, K)
    intercept : Tensor of float64, shape (K,)
    signed : Tensor, shape (n, K), optional
        Signed dual variables; the hinge needs them, and `coef` made of them.

    Returns
    -------
    objective, gap : float
        Summed over the columns; the gap is absolute.
    intercept : Tensor, shape (K,)
    """
    decisions = torch.cat([part @ coef for _, part in blocks(X, coef.device, coef.dtype)])
    norm = coef.square().sum()
    if name == "hinge":
        assert signed is not None
        signs = signs_of(codes, n_classes, coef.dtype)
        norm = norm + intercept.square().sum()
        lost = (cost * (1 - signs * (decisions + intercept)).clamp(min=0)).sum()
        dual = (signs * signed.double()).sum() - 0.5 * norm
        objective = 0.5 * norm + lost
        return float(objective), max(float(objective - dual), 0.0), intercept
    loss = make_loss(name, codes, n_classes, cost)
    penalised = name == "squared_hinge"
    if penalised:
        norm = norm + intercept.square().sum()
    else:
        intercept = _best_intercept(loss, decisions, intercept)
    decisions = decisions + intercept
    slope = loss.slope(decisions)
    objective = 0.5 * norm + loss.value(decisions).sum()
    gradient = coef.clone()
    for part, rows in blocks(X, coef.device, coef.dtype):
        gradient.addmm_(rows.T, slope[part])
    rest = slope.sum(0)
    if penalised:
        beside = 0.5 * (intercept + rest).square().sum()
    else:  # nought but for rounding, by the last Newton step over the intercept
        curvature = loss.curvature(decisions).sum(0)
        beside = (rest.square() / curvature.clamp(min=1e-300)).nan_to_num(0.0).sum()
    return float(objective), float(0.5 * gradient.square().sum() + beside), intercept


def _best_intercept(loss: Loss, decisions: Tensor, intercept: Tensor) -> Tensor:
    """Minimise over the intercept alone, by Newton's method with steps of at most 2."""
    for _ in range(30):
        at = decisions + intercept
        slope = loss.slope(at).sum(0)
        if isinstance(loss, Multinomial):
            p = torch.softmax(at, 1)
            hessian = torch.diag((loss.cost * p).sum(0)) - p.T @ (loss.cost * p)
            # Adding a number to all intercepts changes nothing: keep the mean where it is.
            hessian += float(hessian.diagonal().mean()) / len(hessian)
            hessian.diagonal().mul_(1 + 1e-12).add_(1e-300)
            step = torch.linalg.lstsq(hessian, -slope[:, None]).solution[:, 0]
        else:
            step = -slope / loss.curvature(at).sum(0).clamp(min=1e-300)
        intercept = intercept + step.clamp(-2, 2)
        if bool(step.abs().max() <= 1e-9):
            break
    return intercept

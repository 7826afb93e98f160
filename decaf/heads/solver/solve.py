"""`solve`: a linear classifier of all classes at once, with a certificate.

Every solver begins in float32, where a product costs half, and the result is certified in float64
from the rows themselves: objective, slopes and gradient at the coefficients that are given back.
A solution that is not certified goes on in float64.

With ½‖w‖² in it the objective is 1-strongly convex in w once it is minimised over a free intercept,
so objective - optimum ≤ ½‖∇‖², the duality gap at the dual point that the slopes of the loss make.
The hinge has no slope at its corner; there the dual variables that the solver found make the point.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from decaf.errors import SettingError
from decaf.heads.problem import Problem, Solution, check_classes, check_problem
from decaf.heads.solver.losses import Loss, Multinomial, make_loss, signs_of
from decaf.heads.solver.quasi_newton import Minimum
from decaf.heads.solver.space import back_product, gram_matrix, row_product
from decaf.heads.solver.training import (
    DropoutRows,
    TrainingRows,
    first_precision,
    is_small,
    prefers_rows,
    row_weights,
)
from decaf.runtime.cores import one_thread
from decaf.runtime.device import choose_device, float64_device

__all__ = ["solve"]


def solve(
    problem: Problem,
    loss: str,
    C: float,
    *,
    tol: float = 1e-5,
    max_iter: int = 2000,
    device: str = "auto",
) -> Solution:
    """Solve for one C.

    Parameters
    ----------
    problem : Problem
    loss : str
        One of `LOSSES`.
    C : float
        Weight of the loss against ½‖w‖², as in scikit-learn. The intercept is penalised for the
        hinge losses (a constant feature of 1, as in `LinearSVC`), and free for the others (as in
        `LogisticRegression`).
    tol : float
        Largest duality gap, relative to the objective.
    max_iter : int
        Iterations at most.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, …; for ``"mps"``, which has no float64, on the CPU.

    Returns
    -------
    Solution

    Raises
    ------
    SettingError
        For settings that cannot be used, or a class without a row.
    """
    check_problem(problem, loss, (C,))
    where = float64_device(choose_device(device))
    with one_thread(is_small(problem)):
        if problem.row_weight is not None and not (problem.row_weight > 0).all():
            problem = problem.take(np.flatnonzero(problem.row_weight > 0))
        check_classes(problem.codes, problem.n_classes)
        if problem.dropout:
            return _estimated(problem, loss, C, tol, max_iter, where)
        return _certified(problem, loss, C, tol, max_iter, where)


def _estimated(
    problem: Problem, loss: str, C: float, tol: float, max_iter: int, device: torch.device
) -> Solution:
    """Solve with dropout; the gap is what the model of the Hessian still promises."""
    minimum = DropoutRows(problem, loss, device).solve(C, None, tol=tol, max_iter=max_iter)
    return Solution(
        coef=minimum.coef.double().cpu().numpy().T.copy(),
        intercept=minimum.intercept.double().cpu().numpy(),
        objective=minimum.objective,
        gap=minimum.promise / max(minimum.objective, 1e-300),
        converged=minimum.converged,
        n_iter=minimum.n_iter,
    )


def _certified(
    problem: Problem, loss: str, C: float, tol: float, max_iter: int, device: torch.device
) -> Solution:
    """Solve without dropout, in float32 and, when it is needed, float64."""
    codes = torch.from_numpy(problem.codes).to(device)

    @cache
    def training(dtype: torch.dtype) -> TrainingRows:
        weight = row_weights(problem, device, dtype)
        rows = TrainingRows(loss, codes, problem.n_classes, weight)
        if not prefers_rows(*problem.X.shape):
            rows.X, rows.factor = torch.from_numpy(problem.X).to(device), problem.factor
        elif loss == "squared_hinge" and dtype == torch.float32:
            # Its end is nearly always in float64; what is rounded once leads nearer to it.
            exact = training(torch.float64).gram
            assert exact is not None
            rows.gram = exact.float()
        else:
            rows.gram = gram_matrix(problem.X, device, dtype, problem.factor)
        return rows

    cost = C * row_weights(problem, device, torch.float64)
    used, inner = 0, 0.3 * tol
    best: Solution | None = None
    nearest: Minimum | None = None
    for attempt in range(6):
        first = attempt == 0 and tol >= 1e-7
        rows = training(first_precision(problem, loss) if first else torch.float64)
        try:
            # Not from a solution that rounding has led astray.
            minimum = rows.solve(C, nearest, tol=inner, max_iter=max_iter - used, gap=0.4 * tol)
        except SettingError:
            if rows.weight.dtype == torch.float64:
                raise
            continue  # the products of rows are too coarse in float32 for so large a C
        used += minimum.n_iter
        w, intercept, signed = _coefficients(problem, rows, minimum)
        objective, gap, intercept = _certify(problem, loss, codes, cost, w, intercept, signed)
        gap /= max(objective, 1e-300)
        solution = Solution(
            coef=w.T.cpu().numpy().copy(),
            intercept=intercept.cpu().numpy(),
            objective=objective,
            gap=gap,
            converged=gap <= tol,
            n_iter=used,
        )
        if best is None or solution.gap < best.gap:
            best, nearest = solution, minimum
        if solution.converged or used >= max_iter:
            break
        # The gap falls with what Newton's model promises: ask for as much less of that.
        inner *= min(0.1, max(0.3 * tol / gap, 1e-4)) if gap < 1 else 1.0
    assert best is not None
    return replace(best, n_iter=used)


def _coefficients(
    problem: Problem, rows: TrainingRows, minimum: Minimum
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return w (d, K), the intercept and, for the hinge, the signed duals, in float64."""
    coef, intercept = minimum.coef.double(), minimum.intercept.double()
    if rows.gram is None and not rows.by_duals:
        return coef[:-1] if rows.penalised else coef, intercept, None
    w = back_product(torch.from_numpy(problem.X), coef) * problem.factor
    return w, intercept, coef if rows.name == "hinge" else None


def _certify(
    problem: Problem,
    name: str,
    codes: Tensor,
    cost: Tensor,
    coef: Tensor,
    intercept: Tensor,
    signed: Tensor | None,
) -> tuple[float, float, Tensor]:
    """Return objective, duality gap and the intercept that is best for coefficients (d, K).

    All tensors are of float64. Objective and gap are summed over the columns; the gap is absolute.
    """
    X = torch.from_numpy(problem.X)
    decisions = row_product(X, coef * problem.factor)
    norm = coef.square().sum()
    penalised = name in ("hinge", "squared_hinge")
    if penalised:
        norm = norm + intercept.square().sum()
    if name == "hinge":
        assert signed is not None
        signs = signs_of(codes, problem.n_classes, coef.dtype)
        lost = (cost * (1 - signs * (decisions + intercept)).clamp(min=0)).sum()
        dual = (signs * signed).sum() - 0.5 * norm
        objective = 0.5 * norm + lost
        return float(objective), max(float(objective - dual), 0.0), intercept
    loss = make_loss(name, codes, problem.n_classes, cost)
    if not penalised:
        intercept = _best_intercept(loss, decisions, intercept)
    decisions = decisions + intercept
    slope = loss.slope(decisions)
    objective = 0.5 * norm + loss.value(decisions).sum()
    gradient = coef + back_product(X, slope) * problem.factor
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

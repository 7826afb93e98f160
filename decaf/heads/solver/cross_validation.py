"""`cross_decisions`: decision values of held-out rows, for every fold and C."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from decaf.heads.problem import FoldScores, Problem, check_classes, check_problem
from decaf.heads.solver.quasi_newton import Minimum
from decaf.heads.solver.space import gram_matrix
from decaf.heads.solver.training import (
    DropoutRows,
    TrainingRows,
    first_precision,
    is_small,
    prefers_rows,
    row_weights,
)
from decaf.runtime.cores import one_thread, share_out
from decaf.runtime.device import choose_device, float64_device

__all__ = ["cross_decisions"]


def cross_decisions(
    problem: Problem,
    loss: str,
    Cs: Sequence[float],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    tol: float = 1e-3,
    max_iter: int = 500,
    device: str = "auto",
) -> list[FoldScores]:
    """Return the decision values of held-out rows, for every fold and C.

    Parameters
    ----------
    problem, loss, max_iter, device
        As in `decaf.heads.solver.solve`.
    Cs : sequence of float
        In any order; each is solved from the solution of the next smaller one.
    folds : sequence of (train_rows, held_rows)
        Row numbers.
    tol : float
        As in `solve`; here the solver's own estimate is trusted, without a certificate.

    Returns
    -------
    list of FoldScores
        One for each fold.

    Raises
    ------
    SettingError
        For settings that cannot be used, or a class without a training row in a fold.
    """
    check_problem(problem, loss, tuple(Cs))
    where, small = float64_device(choose_device(device)), is_small(problem)
    gram = None
    if not problem.dropout and _keeps_gram(problem, loss):
        with one_thread(small):
            gram = gram_matrix(problem.X, where, first_precision(problem, loss))
    scores: dict[int, FoldScores] = {}

    def one(number: int) -> None:
        train, held = map(np.asarray, folds[number])
        if problem.row_weight is not None:
            train = train[problem.row_weight[train] > 0]
        part = problem.take(train)
        check_classes(part)
        rows, seen = _rows_of(part, problem.X, gram, train, held, loss, where)
        scores[number] = _path(rows, seen, Cs, part.n_columns, tol, max_iter)

    numbers = range(len(folds))
    if small:  # its operations are too little for several threads, its folds are not
        share_out(one, numbers, where, small=True)
    else:
        for number in numbers:
            one(number)
    return [scores[number] for number in numbers]


def _keeps_gram(problem: Problem, loss: str) -> bool:
    """Tell whether the folds are parts of one Gram matrix.

    In float64 it costs a search no digits that it looks at up to 2 d rows, where each of the many
    Newton steps would make its own part of it.
    """
    n, d = problem.X.shape
    exact = loss == "squared_hinge" and first_precision(problem, loss) == torch.float64
    return prefers_rows(n, d) or (exact and n <= 2 * d)


def _rows_of(
    part: Problem,
    X: np.ndarray,
    gram: torch.Tensor | None,
    train: np.ndarray,
    held: np.ndarray,
    loss: str,
    device: torch.device,
) -> tuple[TrainingRows | DropoutRows, torch.Tensor]:
    """Return the training rows of a fold, and the held ones as products with coefficients need."""
    if part.dropout:
        dropped = DropoutRows(part, loss, device)
        return dropped, torch.from_numpy(X[held]).to(dropped.X)
    dtype = first_precision(part, loss) if gram is None else gram.dtype
    codes = torch.from_numpy(part.codes).to(device)
    rows = TrainingRows(loss, codes, part.n_classes, row_weights(part, device, dtype))
    if gram is None:
        rows.X = torch.from_numpy(part.X).to(device, dtype)
        return rows, torch.from_numpy(X[held]).to(device, dtype)
    train_on = torch.from_numpy(train).to(device)
    rows.gram = gram[train_on[:, None], train_on]
    return rows, gram[torch.from_numpy(held).to(device)[:, None], train_on]


def _path(
    rows: TrainingRows | DropoutRows,
    seen: torch.Tensor,
    Cs: Sequence[float],
    n_columns: int,
    tol: float,
    max_iter: int,
) -> FoldScores:
    """Solve for all Cs, each from the fold's own solution for the next smaller one.

    That of another fold would be nearer, but has seen the rows held out here, and a search that
    stops early keeps something of where it began.
    """
    decisions = np.empty((len(Cs), len(seen), n_columns), np.float32)
    converged = np.zeros(len(Cs), bool)
    minimum: Minimum | None = None
    for index in np.argsort(np.asarray(Cs), kind="stable").tolist():
        before, C = minimum, float(Cs[index])
        if isinstance(rows, DropoutRows):
            minimum = rows.solve(C, before, tol=tol, max_iter=max_iter)
            coef = minimum.coef
        else:
            minimum = rows.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
            if not minimum.converged and seen.dtype == torch.float32:
                rows, seen = rows.double(), seen.double()  # a large C: float32 is too coarse
                minimum = rows.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
            coef = rows.seen_coef(minimum)
        decisions[index] = (seen @ coef + minimum.intercept).cpu().numpy()
        converged[index] = minimum.converged
    return FoldScores(decisions, converged)

"""`cross_decisions`: decision values of held-out rows, for every fold and C."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from decaf.heads.problem import FoldScores, Problem, check_problem
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
from decaf.runtime.device import choose_device

__all__ = ["cross_decisions", "with_missing_classes"]


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
        One for each fold. A class without a row in the training part of a fold cannot be learned:
        its decision value stands for half a row of it among the others.
    """
    check_problem(problem, loss, tuple(Cs))
    where, small = choose_device(device), is_small(problem)
    gram = None
    if not problem.dropout and _keeps_gram(problem, loss):
        with one_thread(small):
            gram = gram_matrix(problem.X, where, first_precision(problem, loss))
    scores: dict[int, FoldScores] = {}

    def one(number: int) -> None:
        train, held = map(np.asarray, folds[number])
        if problem.row_weight is not None:
            train = train[problem.row_weight[train] > 0]
        present = np.unique(problem.codes[train])
        if len(present) < 2:
            shape = (len(Cs), len(held), 0)
            scored = FoldScores(np.zeros(shape, np.float32), np.ones(len(Cs), bool))
        else:
            part = problem.take(train)
            codes = np.searchsorted(present, part.codes)
            part = replace(part, codes=codes, n_classes=len(present))
            rows, seen = _rows_of(part, problem.X, gram, train, held, loss, where)
            scored = _path(rows, seen, Cs, part.n_columns, tol, max_iter)
        if len(present) < problem.n_classes:
            filled = with_missing_classes(
                scored.decisions, present, problem.n_classes, loss, len(train)
            )
            scored = replace(scored, decisions=filled)
        scores[number] = scored

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


def with_missing_classes(
    decisions: np.ndarray, present: np.ndarray, n_classes: int, loss: str, n_rows: int
) -> np.ndarray:
    """Return decision values of all classes, from those of the classes with rows to learn from.

    A class that has no row cannot be learned. Its value is the one that a column of nothing but
    -1 tends to: -1 for the hinge losses, and for the others, whose free intercept would go to -∞,
    that of half a row among all.

    Parameters
    ----------
    decisions : ndarray, shape (..., K')
        Decision values of the classes that are present; one column for two of them, positive for
        the second, and none for one alone.
    present : ndarray of int64
        Their codes, in order.
    n_classes : int
    loss : str
    n_rows : int
        Rows in the training part.

    Returns
    -------
    ndarray of float32, shape (..., K)
    """
    hinge = loss in ("hinge", "squared_hinge")
    low = -1.0 if hinge else math.log(0.5 / (n_rows + 0.5))
    if n_classes == 2:  # one of the two alone
        return np.full((*decisions.shape[:-1], 1), low if present[0] == 0 else -low, np.float32)
    if len(present) == 1:
        seen = np.full((*decisions.shape[:-1], 1), -low)
    elif len(present) == 2:
        share = 0.5 if loss == "multinomial" else 1.0
        seen = np.concatenate([-share * decisions, share * decisions], -1)
    else:
        seen = decisions
    full = np.full((*decisions.shape[:-1], n_classes), low, np.float32)
    if loss == "multinomial":
        full += np.logaddexp.reduce(seen.astype(np.float64), axis=-1, keepdims=True)
    full[..., present] = seen
    return full

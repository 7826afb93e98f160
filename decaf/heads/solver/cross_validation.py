"""`cross_decisions`: decision values of held-out rows, for every fold and C.

Folds share nearly all of their rows. In the row space each is a part of one Gram matrix. In the
feature space they are fitted at once, their columns side by side: a product of the rows with the
columns of all folds costs little more than with those of one, the second moments and the model of
the curvature are made once for all, and no rows are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from decaf.heads.problem import FoldScores, Problem, check_classes, check_problem
from decaf.heads.solver.quasi_newton import Minimum
from decaf.heads.solver.space import gram_matrix, row_product
from decaf.heads.solver.training import (
    DropoutRows,
    TrainingRows,
    finds_duals,
    first_precision,
    is_small,
    prefers_rows,
    row_weights,
)
from decaf.runtime.cores import one_thread, share_out
from decaf.runtime.device import choose_device, float64_device

__all__ = ["cross_decisions"]

# Numbers that the quasi-Newton solver keeps of a column, for each row and for each dimension. As
# many folds are fitted at once as take a quarter of what the rows do, and these numbers besides.
OF_ROW, OF_DIMENSION = 12, 24
SPARE = 1 << 24

# From the coefficients of a fold to the decision values of its held rows, without intercept.
Decide = Callable[[torch.Tensor], torch.Tensor]


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
    pairs = [(np.asarray(train), np.asarray(held)) for train, held in folds]
    if problem.row_weight is not None:
        pairs = [(train[problem.row_weight[train] > 0], held) for train, held in pairs]
    for train, _ in pairs:
        check_classes(problem.codes[train], problem.n_classes)
    with one_thread(small):
        rows = _Rows(problem, loss, where)
    n, d = problem.X.shape
    at_once = 1
    if not problem.dropout and rows.gram is None and not finds_duals(loss, d):
        each = (OF_ROW * n + OF_DIMENSION * d) * problem.n_columns
        at_once = max(1, (n * d // 4 + SPARE) // each)
    scores: dict[int, FoldScores] = {}

    def some(first: int) -> None:
        part = pairs[first : first + at_once]
        found = _path(*rows.of(part), Cs, problem.n_columns, tol, max_iter)
        scores.update(enumerate(found, first))

    numbers = range(0, len(pairs), at_once)
    if small:  # its operations are too little for several threads, its folds are not
        share_out(some, numbers, where, small=True)
    else:
        for number in numbers:
            some(number)
    return [scores[number] for number in range(len(pairs))]


class _Rows:
    """All rows on the device, or their Gram matrix, and the parts of them that folds are."""

    def __init__(self, problem: Problem, loss: str, device: torch.device) -> None:
        self.problem, self.loss, self.device = problem, loss, device
        self.dtype = first_precision(problem, loss)
        n, d = problem.X.shape
        # Where duals are sought each of the many Newton steps would make its own part of K, and in
        # float64 it costs no digits that a search looks at. The other losses need it up to d rows
        # only: beyond, to fit the folds at once costs less.
        duals, exact = finds_duals(loss, None), self.dtype == torch.float64
        keep = prefers_rows(n, d) if duals else n <= d
        self.gram = None
        if not problem.dropout and (keep or (loss == "squared_hinge" and exact and n <= 2 * d)):
            self.gram = gram_matrix(problem.X, device, self.dtype, problem.factor)
        self.X = torch.from_numpy(problem.X).to("cpu" if self.gram is not None else device)

    def of(
        self, folds: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[TrainingRows | DropoutRows, list[Decide]]:
        """Return the training rows of folds, and what decides on the held rows of each."""
        (train, held), problem = folds[0], self.problem
        if problem.dropout:
            return DropoutRows(problem.take(train), self.loss, self.device), [self._decide(held)]
        weights: torch.Tensor | None = None
        if len(folds) > 1:
            counts = np.stack([np.bincount(some, minlength=len(self.X)) for some, _ in folds], 1)
            train = np.flatnonzero(counts.any(1))
            weights = torch.from_numpy(counts[train]).to(self.device, self.dtype)
        index = torch.from_numpy(train).to(self.device)
        rows = TrainingRows(
            self.loss,
            torch.from_numpy(problem.codes).to(self.device)[index],
            problem.n_classes,
            row_weights(problem, self.device, self.dtype)[index],
            folds=weights,
        )
        if self.gram is not None:
            rows.gram = self.gram[index[:, None], index]
            seen = self.gram[torch.from_numpy(held).to(self.device)[:, None], index]
            return rows, [lambda coef: seen.to(coef) @ coef]
        rows.X, rows.factor = self.X, problem.factor
        rows.index = None if weights is not None and len(train) == len(self.X) else index
        return rows, [self._decide(held) for _, held in folds]

    def _decide(self, held: np.ndarray) -> Decide:
        index = torch.from_numpy(held).to(self.device)
        return lambda coef: row_product(self.X, coef * self.problem.factor, index)


def _path(
    rows: TrainingRows | DropoutRows,
    decide: Sequence[Decide],
    Cs: Sequence[float],
    n_columns: int,
    tol: float,
    max_iter: int,
) -> list[FoldScores]:
    """Solve for all Cs, each from the folds' own solutions for the next smaller one.

    That of another fold would be nearer, but has seen the rows held out here, and a search that
    stops early keeps something of where it began.
    """
    decisions: list[list[np.ndarray]] = [[np.empty(0)] * len(Cs) for _ in decide]
    converged = np.zeros((len(decide), len(Cs)), bool)
    minimum: Minimum | None = None
    for index in np.argsort(np.asarray(Cs), kind="stable").tolist():
        before, C = minimum, float(Cs[index])
        if isinstance(rows, DropoutRows):
            minimum = rows.solve(C, before, tol=tol, max_iter=max_iter)
            coef = minimum.coef
        else:
            minimum = rows.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
            if not minimum.converged and rows.weight.dtype == torch.float32:
                rows = rows.double()  # a large C: float32 is too coarse
                before = _where_done(minimum, before)
                minimum = rows.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
            coef = rows.seen_coef(minimum)
        for number, of_fold in enumerate(decide):
            part = slice(number * n_columns, (number + 1) * n_columns)
            values = of_fold(coef[:, part]) + minimum.intercept[part]
            decisions[number][index] = values.float().cpu().numpy()
            converged[number, index] = (
                minimum.converged if minimum.done is None else bool(minimum.done[part].all())
            )
    return [
        FoldScores(np.stack(each), done) for each, done in zip(decisions, converged, strict=True)
    ]


def _where_done(minimum: Minimum, before: Minimum | None) -> Minimum | None:
    """Return the columns that converged, and of the others those before they were led astray."""
    if before is None or minimum.done is None:
        return before
    coef = torch.where(minimum.done, minimum.coef, before.coef)
    return replace(
        before, coef=coef, intercept=torch.where(minimum.done, minimum.intercept, before.intercept)
    )

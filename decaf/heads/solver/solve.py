"""`solve`, `solve_path` and `cross_decisions`: linear classifiers, all classes at once.

Every solver begins in float32, where a product costs half, and the result is certified in float64
from the rows themselves: objective, slopes and gradient at the coefficients that are given back.
A solution that is not certified goes on in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from decaf.errors import SettingError
from decaf.heads.solver.gram import gram_matrix
from decaf.heads.solver.linear_solver import (
    DropoutSolver,
    LinearSolver,
    first_precision,
    is_small,
    weight_of,
)
from decaf.heads.solver.problem import FoldScores, Problem, Solution, check, with_missing_classes
from decaf.heads.solver.quasi_newton import Minimum
from decaf.heads.solver.training import TrainingRows, prefers_rows
from decaf.runtime.cores import one_thread, share_out
from decaf.runtime.device import choose_device

__all__ = ["cross_decisions", "solve", "solve_path"]


def solve(
    problem: Problem,
    loss: str,
    C: float,
    *,
    tol: float = 1e-5,
    max_iter: int = 2000,
    device: str = "auto",
    start: Solution | None = None,
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
        ``"auto"``, ``"cpu"``, ``"cuda"``, …
    start : Solution, optional
        Where to begin; with dropout only, since the other solvers begin as fast without.

    Returns
    -------
    Solution

    Raises
    ------
    SettingError
        For settings that cannot be used, or a class without a row.
    """
    return solve_path(problem, loss, (C,), tol=tol, max_iter=max_iter, device=device, start=start)[
        0
    ]


def solve_path(
    problem: Problem,
    loss: str,
    Cs: Sequence[float],
    *,
    tol: float = 1e-5,
    max_iter: int = 2000,
    device: str = "auto",
    start: Solution | None = None,
) -> list[Solution]:
    """Solve for several Cs, each from the solution of the next smaller one.

    Parameters
    ----------
    problem, loss, tol, max_iter, device, start
        As in `solve`.
    Cs : sequence of float
        In any order.

    Returns
    -------
    list of Solution
        One for each C, in the order of `Cs`.
    """
    check(problem, loss, tuple(Cs))
    with one_thread(is_small(problem)):
        return _path(_weighted_rows(problem), loss, Cs, tol, max_iter, device, start)


def _path(
    problem: Problem,
    loss: str,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
    device: str,
    start: Solution | None,
) -> list[Solution]:
    where = choose_device(device)
    counts = np.bincount(problem.codes, minlength=problem.n_classes)
    if not counts.all():
        missing = np.flatnonzero(counts == 0)
        raise SettingError(
            f"no row (of weight above 0) is of class {', '.join(map(str, missing[:5]))}; "
            "number the classes that are there, from 0 on"
        )
    order = np.argsort(np.asarray(Cs), kind="stable").tolist()
    solutions: dict[int, Solution] = {}
    if problem.dropout:
        dropped = DropoutSolver(problem, loss, where)
        weights = None if start is None else dropped.weights_of(start)
        for index in order:
            solution, weights = dropped.solve(float(Cs[index]), weights, tol, max_iter)
            solutions[index] = solution
    else:
        linear = LinearSolver(problem, loss, where)
        minimum: Minimum | None = None
        for index in order:
            solution, minimum = linear.solve(float(Cs[index]), minimum, tol, max_iter)
            solutions[index] = solution
    return [solutions[index] for index in range(len(Cs))]


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
    problem, loss, Cs, max_iter, device
        As in `solve_path`.
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
    check(problem, loss, tuple(Cs))
    where, small = choose_device(device), is_small(problem)
    gram = None
    if not problem.dropout and _keeps_gram(problem, loss):
        with one_thread(small):
            gram = gram_matrix(problem.X, where, first_precision(problem, loss))
    scores: dict[int, FoldScores] = {}

    def one(number: int) -> None:
        train, held = map(np.asarray, folds[number])
        scores[number] = _of_fold(problem, gram, train, held, loss, Cs, tol, max_iter, where)

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


def _of_fold(
    problem: Problem,
    gram: torch.Tensor | None,
    train: np.ndarray,
    held: np.ndarray,
    loss: str,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
    where: torch.device,
) -> FoldScores:
    if problem.row_weight is not None:
        train = train[problem.row_weight[train] > 0]
    present = np.unique(problem.codes[train])
    part = _rows_of(problem, train)
    part = replace(part, codes=np.searchsorted(present, part.codes), n_classes=max(len(present), 2))
    if len(present) < 2:
        shape = (len(Cs), len(held), 0)
        scores = FoldScores(np.zeros(shape, np.float32), np.ones(len(Cs), bool))
    elif problem.dropout:
        scores = _fold_with_dropout(part, problem.X[held], loss, Cs, tol, max_iter, where)
    else:
        scores = _fold(part, problem.X, gram, train, held, loss, Cs, tol, max_iter, where)
    if len(present) < problem.n_classes:
        filled = with_missing_classes(
            scores.decisions, present, problem.n_classes, loss, len(train)
        )
        scores = replace(scores, decisions=filled)
    return scores


def _fold(
    part: Problem,
    X: np.ndarray,
    gram: torch.Tensor | None,
    train: np.ndarray,
    held: np.ndarray,
    loss: str,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
    device: torch.device,
) -> FoldScores:
    dtype = first_precision(part, loss) if gram is None else gram.dtype
    codes = torch.from_numpy(part.codes).to(device)
    training = TrainingRows(loss, codes, part.n_classes, weight_of(part, device, dtype))
    if gram is not None:
        train_on = torch.from_numpy(train).to(device)
        training.gram = gram[train_on[:, None], train_on]
        seen = gram[torch.from_numpy(held).to(device)[:, None], train_on]
    else:
        training.X = torch.from_numpy(part.X).to(device, dtype)
        seen = torch.from_numpy(X[held]).to(device, dtype)
    decisions = np.empty((len(Cs), len(held), part.n_columns), np.float32)
    converged = np.zeros(len(Cs), bool)
    minimum: Minimum | None = None
    for index in np.argsort(np.asarray(Cs), kind="stable").tolist():
        before, C = minimum, float(Cs[index])
        minimum = training.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
        if not minimum.converged and dtype == torch.float32:  # a large C: float32 is too coarse
            training, dtype, seen = training.double(), torch.float64, seen.double()
            minimum = training.solve(C, before, tol=0.3 * tol, max_iter=max_iter)
        coef = training.seen_coef(minimum)
        decisions[index] = (seen @ coef + minimum.intercept).cpu().numpy()
        converged[index] = minimum.converged
    return FoldScores(decisions, converged)


def _fold_with_dropout(
    part: Problem,
    held: np.ndarray,
    loss: str,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
    device: torch.device,
) -> FoldScores:
    """Begin at the fold's own solution for the smaller C.

    That of another fold would be nearer, but has seen the rows held out here, and a search that
    stops early keeps something of where it began.
    """
    solver = DropoutSolver(part, loss, device)
    seen = torch.from_numpy(held).to(device, solver.dtype)
    decisions = np.empty((len(Cs), len(held), part.n_columns), np.float32)
    converged = np.zeros(len(Cs), bool)
    weights: torch.Tensor | None = None
    for index in np.argsort(np.asarray(Cs), kind="stable").tolist():
        weights, converged[index] = solver.search(float(Cs[index]), weights, tol, max_iter)
        decisions[index] = (seen @ weights[:-1] + weights[-1]).cpu().numpy()
    return FoldScores(decisions, converged)


def _rows_of(problem: Problem, rows: np.ndarray) -> Problem:
    return replace(
        problem,
        X=problem.X[rows],
        codes=problem.codes[rows],
        row_weight=None if problem.row_weight is None else problem.row_weight[rows],
        activations=None if problem.activations is None else problem.activations[rows],
    )


def _weighted_rows(problem: Problem) -> Problem:
    """Leave rows out that weigh nothing."""
    weight = problem.row_weight
    if weight is None or bool((weight > 0).all()):
        return problem
    return _rows_of(problem, np.flatnonzero(weight > 0))

"""`solve`, `solve_path` and `cross_decisions`: linear classifiers, all classes at once.

Every solver begins in float32, where a product costs half, and the result is certified in float64
from the rows themselves: objective, slopes and gradient at the coefficients that are given back. What
is not certified so goes on in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.device import choose_device
from decaf.heads.batched.certificate import blocks, certify
from decaf.heads.batched.gram import gram_matrix
from decaf.heads.batched.problem import FoldScores, Problem, Solution, check
from decaf.heads.batched.training import Found, TrainingRows, prefers_rows

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
        Where to begin.

    Returns
    -------
    Solution

    Raises
    ------
    SettingError
        For settings that cannot be used.
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
    where = choose_device(device)
    problem = _weighted_rows(problem)
    data = _OnDevice(problem, loss, where)
    found: Found | None = None
    solutions: dict[int, Solution] = {}
    for index in np.argsort(Cs, kind="stable").tolist():
        solution, found = data.solve(float(Cs[index]), found, tol, max_iter)
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
    """Give the decision values of held-out rows, for every fold and C.

    Parameters
    ----------
    problem, loss, Cs, max_iter, device
        As in `solve_path`.
    folds : sequence of (train_rows, held_rows)
        Row numbers.
    tol : float
        As in `solve`; here the solver's own estimate in float32 is trusted.

    Returns
    -------
    list of FoldScores
        One for each fold. A class without a row in the training part of a fold cannot be learned:
        its decision value stands for half a row of it among the others.
    """
    check(problem, loss, tuple(Cs))
    where = choose_device(device)
    order = np.argsort(Cs, kind="stable").tolist()
    n, d = problem.X.shape
    dtype = _precision(problem, loss)
    gram = gram_matrix(problem.X, where, dtype) if prefers_rows(n, d) else None
    scores = []
    for train, held in folds:
        part = _weighted_rows(_rows_of(problem, np.asarray(train)))
        kept = np.asarray(train)
        if problem.row_weight is not None:
            kept = kept[problem.row_weight[kept] > 0]
        classes = np.unique(part.codes)
        decisions = np.empty((len(Cs), len(held), problem.n_columns), np.float32)
        converged = np.zeros(len(Cs), bool)
        if len(classes) < problem.n_classes:
            raise NotImplementedError
        rows_on = torch.from_numpy(kept).to(where)
        held_on = torch.from_numpy(np.asarray(held)).to(where)
        weight = _weight(part, where, dtype)
        codes = torch.from_numpy(part.codes).to(where)
        if gram is not None:
            training = TrainingRows(
                loss, codes, part.n_classes, weight, gram=gram[rows_on[:, None], rows_on]
            )
            seen = gram[held_on[:, None], rows_on]
        else:
            X = torch.from_numpy(part.X).to(where, dtype)
            training = TrainingRows(loss, codes, part.n_classes, weight, X=X)
            seen = torch.from_numpy(problem.X[held]).to(where, dtype)
        found: Found | None = None
        for index in order:
            found = training.solve(float(Cs[index]), found, tol=0.3 * tol, max_iter=max_iter)
            coef = found.coef
            if gram is None and loss == "hinge":
                coef = training.X.T @ coef
            elif gram is None and loss == "squared_hinge":
                coef = coef[:-1]
            decisions[index] = (seen @ coef + found.intercept).cpu().numpy()
            converged[index] = found.converged
        scores.append(FoldScores(decisions, converged))
    return scores


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


def _weight(problem: Problem, device: torch.device, dtype: torch.dtype) -> Tensor:
    if problem.row_weight is None:
        return torch.ones(len(problem.codes), 1, dtype=dtype, device=device)
    return torch.from_numpy(problem.row_weight)[:, None].to(device, dtype)


def _precision(problem: Problem, loss: str) -> torch.dtype:
    """Choose where to begin: in float64 what is small, and the hinge, whose corners need it."""
    n, d = problem.X.shape
    small = n * min(n, d) * problem.n_columns < 3e7
    return torch.float64 if small or loss == "hinge" else torch.float32


class _OnDevice:
    """One problem on its device, in float32 and, when it is needed, float64."""

    def __init__(self, problem: Problem, loss: str, device: torch.device) -> None:
        self.problem, self.loss, self.device = problem, loss, device
        self.codes = torch.from_numpy(problem.codes).to(device)
        self.by_rows = prefers_rows(*problem.X.shape)
        self.first = _precision(problem, loss)
        self._training: dict[torch.dtype, TrainingRows] = {}

    def training(self, dtype: torch.dtype) -> TrainingRows:
        if dtype not in self._training:
            problem = self.problem
            gram = gram_matrix(problem.X, self.device, dtype) if self.by_rows else None
            X = None if self.by_rows else torch.from_numpy(problem.X).to(self.device, dtype)
            self._training[dtype] = TrainingRows(
                self.loss,
                self.codes,
                problem.n_classes,
                _weight(problem, self.device, dtype),
                gram=gram,
                X=X,
            )
        return self._training[dtype]

    def solve(
        self, C: float, found: Found | None, tol: float, max_iter: int
    ) -> tuple[Solution, Found]:
        cost = C * _weight(self.problem, self.device, torch.float64)
        used, inner = 0, 0.3 * tol
        solution: Solution | None = None
        for attempt in range(6):
            dtype = self.first if attempt == 0 and tol >= 1e-7 else torch.float64
            found = self.training(dtype).solve(C, found, tol=inner, max_iter=max_iter - used)
            used += found.n_iter
            coef, intercept, signed = self._coefficients(found)
            objective, gap, intercept = certify(
                self.problem.X,
                self.loss,
                self.codes,
                self.problem.n_classes,
                cost,
                coef,
                intercept,
                signed,
            )
            relative = gap / max(objective, 1e-300)
            new = Solution(
                coef.T.cpu().numpy().copy(),
                intercept.cpu().numpy(),
                objective,
                relative,
                relative <= tol,
                used,
            )
            if solution is None or new.gap < solution.gap:
                solution = new
            if relative <= tol or used >= max_iter:
                break
            if not new.objective <= 2 * solution.objective:  # led astray by rounding
                found = None
            inner *= 0.1 if attempt else 1
        assert solution is not None and found is not None
        return replace(solution, n_iter=used), found

    def _coefficients(self, found: Found) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give w (d, K), the intercept and the signed duals, in float64."""
        coef, intercept = found.coef.double(), found.intercept.double()
        signed = coef if self.loss == "hinge" else None
        if self.by_rows or signed is not None:
            w = coef.new_zeros(self.problem.X.shape[1], coef.shape[1])
            for part, rows in blocks(self.problem.X, self.device, torch.float64):
                w.addmm_(rows.T, coef[part])
            return w, intercept, signed
        if self.loss == "squared_hinge":
            coef = coef[:-1]
        return coef, intercept, None

"""Solvers of one problem on its device: `LinearSolver`, and `DropoutSolver` with dropout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from decaf.heads.solver.certificate import blocks, certify
from decaf.heads.solver.dropout import leading_directions, minimise_expected
from decaf.heads.solver.dropout_objective import DropoutObjective
from decaf.heads.solver.gram import gram_matrix
from decaf.heads.solver.problem import Problem, Solution
from decaf.heads.solver.quasi_newton import Minimum
from decaf.heads.solver.training import TrainingRows, prefers_rows

__all__ = ["DropoutSolver", "LinearSolver", "first_precision", "is_small", "weight_of"]


SMALL = 3e7  # multiplications of an iteration, below which float64 costs nothing worth having


def first_precision(problem: Problem, loss: str) -> torch.dtype:
    """Choose where to begin: in float64 what is small, and the hinge, whose corners need it.

    Parameters
    ----------
    problem : Problem
    loss : str
    """
    return torch.float64 if is_small(problem) or loss == "hinge" else torch.float32


def is_small(problem: Problem) -> bool:
    """Tell whether an iteration takes about a millisecond or less.

    Parameters
    ----------
    problem : Problem
    """
    n, d = problem.X.shape
    return bool(n * min(n, d) * problem.n_columns < SMALL)


def weight_of(problem: Problem, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the weights of the rows (n, 1).

    Parameters
    ----------
    problem : Problem
    device : torch.device
    dtype : torch.dtype
    """
    if problem.row_weight is None:
        return torch.ones(len(problem.codes), 1, dtype=dtype, device=device)
    return torch.from_numpy(problem.row_weight)[:, None].to(device, dtype)


class LinearSolver:
    """A problem without dropout, in float32 and, when it is needed, float64.

    Parameters
    ----------
    problem : Problem
        All rows of weight above 0, all classes present.
    loss : str
    device : torch.device
    """

    def __init__(self, problem: Problem, loss: str, device: torch.device) -> None:
        self.problem, self.loss, self.device = problem, loss, device
        self.codes = torch.from_numpy(problem.codes).to(device)
        self.by_rows = prefers_rows(*problem.X.shape)
        self.first = first_precision(problem, loss)
        self._training: dict[torch.dtype, TrainingRows] = {}

    def training(self, dtype: torch.dtype) -> TrainingRows:
        """Return the rows in one precision, made on first use.

        Parameters
        ----------
        dtype : torch.dtype
        """
        if dtype not in self._training:
            problem = self.problem
            training = TrainingRows(
                self.loss, self.codes, problem.n_classes, weight_of(problem, self.device, dtype)
            )
            if self.by_rows and self.loss == "squared_hinge" and dtype == torch.float32:
                # Its end is nearly always in float64; what is rounded once leads nearer to it.
                exact = self.training(torch.float64).gram
                assert exact is not None
                training.gram = exact.float()
            elif self.by_rows:
                training.gram = gram_matrix(problem.X, self.device, dtype)
            else:
                training.X = torch.from_numpy(problem.X).to(self.device, dtype)
            self._training[dtype] = training
        return self._training[dtype]

    def solve(
        self, C: float, start: Minimum | None, tol: float, max_iter: int
    ) -> tuple[Solution, Minimum]:
        """Solve for one C, from the solution for another one.

        Parameters
        ----------
        C : float
        start : Minimum, optional
            Solution for another C.
        tol : float
            Bound on the certified gap, relative to the objective.
        max_iter : int

        Returns
        -------
        Solution
        Minimum
            Where to begin at the next C.
        """
        cost = C * weight_of(self.problem, self.device, torch.float64)
        used, inner = 0, 0.3 * tol
        best: Solution | None = None
        for attempt in range(6):
            dtype = self.first if attempt == 0 and tol >= 1e-7 else torch.float64
            minimum = self.training(dtype).solve(
                C, start, tol=inner, max_iter=max_iter - used, gap=0.4 * tol
            )
            used += minimum.n_iter
            w, intercept, signed = self._coefficients(minimum, self.training(dtype).by_duals)
            objective, gap, intercept = certify(
                self.problem.X,
                self.loss,
                self.codes,
                self.problem.n_classes,
                cost,
                w,
                intercept,
                signed,
            )
            gap /= max(objective, 1e-300)
            new = Solution(
                coef=w.T.cpu().numpy().copy(),
                intercept=intercept.cpu().numpy(),
                objective=objective,
                gap=gap,
                converged=gap <= tol,
                n_iter=used,
            )
            if best is None or new.gap < best.gap:
                best, nearest = new, minimum
            if new.converged or used >= max_iter:
                break
            start = nearest  # not from a solution that rounding has led astray
            # The gap falls with what Newton's model promises: ask for as much less of that.
            inner *= min(0.1, max(0.3 * tol / gap, 1e-4)) if gap < 1 else 1.0
        assert best is not None
        return replace(best, n_iter=used), nearest

    def _coefficients(
        self, minimum: Minimum, by_duals: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return w (d, K), the intercept and the signed duals, in float64."""
        coef, intercept = minimum.coef.double(), minimum.intercept.double()
        signed = coef if self.loss == "hinge" else None
        if self.by_rows or by_duals:
            w = coef.new_zeros(self.problem.X.shape[1], coef.shape[1])
            for part, rows in blocks(self.problem.X, self.device, torch.float64):
                w.addmm_(rows.T, coef[part])
            return w, intercept, signed
        if self.loss == "squared_hinge":
            coef = coef[:-1]
        return coef, intercept, None


class DropoutSolver:
    """A problem with dropout.

    Parameters
    ----------
    problem : Problem
        All rows of weight above 0, all classes present.
    loss : str
    device : torch.device
    """

    def __init__(self, problem: Problem, loss: str, device: torch.device) -> None:
        self.problem, self.loss, self.device = problem, loss, device
        self.dtype = torch.float64 if is_small(problem) else torch.float32
        self.codes = torch.from_numpy(problem.codes).to(device)
        self.X = torch.from_numpy(problem.X).to(device, self.dtype)
        if problem.activations is None:
            self.squares = self.X.square()
        else:
            self.squares = torch.from_numpy(problem.activations).to(device, self.dtype).square()
        self.weight = weight_of(problem, device, self.dtype)
        weight = None if problem.row_weight is None else self.weight
        self.leading = leading_directions(self.X, weight)

    def weights_of(self, start: Solution) -> Tensor:
        """Return the weights of a solution, the intercept in the last row.

        Parameters
        ----------
        start : Solution
        """
        weights = np.concatenate([start.coef.T, start.intercept[None]])
        return torch.from_numpy(weights).to(self.device, self.dtype)

    def search(
        self, C: float, weights: Tensor | None, tol: float, max_iter: int
    ) -> tuple[Tensor, bool]:
        """Return the weights (d + 1, K) for one C, and whether the search converged.

        Parameters
        ----------
        C : float
        weights : Tensor, shape (d + 1, K), optional
            Where to begin.
        tol : float
        max_iter : int
        """
        weights, _, _, converged, _ = self._minimise(C, weights, tol, max_iter)
        return weights, converged

    def solve(
        self, C: float, weights: Tensor | None, tol: float, max_iter: int
    ) -> tuple[Solution, Tensor]:
        """Solve for one C.

        Parameters
        ----------
        C : float
        weights : Tensor, optional
            Where to begin.
        tol : float
        max_iter : int

        Returns
        -------
        Solution
        Tensor, shape (d + 1, K)
            Where to begin at the next C.
        """
        weights, value, promise, converged, n_iter = self._minimise(C, weights, tol, max_iter)
        host = weights.double().cpu().numpy()
        solution = Solution(
            coef=host[:-1].T.copy(),
            intercept=host[-1].copy(),
            objective=value,
            gap=promise / max(value, 1e-300),
            converged=converged,
            n_iter=n_iter,
        )
        return solution, weights

    def _minimise(
        self, C: float, weights: Tensor | None, tol: float, max_iter: int
    ) -> tuple[Tensor, float, float, bool, int]:
        odds = self.problem.dropout / (1 - self.problem.dropout)
        objective = DropoutObjective(
            self.loss,
            self.X,
            self.squares,
            self.codes,
            self.problem.n_classes,
            C * self.weight,
            odds,
        )
        if weights is None:
            weights = self.X.new_zeros(self.X.shape[1] + 1, self.problem.n_columns)
        return minimise_expected(objective, self.leading, weights, tol=tol, max_iter=max_iter)

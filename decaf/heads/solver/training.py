"""The rows of one fit or one fold on the device, and the solver that suits them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from decaf.heads.problem import Problem
from decaf.heads.solver.active_set import Gram, finite_newton, hinge_multipliers
from decaf.heads.solver.dropout import leading_directions, minimise_expected
from decaf.heads.solver.dropout_objective import DropoutObjective
from decaf.heads.solver.losses import make_loss, signs_of, squared_hinge
from decaf.heads.solver.quasi_newton import Minimum, minimise
from decaf.heads.solver.space import FeatureSpace, RowSpace, Space, back_product

__all__ = [
    "DropoutRows",
    "TrainingRows",
    "finds_duals",
    "first_precision",
    "is_small",
    "prefers_rows",
    "row_weights",
]

FEW = 512  # dimensions up to which a Cholesky for each column and Newton step is cheap
SMALL = 3e7  # multiplications of an iteration, below which float64 costs nothing worth having


def prefers_rows(n: int, d: int) -> bool:
    """Tell whether the Gram matrix of the rows is the cheaper way (n rows, d dimensions).

    An iteration costs about 2 n² in the row space and 4 n d in the other, for each column, so that
    the Gram matrix pays up to 2 d rows. Beyond d rows it is singular, which costs digits at a large
    C: where time is no matter, the rows have to be fewer.

    Parameters
    ----------
    n : int
        Number of rows.
    d : int
        Number of dimensions.
    """
    return n <= d or 1024 < n <= 2 * d


def is_small(problem: Problem) -> bool:
    """Tell whether an iteration takes about a millisecond or less.

    Parameters
    ----------
    problem : Problem
    """
    n, d = problem.X.shape
    return bool(n * min(n, d) * problem.n_columns < SMALL)


def finds_duals(loss: str, d: int | None) -> bool:
    """Tell whether the active-set solver serves, which finds signed duals, one for each row.

    Always for the hinge; for the squared hinge where K is kept or its pieces are cheap.

    Parameters
    ----------
    loss : str
    d : int or None
        Number of dimensions; None where K is kept.
    """
    return loss == "hinge" or (loss == "squared_hinge" and (d is None or d <= FEW))


def first_precision(problem: Problem, loss: str) -> torch.dtype:
    """Choose where to begin: in float64 what is small, and the hinge, whose corners need it.

    Parameters
    ----------
    problem : Problem
    loss : str
    """
    return torch.float64 if is_small(problem) or loss == "hinge" else torch.float32


def row_weights(problem: Problem, device: torch.device, dtype: torch.dtype) -> Tensor:
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


@dataclass
class TrainingRows:
    """Rows to learn from, without dropout: of one fit, or of several folds that are fitted at once.

    The columns of all folds then stand side by side, so that a product with the rows serves all of
    them, and a fold costs the rows nothing but a weight of 0 where they are held out. What the rows
    have in common, their mean and their second moments, only shapes the solver's model.

    Parameters
    ----------
    name : str
        The loss.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    weight : Tensor, shape (n, 1)
        Above 0; its dtype is the one that is computed in.
    gram : Tensor, shape (n, n), optional
        X Xᵀ, which is changed; without it the solution is sought in the feature space.
    X : Tensor of any float type, shape (N, d), optional
        Needed where there is no `gram`.
    factor : float
        By which the rows of `X` are multiplied.
    index : Tensor of int64, shape (n,), optional
        Which rows of `X` these are; all by default.
    folds : Tensor, shape (n, G), optional
        How often each row is in each of G folds; for the quasi-Newton solver in the feature space.
    """

    name: str
    codes: Tensor
    n_classes: int
    weight: Tensor
    gram: Tensor | None = None
    X: Tensor | None = None
    factor: float = 1.0
    index: Tensor | None = None
    folds: Tensor | None = None
    _mean_row: Tensor | None = field(default=None, repr=False)  # of K, once that is centred
    _space: Space | None = field(default=None, repr=False)
    _with_constant: Gram | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # R^½; None where every row counts once.
        self._root = self.weight.sqrt() if bool((self.weight != 1).any()) else None

    @property
    def rows(self) -> Tensor:
        """X, where there is no `gram`."""
        assert self.X is not None
        return self.X

    @property
    def n_columns(self) -> int:
        """Number of weight vectors, of all folds together."""
        one = 1 if self.n_classes == 2 else self.n_classes
        return one if self.folds is None else one * self.folds.shape[1]

    @property
    def penalised(self) -> bool:
        """Whether the intercept is: it is for the hinge losses, as in LIBLINEAR."""
        return self.name in ("hinge", "squared_hinge")

    @property
    def by_duals(self) -> bool:
        """Whether the solution is found as signed duals, one for each row."""
        return finds_duals(self.name, None if self.gram is not None else self.rows.shape[1])

    def double(self) -> TrainingRows:
        """Return the same rows, to be computed with in float64."""
        return replace(
            self,
            weight=self.weight.double(),
            gram=None if self.gram is None else self.gram.double(),
            folds=None if self.folds is None else self.folds.double(),
            _mean_row=None if self._mean_row is None else self._mean_row.double(),
            _space=None,
            _with_constant=None,
        )

    def solve(
        self,
        C: float,
        start: Minimum | None,
        *,
        tol: float,
        max_iter: int,
        gap: float = float("inf"),
    ) -> Minimum:
        """Solve for one C.

        Parameters
        ----------
        C : float
        start : Minimum, optional
            Solution for these rows at another C, or in another precision.
        tol : float
            Bound on what Newton's model still promises, relative to the objective.
        max_iter : int
        gap : float
            Bound on the duality gap, relative; the active-set solvers do without.

        Returns
        -------
        Minimum
            Its coefficients are those of the rows (the mean of free-intercept problems already
            taken off), or w with the penalised intercept below; from the active-set solver, the
            signed dual variables.
        """
        cost = C * (self.weight if self.folds is None else self.weight * self.folds)
        intercept = self.weight.new_zeros(self.n_columns)
        if start is not None:
            begin, intercept = start.coef.to(intercept.dtype), start.intercept.to(intercept.dtype)
        if self.by_duals:
            begin = (
                self.weight.new_zeros(len(self.weight), self.n_columns) if start is None else begin
            )
            return self._active_sets(cost, begin, tol, max_iter)
        space, loss = self._its_space(), make_loss(self.name, self.codes, self.n_classes, cost)
        if start is None:
            begin = self.weight.new_zeros(space.size, self.n_columns)
        elif self.penalised:
            begin = torch.cat([begin[:-1], intercept[None]])
        else:
            intercept = intercept + self._shift(begin)
            if self.gram is not None and self._root is not None:
                begin = begin / self._root
        minimum = minimise(
            space,
            loss,
            begin,
            0 * intercept if self.penalised else intercept,
            free_intercept=not self.penalised,
            tol=tol,
            max_iter=max_iter,
            gap=gap,
        )
        coef = minimum.coef
        if self.penalised:
            return replace(minimum, intercept=coef[-1])
        if self.gram is not None and self._root is not None:
            coef = coef * self._root
            coef = coef - self.weight * (coef.sum(0) / self.weight.sum())
        elif self.gram is not None:
            coef = coef - coef.mean(0)
        intercept = minimum.intercept - self._shift(coef)
        return replace(minimum, coef=coef, intercept=intercept)

    def seen_coef(self, minimum: Minimum) -> Tensor:
        """Return the coefficients by which decision values are products with K, or with the rows.

        Parameters
        ----------
        minimum : Minimum
        """
        if self.gram is not None:
            return minimum.coef
        if self.by_duals:
            return back_product(self.rows, minimum.coef, self.index) * self.factor
        return minimum.coef[:-1] if self.penalised else minimum.coef

    def _its_space(self) -> Space:
        """Return the space, made on first use.

        A penalised intercept is a constant feature of 1. A free one takes up any shift of the rows,
        so that they may be centred, which takes the largest eigenvalue away: in K by
        K - row means - column means + mean.
        """
        if self._space is None and self.gram is None:
            self._space = FeatureSpace(
                self.rows,
                factor=self.factor,
                index=self.index,
                root=self._root,
                dtype=self.weight.dtype,
                constant=self.penalised,
            )
        elif self._space is None and self.gram is not None:
            if self._mean_row is None:
                weight = self.weight[:, 0]
                mean = self._mean_row = weight @ self.gram / weight.sum()
                self.gram -= mean
                self.gram -= mean[:, None] - weight @ mean / weight.sum()
                if self._root is not None:
                    self.gram *= self._root
                    self.gram *= self._root.T
            self._space = RowSpace(self.gram, self._root)
        assert self._space is not None
        return self._space

    def _shift(self, coef: Tensor) -> Tensor:
        """Return the decision value of the mean row, without intercept."""
        space = self._its_space()
        if isinstance(space, FeatureSpace):
            return space.shift(coef)
        assert self._mean_row is not None
        return self._mean_row @ coef

    def _with_ones(self) -> Tensor:
        rows = (self.rows if self.index is None else self.rows[self.index]).to(self.weight.dtype)
        return torch.nn.functional.pad(rows * self.factor, (0, 1), value=1.0)

    def _active_sets(self, cost: Tensor, begin: Tensor, tol: float, max_iter: int) -> Minimum:
        signs = signs_of(self.codes, self.n_classes, cost.dtype)
        if self._with_constant is None:
            self._with_constant = (
                Gram(X=self._with_ones()) if self.gram is None else Gram(self.gram + 1)
            )
        gram = self._with_constant
        if self.name == "hinge":
            coef, converged, n_iter = hinge_multipliers(
                gram, signs, cost, begin, tol=tol, max_iter=max_iter
            )
            return Minimum(coef, coef.sum(0), converged, n_iter)
        # Newton's way to a large C is shorter by smaller ones, unless it begins at one.
        ladder = [1.0]
        level = float(cost.mean() * gram.diagonal().mean())
        while not begin.any() and level * ladder[-1] > 100:
            ladder.append(ladder[-1] / 8)
        n_iter = 0
        for part in reversed(ladder):
            begin, converged, count = finite_newton(
                gram,
                squared_hinge(signs, part * cost),
                begin,
                tol=tol if part == 1 else 1e-2,
                max_iter=max(max_iter - n_iter, 1),
            )
            n_iter += count
        return Minimum(begin, begin.sum(0), converged, n_iter)


class DropoutRows:
    """Rows to learn from under dropout; see `decaf.heads.solver.dropout`.

    Parameters
    ----------
    problem : Problem
        All rows of weight above 0, all classes present.
    loss : str
    device : torch.device
    """

    def __init__(self, problem: Problem, loss: str, device: torch.device) -> None:
        self.problem, self.loss = problem, loss
        dtype = torch.float64 if is_small(problem) else torch.float32
        self.codes = torch.from_numpy(problem.codes).to(device)
        self.X = torch.from_numpy(problem.X).to(device, dtype)
        acted_on = self.X
        if problem.activations is not None:
            acted_on = torch.from_numpy(problem.activations).to(device, dtype)
        self.squares = acted_on.square()
        self.weight = row_weights(problem, device, dtype)
        self.leading = leading_directions(
            self.X, None if problem.row_weight is None else self.weight
        )

    def solve(self, C: float, start: Minimum | None, *, tol: float, max_iter: int) -> Minimum:
        """Solve for one C.

        Parameters
        ----------
        C : float
        start : Minimum, optional
            Solution for these rows at another C.
        tol : float
            Bound on what Newton's model still promises, relative to the objective.
        max_iter : int

        Returns
        -------
        Minimum
            Its coefficients are w.
        """
        problem = self.problem
        odds = problem.dropout / (1 - problem.dropout)
        cost = C * self.weight
        objective = DropoutObjective(
            self.loss, self.X, self.squares, self.codes, problem.n_classes, cost, odds
        )
        if start is None:
            weights = self.X.new_zeros(self.X.shape[1] + 1, problem.n_columns)
        else:
            weights = torch.cat([start.coef, start.intercept[None]])
        return minimise_expected(objective, self.leading, weights, tol=tol, max_iter=max_iter)

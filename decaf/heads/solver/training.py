"""`TrainingRows`: the rows of one fit or one fold on the device, and the solver that suits them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from decaf.heads.solver.active_set import finite_newton, hinge_multipliers
from decaf.heads.solver.gram import KeptGram, RowGram
from decaf.heads.solver.losses import Logistic, Loss, Multinomial, signs_of, squared_hinge
from decaf.heads.solver.quasi_newton import Minimum, minimise
from decaf.heads.solver.space import FeatureSpace, RowSpace, Space

__all__ = ["TrainingRows", "make_loss", "prefers_rows"]

FEW = 512  # dimensions up to which a Cholesky for each column and Newton step is cheap


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


def make_loss(name: str, codes: Tensor, n_classes: int, cost: Tensor) -> Loss:
    """Return the loss of all columns by its name, `hinge` apart.

    Parameters
    ----------
    name : str
        ``"multinomial"``, ``"logistic"`` or ``"squared_hinge"``.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    cost : Tensor, shape (n, 1)
        C times the weight of each row.
    """
    if name == "multinomial" and n_classes > 2:
        return Multinomial(codes, cost)
    signs = signs_of(codes, n_classes, cost.dtype)
    return squared_hinge(signs, cost) if name == "squared_hinge" else Logistic(signs, cost)


@dataclass
class TrainingRows:
    """Rows to learn from.

    Parameters
    ----------
    name : str
        The loss.
    codes : Tensor of int64, shape (n,)
    n_classes : int
    weight : Tensor, shape (n, 1)
        Above 0; its dtype is the one that is computed in.
    gram : Tensor, shape (n, n), optional
        X Xᵀ; without it the solution is sought in the feature space.
    X : Tensor, shape (n, d), optional
        Needed where there is no `gram`.
    """

    name: str
    codes: Tensor
    n_classes: int
    weight: Tensor
    gram: Tensor | None = None
    X: Tensor | None = None
    _space: Space | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # R^½; None where every row counts once.
        self._root = self.weight.sqrt() if bool((self.weight != 1).any()) else None

    @property
    def penalised(self) -> bool:
        """Whether the intercept is: it is for the hinge losses, as in LIBLINEAR."""
        return self.name in ("hinge", "squared_hinge")

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return 1 if self.n_classes == 2 else self.n_classes

    @property
    def by_duals(self) -> bool:
        """Whether the active-set solver serves, which finds signed duals, one for each row.

        Always for the hinge; for the squared hinge where K is kept or its pieces are cheap.
        """
        if self.name == "squared_hinge":
            return self.gram is not None or (self.X is not None and self.X.shape[1] <= FEW)
        return self.name == "hinge"

    def space(self) -> Space:
        """Return the space, made on first use.

        A penalised intercept is a constant feature of 1: K + 1. A free one takes up any shift of
        the rows, so that they may be centred, which takes the largest eigenvalue away:
        K - row means - column means + mean.
        """
        if self._space is None:
            if self.gram is not None and self.penalised:
                self._space = RowSpace(self.gram + 1)  # of the active sets, which know the costs
            elif self.gram is not None:
                mean = self._mean(self.gram)
                gram = self.gram - mean - mean[:, None] + self._mean(mean)
                if self._root is not None:
                    gram *= self._root
                    gram *= self._root.T
                self._space = RowSpace(gram, centred=True, root=self._root)
            else:
                assert self.X is not None
                if self.penalised:
                    X = torch.nn.functional.pad(self.X, (0, 1), value=1.0)
                else:
                    X = self.X - self._mean(self.X)
                self._space = FeatureSpace(X, root=self._root)
        return self._space

    def _mean(self, values: Tensor) -> Tensor:
        """Return the mean over the rows of values (n, …), each row as often as it counts."""
        if self._root is None:
            return values.mean(0)
        weight = self.weight[:, 0]
        mean: Tensor = weight @ values / weight.sum()
        return mean

    def double(self) -> TrainingRows:
        """Return the same rows, to be computed with in float64."""
        gram = None if self.gram is None else self.gram.double()
        X = None if self.X is None else self.X.double()
        return TrainingRows(self.name, self.codes, self.n_classes, self.weight.double(), gram, X)

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
        space, cost = self.space(), C * self.weight
        rows = len(self.weight) if self.by_duals else space.size
        begin = self.weight.new_zeros(rows, self.n_columns)
        intercept = self.weight.new_zeros(self.n_columns)
        if start is not None:
            begin, intercept = start.coef.to(begin.dtype), start.intercept.to(begin.dtype)
        if self.by_duals:
            return self._active_sets(space, cost, begin, tol, max_iter)
        loss = make_loss(self.name, self.codes, self.n_classes, cost)
        if self.penalised:
            begin = torch.cat([begin[:-1], intercept[None]]) if start is not None else begin
            solution = minimise(
                space,
                loss,
                begin,
                0 * intercept,
                free_intercept=False,
                tol=tol,
                max_iter=max_iter,
                gap=gap,
            )
            return Minimum(solution.coef, solution.coef[-1], solution.converged, solution.n_iter)
        if start is not None:
            intercept = intercept + self._shift(begin)
            if self.gram is not None and self._root is not None:
                begin = begin / self._root
        solution = minimise(
            space, loss, begin, intercept, free_intercept=True, tol=tol, max_iter=max_iter, gap=gap
        )
        coef = solution.coef
        if self.gram is not None and self._root is not None:
            coef = coef * self._root
            coef = coef - self.weight * (coef.sum(0) / self.weight.sum())
        elif self.gram is not None:
            coef = coef - coef.mean(0)
        return Minimum(
            coef, solution.intercept - self._shift(coef), solution.converged, solution.n_iter
        )

    def seen_coef(self, solution: Minimum) -> Tensor:
        """Return the coefficients by which decision values are products with K, or with the rows.

        Parameters
        ----------
        solution : Minimum
        """
        if self.gram is not None:
            return solution.coef
        if self.by_duals:
            assert self.X is not None
            return self.X.T @ solution.coef
        return solution.coef[:-1] if self.penalised else solution.coef

    def _shift(self, coef: Tensor) -> Tensor:
        """Return the decision value of the mean row, without intercept."""
        if self.gram is not None:
            return self._mean(self.gram) @ coef
        assert self.X is not None
        return self._mean(self.X) @ coef

    def _active_sets(
        self, space: Space, cost: Tensor, begin: Tensor, tol: float, max_iter: int
    ) -> Minimum:
        signs = signs_of(self.codes, self.n_classes, cost.dtype)
        gram = KeptGram(space.gram) if isinstance(space, RowSpace) else RowGram(space.X)
        if self.name == "hinge":
            coef, converged, n_iter = hinge_multipliers(
                gram, signs, cost, begin, tol=tol, max_iter=max_iter
            )
        else:
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
            coef = begin
        return Minimum(coef, coef.sum(0), converged, n_iter)

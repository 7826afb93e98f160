"""`TrainingRows`: the rows of one fit or one fold on the device, and the solver that suits them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from decaf.heads.batched.active_set import finite_newton, hinge_multipliers
from decaf.heads.batched.gram import KeptGram, RowGram
from decaf.heads.batched.losses import Logistic, Loss, Multinomial, Piecewise, squared_hinge
from decaf.heads.batched.quasi_newton import minimise
from decaf.heads.batched.signs import signs_of
from decaf.heads.batched.space import FeatureSpace, RowSpace, Space

__all__ = ["Found", "TrainingRows", "make_loss", "prefers_rows"]


@dataclass
class Found:
    """A solution in the space where it was sought.

    Attributes
    ----------
    coef : Tensor, shape (n, K) or (d, K)
        Coefficients of the rows (the mean of free-intercept problems already taken off), or w. For
        the hinge always those of the rows, the signed dual variables.
    intercept : Tensor, shape (K,)
    converged : bool
    n_iter : int
    """

    coef: Tensor
    intercept: Tensor
    converged: bool
    n_iter: int


def prefers_rows(n: int, d: int) -> bool:
    """Tell whether the Gram matrix of the rows is the cheaper way (n rows, d dimensions).

    An iteration costs about 2 n² in the row space and 4 n d in the other, for each column; beyond
    2 d rows the Gram matrix is also the greater one to keep.
    """
    return n <= max(2 * d, 256)


def make_loss(name: str, codes: Tensor, n_classes: int, cost: Tensor) -> Loss:
    """Give the loss of all columns by its name, `hinge` apart.

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

    @property
    def penalised(self) -> bool:
        """Whether the intercept is: it is for the hinge losses, as in LIBLINEAR."""
        return self.name in ("hinge", "squared_hinge")

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return 1 if self.n_classes == 2 else self.n_classes

    def space(self) -> Space:
        """Give the space, made on first use.

        A penalised intercept is a constant feature of 1: K + 1. A free one takes up any shift of
        the rows, so that they may be centred, which takes the largest eigenvalue away:
        K - row means - column means + mean.
        """
        if self._space is None:
            if self.gram is not None:
                if self.penalised:
                    gram = self.gram + 1
                else:
                    mean = self.gram.mean(0)
                    gram = self.gram - mean - mean[:, None] + mean.mean()
                self._space = RowSpace(gram)
            else:
                assert self.X is not None
                if self.penalised:
                    X = torch.nn.functional.pad(self.X, (0, 1), value=1.0)
                else:
                    X = self.X - self.X.mean(0)
                self._space = FeatureSpace(X)
        return self._space

    def solve(self, C: float, start: Found | None, *, tol: float, max_iter: int) -> Found:
        """Solve for one C.

        Parameters
        ----------
        C : float
        start : Found, optional
            Of these rows, at another C or in another precision.
        tol : float
        max_iter : int

        Returns
        -------
        Found
        """
        space, cost = self.space(), C * self.weight
        rows = len(self.weight) if self.name == "hinge" else space.size
        begin = self.weight.new_zeros(rows, self.n_columns)
        intercept = self.weight.new_zeros(self.n_columns)
        if start is not None:
            begin, intercept = start.coef.to(begin.dtype), start.intercept.to(begin.dtype)
        if self.name == "hinge":
            return self._hinge(space, cost, begin, tol, max_iter)
        loss = make_loss(self.name, self.codes, self.n_classes, cost)
        if isinstance(loss, Piecewise) and isinstance(space, RowSpace):
            coef, converged, n_iter = finite_newton(
                KeptGram(space.gram), loss, begin, tol=tol, max_iter=max_iter
            )
            return Found(coef, coef.sum(0), converged, n_iter)
        if self.penalised:
            begin = torch.cat([begin[:-1], intercept[None]]) if start is not None else begin
            found = minimise(
                space, loss, begin, 0 * intercept, free_intercept=False, tol=tol, max_iter=max_iter
            )
            return Found(found.coef, found.coef[-1], found.converged, found.n_iter)
        if start is not None:
            intercept = intercept + self._shift(begin)
        found = minimise(
            space, loss, begin, intercept, free_intercept=True, tol=tol, max_iter=max_iter
        )
        coef = found.coef
        if self.gram is not None:
            coef = coef - coef.mean(0)
        return Found(coef, found.intercept - self._shift(coef), found.converged, found.n_iter)

    def seen_coef(self, found: Found) -> Tensor:
        """Give what turns products with the rows (or, without K, the rows) into decision values."""
        if self.gram is not None:
            return found.coef
        if self.name == "hinge":
            assert self.X is not None
            return self.X.T @ found.coef
        return found.coef[:-1] if self.penalised else found.coef

    def _shift(self, coef: Tensor) -> Tensor:
        """Give the decision value of the mean row, without intercept."""
        if self.gram is not None:
            return self.gram.mean(0) @ coef
        assert self.X is not None
        return self.X.mean(0) @ coef

    def _hinge(self, space: Space, cost: Tensor, begin: Tensor, tol: float, max_iter: int) -> Found:
        signs = signs_of(self.codes, self.n_classes, cost.dtype)
        gram = KeptGram(space.gram) if isinstance(space, RowSpace) else RowGram(space.X)
        coef, converged, n_iter = hinge_multipliers(
            gram, signs, cost, begin, tol=tol, max_iter=max_iter
        )
        return Found(coef, coef.sum(0), converged, n_iter)

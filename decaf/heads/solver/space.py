"""Where the weight vectors live: spanned by the rows (`RowSpace`), or as they are (`FeatureSpace`).

By the representer theorem the optimal w is Xᵀβ. With no more than about twice as many rows as
dimensions it is cheaper to look for β: decision values, norms and gradients all come from the Gram
matrix K = X Xᵀ, one product of K (or of a matrix of its size) with the columns an iteration, and a
fold of a cross-validation is a part of the one K. A rotation of the rows into min(n, d) dimensions
(X = L Q, by Cholesky or eigenvectors) would serve the same end; it costs two products an
iteration where K costs one, a factorisation for each fold, and fails where K is singular.

A weight vector is kept as three arrays: `coef` (β or w), `image` and `decisions`, such that the
inner product of two is the sum of coef * image. In the row space w·v = βᵀKγ, so the image is Kγ,
and that is also the decision values. In the feature space the image is the vector itself.

Rows of weights r enter the model of the curvature, I + ridge XᵀRX, as often as they count, so that
a row of weight 2 is solved for as two rows are. In the row space that is K = R^½ X Xᵀ R^½, and the
decision values are R^-½ times the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decaf.errors import SettingError

__all__ = ["FeatureSpace", "RowSpace", "Space", "Weights"]


@dataclass
class Weights:
    """Weight vectors, one a column.

    Parameters
    ----------
    coef, image : Tensor, shape (m, K)
        Their inner product is the sum of coef * image; m is n or d.
    decisions : Tensor, shape (n, K)
        Without intercept.
    """

    coef: Tensor
    image: Tensor
    decisions: Tensor

    def moved(self, direction: Weights, step: Tensor) -> Weights:
        """Return this plus `step` (K,) times a direction.

        Parameters
        ----------
        direction : Weights
        step : Tensor, shape (K,)
        """
        return Weights(*_shared(self, direction, lambda a, b: torch.addcmul(a, b, step)))

    def columns(self, kept: Tensor) -> Weights:
        """Return some columns.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """
        return Weights(*_shared(self, self, lambda a, _: a[:, kept]))


def _shared(
    a: Weights, b: Weights, made: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    image = made(a.image, b.image)
    coef = image if a.coef is a.image else made(a.coef, b.coef)
    same = a.decisions is a.image
    return coef, image, image if same else made(a.decisions, b.decisions)


class RowSpace:
    """Weight vectors Xᵀβ, known by β and K.

    Parameters
    ----------
    gram : Tensor, shape (n, n)
        K.
    centred : bool
        Whether the rows sum to 0. K has no part along 1 (along R^½ 1) then, but for rounding, which
        large coefficients along it would bring out: they are kept without.
    root : Tensor, shape (n, 1), optional
        R^½, roots of the rows' weights, by which K is multiplied on both sides.
    """

    def __init__(self, gram: Tensor, *, centred: bool = False, root: Tensor | None = None) -> None:
        self.gram = gram
        self.centred = centred
        self.root = root
        self.count = _count(root, len(gram))
        self.size = len(gram)
        self._factor: Tensor | None = None
        self.ridge = 0.0

    def weights(self, coef: Tensor) -> Weights:
        """Return the weight vectors of coefficients (n, K).

        Parameters
        ----------
        coef : Tensor, shape (n, K)
        """
        return self.finish(coef, self.gram @ coef)

    def gradient(self, coef: Tensor, slope: Tensor) -> Tensor:
        """Return the coefficients of w + Xᵀ slope.

        Parameters
        ----------
        coef : Tensor, shape (n, K)
        slope : Tensor, shape (n, K)
        """
        if self.root is None:
            sum_ = coef + slope
            return sum_ - sum_.mean(0) if self.centred else sum_
        sum_ = coef + slope / self.root
        if self.centred:
            sum_ -= self.root * (self.root.T @ sum_) / self.count
        return sum_

    def norm2(self, coef: Tensor) -> Tensor:
        """Return the squared norms of vectors by their coefficients, (K,) in float64.

        Parameters
        ----------
        coef : Tensor, shape (n, K)
        """
        return (coef * (self.gram @ coef)).sum(0, dtype=torch.float64)

    def set_ridge(self, ridge: float) -> None:
        """Choose M = I + ridge XᵀX as the model of the curvature.

        Parameters
        ----------
        ridge : float
        """
        if self._factor is None or not 0.5 < ridge / self.ridge < 2:
            # On coefficients, (I + r XᵀX)⁻¹ Xᵀq = Xᵀ (I + r K)⁻¹ q.
            matrix = self.gram * ridge
            matrix.diagonal().add_(1)
            self._factor = _factor(matrix)
            self.ridge = ridge

    def solve(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients and image of M⁻¹ q.

        K (I + rK)⁻¹ = (I - (I + rK)⁻¹) / r, so that the image needs no second product.

        Parameters
        ----------
        q : Tensor, shape (n, K)
        """
        assert self._factor is not None
        coef = _solved(self._factor, q)
        return coef, (q - coef) / self.ridge

    def finish(self, coef: Tensor, image: Tensor) -> Weights:
        """Return the weight vectors of coefficients whose image is known.

        Parameters
        ----------
        coef : Tensor, shape (n, K)
        image : Tensor, shape (n, K)
        """
        return Weights(coef, image, image if self.root is None else image / self.root)


class FeatureSpace:
    """Weight vectors as they are, for many more rows than dimensions; no n×n matrix is made.

    Parameters
    ----------
    X : Tensor, shape (n, d)
    root : Tensor, shape (n, 1), optional
        R^½, roots of the rows' weights.
    """

    def __init__(self, X: Tensor, *, root: Tensor | None = None) -> None:
        self.X = X
        self.root = root
        self.count = _count(root, len(X))
        self.size = X.shape[1]
        self._gram: Tensor | None = None
        self._factor: Tensor | None = None
        self.ridge = 0.0

    def weights(self, coef: Tensor) -> Weights:
        """Return the weight vectors of coefficients (d, K).

        Parameters
        ----------
        coef : Tensor, shape (d, K)
        """
        return Weights(coef, coef, self.X @ coef)

    def gradient(self, coef: Tensor, slope: Tensor) -> Tensor:
        """Return the coefficients of w + Xᵀ slope.

        Parameters
        ----------
        coef : Tensor, shape (d, K)
        slope : Tensor, shape (n, K)
        """
        return torch.addmm(coef, self.X.T, slope)

    def norm2(self, coef: Tensor) -> Tensor:
        """Return the squared norms of vectors by their coefficients, (K,) in float64.

        Parameters
        ----------
        coef : Tensor, shape (d, K)
        """
        return coef.square().sum(0, dtype=torch.float64)

    def set_ridge(self, ridge: float) -> None:
        """Choose M = I + ridge XᵀX as the model of the curvature.

        Parameters
        ----------
        ridge : float
        """
        if self._factor is None or not 0.5 < ridge / self.ridge < 2:
            if self._gram is None:
                rows = self.X if self.root is None else self.X * self.root
                self._gram = rows.T @ rows
            matrix = self._gram * ridge
            matrix.diagonal().add_(1)
            self._factor = _factor(matrix)
            self.ridge = ridge

    def solve(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients and image of M⁻¹ q.

        Parameters
        ----------
        q : Tensor, shape (d, K)
        """
        assert self._factor is not None
        coef = _solved(self._factor, q)
        return coef, coef

    def finish(self, coef: Tensor, image: Tensor) -> Weights:
        """Return the weight vectors of coefficients whose image is known.

        Parameters
        ----------
        coef : Tensor, shape (d, K)
        image : Tensor, shape (d, K)
        """
        return self.weights(coef)


Space = RowSpace | FeatureSpace


def _count(root: Tensor | None, n: int) -> float:
    """Return for how many rows all of them count."""
    return n if root is None else float(root.square().sum(dtype=torch.float64))


def _factor(matrix: Tensor) -> Tensor:
    """Return the Cholesky factor of I + ridge K, where the identity is not lost beside ridge K."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) and matrix.dtype == torch.float32:
        return _factor(matrix.double()).float()
    if int(failed) or not bool(factor.isfinite().all()):
        raise SettingError(
            "C times the squared norms of the rows is too large to be computed with; use a smaller "
            "C, or scaled features"
        )
    return factor


def _solved(factor: Tensor, q: Tensor) -> Tensor:
    """Return (L Lᵀ)⁻¹ q; two triangular systems cost what a product with the inverse does."""
    half: Tensor = torch.linalg.solve_triangular(factor, q, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return whole

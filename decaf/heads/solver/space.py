"""Where the weight vectors live: spanned by the rows (`RowSpace`), or as they are (`FeatureSpace`).

By the representer theorem the optimal w is Xᵀβ. With no more than about twice as many rows as
dimensions it is cheaper to look for β: decision values, norms and gradients all come from the Gram
matrix K = X Xᵀ, one product of K (or of a matrix of its size) with the columns an iteration, and a
fold of a cross-validation is a part of the one K. A rotation of the rows into min(n, d) dimensions
(X = L Q, by Cholesky or eigenvectors) would serve the same end; it costs two products an
iteration where K costs one, a factorisation for each fold, and fails where K is singular.

A weight vector is kept as three arrays: `coef` (β or w), `image` and `decisions`, such that the
inner product of two is the sum of coef * image. In the row space w·v = βᵀKγ, so the image is Kγ,
and that is also the decision values. In the feature space the image is the vector itself. There the
rows stay as they are given: they are scaled, centred and made float64 block by block, in the cache.

Rows of weights r enter the model of the curvature, I + ridge XᵀRX, as often as they count, so that
a row of weight 2 is solved for as two rows are. In the row space that is K = R^½ X Xᵀ R^½, and the
decision values are R^-½ times the image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decaf.errors import SettingError

__all__ = [
    "FeatureSpace",
    "RowSpace",
    "Space",
    "Weights",
    "back_product",
    "gram_matrix",
    "row_product",
]

# Numbers of one block of rows, whose copy stays in a processor's cache; elsewhere calls are dear.
CPU_BLOCK, BLOCK = 1 << 19, 1 << 26
# Of the rows whose second moments are summed up, where a block is a factor of larger products.
MOMENT_ROWS = 1024


def _blocks(
    X: Tensor, like: Tensor, index: Tensor | None, mean: Tensor | None, least: int = 64
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows, the mean taken off, in the type and on the device of another tensor.

    A block is overwritten by the next one.
    """
    numbers = CPU_BLOCK if like.device.type == "cpu" else BLOCK
    step, n = max(least, numbers // max(1, X.shape[1])), len(X) if index is None else len(index)
    room = None if mean is None else like.new_empty(min(step, n), X.shape[1])
    for first in range(0, n, step):
        part = slice(first, min(first + step, n))
        block = (X[part] if index is None else X[index[part]]).to(like)
        if room is not None and mean is not None:
            block = torch.sub(block, mean, out=room[: len(block)])
        yield part, block


def row_product(
    X: Tensor, coef: Tensor, index: Tensor | None = None, mean: Tensor | None = None
) -> Tensor:
    """Return (X - mean) coef, in the type of `coef`, without a second copy of all of X.

    Parameters
    ----------
    X : Tensor of any float type, shape (n, d)
    coef : Tensor, shape (d, K)
    index : Tensor of int64, shape (m,), optional
        Numbers of the rows that are meant; all by default.
    mean : Tensor, shape (d,), optional

    Returns
    -------
    Tensor, shape (m, K)
    """
    product = coef.new_empty(len(X) if index is None else len(index), coef.shape[1])
    for part, block in _blocks(X, coef, index, mean):
        torch.mm(block, coef, out=product[part])
    return product


def back_product(
    X: Tensor, values: Tensor, index: Tensor | None = None, mean: Tensor | None = None
) -> Tensor:
    """Return (X - mean)ᵀ values (d, K), as `row_product`.

    Parameters
    ----------
    X : Tensor of any float type, shape (n, d)
    values : Tensor, shape (m, K)
    index, mean
        As in `row_product`.
    """
    # Summed up as its transpose: for few columns that is several times quicker.
    product = values.new_zeros(values.shape[1], X.shape[1])
    for part, block in _blocks(X, values, index, mean):
        product.addmm_(values[part].T, block)
    return product.T.contiguous()


def gram_matrix(
    X: np.ndarray, device: torch.device, dtype: torch.dtype, factor: float = 1.0
) -> Tensor:
    """Return the products of rows; only the blocks on and below the diagonal are computed.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    device : torch.device
    dtype : torch.dtype
    factor : float
        By which the rows are multiplied.

    Returns
    -------
    Tensor, shape (n, n)
    """
    rows = torch.from_numpy(X).to(device, dtype)
    n = len(rows)
    gram = rows.new_empty(n, n)
    step = max(256, -(-n // 16))
    for first in range(0, n, step):
        last = min(first + step, n)
        torch.mm(rows[first:last], rows[:last].T, out=gram[first:last, :last])
        gram[first:last, :last] *= factor**2
        gram[:first, first:last] = gram[first:last, :first].T
    return gram


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

    def each(self, made: Callable[[Tensor, Tensor], Tensor], other: Weights) -> Weights:
        """Return what a function makes of these arrays and those of others, one by one.

        Arrays that are one and the same stay so, and are computed once.

        Parameters
        ----------
        made : callable
        other : Weights
        """
        image = made(self.image, other.image)
        coef = image if self.coef is self.image else made(self.coef, other.coef)
        same = self.decisions is self.image
        return Weights(coef, image, image if same else made(self.decisions, other.decisions))

    def moved(self, direction: Weights, step: Tensor) -> Weights:
        """Return this plus `step` (K,) times a direction.

        Parameters
        ----------
        direction : Weights
        step : Tensor, shape (K,)
        """
        return self.each(lambda a, b: torch.addcmul(a, b, step), direction)

    def scaled(self, factors: Tensor) -> Weights:
        """Return each vector times its factor.

        Parameters
        ----------
        factors : Tensor, shape (K,)
        """
        return self.each(lambda a, _: a * factors, self)

    def columns(self, kept: Tensor) -> Weights:
        """Return some columns.

        Parameters
        ----------
        kept : Tensor of int64
            Column numbers.
        """
        return self.each(lambda a, _: a[:, kept], self)


class Space(ABC):
    """Weight vectors known by coefficients, with the model M = I + ridge XᵀRX of the curvature.

    Parameters
    ----------
    n, size : int
        Number of rows, and of coefficients.
    root : Tensor, shape (n, 1), optional
        R^½, roots of the rows' weights.
    """

    def __init__(self, n: int, size: int, root: Tensor | None) -> None:
        self.size, self.root, self.ridge = size, root, 0.0
        # For how many rows all of them count.
        self.count = n if root is None else float(root.square().sum(dtype=torch.float64))
        self._factor: Tensor | None = None

    @abstractmethod
    def weights(self, coef: Tensor) -> Weights:
        """Return the weight vectors of coefficients.

        Parameters
        ----------
        coef : Tensor, shape (m, K)
        """

    @abstractmethod
    def gradient(self, coef: Tensor, slope: Tensor) -> Tensor:
        """Return the coefficients of w + Xᵀ slope.

        Parameters
        ----------
        coef : Tensor, shape (m, K)
        slope : Tensor, shape (n, K)
        """

    @abstractmethod
    def norm2(self, coef: Tensor) -> Tensor:
        """Return the squared norms of vectors by their coefficients, (K,) in float64.

        Parameters
        ----------
        coef : Tensor, shape (m, K)
        """

    @abstractmethod
    def finish(self, coef: Tensor, image: Tensor) -> Weights:
        """Return the weight vectors of coefficients whose image is known.

        Parameters
        ----------
        coef, image : Tensor, shape (m, K)
        """

    @abstractmethod
    def _spread(self) -> Tensor:
        """Return the matrix (m, m) that stands for XᵀRX among coefficients."""

    def set_ridge(self, ridge: float) -> None:
        """Choose the ridge of the model, where it is far from the present one.

        Parameters
        ----------
        ridge : float
        """
        if self._factor is None or not 0.5 < ridge / self.ridge < 2:
            self._factor = None  # not beside its successor
            matrix = self._spread() * ridge
            matrix.diagonal().add_(1)
            self._factor = _factor(matrix)
            self.ridge = ridge

    def solve(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients and image of M⁻¹ q.

        Parameters
        ----------
        q : Tensor, shape (m, K)
        """
        # (L Lᵀ)⁻¹ q: two triangular systems cost what a product with the inverse does.
        assert self._factor is not None
        half = torch.linalg.solve_triangular(self._factor, q, upper=False)
        coef = torch.linalg.solve_triangular(self._factor.T, half, upper=True)
        return coef, coef


class RowSpace(Space):
    """Weight vectors Xᵀβ, known by β and K.

    On coefficients, (I + r XᵀX)⁻¹ Xᵀq = Xᵀ (I + r K)⁻¹ q. The rows sum to 0, so that K has no part
    along 1 (along R^½ 1) but for rounding, which large coefficients along it would bring out: they
    are kept without.

    Parameters
    ----------
    gram : Tensor, shape (n, n)
        K of centred rows.
    root : Tensor, shape (n, 1), optional
        R^½, by which K is multiplied on both sides.
    """

    def __init__(self, gram: Tensor, root: Tensor | None) -> None:
        super().__init__(len(gram), len(gram), root)
        self.gram = gram

    def weights(self, coef: Tensor) -> Weights:
        return self.finish(coef, self.gram @ coef)

    def gradient(self, coef: Tensor, slope: Tensor) -> Tensor:
        if self.root is None:
            sum_ = coef + slope
            return sum_ - sum_.mean(0)
        sum_ = coef + slope / self.root
        return sum_ - self.root * (self.root.T @ sum_) / self.count

    def norm2(self, coef: Tensor) -> Tensor:
        return (coef * (self.gram @ coef)).sum(0, dtype=torch.float64)

    def finish(self, coef: Tensor, image: Tensor) -> Weights:
        return Weights(coef, image, image if self.root is None else image / self.root)

    def _spread(self) -> Tensor:
        return self.gram

    def solve(self, q: Tensor) -> tuple[Tensor, Tensor]:
        # K (I + rK)⁻¹ = (I - (I + rK)⁻¹) / r, so that the image needs no second product.
        coef, _ = super().solve(q)
        return coef, (q - coef) / self.ridge


class FeatureSpace(Space):
    """Weight vectors as they are, for many more rows than dimensions; no n×n matrix is made.

    Parameters
    ----------
    X : Tensor of any float type, shape (N, d)
    factor : float
        By which the rows are multiplied.
    index : Tensor of int64, shape (n,), optional
        Numbers of the rows that are learned from; all by default.
    root : Tensor, shape (n, 1), optional
        R^½.
    dtype : torch.dtype
        In which is computed.
    constant : bool
        Whether the rows have one more feature, of 1, the last coefficient. Else their mean is taken
        off them.
    """

    def __init__(
        self,
        X: Tensor,
        *,
        factor: float,
        index: Tensor | None,
        root: Tensor | None,
        dtype: torch.dtype,
        constant: bool,
    ) -> None:
        n = len(X) if index is None else len(index)
        super().__init__(n, X.shape[1] + constant, root)
        self.X, self.factor, self.index, self.constant = X, factor, index, constant
        self.mean: Tensor | None = None
        if not constant:
            weight = X.new_ones(n, 1, dtype=torch.float64) if root is None else root.double() ** 2
            self.mean = (back_product(X, weight, index)[:, 0] / self.count).to(dtype)
        self.dtype = dtype
        self._moments: Tensor | None = None

    def shift(self, coef: Tensor) -> Tensor:
        """Return the decision values of the mean row (K,).

        Parameters
        ----------
        coef : Tensor, shape (d, K)
        """
        assert self.mean is not None
        return self.mean @ coef * self.factor

    def weights(self, coef: Tensor) -> Weights:
        return self.finish(coef, coef)

    def gradient(self, coef: Tensor, slope: Tensor) -> Tensor:
        product = back_product(self.X, slope, self.index, self.mean).mul_(self.factor)
        return coef + (torch.cat([product, slope.sum(0)[None]]) if self.constant else product)

    def norm2(self, coef: Tensor) -> Tensor:
        return coef.square().sum(0, dtype=torch.float64)

    def finish(self, coef: Tensor, image: Tensor) -> Weights:
        w = coef[:-1] if self.constant else coef
        decisions = row_product(self.X, w * self.factor, self.index, self.mean)
        return Weights(coef, coef, decisions.add_(coef[-1]) if self.constant else decisions)

    def _spread(self) -> Tensor:
        """Return (XᵀRX) on and below the diagonal, which is what a Cholesky factor is made of."""
        if self._moments is None:
            moments = self.X.new_zeros(self.size, self.size, dtype=self.dtype)
            panel = max(256, self.size // 8)
            for part, block in _blocks(self.X, moments, self.index, self.mean, MOMENT_ROWS):
                rows = block * (self.factor if self.root is None else self.factor * self.root[part])
                if self.constant:
                    last = torch.ones_like(rows[:, :1]) if self.root is None else self.root[part]
                    rows = torch.cat([rows, last], 1)
                for first in range(0, self.size, panel):
                    moments[first:, first : first + panel].addmm_(
                        rows[:, first:].T, rows[:, first : first + panel]
                    )
            self._moments = moments
        return self._moments


def _factor(matrix: Tensor) -> Tensor:
    """Return the Cholesky factor of I + ridge K, where the identity is not lost beside ridge K."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) and matrix.dtype == torch.float32:
        return _factor(matrix.double()).float()
    if int(failed) or not bool(factor.isfinite().all()):
        raise SettingError(
            "`C` times the squared norms of the rows is too large to be computed with; use a "
            "smaller `C`, or scaled features"
        )
    return factor

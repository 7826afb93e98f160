"""Products with K = X Xᵀ: K itself (`KeptGram`), or the rows that make it (`RowGram`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["Gram", "KeptGram", "RowGram", "gram_matrix"]


def gram_matrix(X: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return X Xᵀ; only the blocks on and below the diagonal are computed.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    device : torch.device
    dtype : torch.dtype

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
        gram[:first, first:last] = gram[first:last, :first].T
    return gram


class KeptGram:
    """K, an n×n matrix.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def times(self, v: Tensor) -> Tensor:
        """Return K v (n, K).

        Parameters
        ----------
        v : Tensor, shape (n, K)
        """
        return self.matrix @ v

    def diagonal(self) -> Tensor:
        """Return the diagonal (n,)."""
        return self.matrix.diagonal()

    def solve(self, rows: Tensor | None, ridge: Tensor, right: Tensor) -> Tensor:
        """Solve (K_JJ + diag(ridge)) x = right for the rows J, or all of them.

        Parameters
        ----------
        rows : Tensor of int64, optional
            Row numbers; None for all.
        ridge : Tensor, shape (rows,)
        right : Tensor, shape (rows, K)
        """
        if rows is None:
            matrix = self.matrix.clone()
        else:  # rows, then columns: a third quicker than both at once
            matrix = self.matrix.index_select(0, rows).index_select(1, rows)
        return _solve_in_place(matrix, ridge, right)


class RowGram:
    """K as it is given by the rows, for many more rows than dimensions.

    Parameters
    ----------
    X : Tensor, shape (n, d)
    """

    def __init__(self, X: Tensor) -> None:
        self.X = X

    def times(self, v: Tensor) -> Tensor:
        """Return K v (n, K).

        Parameters
        ----------
        v : Tensor, shape (n, K)
        """
        return self.X @ (self.X.T @ v)

    def diagonal(self) -> Tensor:
        """Return the diagonal (n,)."""
        return self.X.square().sum(1)

    def solve(self, rows: Tensor | None, ridge: Tensor, right: Tensor) -> Tensor:
        """Solve (K_JJ + diag(ridge)) x = right for the rows J, or all of them.

        For more rows than dimensions, with D = diag(ridge) and Woodbury's identity,
        (D + X Xᵀ)⁻¹ = D⁻¹ - D⁻¹ X (I + Xᵀ D⁻¹ X)⁻¹ Xᵀ D⁻¹.

        Parameters
        ----------
        rows : Tensor of int64, optional
            Row numbers; None for all.
        ridge : Tensor, shape (rows,)
        right : Tensor, shape (rows, K)
        """
        X = self.X if rows is None else self.X[rows]
        if len(X) <= X.shape[1]:
            return _solve_in_place(X @ X.T, ridge, right)
        scaled = X / ridge[:, None]
        right = right / ridge[:, None]
        inner = _solve_in_place(X.T @ scaled, torch.ones_like(X[0]), X.T @ right)
        return right - scaled @ inner


Gram = KeptGram | RowGram


def _solve_in_place(matrix: Tensor, ridge: Tensor, right: Tensor) -> Tensor:
    matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    lift = 1e-12 if matrix.dtype == torch.float64 else 1e-6
    while bool(failed) and lift < 1:  # singular to rounding: lift the diagonal until it is not
        matrix.diagonal().mul_(1 + lift)
        lift *= 10
        factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_solve(right, factor)

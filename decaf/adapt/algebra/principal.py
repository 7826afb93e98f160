"""Principal components of rows, by the smaller of their two sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from decaf.adapt.algebra.eigenpairs import above_rounding, leading_eigenpairs, matrix_eigenpairs

__all__ = ["Subspace", "principal_subspace"]

# Columns are nearly orthonormal when their Gram matrix is the identity but for so much in norm.
_NEARLY = 0.1


@dataclass(frozen=True)
class Subspace:
    """The span of the leading principal components of some rows.

    Attributes
    ----------
    mean : ndarray of float64, shape (d,)
    basis : ndarray of float64, shape (d, k)
        Orthonormal columns, the component of the largest variance first.
    variances : ndarray of float64, shape (k,)
        Variances of the rows along the components, descending, over n (not n - 1), so that rows
        that come twice change nothing.
    """

    mean: np.ndarray
    basis: np.ndarray
    variances: np.ndarray

    @property
    def dim(self) -> int:
        """Number of components."""
        return int(self.basis.shape[1])

    def leading(self, k: int) -> Subspace:
        """Return the span of the first `k` components.

        Parameters
        ----------
        k : int
        """
        return Subspace(self.mean, self.basis[:, :k], self.variances[:k])


def principal_subspace(
    X: np.ndarray,
    k: int,
    *,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> Subspace:
    """Find the leading principal components of rows, no more than their rank.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, d)
    k : int
        At least 1.
    weights : ndarray of float64, shape (n,), optional
        Weights of the rows in mean and covariance; they sum to 1. By default 1/n each.
    start : ndarray of float64, shape (d, m), optional
        Directions near the components, where some are known.

    Returns
    -------
    Subspace
        Subspace of ``min(k, rank)`` components.

    Notes
    -----
    Costs grow with the smaller side: for n ≤ d the eigenvectors u of the Gram matrix of the centred
    rows A give the components Aᵀu / ‖Aᵀu‖, else they are those of AᵀA. Where all are wanted and the
    sides differ little AᵀA is cheaper, too: its eigenvectors are what is wanted.
    """
    X = np.asarray(X, np.float64)
    n, d = X.shape
    mean = X.mean(axis=0) if weights is None else weights @ X
    A = X - mean
    A *= np.sqrt(1 / n if weights is None else weights[:, None])
    k = min(k, n, d)
    small = min(n, d)
    by_rows = n <= d and not (k == n and 4 * n > 3 * d)
    if small <= max(512, 2 * k):
        values, vectors = matrix_eigenpairs(A @ A.T if by_rows else A.T @ A, k)
    elif by_rows:
        values, vectors = leading_eigenpairs(
            lambda V: A @ (A.T @ V), n, k, start=None if start is None else A @ start
        )
    else:
        values, vectors = leading_eigenpairs(lambda V: A.T @ (A @ V), d, k, start=start)
    alive = above_rounding(values)
    values, vectors = values[alive], vectors[:, alive]
    if by_rows:
        # Of unit vectors u, Aᵀu has length sqrt(value); QR mends what rounding leaves of the angles
        # between those of small variance, and keeps the span of the first ones as it is.
        vectors = _positive_qr(A.T @ (vectors / np.sqrt(values)))
    return Subspace(mean, vectors, values)


def _positive_qr(vectors: np.ndarray) -> np.ndarray:
    """Return Q of V = QR with a positive diagonal in R, for V whose columns are nearly orthonormal.

    For such columns the Cholesky factor of VᵀV is R to the last digits, and several times cheaper.
    """
    if not vectors.shape[1]:
        return vectors
    gram = vectors.T @ vectors
    if np.abs(gram - np.eye(len(gram))).max() < _NEARLY / len(gram):
        triangle = np.linalg.cholesky(gram)
        turned: np.ndarray = solve_triangular(triangle, vectors.T, lower=True).T
        return turned
    columns, triangle = np.linalg.qr(vectors)
    turned = columns * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return turned

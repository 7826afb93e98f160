"""Maximum mean discrepancy as a few vectors, and the matrix it adds to a multiple of the identity.

Both transfer component analysis and joint distribution adaptation look for directions in which the
means of the domains (of their classes) are near and the rows keep their variance, a generalised
eigenvalue problem of a large matrix and one that is a multiple of the identity but for few columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from decaf.adapt.algebra.eigenpairs import above_rounding, leading_eigenpairs

__all__ = ["IdentityPlusColumns", "constrained_components", "mean_differences", "row_size"]


def mean_differences(ys: np.ndarray, yt: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the vectors m_c whose products ``Xᵀ m_c`` are differences of means of the domains.

    Parameters
    ----------
    ys, yt : ndarray of int64, shape (n_s,) and (n_t,)
        Classes; -1 for a row that belongs to none.
    n_classes : int

    Returns
    -------
    ndarray of float64, shape (n_s + n_t, 1 + number of classes that both domains have)
        Column 0 holds 1/n_s and -1/n_t, column c the same within class c (Long et al. 2013, eq. 3
        and 5: M_c = m_c m_cᵀ).
    """
    everyone = np.concatenate([np.full(len(ys), 1 / len(ys)), np.full(len(yt), -1 / len(yt))])
    columns = [everyone]
    for code in range(n_classes):
        here, there = ys == code, yt == code
        if here.any() and there.any():
            columns.append(np.concatenate([here / here.sum(), there / -there.sum()]))
    return np.stack(columns, axis=1)


def row_size(*domains: np.ndarray) -> float:
    """Return the root mean square of the Euclidean norms of all rows, 1 where all are zero.

    Parameters
    ----------
    *domains : ndarray
    """
    total = sum(float(np.square(X, dtype=np.float64).sum()) for X in domains)
    size = float(np.sqrt(total / sum(len(X) for X in domains)))
    return size if size > 0 else 1.0


# N Nᵀ = U diag(e) Uᵀ with few columns in U, from the QR decomposition of N. Off their span a power
# of N Nᵀ + μI is μ^p, so that
#
#     (N Nᵀ + μI)^p = μ^p I + U diag((e + μ)^p - μ^p) Uᵀ,
#
# which for p = -1 is Woodbury's formula.
class IdentityPlusColumns:
    """The matrix ``N Nᵀ + μ I``, whose powers are applied without making it.

    Parameters
    ----------
    N : ndarray of float64, shape (n, c)
        Few columns.
    mu : float
        Above 0.
    """

    def __init__(self, N: np.ndarray, mu: float) -> None:
        Q, R = np.linalg.qr(N)
        values, turn = np.linalg.eigh(R @ R.T)
        self.mu = mu
        self.columns = Q @ turn
        self.values = np.maximum(values, 0)

    def power(self, vectors: np.ndarray, p: float) -> np.ndarray:
        """Return ``(N Nᵀ + μ I)^p`` times vectors, shape (n, m).

        Parameters
        ----------
        vectors : ndarray, shape (n, m)
        p : float
        """
        U, base = self.columns, self.mu**p
        scale = (self.values + self.mu) ** p - base
        product: np.ndarray = base * vectors + U @ (scale[:, None] * (U.T @ vectors))
        return product


# The condition WᵀSW = I scales the eigenvectors. With B^(-1/2) S B^(-1/2) U = U Φ and UᵀU = I,
# W = B^(-1/2) U Φ^(-1/2) gives WᵀSW = Φ^(-1/2) Uᵀ B^(-1/2) S B^(-1/2) U Φ^(-1/2) = I and
# B⁻¹ S W = W Φ.
def constrained_components(
    multiply: Callable[[np.ndarray], np.ndarray],
    B: IdentityPlusColumns,
    size: int,
    k: int,
    *,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve ``min tr(WᵀBW)`` subject to ``WᵀSW = I``, by the leading eigenvectors of B⁻¹S.

    Parameters
    ----------
    multiply : callable
        Takes an ndarray of float64, shape (size, m), gives S times it.
    B : IdentityPlusColumns
    size : int
        Rows of B and of S.
    k : int
        How many columns W has.
    start : ndarray of float64, shape (size, m), optional
        Columns near to those of W.

    Returns
    -------
    W : ndarray of float64, shape (size, k')
        k' is `k`, or the rank of S if it is less.
    values : ndarray of float64, shape (k',)
        Eigenvalues of B⁻¹S, descending.
    """
    if start is not None:
        start = np.hstack([B.power(start, 0.5), B.columns])
    values, U = leading_eigenpairs(
        lambda V: B.power(multiply(B.power(V, -0.5)), -0.5), size, k, start=start
    )
    alive = above_rounding(values)
    values, U = values[alive], U[:, alive]
    return B.power(U, -0.5) / np.sqrt(values), values

"""The largest eigenvalues of a symmetric operator, with their eigenvectors, by block products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

__all__ = ["above_rounding", "leading_eigenpairs", "matrix_eigenpairs"]

_BLOCK = 32
# A pair is found when ‖A v - λ v‖ is at most this times the largest eigenvalue.
_TOL = 1e-7
_DENSE = 512
# What rounding leaves of a direction that the rows do not have, relative to the largest: features
# come in float32, of 1e-7, whose square is far below this.
_RANK_TOL = 1e-12
# Products with vectors after which a matrix is decomposed completely: where eigenvalues lie so
# close together that they would take many more, that is as quick.
_MOST_PRODUCTS = 1000


def leading_eigenpairs(
    multiply: Callable[[np.ndarray], np.ndarray],
    size: int,
    k: int,
    *,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` largest eigenvalues of a symmetric positive semidefinite matrix A.

    A is given by its products with blocks of vectors, so that it is never made; a small one is made
    from them and handed to LAPACK.

    Parameters
    ----------
    multiply : callable
        Takes an ndarray of float64, shape (size, m), gives A times it.
    size : int
        Rows of A.
    k : int
        From 1 to `size`.
    start : ndarray of float64, shape (size, m), optional
        Vectors whose span is near the eigenvectors, where some are known.

    Returns
    -------
    values : ndarray of float64, shape (k,)
        Descending.
    vectors : ndarray of float64, shape (size, k)
        Orthonormal columns; of each the element of largest magnitude is positive.

    Notes
    -----
    Block Lanczos with full orthogonalisation. Over the basis V so far the Rayleigh quotient VᵀAV is
    diagonalised; what A V S leaves outside of the span of V, the residuals of the wanted pairs,
    holds the next block (Golub and Van Loan, Matrix Computations, sec. 10.3.6). Started at random
    this is the Krylov space of A; started near the eigenvectors a few residuals do.
    """
    if size <= _DENSE or 4 * k >= size:
        return matrix_eigenpairs(multiply(np.eye(size)), k)
    random = np.random.default_rng(0)
    basis = np.empty((size, 0))
    images = np.empty((size, 0))
    quotient = np.empty((0, 0))  # VᵀAV
    block = random.normal(size=(size, min(k, _BLOCK)))
    if start is not None:
        block = np.hstack([start, block[:, :8]])
    while True:
        block = _orthonormal(block, basis)
        if not block.shape[1]:
            # The span is invariant: A maps it into itself. What lies outside may still be wanted.
            block = _orthonormal(random.normal(size=(size, min(k, _BLOCK))), basis)
        basis = np.hstack([basis, block])
        images = np.hstack([images, multiply(block)])
        old = len(quotient)
        quotient = np.pad(quotient, (0, block.shape[1]))
        quotient[:, old:] = basis.T @ images[:, old:]
        quotient[old:, :old] = quotient[:old, old:].T
        values, turn = np.linalg.eigh(_symmetric(quotient))
        values, turn = values[::-1], turn[:, ::-1]
        wanted = min(k, len(values))
        vectors = basis @ turn[:, :wanted]
        residuals = images @ turn[:, :wanted] - vectors * values[:wanted]
        norms = np.linalg.norm(residuals, axis=0)
        if len(values) >= k and (norms <= _TOL * max(float(values[0]), 1e-300)).all():
            return np.maximum(values[:k], 0), _signed(vectors)
        if basis.shape[1] >= min(_MOST_PRODUCTS + 4 * k, size - _BLOCK):
            return matrix_eigenpairs(multiply(np.eye(size)), k)
        block = _directions(residuals, _BLOCK)


def matrix_eigenpairs(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` largest eigenvalues of a symmetric positive semidefinite matrix by LAPACK.

    Parameters
    ----------
    matrix : ndarray of float64, shape (size, size)
    k : int
        From 1 to `size`.

    Returns
    -------
    values, vectors : ndarray of float64, shape (k,) and (size, k)
        As of `leading_eigenpairs`.
    """
    size = len(matrix)
    few = 4 * k < size
    values, vectors = eigh(
        _symmetric(matrix),
        overwrite_a=True,
        check_finite=False,
        driver="evr" if few else "evd",  # the quicker one
        subset_by_index=(size - k, size - 1) if few else None,
    )
    return np.maximum(values[::-1][:k], 0), _signed(vectors[:, ::-1][:, :k])


def above_rounding(values: np.ndarray) -> np.ndarray:
    """Tell which eigenvalues are more than what rounding leaves of 0.

    Parameters
    ----------
    values : ndarray of float64, shape (k,)
        Descending.

    Returns
    -------
    ndarray of bool, shape (k,)
    """
    above: np.ndarray = values > max(_RANK_TOL * float(values[0]), 0.0)
    return above


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    half: np.ndarray = 0.5 * (matrix + matrix.T)
    return half


def _directions(block: np.ndarray, most: int) -> np.ndarray:
    """Return an orthogonal basis of the main directions of a block, the longest first."""
    squares, turn = np.linalg.eigh(_symmetric(block.T @ block))
    large = squares > 1e-14 * max(float(squares[-1]), 1e-300)
    main: np.ndarray = block @ (turn[:, large] / np.sqrt(squares[large]))[:, ::-1][:, :most]
    return main


def _orthonormal(block: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Make columns orthonormal, and orthogonal to the basis; drop those that lie in its span."""
    block = block / np.maximum(np.linalg.norm(block, axis=0), 1e-300)
    for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, sec. 6.9)
        block = block - basis @ (basis.T @ block)
        columns, triangle = np.linalg.qr(block)
        alive = np.abs(np.diag(triangle)) > 1e-10
        block = columns[:, alive]
    return block


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Turn each column so that its largest element is positive: rounding then flips none."""
    if not vectors.size:
        return vectors
    places = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[places, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    turned: np.ndarray = vectors * signs
    return turned

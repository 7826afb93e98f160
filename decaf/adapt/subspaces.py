"""Principal subspaces of the two domains, the angles between them, and which dimension to take."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from decaf.adapt.domains import check_dim
from decaf.adapt.eigenpairs import leading_eigenpairs, matrix_eigenpairs
from decaf.errors import InputError

__all__ = [
    "Subspace",
    "disagreement",
    "domain_subspaces",
    "principal_angles",
    "principal_subspace",
    "subspace_disagreement_dim",
    "wrong_dim",
]

# What rounding leaves of a direction that the rows do not have, relative to the largest variance:
# features come in float32, of 1e-7, whose square is far below this.
_RANK_TOL = 1e-12

# Where the domains never differ so much, more dimensions hardly matter, and each costs.
_MOST_DIMS = 64

# Most of the work of several methods, and of several heads on each, is this choice for the same two
# domains. The last ones are remembered, with their subspaces, by the content of the rows: a few
# megabytes each.
_REMEMBERED = 4
_chosen: OrderedDict[tuple[Any, ...], tuple[int, Subspace, Subspace]] = OrderedDict()
_lock = threading.Lock()

# sin(90° - 2.6°): angles of real data come near to 90°, and only rounding would make them 90°.
_NEARLY_ORTHOGONAL = 0.999


@dataclass(frozen=True)
class Subspace:
    """The span of the leading principal components of some rows.

    Attributes
    ----------
    mean : ndarray of float64, shape (d,)
    basis : ndarray of float64, shape (d, k)
        Orthonormal columns, the component of the largest variance first.
    variances : ndarray of float64, shape (k,)
        Of the rows along the components, descending, over n (not n - 1), so that rows that come
        twice change nothing.
    """

    mean: np.ndarray
    basis: np.ndarray
    variances: np.ndarray

    @property
    def dim(self) -> int:
        """Number of components."""
        return int(self.basis.shape[1])

    def leading(self, k: int) -> Subspace:
        """Give the span of the first `k` components."""
        return Subspace(self.mean, self.basis[:, :k], self.variances[:k])


def principal_subspace(
    X: np.ndarray,
    k: int,
    *,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    seed: int = 0,
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
    seed : int
        Of the first vectors of the search for eigenvectors; the result depends on it by rounding
        only.

    Returns
    -------
    Subspace
        Of ``min(k, rank)`` components.

    Notes
    -----
    Costs grow with the smaller side: for n ≤ d the eigenvectors u of the Gram matrix of the centred
    rows A give the components Aᵀu / ‖Aᵀu‖, else they are those of AᵀA.
    """
    X = np.asarray(X, np.float64)
    n, d = X.shape
    mean = X.mean(axis=0) if weights is None else weights @ X
    A = X - mean
    A *= np.sqrt(1 / n if weights is None else weights[:, None])
    k = min(k, n, d)
    small = min(n, d)
    if small <= max(512, 2 * k):
        values, vectors = matrix_eigenpairs(A @ A.T if n <= d else A.T @ A, k)
    elif n <= d:
        values, vectors = leading_eigenpairs(
            lambda V: A @ (A.T @ V), n, k, start=None if start is None else A @ start, seed=seed
        )
    else:
        values, vectors = leading_eigenpairs(lambda V: A.T @ (A @ V), d, k, start=start, seed=seed)
    alive = values > _RANK_TOL * values[0] if values[0] > 0 else np.zeros(k, bool)
    values, vectors = values[alive], vectors[:, alive]
    if n <= d:
        # Of unit vectors u, Aᵀu has length sqrt(value); QR mends what rounding leaves of the angles
        # between those of small variance, and keeps the span of the first ones as it is.
        vectors = _positive_qr(A.T @ (vectors / np.sqrt(values)))
    return Subspace(mean, vectors, values)


def _positive_qr(vectors: np.ndarray) -> np.ndarray:
    columns, triangle = np.linalg.qr(vectors)
    turned: np.ndarray = columns * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return turned


def wrong_dim(dim: Any) -> list[str]:
    """Say what is wrong with a number of dimensions that is to be a number or ``"auto"``."""
    if isinstance(dim, str):
        right = dim == "auto"
    else:
        right = isinstance(dim, (int, np.integer)) and not isinstance(dim, bool) and int(dim) > 0
    if right:
        return []
    return [f"dim must be a whole number above 0, or 'auto', got {dim!r}"]


def domain_subspaces(
    Xs: np.ndarray, Xt: np.ndarray, dim: int | str, *, most: int | None = None
) -> tuple[Subspace, Subspace]:
    """Find the principal subspaces of both domains, of the same dimension.

    Parameters
    ----------
    Xs, Xt : ndarray of float32 or float64, shape (n_s, d) and (n_t, d)
        Scaled rows.
    dim : int or "auto"
        ``"auto"``: by the subspace disagreement measure, see `subspace_disagreement_dim`.
    most : int, optional
        No more than this where it is chosen.

    Returns
    -------
    source, target : Subspace
        Of `dim` components each.

    Raises
    ------
    SettingError
        If `dim` is above the rank of a domain.
    InputError
        If all rows of a domain are alike, so that there is no direction at all.
    """
    if isinstance(dim, str):
        chosen, source, target = _agreeing(Xs, Xt, most=most, seed=0)
        found = [source.leading(chosen), target.leading(chosen)]
    else:
        found = [principal_subspace(X, dim) for X in (Xs, Xt)]
    for name, X, subspace in (("source", Xs, found[0]), ("target", Xt, found[1])):
        if subspace.dim == 0:
            raise InputError(
                f"all {len(X)} rows of the {name} domain are alike: they span no subspace"
            )
        if not isinstance(dim, str):
            check_dim(dim, subspace.dim, name)
    least = min(subspace.dim for subspace in found)
    source, target = (each.leading(least) for each in found)
    return source, target


def principal_angles(P: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the principal angles between two subspaces, with the vectors that form them.

    Parameters
    ----------
    P, Q : ndarray of float64, shape (d, k)
        Orthonormal columns.

    Returns
    -------
    angles : ndarray of float64, shape (k,)
        In radians, ascending, from 0 to π/2.
    a, b : ndarray of float64, shape (d, k)
        Orthonormal bases of the two subspaces: a_i and b_i form angle i, a_i and b_j are normal.

    Notes
    -----
    PᵀQ = U cos(θ) Vᵀ, a = PU, b = QV (Björck and Golub 1973). The cosine of a small angle is 1 but
    for rounding; ‖a - b‖ = 2 sin(θ/2) gives such an angle to its last digits.
    """
    U, cosines, Vt = np.linalg.svd(P.T @ Q)
    a, b = P @ U, Q @ Vt.T
    by_chord = 2 * np.arcsin(np.minimum(np.linalg.norm(a - b, axis=0) / 2, 1))
    angles = np.where(cosines > 0.7, by_chord, np.arccos(np.clip(cosines, 0, 1)))
    order = np.argsort(angles, kind="stable")
    return angles[order], a[:, order], b[:, order]


def disagreement(P_s: np.ndarray, P_t: np.ndarray, P_st: np.ndarray, dim: int) -> float:
    """Measure how far the leading components of both domains lie from those of the pooled rows.

    Parameters
    ----------
    P_s, P_t, P_st : ndarray of float64, shape (d, k)
        Principal components of the source, the target, and both together.
    dim : int
        How many of them are compared, at most k.

    Returns
    -------
    float
        D(dim) = ½ (sin α + sin β), from 0 to 1, where α is the largest principal angle between the
        first `dim` components of the source and of the pooled rows, β likewise for the target
        (Gong et al. 2012, eq. 9).
    """
    pooled = P_st[:, :dim]
    sines = []
    for P in (P_s, P_t):
        cosine = np.linalg.svd(P[:, :dim].T @ pooled, compute_uv=False)[-1]
        sines.append(float(np.sqrt(max(0.0, 1 - min(1.0, float(cosine)) ** 2))))
    return sum(sines) / 2


def subspace_disagreement_dim(
    Xs: np.ndarray, Xt: np.ndarray, *, most: int | None = None, seed: int = 0
) -> int:
    """Choose a dimension by the subspace disagreement measure of Gong et al. (2012, sec. 3.4).

    The smallest d for which D(d) is 1: beyond it the domains have directions that the other has not
    at all. In numbers D only comes near to 1, so that 0.999 is taken for it.

    Parameters
    ----------
    Xs, Xt : ndarray of float32 or float64, shape (n_s, d) and (n_t, d)
        No labels are used. Each domain counts about its own mean.
    most : int, optional
        No more than this, nor than 64, nor than the smaller rank of the two domains.
    seed : int

    Returns
    -------
    int
        At least 1; the most there may be where D stays below 1.
    """
    return _agreeing(Xs, Xt, most=most, seed=seed)[0]


def _agreeing(
    Xs: np.ndarray, Xt: np.ndarray, *, most: int | None, seed: int
) -> tuple[int, Subspace, Subspace]:
    """Choose the dimension; give with it subspaces of at least so many dimensions."""
    limit = min(min(len(Xs), len(Xt)) - 1, Xs.shape[1], _MOST_DIMS)
    limit = max(1, limit if most is None else min(limit, most))
    key = (_digest(Xs), _digest(Xt), limit, seed)
    with _lock:
        if key in _chosen:
            _chosen.move_to_end(key)
            return _chosen[key]
    found = _first_agreeing(Xs, Xt, limit, seed)
    with _lock:
        _chosen[key] = found
        while len(_chosen) > _REMEMBERED:
            _chosen.popitem(last=False)
    return found


def _digest(X: np.ndarray) -> tuple[Any, ...]:
    return X.shape, X.dtype.str, hashlib.blake2b(np.ascontiguousarray(X).data).digest()


def _first_agreeing(
    Xs: np.ndarray, Xt: np.ndarray, limit: int, seed: int
) -> tuple[int, Subspace, Subspace]:
    # Each domain about its own mean, as in the paper, which standardises them: else the difference
    # of the means would be the first of the pooled components.
    pooled = np.concatenate([Xs - Xs.mean(axis=0), Xt - Xt.mean(axis=0)])
    tried, size = 0, min(limit, 32)
    starts: list[np.ndarray | None] = [None, None, None]
    while True:
        source, target, both = (
            principal_subspace(X, size, start=start, seed=seed)
            for X, start in zip((Xs, Xt, pooled), starts, strict=True)
        )
        starts = [source.basis, target.basis, both.basis]
        have = min(source.dim, target.dim, both.dim)
        for dim in range(tried + 1, have + 1):
            if disagreement(source.basis, target.basis, both.basis, dim) >= _NEARLY_ORTHOGONAL:
                return dim, source, target
        if have < size or size == limit:
            return max(1, have), source, target
        tried, size = have, min(limit, 2 * size)

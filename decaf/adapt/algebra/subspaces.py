"""Principal subspaces of the two domains, the angles between them, and which dimension to take."""

from __future__ import annotations

from typing import Any

import numpy as np

from decaf.adapt.algebra.kept_decompositions import Memory, recalled
from decaf.adapt.algebra.principal import Subspace, principal_subspace
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import check_dim
from decaf.errors import InputError

__all__ = [
    "disagreement",
    "domain_subspaces",
    "principal_angles",
    "subspace_disagreement_dim",
    "wrong_dim",
]

# Where the domains never differ so much, more dimensions hardly matter, and each costs.
_MOST_DIMS = 64

# sin(90° - 2.6°): angles of real data come near to 90°, and only rounding would make them 90°.
_NEARLY_ORTHOGONAL = 0.999


def wrong_dim(dim: Any) -> list[str]:
    """Say what is wrong with a number of dimensions that is to be a number or ``"auto"``.

    Parameters
    ----------
    dim : int or "auto"
    """
    if isinstance(dim, str):
        right = dim == "auto"
    else:
        right = isinstance(dim, (int, np.integer)) and not isinstance(dim, bool) and int(dim) > 0
    if right:
        return []
    return [f"dim must be a whole number above 0, or 'auto', got {dim!r}"]


def domain_subspaces(
    Xs: np.ndarray,
    Xt: np.ndarray,
    dim: int | str,
    *,
    most: int | None = None,
    memory: Memory | None = None,
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
    memory : Memory, optional

    Returns
    -------
    source, target : Subspace
        Subspaces of `dim` components each.

    Raises
    ------
    SettingError
        If `dim` is above the rank of a domain.
    InputError
        If all rows of a domain are alike, so that there is no direction at all.
    """
    if isinstance(dim, str):
        chosen, source, target = _agreeing(Xs, Xt, most=most, seed=0, memory=memory)
        subspaces = [source.leading(chosen), target.leading(chosen)]
    else:
        subspaces = [principal_subspace(X, dim) for X in (Xs, Xt)]
    for name, X, subspace in (("source", Xs, subspaces[0]), ("target", Xt, subspaces[1])):
        if subspace.dim == 0:
            raise InputError(
                f"all {len(X)} rows of the {name} domain are alike: they span no subspace"
            )
        if not isinstance(dim, str):
            check_dim(dim, subspace.dim, name)
    least = min(subspace.dim for subspace in subspaces)
    source, target = (each.leading(least) for each in subspaces)
    return source, target


def principal_angles(P: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the principal angles between two subspaces, with the vectors that form them.

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
    return _disagreement([P[:, :dim].T @ pooled for P in (P_s, P_t)])


def subspace_disagreement_dim(
    Xs: np.ndarray,
    Xt: np.ndarray,
    *,
    most: int | None = None,
    seed: int = 0,
    memory: Memory | None = None,
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
    memory : Memory, optional

    Returns
    -------
    int
        At least 1; the most there may be where D stays below 1.
    """
    return _agreeing(Xs, Xt, most=most, seed=seed, memory=memory)[0]


def _agreeing(
    Xs: np.ndarray, Xt: np.ndarray, *, most: int | None, seed: int, memory: Memory | None
) -> tuple[int, Subspace, Subspace]:
    """Choose the dimension; give with it subspaces of at least so many dimensions."""
    limit = min(min(len(Xs), len(Xt)) - 1, Xs.shape[1], _MOST_DIMS)
    limit = max(1, limit if most is None else min(limit, most))
    return recalled(
        memory,
        "agreeing subspaces",
        lambda: _first_agreeing(Xs, Xt, limit, seed, memory),
        Xs,
        Xt,
        limit,
        seed,
    )


def _first_agreeing(
    Xs: np.ndarray, Xt: np.ndarray, limit: int, seed: int, memory: Memory | None
) -> tuple[int, Subspace, Subspace]:
    axes = DomainAxes.of(Xs, Xt, memory)
    # Each domain about its own mean, as in the paper, which standardises them: else the difference
    # of the means would be the first of the pooled components.
    pooled = None
    if axes is None:
        pooled = np.concatenate([Xs - Xs.mean(axis=0), Xt - Xt.mean(axis=0)])
    tried, size = 0, min(limit, 32)
    starts: list[np.ndarray | None] = [None, None, None]
    while True:
        source = principal_subspace(Xs, size, start=starts[0], seed=seed)
        if axes is not None:
            target = axes.target.leading(size)
            both = axes.mixture(len(Xt) / (len(Xs) + len(Xt)), size, apart=False, seed=seed)
        else:
            assert pooled is not None
            target = principal_subspace(Xt, size, start=starts[1], seed=seed)
            both = principal_subspace(pooled, size, start=starts[2], seed=seed)
        starts = [source.basis, target.basis, both.basis]
        have = min(source.dim, target.dim, both.dim)
        cosines = [P.basis[:, :have].T @ both.basis[:, :have] for P in (source, target)]
        for dim in range(tried + 1, have + 1):
            if _disagreement([each[:dim, :dim] for each in cosines]) >= _NEARLY_ORTHOGONAL:
                return dim, source, target
        if have < size or size == limit:
            return max(1, have), source, target
        tried, size = have, min(limit, 2 * size)


def _disagreement(cosines: list[np.ndarray]) -> float:
    """Return ½ (sin α + sin β) from the products of the bases."""
    sines = []
    for products in cosines:
        cosine = float(np.linalg.svd(products, compute_uv=False)[-1])
        sines.append(float(np.sqrt(max(0.0, 1 - min(1.0, cosine) ** 2))))
    return sum(sines) / 2

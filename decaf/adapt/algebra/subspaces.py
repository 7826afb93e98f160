"""Principal subspaces of the two domains, the angles between them, and which dimension to take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decaf.adapt.algebra.fit_cache import Memory, recalled
from decaf.adapt.algebra.principal import Subspace, principal_subspace
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.errors import InputError, SettingError
from decaf.runtime.wording import counted

__all__ = [
    "check_rank",
    "disagreement",
    "domain_subspaces",
    "principal_angles",
    "subspace_disagreement_dim",
]

# Where the domains never differ so much, more dimensions hardly matter, and each costs.
_MOST_DIMS = 64

# sin(90° - 2.6°): angles of real data come near to 90°, and only rounding would make them 90°.
_NEARLY_ORTHOGONAL = 0.999


def check_rank(dim: int | str, rank: int, domain: str, rows: str) -> None:
    """Refuse a number of dimensions that rows do not span.

    Parameters
    ----------
    dim : int or "auto"
    rank : int
        Of how many dimensions the domain's rows are.
    domain, rows : str
        Names in the messages: of the domain (``"source"``, ``"target"`` or ``"joint"``), and of its
        rows.

    Raises
    ------
    InputError
        If all rows are alike.
    SettingError
        If `dim` is above the rank.
    """
    if rank == 0:
        raise InputError(f"all {rows} are alike: they span no subspace")
    if not isinstance(dim, str) and dim > rank:
        raise SettingError(
            f"`dim` is {dim}, but the rows of the {domain} domain span only {rank} dimensions; use "
            f"a `dim` of at most {rank}, or 'auto'"
        )


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
        chosen, source, target = _agreeing(Xs, Xt, most=most, memory=memory)
        subspaces = [source.leading(chosen), target.leading(chosen)]
    else:
        subspaces = [principal_subspace(X, dim) for X in (Xs, Xt)]
    for name, X, subspace in (("source", Xs, subspaces[0]), ("target", Xt, subspaces[1])):
        check_rank(dim, subspace.dim, name, f"{counted(len(X), 'row')} of the {name} domain")
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


def disagreement(products: Sequence[np.ndarray]) -> float:
    """Measure how far the leading components of both domains lie from those of the pooled rows.

    Parameters
    ----------
    products : sequence of ndarray of float64, shape (dim, dim)
        P_Sᵀ P_ST and P_Tᵀ P_ST of the first `dim` principal components of the source, the target,
        and both together.

    Returns
    -------
    float
        D(dim) = ½ (sin α + sin β), from 0 to 1, where α is the largest principal angle between the
        components of the source and of the pooled rows, β likewise for the target (Gong et al.
        2012, eq. 9).
    """
    sines = []
    for each in products:
        cosine = float(np.linalg.svd(each, compute_uv=False)[-1])
        sines.append(float(np.sqrt(max(0.0, 1 - min(1.0, cosine) ** 2))))
    return sum(sines) / 2


def subspace_disagreement_dim(
    Xs: np.ndarray,
    Xt: np.ndarray,
    *,
    most: int | None = None,
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
    memory : Memory, optional

    Returns
    -------
    int
        At least 1; the most there may be where D stays below 1.
    """
    return _agreeing(Xs, Xt, most=most, memory=memory)[0]


def _agreeing(
    Xs: np.ndarray, Xt: np.ndarray, *, most: int | None, memory: Memory | None
) -> tuple[int, Subspace, Subspace]:
    """Choose the dimension; give with it subspaces of at least so many dimensions."""
    limit = min(min(len(Xs), len(Xt)) - 1, Xs.shape[1], _MOST_DIMS)
    limit = max(1, limit if most is None else min(limit, most))
    return recalled(
        memory,
        "agreeing subspaces",
        lambda: _first_agreeing(Xs, Xt, limit, memory),
        Xs,
        Xt,
        limit,
    )


def _first_agreeing(
    Xs: np.ndarray, Xt: np.ndarray, limit: int, memory: Memory | None
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
        source = principal_subspace(Xs, size, start=starts[0])
        if axes is not None:
            target = axes.target.leading(size)
            both = axes.mixture(len(Xt) / (len(Xs) + len(Xt)), size, apart=False)
        else:
            assert pooled is not None
            target = principal_subspace(Xt, size, start=starts[1])
            both = principal_subspace(pooled, size, start=starts[2])
        starts = [source.basis, target.basis, both.basis]
        have = min(source.dim, target.dim, both.dim)
        cosines = [P.basis[:, :have].T @ both.basis[:, :have] for P in (source, target)]
        for dim in range(tried + 1, have + 1):
            if disagreement([each[:dim, :dim] for each in cosines]) >= _NEARLY_ORTHOGONAL:
                return dim, source, target
        if have < size or size == limit:
            return max(1, have), source, target
        tried, size = have, min(limit, 2 * size)

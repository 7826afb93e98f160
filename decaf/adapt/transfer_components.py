"""Transfer component analysis: components in which the domains' means meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator

from decaf.adapt.algebra.fit_cache import recalled
from decaf.adapt.algebra.mean_discrepancy import (
    IdentityPlusColumns,
    constrained_components,
    row_size,
)
from decaf.adapt.algebra.subspaces import check_rank, subspace_disagreement_dim
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import wrong_number

__all__ = ["TCA", "transfer_components"]

_GRAM_ROWS = 1024


@dataclass(eq=False, repr=False, kw_only=True)
class TCA(AdaptationEstimator):
    """Transfer component analysis (Pan, Tsang, Kwok and Yang 2011), with the linear kernel.

    K is the kernel matrix of all rows of both domains, K = XXᵀ, H = I - 11ᵀ/n centres, and L = l lᵀ
    with l = 1/n_s for source rows, -1/n_t for target rows, so that tr(KL) is the squared distance
    of the domains' means. Of the components K W the distance of the means is made small, while the
    rows keep their variance (sec. III-B),

        min tr(Wᵀ K L K W) + μ tr(WᵀW)   subject to   Wᵀ K H K W = I,

    solved by the k leading eigenvectors of (K L K + μI)⁻¹ K H K. A row x of either domain is
    represented by x XᵀW, in which every component has the same variance.

    Parameters
    ----------
    dim : int or "auto"
        Number of components k. All of them have the same variance, so that too many bury the rest
        in noise. ``"auto"`` chooses it without labels by the subspace disagreement measure of Gong
        et al. (see `decaf.adapt.GFK`); the paper tries several.
    mu : float
        μ, for rows whose root mean square norm is 1, to which they are brought: the larger, the
        nearer to kernel PCA.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`.

    Attributes
    ----------
    dim_ : int
        The k used.
    components_ : ndarray of float64, shape (d, k)
        XᵀW, the factor of scaled rows.
    eigenvalues_ : ndarray of float64, shape (k,)
        Eigenvalues of (K L K + μI)⁻¹ K H K, descending.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Notes
    -----
    (K L K + μI)⁻¹ K H K is not symmetric. Its eigenvectors are W = B^(-1/2) U with B = K L K + μI
    and U those of B^(-1/2) K H K B^(-1/2), which is; to hand the former to a solver for symmetric
    matrices, as some programs do, gives other vectors. L is of rank 1, so that powers of B cost
    nothing, and K is applied as X(Xᵀ·).

    References
    ----------
    Sinno Jialin Pan, Ivor W. Tsang, James T. Kwok, Qiang Yang: Domain Adaptation via Transfer
    Component Analysis. IEEE Transactions on Neural Networks 22 (2), 2011.
    """

    dim: int | str = "auto"
    mu: float = 1.0
    scale: str = "unit-norm"

    def _wrong_settings(self) -> list[str]:
        return [
            *wrong_number("dim", self.dim, whole=True, other="auto"),
            *wrong_number("mu", self.mu),
        ]

    def _adapt(self, domains: Domains) -> None:
        wanted = self.dim
        if isinstance(wanted, str):
            wanted = subspace_disagreement_dim(domains.Xs, domains.Xt, memory=domains.memory)
        wanted, mu = int(min(wanted, len(domains.Xs) + len(domains.Xt) - 1)), float(self.mu)
        self.components_, self.eigenvalues_ = recalled(
            domains.memory,
            "transfer components",
            lambda: _components(domains, wanted, mu),
            domains.Xs,
            domains.Xt,
            wanted,
            mu,
        )
        self.dim_ = len(self.eigenvalues_)
        check_rank(self.dim, self.dim_, "joint", "rows of both domains")

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        return self._projected(X, self.components_)


def _components(domains: Domains, k: int, mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what rows are multiplied by, (d, k'), and the eigenvalues (k',)."""
    Xs, Xt = domains.Xs, domains.Xt
    size, axes = row_size(Xs, Xt), DomainAxes.of(Xs, Xt, domains.memory)
    if axes is not None:
        pooled = axes.rows(size)
        W, values = transfer_components(
            pooled, axes.sums(1 / len(Xs), -1 / len(Xt)), k, mu, everyone=axes.sums(1, 1)
        )
        return axes.lift(pooled.T @ W) / size, values
    X = np.concatenate([Xs, Xt], dtype=np.float64)
    X /= size
    ell = np.repeat([1 / len(Xs), -1 / len(Xt)], [len(Xs), len(Xt)])
    W, values = transfer_components(X, ell, k, mu)
    return (X.T @ W) / size, values


def transfer_components(
    X: np.ndarray | LinearOperator,
    ell: np.ndarray,
    k: int,
    mu: float,
    *,
    everyone: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the transfer components of rows with the linear kernel (Pan et al. 2011, sec. III-B).

    Parameters
    ----------
    X : ndarray of float64 or LinearOperator, shape (n, d)
        Rows of both domains.
    ell : ndarray of float64, shape (n,)
        l: 1/n_s for rows of the source, -1/n_t for rows of the target.
    k : int
        How many.
    mu : float
        μ, above 0.
    everyone : ndarray of float64, shape (n,), optional
        The vector of ones, where the rows have been turned among themselves and it with them.

    Returns
    -------
    W : ndarray of float64, shape (n, k')
        k' is `k`, or the rank of K H K if it is less.
    values : ndarray of float64, shape (k',)
        Eigenvalues of (K L K + μI)⁻¹ K H K, descending.
    """
    n, d = X.shape
    ones = np.ones(n) if everyone is None else everyone
    ones = ones[:, None] / np.linalg.norm(ones)
    gram = X @ X.T if isinstance(X, np.ndarray) and n <= min(_GRAM_ROWS, d) else None

    def K(V: np.ndarray) -> np.ndarray:
        product: np.ndarray = X @ (X.T @ V) if gram is None else gram @ V
        return product

    def KHK(V: np.ndarray) -> np.ndarray:
        image = K(V)
        image -= ones @ (ones.T @ image)
        return K(image)

    return constrained_components(KHK, IdentityPlusColumns(K(ell[:, None]), mu), n, k)

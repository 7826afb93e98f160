"""Transfer component analysis: components in which the domains' means meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from decaf.adapt.algebra.eigenpairs import leading_eigenpairs
from decaf.adapt.algebra.kept_decompositions import recalled
from decaf.adapt.algebra.mean_discrepancy import IdentityPlusColumns, row_size
from decaf.adapt.algebra.principal import projected
from decaf.adapt.algebra.subspaces import subspace_disagreement_dim, wrong_dim
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import Domains, check_dim
from decaf.adapt.estimator import AdaptationEstimator, is_positive
from decaf.errors import InputError

__all__ = ["TCA", "transfer_components"]

# K H K holds the squares of the variances; below this they are rounding.
_RANK_TOL = 1e-12
_GRAM_ROWS = 1024


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
    head : {"svm", "logreg", "1nn"}
        `decaf.heads.LinearSVM`, `decaf.heads.LogisticRegression`, or the nearest neighbour.
    C : float or "cv"
        C of the first two; ``"cv"`` chooses it by cross-validation among the labelled rows of both
        domains.
    dim : int or "auto"
        Number of components k. All of them have the same variance, so that too many bury the rest
        in noise. ``"auto"`` chooses it without labels by the subspace disagreement measure of Gong
        et al. (see `decaf.adapt.algebra.subspaces`); the paper tries several.
    mu : float
        μ, for rows whose root mean square norm is 1, to which they are brought: the larger, the
        nearer to kernel PCA.
    scale : {"none", "unit-norm", "standard"}
    random_state : int, RandomState or None
        Seed of the folds.

    Attributes
    ----------
    dim_ : int
        The k used.
    components_ : ndarray of float64, shape (d, k)
        XᵀW, the factor of scaled rows.
    eigenvalues_ : ndarray of float64, shape (k,)
        Eigenvalues of (K L K + μI)⁻¹ K H K, descending.
    classes_, head_, C_, scalings_, n_features_in_
        As in `decaf.adapt.estimator.AdaptationEstimator`.

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

    def __init__(
        self,
        *,
        head: str = "svm",
        C: float | str = 1.0,
        dim: int | str = "auto",
        mu: float = 1.0,
        scale: str = "unit-norm",
        random_state: Any = 0,
    ) -> None:
        self.head = head
        self.C = C
        self.dim = dim
        self.mu = mu
        self.scale = scale
        self.random_state = random_state

    def _wrong_settings(self) -> list[str]:
        wrong = wrong_dim(self.dim)
        if not is_positive(self.mu):
            wrong.append(f"mu must be a number above 0, got {self.mu!r}")
        return wrong

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
        if not self.dim_:
            raise InputError("all rows of both domains are alike: they span no subspace")
        if not isinstance(self.dim, str):
            check_dim(self.dim, self.dim_, "joint")

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        return projected(self._memory, X, self.components_)


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


# The condition Wᵀ K H K W = I scales the eigenvectors. With B = K L K + μI, S = B^(-1/2) K H K
# B^(-1/2) and S U = U Φ (UᵀU = I), W = B^(-1/2) U Φ^(-1/2) gives Wᵀ K H K W = Φ^(-1/2) UᵀS U
# Φ^(-1/2) = I, and B⁻¹ K H K W = W Φ.
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

    B = IdentityPlusColumns(K(ell[:, None]), mu)

    def multiply(V: np.ndarray) -> np.ndarray:
        image = K(B.power(V, -0.5))
        image -= ones @ (ones.T @ image)
        return B.power(K(image), -0.5)

    values, U = leading_eigenpairs(multiply, n, k)
    alive = values > _RANK_TOL * values[0] if values[0] > 0 else np.zeros(len(values), bool)
    values, U = values[alive], U[:, alive]
    return B.power(U, -0.5) / np.sqrt(values), values

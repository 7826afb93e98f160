"""`FeatureAugmentation`: every feature in a shared, a source and a target copy, as a kernel.

With x ↦ (x, x, 0) for a source row and (x, 0, x) for a target row (Daumé III 2007, eq. 1), the
inner product of two rows is 2 x·x' within a domain and x·x' across the two (section 3.2):

    K̃ = K ∘ S,   K = X Xᵀ,   S_ij = 2 where i and j are of one domain, else 1.

Nothing of 3d columns is needed. Pivoted Cholesky gives K̃ = L Lᵀ with L of shape (n, r), r the rank
of K̃: the rows of L are the augmented rows in an orthonormal basis of their span, in which a head
finds what it would find in all 3d dimensions, since its optimum lies in that span.

With L_p the rows of L at the r pivots and Φ_p the augmented rows there, the basis is
Q = Φ_pᵀ L_p⁻ᵀ. A row with kernel values k to the pivots has the coordinates L_p⁻¹ k, and a weight
vector c among the coordinates is w = Q c = Σ_p β_p φ_p with L_pᵀ β = c. A target row sees of it

    w·φ(x) = Σ_p β_p (1 + [p is a target row]) x_p·x,

one linear function of x again.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg import lapack, solve_triangular

from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator

__all__ = ["FeatureAugmentation", "pivoted_cholesky"]


class FeatureAugmentation(AdaptationEstimator):
    """Feature augmentation, "frustratingly easy domain adaptation" (Daumé III, ACL 2007).

    The head is learned from source rows and labelled target rows together, each with a copy of the
    features that both domains share and one that its own domain has: x ↦ (x, x, 0) or (x, 0, x).
    It is exact: an isometric representation of at most as many columns as there are rows, or 3d.
    Target rows without a label are not used.

    Parameters
    ----------
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`; the nearest neighbour is that
        among augmented rows, and C is for augmented rows of a root mean square norm of 1.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (K, d)
        The decision as a linear function of scaled target rows; not there for ``head="1nn"``.
    intercept_ : ndarray of float64, shape (K,)
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> y = np.where(X[:, 0] > 0, "cat", "dog")  # in the target it is the other way round
    >>> adapted = FeatureAugmentation(C=100.0).fit(X, y, -X[:20], y[:20])
    >>> bool(adapted.score(-X[20:], y[20:]) > 0.8)
    True
    """

    _needs: ClassVar[str] = "labels"

    def _fit_scaled(self, domains: Domains) -> None:
        self._adapt(domains)
        rows, codes = self._training_rows(domains)
        self._fit_head(rows, codes)
        if self.head != "1nn":
            self.coef_, self.intercept_ = self._unfold(self.head_.coef_), self.head_.intercept_

    def _adapt(self, domains: Domains) -> None:
        known = domains.labelled
        X = np.concatenate([domains.Xs, domains.Xt[known]])
        n, d = X.shape
        self._is_kernel = n <= 3 * d
        if not self._is_kernel:
            return
        n_s = len(domains.Xs)
        X = X.astype(np.float64)
        gram = X @ X.T
        gram[:n_s, :n_s] *= 2
        gram[n_s:, n_s:] *= 2
        rows, pivots = pivoted_cholesky(gram)
        del gram
        self._pivot_rows, self._pivot_is_target = X[pivots], pivots >= n_s
        self._factor = rows[pivots]
        # As exact as the features are.
        self._rows = rows.astype(domains.Xs.dtype, copy=False)

    def _training_rows(self, domains: Domains) -> tuple[np.ndarray, np.ndarray]:
        if not self._is_kernel:
            return super()._training_rows(domains)
        rows = self._rows
        del self._rows
        return rows, np.concatenate([domains.ys, domains.yt[domains.labelled]])

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        if not self._is_kernel:
            own = [X, np.zeros_like(X)] if domain == "source" else [np.zeros_like(X), X]
            return np.concatenate([X, *own], axis=1)
        kernel = self._pivot_rows @ X.T.astype(np.float64)
        kernel[self._pivot_is_target == (domain == "target")] *= 2
        columns = solve_triangular(self._factor, kernel, lower=True, overwrite_b=True)
        rows: np.ndarray = np.ascontiguousarray(columns.T)
        return rows

    def _unfold(self, coef: np.ndarray) -> np.ndarray:
        """Turn coefficients of represented rows into those of target rows, (K, d)."""
        if not self._is_kernel:
            shared, _, own = np.split(coef, 3, axis=1)
            of_target: np.ndarray = shared + own
            return of_target
        beta = solve_triangular(self._factor, coef.T, lower=True, trans="T")
        beta[self._pivot_is_target] *= 2
        unfolded: np.ndarray = beta.T @ self._pivot_rows
        return unfolded


def pivoted_cholesky(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor a positive semidefinite matrix as L Lᵀ, by LAPACK's dpstrf.

    Parameters
    ----------
    matrix : ndarray of float64, shape (n, n)

    Returns
    -------
    factor : ndarray of float64, shape (n, r)
        L; r is the rank to rounding, at least 1. Its rows at the pivots are lower triangular.
    pivots : ndarray of int64, shape (r,)
        Numbers of r rows that span all others.
    """
    n = len(matrix)
    largest = float(matrix.diagonal().max(initial=0))
    tolerance = 10 * n * np.finfo(np.float64).eps * largest
    packed, order, rank, _ = lapack.dpstrf(matrix, tol=tolerance, lower=1)
    rank = max(1, int(rank))
    order = order.astype(np.int64) - 1
    factor = np.zeros((n, rank))
    # Above its diagonal LAPACK leaves what was there.
    for place, row in enumerate(order):
        width = min(place + 1, rank)
        factor[row, :width] = packed[place, :width]
    return factor, order[:rank]

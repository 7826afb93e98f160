"""Joint distribution adaptation: the means of the domains meet, and those of their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator

from decaf.adapt.algebra.mean_discrepancy import (
    IdentityPlusColumns,
    constrained_components,
    mean_differences,
    row_size,
)
from decaf.adapt.algebra.subspaces import check_rank, subspace_disagreement_dim
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.adapt.head import fit_head
from decaf.heads.input_checks import wrong_number

__all__ = ["JDA", "joint_components"]

_REDUCED_ROWS = 1024


@dataclass(eq=False, repr=False, kw_only=True)
class JDA(AdaptationEstimator):
    """Joint distribution adaptation (Long, Wang, Ding, Sun and Yu 2013), with the linear kernel.

    X holds all rows of both domains (as columns, in the paper's symbols), H = I - 11ᵀ/n centres,
    M_0 is the matrix of maximum mean discrepancy between the domains, and M_c that between the rows
    of class c in both, for which the classes of target rows without a label are those that the head
    now gives (eq. 3 and 5). The projection A (d, k) solves (eq. 7)

        min Σ_c tr(Aᵀ X M_c Xᵀ A) + λ ‖A‖²_F   subject to   Aᵀ X H Xᵀ A = I,

    by the leading eigenvectors of (X M Xᵀ + λI)⁻¹ X H Xᵀ with M = Σ_c M_c (eq. 8). Then the head is
    fitted to the rows x A, gives the target rows their classes, and so on (algorithm 1), until no
    class changes. M is divided by its Frobenius norm, as in the authors' program but not in the
    paper: without, it would be far smaller than λ for rows of norm 1.

    Parameters
    ----------
    head : {"svm", "logreg", "1nn"}
        The last is the paper's.
    C : float or "cv"
        ``"cv"`` chooses it for the last head; those in between take 1.
    dim : int or "auto"
        Dimension k. All dimensions have the same variance, so that too many bury the rest in noise.
        ``"auto"`` chooses it without labels by the subspace disagreement measure of Gong et al.
        (see `decaf.adapt.GFK`); the paper takes 100.
    regularisation : float
        λ, for rows whose root mean square norm is 1, to which they are brought. 1 is the paper's
        for photographs.
    iterations : int
        At most so many rounds; 10 in the paper.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`; ``scale="unit-norm"`` is the authors'.

    Attributes
    ----------
    dim_ : int
        The k used.
    components_ : ndarray of float64, shape (d, k)
        A: what scaled rows are multiplied by.
    n_iter_ : int
        Rounds made.
    pseudo_labels_ : ndarray of int64, shape (n_t,)
        Classes of the target rows with which the last projection was learned: places in
        `classes_`, -1 for none, as in the first round. The given ones where they are labelled.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    References
    ----------
    Mingsheng Long, Jianmin Wang, Guiguang Ding, Jiaguang Sun, Philip S. Yu: Transfer Feature
    Learning with Joint Distribution Adaptation. ICCV 2013.
    """

    dim: int | str = "auto"
    regularisation: float = 1.0
    iterations: int = 10
    scale: str = "unit-norm"

    def _wrong_settings(self) -> list[str]:
        return [
            *wrong_number("dim", self.dim, whole=True, other="auto"),
            *wrong_number("regularisation", self.regularisation),
            *wrong_number("iterations", self.iterations, whole=True),
        ]

    def _adapt(self, domains: Domains) -> None:
        size = row_size(domains.Xs, domains.Xt)
        X = np.concatenate([domains.Xs, domains.Xt], dtype=np.float64)
        X /= size
        n_s = len(domains.Xs)
        known = domains.labelled
        # Where there are fewer rows than features the components lie in the span of the rows.
        span = None
        axes = DomainAxes.of(domains.Xs, domains.Xt, domains.memory)
        if axes is None and len(X) <= min(_REDUCED_ROWS, X.shape[1]):
            span, triangle = np.linalg.qr(X.T)
            X = triangle.T
        wanted = self.dim
        if isinstance(wanted, str):
            wanted = subspace_disagreement_dim(domains.Xs, domains.Xt, memory=domains.memory)
        wanted = min(wanted, len(X) - 1, X.shape[1])
        # In the first round only the given classes are known (algorithm 1, line 1).
        guess = domains.yt.copy()
        A: np.ndarray | None = None
        components: np.ndarray | None = None
        for number in range(1, self.iterations + 1):
            self.n_iter_ = number
            m = mean_differences(domains.ys, guess, domains.n_classes)
            # Divided by the root of ‖M‖_F, ‖M‖_F² = Σ_cc' (m_c · m_c')².
            means = X.T @ m / np.sqrt(float(np.linalg.norm(m.T @ m)))
            components = joint_components(
                X if axes is None else axes.rows(size),
                np.ones(len(X)) if axes is None else axes.sums(1, 1),
                means if axes is None else axes.coordinates(means),
                wanted,
                float(self.regularisation),
                start=components,
            )
            A = components if axes is None else axes.lift(components)
            self.pseudo_labels_ = guess
            check_rank(self.dim, A.shape[1], "joint", "rows of both domains")
            if number == self.iterations:
                break
            before, guess = guess, self._guess(X @ A, n_s, domains)
            if (before == guess).all() or known.all():
                break
        assert A is not None
        self.dim_ = A.shape[1]
        self.components_ = (A if span is None else span @ A) / size

    def _guess(self, Z: np.ndarray, n_s: int, domains: Domains) -> np.ndarray:
        """Label the target rows with the classes that a head on the present projection gives."""
        known = domains.labelled
        rows = np.concatenate([Z[:n_s], Z[n_s:][known]])
        codes = np.concatenate([domains.ys, domains.yt[known]])
        C = 1.0 if isinstance(self.C, str) else self.C
        head = fit_head(self.head, rows, codes, C=C, random_state=self.random_state)
        guess: np.ndarray = np.asarray(head.predict(Z[n_s:]), np.int64)
        guess[known] = domains.yt[known]
        return guess

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        rows: np.ndarray = X @ self.components_
        return rows


# Rows of X are samples here. With N = Xᵀ[m_0, m_1, …] / ‖M‖_F^½ of few columns, B = N Nᵀ + λI, of
# which all powers are at hand.
def joint_components(
    X: np.ndarray | LinearOperator,
    everyone: np.ndarray,
    means: np.ndarray,
    k: int,
    regularisation: float,
    *,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Find the projection of joint distribution adaptation (Long et al. 2013, eq. 8).

    Parameters
    ----------
    X : ndarray of float64 or LinearOperator, shape (n, d)
        Rows of both domains; they may be turned among themselves.
    everyone : ndarray of float64, shape (n,)
        The vector of ones, turned with the rows.
    means : ndarray of float64, shape (d, 1 + classes)
        N, whose products with themselves, summed, are X M Xᵀ over ‖M‖_F; the columns m_c are those
        of `decaf.adapt.algebra.mean_discrepancy.mean_differences`.
    k : int
        How many dimensions.
    regularisation : float
        λ, above 0.
    start : ndarray of float64, shape (d, m), optional
        A projection that is near, as that of the round before.

    Returns
    -------
    ndarray of float64, shape (d, k')
        A; k' is `k`, or the rank of the centred rows if it is less.
    """
    ones = everyone[:, None] / np.linalg.norm(everyone)

    def XHX(V: np.ndarray) -> np.ndarray:
        image = X @ V
        image -= ones @ (ones.T @ image)
        product: np.ndarray = X.T @ image
        return product

    B = IdentityPlusColumns(means, regularisation)
    return constrained_components(XHX, B, X.shape[1], k, start=start)[0]

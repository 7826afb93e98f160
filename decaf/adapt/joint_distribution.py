"""Joint distribution adaptation: the means of the domains meet, and those of their classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from decaf.adapt.algebra.eigenpairs import leading_eigenpairs
from decaf.adapt.algebra.mean_discrepancy import IdentityPlusColumns, mean_differences, row_size
from decaf.adapt.algebra.subspaces import subspace_disagreement_dim, wrong_dim
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import Domains, check_dim
from decaf.adapt.estimator import AdaptationEstimator, is_positive
from decaf.adapt.head import fit_head
from decaf.errors import InputError

__all__ = ["JDA", "joint_components"]

_RANK_TOL = 1e-12
_REDUCED_ROWS = 1024


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
        `decaf.heads.LinearSVM`, `decaf.heads.LogisticRegression`, or the nearest neighbour, which
        is the paper's.
    C : float or "cv"
        C of the first two; ``"cv"`` chooses it by cross-validation among the labelled rows of both
        domains, for the last head; those in between take 1.
    dim : int or "auto"
        Dimension k. All dimensions have the same variance, so that too many bury the rest in noise.
        ``"auto"`` chooses it without labels by the subspace disagreement measure of Gong et al.
        (see `decaf.adapt.algebra.subspaces`); the paper takes 100.
    regularisation : float
        λ, for rows whose root mean square norm is 1, to which they are brought. 1 is the paper's
        for photographs.
    iterations : int
        At most so many rounds; 10 in the paper.
    scale : {"none", "unit-norm", "standard"}
        ``"unit-norm"`` is the authors'.
    random_state : int, RandomState or None
        Seed of the folds.

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
        As in `decaf.adapt.estimator.AdaptationEstimator`.

    References
    ----------
    Mingsheng Long, Jianmin Wang, Guiguang Ding, Jiaguang Sun, Philip S. Yu: Transfer Feature
    Learning with Joint Distribution Adaptation. ICCV 2013.
    """

    def __init__(
        self,
        *,
        head: str = "svm",
        C: float | str = 1.0,
        dim: int | str = "auto",
        regularisation: float = 1.0,
        iterations: int = 10,
        scale: str = "unit-norm",
        random_state: Any = 0,
    ) -> None:
        self.head = head
        self.C = C
        self.dim = dim
        self.regularisation = regularisation
        self.iterations = iterations
        self.scale = scale
        self.random_state = random_state

    def _wrong_settings(self) -> list[str]:
        wrong = wrong_dim(self.dim)
        if not is_positive(self.regularisation):
            wrong.append(f"regularisation must be a number above 0, got {self.regularisation!r}")
        count = self.iterations
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            wrong.append(f"iterations must be a whole number above 0, got {count!r}")
        return wrong

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
        A = components = None
        for number in range(1, self.iterations + 1):
            self.n_iter_ = number
            m = mean_differences(domains.ys, guess, domains.n_classes, per_class=True)
            if axes is None:
                A = joint_components(X, m, wanted, float(self.regularisation), start=A)
            else:
                components = _joint_components(
                    axes.rows(size),
                    axes.sums(1, 1),
                    axes.coordinates(X.T @ m),
                    float(np.linalg.norm(m.T @ m)),
                    wanted,
                    float(self.regularisation),
                    start=components,
                )
                A = axes.lift(components)
            self.pseudo_labels_ = guess
            if not isinstance(self.dim, str) and A.shape[1] < self.dim:
                check_dim(self.dim, A.shape[1], "joint")
            if A.shape[1] == 0:
                raise InputError("all rows of both domains are alike: they span no subspace")
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
# which all powers are at hand. As for transfer components, A = B^(-1/2) U Φ^(-1/2) with the leading
# eigenpairs of B^(-1/2) (XᵀHX) B^(-1/2). ‖M‖_F² = Σ_cc' (m_c · m_c')².
def joint_components(
    X: np.ndarray, m: np.ndarray, k: int, regularisation: float, *, start: np.ndarray | None = None
) -> np.ndarray:
    """Find the projection of joint distribution adaptation (Long et al. 2013, eq. 8).

    Parameters
    ----------
    X : ndarray of float64, shape (n, d)
        Rows of both domains.
    m : ndarray of float64, shape (n, 1 + classes)
        Rows whose products with themselves, summed, are M; see
        `decaf.adapt.algebra.mean_discrepancy.mean_differences`.
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
    norm = float(np.linalg.norm(m.T @ m))
    return _joint_components(X, np.ones(len(X)), X.T @ m, norm, k, regularisation, start=start)


def _joint_components(
    X: np.ndarray | LinearOperator,
    everyone: np.ndarray,
    means: np.ndarray,
    norm: float,
    k: int,
    regularisation: float,
    *,
    start: np.ndarray | None,
) -> np.ndarray:
    """Find the projection for rows that may be turned among themselves, the vector of ones too.

    `means` are the products Xᵀm, `norm` is ‖M‖_F.
    """
    B = IdentityPlusColumns(means / np.sqrt(norm), regularisation)
    ones = everyone[:, None] / np.linalg.norm(everyone)

    def multiply(V: np.ndarray) -> np.ndarray:
        image = X @ B.power(V, -0.5)
        image -= ones @ (ones.T @ image)
        return B.power(X.T @ image, -0.5)

    if start is not None:
        start = np.hstack([B.power(start, 0.5), B.columns])
    values, U = leading_eigenpairs(multiply, X.shape[1], k, start=start)
    alive = values > _RANK_TOL * values[0] if values[0] > 0 else np.zeros(len(values), bool)
    values, U = values[alive], U[:, alive]
    components: np.ndarray = B.power(U, -0.5) / np.sqrt(values)
    return components

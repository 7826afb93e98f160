"""`MMDT`: a transform of target rows and the classifiers of both domains, optimised in turn.

Hoffman, Rodner, Donahue, Saenko, Darrell: "Efficient Learning of Domain-invariant Image
Representations", ICLR 2013. With source rows x_i, labelled target rows u_j, signs s_ik = 1 where
row i is of class k and -1 elsewhere, classifiers (θ_k, b_k) and an affine transform u ↦ u + V ũ of
the target, ũ = (u, 1), that is W = (I 0) + V:

    J(V, θ, b) = γ/2 ‖V‖²_F + ½ Σ_k (‖θ_k‖² + b_k²)
                 + C Σ_ik h(s_ik (θ_k·x_i + b_k)) + C τ Σ_jk h(s_jk (θ_k·(u_j + V ũ_j) + b_k)),

h(m) = max(0, 1 - m)². For fixed V it is a linear SVM on x_i and u_j + V ũ_j. For fixed θ it is
convex in V, and by the representer theorem V = Θᵀ M Ũ with M of shape (K, n_t): only the parts of V
between span θ and span ũ change a decision value. In orthonormal bases of the two, found from the
small Gram matrices,

    Θ Θᵀ = P diag(p) Pᵀ,  F_θ = P √p (K, r_θ),    Ũ Ũᵀ = Q diag(q) Qᵀ,  F_u = Q √q (n_t, r_u),
    V = (Θᵀ P p^-½) B (Ũᵀ Q q^-½)ᵀ,   ‖V‖² = ‖B‖²,   Θ V Ũᵀ = F_θ B F_uᵀ,

B of shape (r_θ, r_u) is all that is searched: no d × d matrix is made. Begun at the projection of
the V before, which has the same decision values and a norm no larger, the objective cannot rise.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.adapt.head import TrainedLinear, fit_head
from decaf.heads.input_checks import wrong_number
from decaf.heads.scaling import fit_scaling
from decaf.heads.solver import Problem, solve

__all__ = ["MMDT", "transform_objective"]


@dataclass(eq=False, repr=False, kw_only=True)
class MMDT(AdaptationEstimator):
    """Max-margin domain transforms (Hoffman et al., ICLR 2013).

    An affine transform of target rows into the source's space and one linear SVM a class for both,
    optimised in turn until the joint objective falls no more. Target rows without a label are not
    used. As in the authors' code (github.com/jhoffman/MaxMarginDomainTransforms), and unlike the
    paper's objective, the transform is drawn to the identity and not to zero, the loss is the
    squared hinge, and the first classifiers are learned from source and target rows together. That
    code differs from this in three ways: there the constant feature of a row is transformed as
    well, two turns are taken, and rows are reduced to 20 principal components before.

    Parameters
    ----------
    head : {"svm", "logreg", "1nn"}
        ``"svm"`` keeps the classifiers that the transform was learned with. The others are fitted
        to source rows and transformed target rows afterwards.
    C : float or "cv"
        C of the SVM, and of the logistic regression, for rows of a root mean square norm of 1.
        ``"cv"`` chooses it for each of the two by stratified cross-validation, for the SVM among
        source rows and labelled target rows before any transform.
    gamma : float
        Weight of ½‖W - I‖²: the larger, the nearer the transform stays to the identity.
    target_weight : float
        τ, by which C is multiplied for target rows.
    max_iter : int
        How often transform and classifiers are learned in turn, at most. The larger C, the more
        turns it takes: features of a network took up to 30 with C from 16 to 64.
    tol : float
        Ends when a turn lowers the objective by a smaller part than this.
    scale, random_state
        As in `decaf.adapt.AdaptationEstimator`.

    Attributes
    ----------
    head_ : TrainedLinear, LogisticRegression or NearestNeighbour
        The fitted head, for rows that `transform` returns.
    coef_ : ndarray of float64, shape (K, d)
        The decision as a linear function of scaled target rows; not there for ``head="1nn"``.
    intercept_ : ndarray of float64, shape (K,)
    C_ : float
        The head's C; for ``head="1nn"`` the SVM's.
    C_transform_ : float
        The C that the transform was learned with.
    objectives_ : ndarray of float64, shape (2 ``n_iter_`` + 1,)
        J after the first classifiers, then after each transform and each classifiers; it falls.
    n_iter_ : int
    converged_ : bool
        Whether `tol` was reached.
    classes_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> y = np.where(X[:, 0] > 0, "cat", "dog")  # in the target it is the other way round
    >>> adapted = MMDT(C=100.0).fit(X, y, -X[:20], y[:20])
    >>> bool(adapted.score(-X[20:], y[20:]) > 0.8)
    True
    """

    _needs: ClassVar[str] = "labels"

    gamma: float = 1.0
    target_weight: float = 1.0
    max_iter: int = 50
    tol: float = 1e-3

    def _wrong_settings(self) -> list[str]:
        return [
            *wrong_number("gamma", self.gamma),
            *wrong_number("target_weight", self.target_weight),
            *wrong_number("tol", self.tol),
            *wrong_number("max_iter", self.max_iter, whole=True),
        ]

    def _fit_scaled(self, domains: Domains) -> None:
        known = domains.labelled
        codes = np.concatenate([domains.ys, domains.yt[known]])
        rows = np.concatenate([domains.Xs, domains.Xt[known]]).astype(np.float64)
        self._size = fit_scaling("mean-norm", rows).factor
        rows *= self._size
        C: Any = self.C
        if C == "cv":
            names = self.classes_[codes]
            C = fit_head("svm", rows, names, C="cv", random_state=self.random_state).C_
        self.C_transform_ = float(C)
        self._learn(rows, codes, len(domains.Xs))
        if self.head == "svm":
            coef, intercept = self._svm
            self.head_ = TrainedLinear(self.classes_, coef, intercept, self.C_transform_)
        else:
            self._fit_head(self._moved_rows, codes)
        del self._moved_rows, self._svm
        if self.head == "1nn":
            self.C_ = self.C_transform_
            return
        self.C_ = self.head_.C_
        # θ·(u + V ũ) + b with V ũ = Φᵀ(M (Ũu·u + 1)), Φ the classifiers that the transform has.
        through = self.head_.coef_ @ self._span.T @ self._mix
        self.coef_ = (self.head_.coef_ + through @ self._anchors) * self._size
        self.intercept_ = self.head_.intercept_ + through.sum(axis=1)

    def _learn(self, rows: np.ndarray, codes: np.ndarray, n_source: int) -> None:
        """Learn transform and classifiers in turn from rows of a mean square norm of 1."""
        C, tau = self.C_transform_, self.target_weight
        weight = np.where(np.arange(len(rows)) < n_source, 1.0, tau)
        signs = _signs(codes, len(self.classes_))
        targets = rows[n_source:]
        gram = targets @ targets.T + 1
        f_target, target_basis = _root(gram)

        moved = rows.copy()
        coef, intercept = self._classifiers(moved, codes, weight)
        span, mix, penalty = coef, np.zeros((len(coef), len(targets))), 0.0
        objectives = [_svm_objective(moved, signs, C * weight, coef, intercept)]
        self.converged_ = False
        for _ in range(self.max_iter):
            f_theta, theta_basis = _root(coef @ coef.T)
            start = theta_basis.T @ (coef @ span.T) @ mix @ f_target
            fixed = targets @ coef.T + intercept
            B = _best_transform(
                start, f_theta, f_target, fixed, signs[n_source:], C * tau, self.gamma
            )
            span, mix = coef, theta_basis @ B @ target_basis.T
            moved[n_source:] = targets + gram @ mix.T @ span
            penalty = self.gamma / 2 * float(np.square(B).sum())
            objectives.append(penalty + _svm_objective(moved, signs, C * weight, coef, intercept))
            new = self._classifiers(moved, codes, weight)
            value = penalty + _svm_objective(moved, signs, C * weight, *new)
            # Where nothing is left to gain, the solver's tolerance may lie above what there was.
            if value < objectives[-1]:
                coef, intercept = new
            objectives.append(min(value, objectives[-1]))
            if objectives[-3] - objectives[-1] <= self.tol * objectives[-3]:
                self.converged_ = True
                break
        self.objectives_ = np.array(objectives)
        self.n_iter_ = len(objectives) // 2
        self._span, self._mix, self._anchors = span, mix, targets
        self._svm, self._moved_rows = (coef, intercept), moved

    def _classifiers(
        self, rows: np.ndarray, codes: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        problem = Problem(rows, codes, len(self.classes_), row_weight=weight)
        solution = solve(problem, "squared_hinge", self.C_transform_)
        if not solution.converged:
            warnings.warn(
                f"MMDT: its SVM did not converge at C = {self.C_transform_:g} (relative gap "
                f"{solution.gap:.1e}); use a smaller `C`",
                ConvergenceWarning,
                stacklevel=5,
            )
        return solution.coef, solution.intercept

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        rows = X * self._size
        if domain == "source":
            return rows
        moved: np.ndarray = rows + (rows @ self._anchors.T + 1) @ self._mix.T @ self._span
        return moved


def transform_objective(
    B: np.ndarray,
    f_theta: np.ndarray,
    f_target: np.ndarray,
    fixed: np.ndarray,
    signs: np.ndarray,
    C: float,
    gamma: float,
) -> tuple[float, np.ndarray]:
    """Return the objective of the map for fixed classifiers: γ/2 ‖B‖² + C Σ h with its gradient.

    Parameters
    ----------
    B : ndarray of float64, shape (r_θ, r_u)
        The transform in orthonormal bases of the classifiers' span and of the target rows'.
    f_theta : ndarray of float64, shape (K, r_θ)
    f_target : ndarray of float64, shape (n_t, r_u)
    fixed : ndarray of float64, shape (n_t, K)
        Decision values without the transform.
    signs : ndarray of float64, shape (n_t, K)
        1 where a row is of a class, -1 elsewhere.
    C, gamma : float

    Returns
    -------
    value : float
    gradient : ndarray of float64, shape (r_θ, r_u)
    """
    # D = D_0 + F_u Bᵀ F_θᵀ, so that dD_jk / dB_ab = F_u[j, b] F_θ[k, a].
    short = np.maximum(0, 1 - signs * (fixed + f_target @ B.T @ f_theta.T))
    slope = -2 * C * signs * short
    value = gamma / 2 * float(np.square(B).sum()) + C * float(np.square(short).sum())
    return value, gamma * B + f_theta.T @ slope.T @ f_target


def _best_transform(start: np.ndarray, *parts: Any) -> np.ndarray:
    def flat(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = transform_objective(x.reshape(start.shape), *parts)
        return value, gradient.ravel()

    # Every step that L-BFGS takes lowers the objective, so that its end is never above its start.
    options = {"maxiter": 1000, "maxfun": 2000, "ftol": 1e-9, "gtol": 1e-8}
    minimum = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    best: np.ndarray = minimum.x.reshape(start.shape)
    return best


def _svm_objective(
    rows: np.ndarray, signs: np.ndarray, weight: np.ndarray, coef: np.ndarray, intercept: np.ndarray
) -> float:
    short = np.maximum(0, 1 - signs * (rows @ coef.T + intercept))
    norm = float(np.square(coef).sum() + np.square(intercept).sum())
    return norm / 2 + float(weight @ np.square(short).sum(axis=1))


def _signs(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return 1 where a row is of a class and -1 elsewhere; of two classes the second's alone."""
    signs = np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)
    return signs[:, 1:] if n_classes == 2 else signs


def _root(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Q √q and Q q^-½ of a Gram matrix Q diag(q) Qᵀ, without the eigenvalues that are 0."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 10 * len(gram) * np.finfo(np.float64).eps * values[-1]
    root = np.sqrt(values[kept])
    return vectors[:, kept] * root, vectors[:, kept] / root

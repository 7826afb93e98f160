"""Optimal transport: source rows carried to where the target's mass lies."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from decaf.adapt.algebra.fit_cache import recalled
from decaf.adapt.algebra.sinkhorn import class_regularised_plan
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import is_number, wrong_number

__all__ = ["OptimalTransport", "squared_distances"]

# What a row of one class pays for going to a labelled row of another, in the largest costs.
_FORBIDDEN = 10.0


@dataclass(eq=False, repr=False, kw_only=True)
class OptimalTransport(AdaptationEstimator):
    """Regularised optimal transport (Courty, Flamary, Tuia and Rakotomamonjy 2017).

    The mass of the source rows, 1/n_s each, is carried to the target rows, 1/n_t each. The plan γ
    minimises (eq. 14 and 16)

        <γ, C> + ε Σ_ij γ_ij (log γ_ij - 1) + η Σ_j Σ_c ‖γ(I_c, j)‖₂

    over all plans with these masses, where C_ij = ‖x_i - y_j‖² are squared Euclidean distances,
    divided by their median, and I_c are the source rows of class c: the last term has each target
    row receive from few classes. Each source row goes to the mean of what it is carried to
    (eq. 10),

        x_i ← Σ_j γ_ij y_j / Σ_j γ_ij,

    and the head is trained there. Target rows stay as they are. Labelled target rows are forbidden
    to source rows of other classes, by a high cost (sec. 5.3 of the paper).

    Parameters
    ----------
    epsilon : float
        ε, the weight of the entropy, in units of the median cost.
    eta : float
        η, the weight of the classes, in the same units; 0 for plain entropic transport.
    max_iter : int
        Iterations of each solution of Sinkhorn's problem.
    tol : float
        Mass, of 1 in all, by which the sums of the plan may miss those of the rows.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`.

    Attributes
    ----------
    plan_ : ndarray of float64, shape (n_s, n_t)
        γ.
    error_ : float
        By how much its sums miss the masses.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Warns
    -----
    ConvergenceWarning
        If the plan misses its masses by more than `tol`.

    Notes
    -----
    Solved by the generalised conditional gradient around a stabilised Sinkhorn iteration, see
    `decaf.adapt.algebra.sinkhorn`. Source rows that were not in `fit` are carried along with the
    nearest one that was (Ferradans et al. 2014).

    References
    ----------
    Nicolas Courty, Rémi Flamary, Devis Tuia, Alain Rakotomamonjy: Optimal Transport for Domain
    Adaptation. IEEE Transactions on Pattern Analysis and Machine Intelligence 39 (9), 2017.
    """

    epsilon: float = 0.05
    eta: float = 0.1
    max_iter: int = 1000
    tol: float = 1e-4
    scale: str = "unit-norm"

    def _wrong_settings(self) -> list[str]:
        wrong = [*wrong_number("epsilon", self.epsilon), *wrong_number("tol", self.tol)]
        if not (is_number(self.eta) and self.eta >= 0):
            wrong.append(f"`eta` must be a number from 0, got {self.eta!r}")
        return [*wrong, *wrong_number("max_iter", self.max_iter, whole=True)]

    def _adapt(self, domains: Domains) -> None:
        Xs, Xt = domains.Xs, domains.Xt
        cost = recalled(
            domains.memory, "squared distances", lambda: squared_distances(Xs, Xt), Xs, Xt
        ).copy()
        middle = float(np.median(cost))
        cost /= middle if middle > 0 else max(float(cost.max()), 1e-300)
        if domains.labelled.any():
            others = domains.labelled & (domains.ys[:, None] != domains.yt)
            cost[others] = _FORBIDDEN * max(float(cost.max()), 1.0)
        a, b = np.full(len(Xs), 1 / len(Xs)), np.full(len(Xt), 1 / len(Xt))
        transport = class_regularised_plan(
            cost,
            a,
            b,
            float(self.epsilon),
            float(self.eta),
            domains.ys,
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )
        if not transport.converged:
            warnings.warn(
                f"OptimalTransport: Sinkhorn's iteration stopped after max_iter = {self.max_iter} "
                f"iterations; the plan misses its masses by {transport.error:.1e} in all. Raise "
                "`max_iter` or `epsilon`",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.plan_, self.error_ = transport.plan, transport.error
        shares = transport.plan / transport.plan.sum(axis=1, keepdims=True)
        self._source, self._carried = Xs, (shares @ Xt).astype(Xs.dtype)

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        if domain == "target":
            return X
        if np.array_equal(X, self._source):
            carried: np.ndarray = self._carried
            return carried
        nearest = squared_distances(X, self._source).argmin(axis=1)
        carried = X + (self._carried - self._source)[nearest]
        return carried


def squared_distances(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances between rows, in float64, shape (n, m).

    Parameters
    ----------
    X : ndarray, shape (n, d)
    Y : ndarray, shape (m, d)
    """
    origin = Y.mean(axis=0, dtype=np.float64)  # distances from there lose fewer digits
    A, B = X - origin, Y - origin
    squares = np.square(A).sum(axis=1)[:, None] + np.square(B).sum(axis=1)
    squares -= 2 * A @ B.T
    distances: np.ndarray = np.maximum(squares, 0)
    return distances

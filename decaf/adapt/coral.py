"""Correlation alignment: source rows given the covariance of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from decaf.adapt.algebra.fit_cache import Memory
from decaf.adapt.algebra.principal import Subspace, principal_subspace
from decaf.adapt.algebra.target_axes import complete_subspace
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import wrong_number

__all__ = ["CORAL", "CovarianceRoot"]

# Up to so many rows (or features) a covariance is decomposed completely, in a second or two.
_DENSE = 1024
_DEFLATED = 96
_TOL = 1e-6


@dataclass(eq=False, repr=False, kw_only=True)
class CORAL(AdaptationEstimator):
    """Correlation alignment (Sun, Feng and Saenko 2016).

    Source rows are whitened and coloured again by the covariance of the target (algorithm 1),

        A = C_S^(-1/2) C_T^(1/2),    C_S = cov(X_S) + λI,    C_T = cov(X_T) + λI,

    where the first factor makes the source's covariance the identity, and the second makes that the
    target's. Here a source row x becomes m_T + (x - m_S) A with the means m_S and m_T, which are 0
    in the paper, where each domain is brought to mean 0 and variance 1. Target rows stay as they
    are.

    Parameters
    ----------
    ridge : float
        λ, in units of the mean variance of the features in both domains. For features of variance
        1 it is the paper's, which takes λ = 1.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`; ``scale="standard"`` is the paper's.

    Attributes
    ----------
    ridge_ : float
        λ as it was added to the covariances.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Notes
    -----
    Covariances are over n, not n - 1, so that rows that come twice change nothing. No matrix of
    d × d is made: off the span of the rows a covariance is λI. See `CovarianceRoot`.

    References
    ----------
    Baochen Sun, Jiashi Feng, Kate Saenko: Return of Frustratingly Easy Domain Adaptation. AAAI
    2016.
    """

    ridge: float = 1.0
    scale: str = "standard"

    def _wrong_settings(self) -> list[str]:
        return wrong_number("ridge", self.ridge)

    def _adapt(self, domains: Domains) -> None:
        Xs, Xt, memory = domains.Xs, domains.Xt, domains.memory
        variances = [float(np.var(X, axis=0, dtype=np.float64).mean()) for X in (Xs, Xt)]
        mean_variance = sum(variances) / 2
        self.ridge_ = float(self.ridge) * (mean_variance if mean_variance > 0 else 1.0)
        self._source_root = CovarianceRoot(Xs, self.ridge_, dense=True, memory=memory)
        dense = len(Xs) > len(Xt) // 4
        self._target_root = CovarianceRoot(Xt, self.ridge_, dense=dense, memory=memory)

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        if domain == "target":
            return X
        source, target = self._source_root, self._target_root
        rows = target.colour(source.whiten(X - source.mean)) + target.mean
        coloured: np.ndarray = rows.astype(X.dtype)
        return coloured


# With the eigenpairs (s_i, v_i), i = 1 … r, of a covariance of rank r, and V of columns v_i,
#
#     (cov + λI)^p = λ^p I + V diag((s_i + λ)^p - λ^p) Vᵀ,
#
# so that V, found from the smaller side of the rows, is all that is needed.
#
# Where both sides are large and few rows are to be coloured, the complete decomposition is
# replaced by the first pairs, exactly, and a polynomial on the rest, whose spectrum lies in
# [0, s_k]: with x = 2s/s_k - 1 the Chebyshev series of √(s + λ) converges like ρ^-j with
# ρ = (√κ + 1)/(√κ - 1), κ = 1 + s_k/λ (Trefethen, Approximation Theory and Approximation Practice,
# ch. 8). Its terms are products of the rows with the covariance, T_(j+1) = 2B T_j - T_(j-1) with
# B = 2 cov/s_k - I; what rounding brings back of the first pairs is taken out at each step, for
# outside of the interval the polynomials explode.
class CovarianceRoot:
    """The square root of ``cov(X) + ridge I``, and its inverse, applied to rows.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, d)
    ridge : float
        Above 0.
    dense : bool
        Decompose the covariance completely, also a large one. Otherwise a large one is decomposed
        as far as it takes to apply the root to few rows, to 1e-6 relative; `whiten` needs the
        complete one.
    memory : Memory, optional
        Remembers the complete decomposition, which is then made whatever the size.
    """

    def __init__(
        self, X: np.ndarray, ridge: float, *, dense: bool, memory: Memory | None = None
    ) -> None:
        small = min(X.shape)
        self.ridge = ridge
        self.complete = dense or small <= _DENSE or memory is not None
        self._subspace: Subspace = (
            complete_subspace(X, memory) if self.complete else principal_subspace(X, _DEFLATED)
        )
        self._X = None if self.complete else X

    @property
    def mean(self) -> np.ndarray:
        """Mean of the rows, shape (d,)."""
        return self._subspace.mean

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows (cov + ridge I)^(-1/2)``, shape (m, d).

        Parameters
        ----------
        rows : ndarray, shape (m, d)
        """
        assert self.complete
        return self._power(rows, -0.5)

    def colour(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows (cov + ridge I)^(1/2)``, shape (m, d).

        Parameters
        ----------
        rows : ndarray, shape (m, d)
        """
        if self._X is None:
            return self._power(rows, 0.5)
        V, s = self._subspace.basis, self._subspace.variances
        inside = rows @ V
        main = (inside * np.sqrt(s + self.ridge)) @ V.T
        top = float(s[-1]) * (1 + 1e-9)
        rest = rows - inside @ V.T
        terms = _root_series(top, self.ridge)
        before, now = rest, self._step(rest, top)
        total = terms[0] * before + terms[1] * now
        for term in terms[2:]:
            before, now = now, 2 * self._step(now, top) - before
            total += term * now
        coloured: np.ndarray = main + total
        return coloured

    def _power(self, rows: np.ndarray, power: float) -> np.ndarray:
        V, s = self._subspace.basis, self._subspace.variances
        base = self.ridge**power
        product: np.ndarray = base * rows + ((rows @ V) * ((s + self.ridge) ** power - base)) @ V.T
        return product

    def _step(self, rows: np.ndarray, top: float) -> np.ndarray:
        """Return rows B, less what lies in the leading subspace."""
        assert self._X is not None
        X, V, mean = self._X, self._subspace.basis, self._subspace.mean
        # rows cov = rows (XᵀX/n - m mᵀ), m being the mean.
        image: np.ndarray = (rows @ X.T) @ X / len(X) - np.outer(rows @ mean, mean)
        image *= 2 / top
        image -= rows
        image -= (image @ V) @ V.T
        return image


def _root_series(top: float, ridge: float) -> np.ndarray:
    """Return the Chebyshev series of √(s + ridge) on [0, top] to `_TOL` of √ridge."""
    degree = 8
    while True:
        terms: np.ndarray = chebyshev.chebinterpolate(
            lambda x: np.sqrt(top * (x + 1) / 2 + ridge), degree
        )
        small = np.abs(terms) < _TOL * np.sqrt(ridge)
        if small[-2:].all() or degree >= 512:
            last = int(np.flatnonzero(~small)[-1])
            kept: np.ndarray = terms[: max(2, last + 1)]
            return kept
        degree *= 2

"""Subspace alignment: the source's principal components turned onto the target's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decaf.adapt.algebra.subspaces import domain_subspaces
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import wrong_number

__all__ = ["SubspaceAlignment"]


@dataclass(eq=False, repr=False, kw_only=True)
class SubspaceAlignment(AdaptationEstimator):
    """Subspace alignment (Fernando, Habrard, Sebban and Tuytelaars 2013).

    X_S and X_T, of shape (d, k), are the first principal components of the source and of the target
    rows. The matrix M that brings X_S M nearest to X_T has a closed form (eq. 2 and 3),

        M = argmin ‖X_S M - X_T‖²_F = X_Sᵀ X_T.

    Source rows are represented by the aligned components, y X_S M, target rows by their own, y X_T
    (algorithm 1), and the head stands on these.

    Parameters
    ----------
    dim : int or "auto"
        Number of components k. ``"auto"`` chooses it without labels by the subspace disagreement
        measure of Gong et al. (see `decaf.adapt.GFK`); the paper cross-validates it
        on source rows below a bound on the stability of the components.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`; ``scale="standard"`` is the paper's.

    Attributes
    ----------
    dim_ : int
        The k used.
    components_ : dict of str to ndarray of float64, shape (d, k)
        Factors of the rows of the ``"source"`` (X_S M) and of the ``"target"`` (X_T).
    alignment_ : ndarray of float64, shape (k, k)
        M.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    References
    ----------
    Basura Fernando, Amaury Habrard, Marc Sebban, Tinne Tuytelaars: Unsupervised Visual Domain
    Adaptation Using Subspace Alignment. ICCV 2013.
    """

    dim: int | str = "auto"
    scale: str = "standard"

    def _wrong_settings(self) -> list[str]:
        return wrong_number("dim", self.dim, whole=True, other="auto")

    def _adapt(self, domains: Domains) -> None:
        source, target = domain_subspaces(domains.Xs, domains.Xt, self.dim, memory=domains.memory)
        self.dim_ = source.dim
        self.alignment_ = source.basis.T @ target.basis
        self.components_ = {"source": source.basis @ self.alignment_, "target": target.basis}

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        return self._projected(X, self.components_[domain])

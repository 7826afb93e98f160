"""Representations along mixtures of the two domains, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decaf.adapt.algebra.fit_cache import recalled
from decaf.adapt.algebra.principal import Subspace, principal_subspace
from decaf.adapt.algebra.subspaces import domain_subspaces
from decaf.adapt.algebra.target_axes import DomainAxes
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import wrong_choice, wrong_number

__all__ = ["DLID", "ENCODERS"]

ENCODERS = ("tanh", "linear")


@dataclass(eq=False, repr=False, kw_only=True)
class DLID(AdaptationEstimator):
    """Interpolation between domains, after DLID (Chopra, Balakrishnan and Gopalan 2013).

    The idea of the paper: between the source and the target lie data sets with a share p of target
    rows, p = 0 … 1. A representation is learned from each of them, without labels, and a row is
    represented by all of them side by side,

        z(x) = [z_0(x), …, z_1(x)],

    on which the head is trained (sec. 3). Rows of both domains are represented alike.

    **This is not the authors' program, which was never released, and the representation is not
    theirs.** What differs:

    - They train on each data set a deep network by predictive sparse decomposition, a sparse coding
      with an encoder g·tanh(Wx + b). Here W has the principal components of the data set as its
      rows, each divided by the standard deviation along it: z_p(x) = tanh(W_p(x - m_p)), of one
      layer.
    - They begin with pixels, and report one number with features learned on images (58.85 % from
      amazon to webcam of Office). Here x is a row of features of a network, as for the other
      methods.
    - They replace source rows by target rows at random, p by p. Here the mixture has the mean and
      the covariance that such draws have in expectation, so that there is nothing random: each
      source row has the weight (1 - p)/n_s, each target row p/n_t.

    Numbers of the two are not to be compared as numbers of one method.

    Parameters
    ----------
    dim : int or "auto"
        Number of components of each mixture, at most the smaller rank of the two domains.
        ``"auto"`` chooses it without labels by the subspace disagreement measure of Gong et al.
        (see `decaf.adapt.GFK`).
    mixtures : int
        Number of data sets, p = 0 and p = 1 among them.
    encoder : {"tanh", "linear"}
        ``"linear"`` takes the components as they are, neither divided nor bent.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`.

    Attributes
    ----------
    dim_ : int
        Components of each mixture.
    shares_ : ndarray of float64, shape (mixtures,)
        p, the share of the target in each.
    subspaces_ : list of Subspace
        Principal subspace of each mixture.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    References
    ----------
    Sumit Chopra, Suhrid Balakrishnan, Raghuraman Gopalan: DLID: Deep Learning for Domain Adaptation
    by Interpolating between Domains. ICML Workshop on Challenges in Representation Learning, 2013.
    """

    dim: int | str = "auto"
    mixtures: int = 6
    encoder: str = "tanh"
    scale: str = "standard"

    def _wrong_settings(self) -> list[str]:
        return [
            *wrong_number("dim", self.dim, whole=True, other="auto"),
            *wrong_number("mixtures", self.mixtures, whole=True, above=1),
            *wrong_choice("encoder", self.encoder, ENCODERS),
        ]

    def _adapt(self, domains: Domains) -> None:
        Xs, Xt = domains.Xs, domains.Xt
        source, target = domain_subspaces(Xs, Xt, self.dim, memory=domains.memory)
        self.dim_ = source.dim
        self.shares_ = np.linspace(0, 1, self.mixtures)
        between = recalled(
            domains.memory,
            "mixtures",
            lambda: self._between(domains, source, target),
            Xs,
            Xt,
            self.dim_,
            self.mixtures,
        )
        self.subspaces_: list[Subspace] = [source, *between, target]

    def _between(self, domains: Domains, source: Subspace, target: Subspace) -> list[Subspace]:
        """Find the subspaces of the mixtures that are neither source nor target alone."""
        Xs, Xt = domains.Xs, domains.Xt
        shares, axes = self.shares_[1:-1].tolist(), DomainAxes.of(Xs, Xt, domains.memory)
        if axes is not None:
            return [axes.mixture(share, self.dim_) for share in shares]
        both = np.concatenate([Xs, Xt])
        # A mixture's covariance is (1-p) C_S + p C_T + p(1-p) (m_S - m_T)(m_S - m_T)ᵀ: of it the
        # ends are known, and what is between begins from them.
        ends = np.hstack([source.basis, target.basis, (target.mean - source.mean)[:, None]])
        subspaces = []
        for share in shares:
            weights = np.repeat([(1 - share) / len(Xs), share / len(Xt)], [len(Xs), len(Xt)])
            subspaces.append(principal_subspace(both, self.dim_, weights=weights, start=ends))
        return subspaces

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        means, bases, variances = zip(
            *((each.mean, each.basis, each.variances) for each in self.subspaces_), strict=True
        )
        # (x - m)ᵀP = xᵀP - mᵀP, without a copy of the rows.
        offsets = [mean @ basis for mean, basis in zip(means, bases, strict=True)]
        rows: np.ndarray = self._projected(X, np.hstack(bases)) - np.concatenate(offsets)
        if self.encoder == "tanh":
            rows = np.tanh(rows / np.sqrt(np.concatenate(variances)))
        return rows

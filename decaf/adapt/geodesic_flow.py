"""The geodesic flow kernel: all subspaces on the way from the source's to the target's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decaf.adapt.algebra.subspaces import domain_subspaces, principal_angles
from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.heads.input_checks import wrong_number

__all__ = ["GFK", "flow_factor"]


@dataclass(eq=False, repr=False, kw_only=True)
class GFK(AdaptationEstimator):
    """Geodesic flow kernel (Gong, Shi, Sha and Grauman 2012).

    P_S and P_T are the first k principal components of the source and of the target rows. Between
    their spans lies a geodesic Φ(t) of the Grassmann manifold, Φ(0) = P_S and Φ(1) = P_T (eq. 2).
    Rows are compared by all their projections on the way (eq. 4 and 5),

        k(x, y) = ∫₀¹ (Φ(t)ᵀx)ᵀ (Φ(t)ᵀy) dt = xᵀ G y,

    with G in closed form (eq. 6), computed as a factor, G = F Fᵀ with F of shape (d, 2k). The head
    stands on the rows x F: the nearest neighbour in the metric G, as in the paper, or a linear SVM
    with the kernel G. G keeps the paper's ½ (one equation of it lost it), so that equal subspaces
    give the projection on them.

    Parameters
    ----------
    dim : int or "auto"
        Dimension k of the subspaces. ``"auto"`` chooses it without labels by the subspace
        disagreement measure (sec. 3.4), not above half the number of features, where the paper
        stops.
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`; ``scale="standard"`` is the paper's.

    Attributes
    ----------
    dim_ : int
        The k used.
    angles_ : ndarray of float64, shape (k,)
        Principal angles between the subspaces, in radians, ascending.
    factor_ : ndarray of float64, shape (d, 2k)
        F.
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    References
    ----------
    Boqing Gong, Yuan Shi, Fei Sha, Kristen Grauman: Geodesic Flow Kernel for Unsupervised Domain
    Adaptation. CVPR 2012.
    """

    dim: int | str = "auto"
    scale: str = "standard"

    def _wrong_settings(self) -> list[str]:
        return wrong_number("dim", self.dim, whole=True, other="auto")

    def _adapt(self, domains: Domains) -> None:
        most = max(1, domains.n_features // 2)
        source, target = domain_subspaces(
            domains.Xs, domains.Xt, self.dim, most=most, memory=domains.memory
        )
        self.dim_ = source.dim
        self.factor_, self.angles_ = flow_factor(source.basis, target.basis)

    def _represent(self, X: np.ndarray, domain: str) -> np.ndarray:
        return self._projected(X, self.factor_)


# The closed form, without a complement of P_S and without dividing by a sine that may be zero.
#
# Let a_i, b_i be the principal vectors of the two spans, with angle θ_i: a_i = P_S U1, b_i = P_T V
# in the paper's symbols. The planes of the pairs are orthogonal to one another, and in plane i the
# geodesic turns one direction, Φ_i(t), from a_i to b_i by the angle tθ_i (eq. 2). So
#
#     G = Σ_i ∫₀¹ Φ_i(t) Φ_i(t)ᵀ dt.
#
# Let m_i halve the angle and n_i be normal to it in the plane,
#
#     m_i = (a_i + b_i) / (2 cos θ_i/2),    n_i = (b_i - a_i) / (2 sin θ_i/2),
#
# so that Φ_i(t) = m_i cos φ + n_i sin φ with φ = (t - ½) θ_i. The mixed term is odd in φ and
# vanishes; the mean of cos² φ over |φ| ≤ θ_i/2 is ½ (1 + sin θ_i / θ_i), that of sin² φ is
# ½ (1 - sin θ_i / θ_i). Hence
#
#     G = Σ_i ½ (1 + sin θ_i / θ_i) m_i m_iᵀ + ½ (1 - sin θ_i / θ_i) n_i n_iᵀ,
#
# which is eq. 6 with Λ1, Λ2, Λ3 diagonalised in each plane, and plainly symmetric in the domains.
# For θ → 0 the second term tends to (θ²/12) n_i n_iᵀ = (b_i - a_i)(b_i - a_i)ᵀ / 12.
def flow_factor(P_s: np.ndarray, P_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor of the geodesic flow kernel between two subspaces.

    Parameters
    ----------
    P_s, P_t : ndarray of float64, shape (d, k)
        Orthonormal columns.

    Returns
    -------
    factor : ndarray of float64, shape (d, 2k)
        F with G = F Fᵀ (Gong et al. 2012, eq. 6).
    angles : ndarray of float64, shape (k,)
        Principal angles in radians, ascending.
    """
    angles, a, b = principal_angles(P_s, P_t)
    squares = angles**2
    # (1 - sin θ / θ) / θ² and (2 sin(θ/2) / θ)², where it is small by their Taylor series: the
    # difference would lose its digits.
    small = angles < 1e-2
    safe = np.where(small, 1.0, angles)
    short = np.where(small, 1 / 6 - squares / 120, (1 - np.sin(safe) / safe) / safe**2)
    chord = np.where(small, 1 - squares / 12, (2 * np.sin(safe / 2) / safe) ** 2)
    along = np.sqrt(1 - short * squares / 2) / (2 * np.cos(angles / 2))
    across = np.sqrt(short / (2 * chord))
    return np.hstack([(a + b) * along, (b - a) * across]), angles

"""Domain adaptation on features: classifiers for a target domain, learned mostly from a source.

Every method is a classifier with ``fit(Xs, ys, Xt, yt)`` and ``predict(X)`` for target rows; see
`decaf.adapt.estimator.AdaptationEstimator`. Each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.adapt.baselines import SourceAndTarget, SourceOnly, TargetOnly
    from decaf.adapt.coral import CORAL
    from decaf.adapt.dlid import DLID
    from decaf.adapt.domains import Domains, check_domains
    from decaf.adapt.estimator import AdaptationEstimator
    from decaf.adapt.feature_augmentation import FeatureAugmentation
    from decaf.adapt.geodesic_flow import GFK
    from decaf.adapt.joint_distribution import JDA
    from decaf.adapt.mmdt import MMDT
    from decaf.adapt.optimal_transport import OptimalTransport
    from decaf.adapt.subspace_alignment import SubspaceAlignment
    from decaf.adapt.transfer_components import TCA

__all__ = [
    "CORAL",
    "DLID",
    "GFK",
    "JDA",
    "MMDT",
    "TCA",
    "AdaptationEstimator",
    "Domains",
    "FeatureAugmentation",
    "OptimalTransport",
    "SourceAndTarget",
    "SourceOnly",
    "SubspaceAlignment",
    "TargetOnly",
    "check_domains",
]

__getattr__, __dir__ = lazy_names(__name__)

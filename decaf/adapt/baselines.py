"""Baselines of adaptation: one head on the source, on the target, or on both."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from decaf.adapt.domains import Domains
from decaf.adapt.estimator import AdaptationEstimator
from decaf.errors import InputError
from decaf.heads.scaling import Scaling, fit_scaling

__all__ = ["SourceAndTarget", "SourceOnly", "TargetOnly"]


class _Baseline(AdaptationEstimator):
    """One head, one scaling, learned from the same labelled rows; nothing is adapted."""

    def _fit_scalings(self, domains: Domains) -> tuple[Scaling, Scaling]:
        rows = self._training_rows(domains)[0] if self.scale == "standard" else domains.Xs
        scaling = fit_scaling(self.scale, rows)
        return scaling, scaling


class SourceOnly(_Baseline):
    """A head learned from the source rows alone ("S" in Donahue et al. 2014, table 1).

    The target rows given to `fit` are not looked at.

    Parameters
    ----------
    head, C, scale, random_state
        As in `decaf.adapt.AdaptationEstimator`, but ``scale="standard"`` goes by the moments of the
        rows that the head learns from.

    Attributes
    ----------
    classes_, head_, C_, scalings_, n_features_in_
        As of `decaf.adapt.AdaptationEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> Xs = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    >>> SourceOnly(head="1nn").fit(Xs, ["cat", "cat", "dog", "dog"]).predict(Xs[1:3]).tolist()
    ['cat', 'dog']
    """

    _needs: ClassVar[str] = "nothing"

    def _training_rows(self, domains: Domains) -> tuple[np.ndarray, np.ndarray]:
        return domains.Xs, domains.ys


class TargetOnly(_Baseline):
    """A head learned from the labelled target rows alone ("T" in Donahue et al. 2014, table 1).

    The source only says which classes there are: each needs a labelled target row.

    Parameters and attributes are those of `SourceOnly`.
    """

    _needs: ClassVar[str] = "labels"

    def _training_rows(self, domains: Domains) -> tuple[np.ndarray, np.ndarray]:
        known = domains.labelled
        codes = domains.yt[known]
        missing = np.setdiff1d(np.arange(domains.n_classes), codes)
        if missing.size:
            names = ", ".join(f"{name!s:.60}" for name in domains.classes[missing[:10]].tolist())
            raise InputError(
                f"the target domain has no labelled row of {len(missing)} of the "
                f"{domains.n_classes} classes: {names}{', …' if len(missing) > 10 else ''}; "
                "TargetOnly learns from them alone"
            )
        return domains.Xt[known], codes


class SourceAndTarget(_Baseline):
    """A head learned from source rows and labelled target rows together ("ST" in that table).

    Parameters and attributes are those of `SourceOnly`.
    """

    _needs: ClassVar[str] = "labels"

"""Images that are far from all others, or of an odd size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.exploration.maps import LayerMap
from decaf.features.store.feature_file import FeatureFile

__all__ = ["Outlier", "find_outliers"]

# A modified z-score beyond this is an outlier: Iglewicz and Hoaglin, "How to detect and handle
# outliers" (1993), section 3; 0.6745 makes it one of standard deviations.
_BEYOND = 3.5
_SCALE = 0.6745
# Sides in pixels, and ratios of the sides, that are worth a look.
_SMALL = 48
_LONG = 4.0
_MOST = 48


@dataclass(frozen=True)
class Outlier:
    """An image that is unlike the others.

    Attributes
    ----------
    row : int
    reason : str
        In words.
    """

    row: int
    reason: str


def find_outliers(features: FeatureFile, layer_map: LayerMap) -> list[Outlier]:
    """Find images that are unlike the others, by their features or their size.

    An image is far from all others where the mean cosine with its nearest neighbours lies 3.5
    modified standard deviations below the median of all (Ramaswamy et al. 2000 for the distance,
    Iglewicz and Hoaglin 1993 for the bound).

    Parameters
    ----------
    features : FeatureFile
    layer_map : LayerMap
        Whose neighbours are looked at.

    Returns
    -------
    list of Outlier
        At most 48: the farthest first, then those of odd sizes.
    """
    found = [*_far(layer_map), *_odd_sizes(features.source_size, layer_map.rows)]
    reasons: dict[int, str] = {}
    for each in found:
        reasons[each.row] = "; ".join(filter(None, [reasons.get(each.row), each.reason]))
    return [Outlier(row, reason) for row, reason in reasons.items()][:_MOST]


def _far(layer_map: LayerMap) -> list[Outlier]:
    if layer_map.cosines.shape[1] == 0:
        return []
    nearness = layer_map.cosines.mean(axis=1)
    known = np.isfinite(nearness)
    if known.sum() < 10:
        return []
    middle = float(np.median(nearness[known]))
    spread = float(np.median(np.abs(nearness[known] - middle)))
    if spread == 0:
        return []
    score = np.where(known, _SCALE * (middle - nearness) / spread, -np.inf)
    order = np.argsort(-score, kind="stable")
    return [
        Outlier(
            int(layer_map.rows[place]),
            f"far from all others: cosine {nearness[place]:.2f} with its nearest in "
            f"{layer_map.layer}, {middle:.2f} is usual",
        )
        for place in order[score[order] > _BEYOND].tolist()
    ]


def _odd_sizes(sizes: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]) -> list[Outlier]:
    of_rows = sizes[rows].astype(np.float64)
    least, greatest = of_rows.min(axis=1), of_rows.max(axis=1)
    known = least > 0
    ratio = np.where(known, greatest / np.maximum(least, 1), 0)
    usual = float(np.median(least[known])) if known.any() else 0.0
    found = []
    for place in np.flatnonzero(known & ((ratio > _LONG) | (least < _SMALL))).tolist():
        width, height = map(int, sizes[rows[place]])
        if ratio[place] > _LONG:
            found.append(Outlier(int(rows[place]), f"long and narrow: {width} × {height} pixels"))
        elif usual >= 2 * least[place]:  # where all are small, none is an outlier
            found.append(Outlier(int(rows[place]), f"small: {width} × {height} pixels"))
    return found

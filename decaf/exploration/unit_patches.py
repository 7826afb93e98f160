"""The patches that excite units most, of the rows of a feature file, without the network's pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from decaf.exploration.cut_patches import cut_patches
from decaf.exploration.page import picture_uri
from decaf.exploration.top_patches import TopPatches, field_boxes
from decaf.features.recorded_run import recorded_backbone
from decaf.features.store.feature_file import FeatureFile
from decaf.runtime.settings import ComputeSettings

__all__ = ["MOST_UNITS", "unit_patches"]

MOST_UNITS = 300
"""Of more units a page would grow too large."""

_HEIGHT = 80


def unit_patches(
    features: FeatureFile,
    layer: str,
    examples: Mapping[int, Sequence[int]],
    *,
    compute: ComputeSettings,
) -> dict[int, tuple[str, ...]]:
    """Cut out what the strongest place of a unit's map sees, in each of some images.

    Parameters
    ----------
    features : FeatureFile
        Of the centre crop; `layer` is one of its maps.
    layer : str
    examples : mapping of int to sequence of int
        For each unit rows of the file.
    compute : ComputeSettings
        Its workers and stop are used.

    Returns
    -------
    dict of int to tuple of str
        For each unit a ``data:`` address for each of its rows.

    Raises
    ------
    WeightsError
        If the network's weights, which tell what a place sees, are not there.
    ImageError, InputError
        If an image is not there any more, or has changed.
    """
    units = sorted(examples)
    most = max(map(len, examples.values()), default=0)
    rows = np.full((len(units), most), -1, np.int64)
    positions = np.zeros((len(units), most, 2), np.int32)
    activations = np.full((len(units), most), np.nan, np.float32)
    view = features[layer]
    for place, unit in enumerate(units):
        for rank, row in enumerate(examples[unit]):
            values = view[row][unit]
            rows[place, rank] = row
            positions[place, rank] = np.unravel_index(int(values.argmax()), values.shape)
            activations[place, rank] = values.max()
    backbone = recorded_backbone(features)
    found = TopPatches(
        layer=layer,
        units=np.array(units, np.int64),
        activations=activations,
        rows=rows,
        positions=positions,
        boxes=field_boxes(backbone, layer, positions),
        unit_names=("",) * len(units),
        images=features.images(),
        content_sha256=features.content_sha256,
        bad=(),
        preprocess=backbone.preprocess,
        weights={"name": backbone.weights_name, "sha256": backbone.sha256},
    )
    quiet = ComputeSettings(workers=compute.workers, progress=False, stop=compute.stop)
    return {
        unit: tuple(picture_uri(patch.pixels, height=_HEIGHT) for patch in patches)
        for unit, patches in zip(units, cut_patches(found, compute=quiet), strict=True)
    }

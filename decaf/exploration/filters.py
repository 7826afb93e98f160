"""The filters of the first convolution as a picture: what the network looks for in the pixels."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.runtime.settings import refuse, whole_number

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["filters_picture"]

GAP = 2  # pixels between filters
_PAPER = 255
_TILE = 44  # by default filters are magnified to about this side


def filters_picture(
    weights: str | os.PathLike[str] | Backbone = DEFAULT_WEIGHTS,
    *,
    columns: int | None = None,
    zoom: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw the filters of conv1, one tile each, row by row from filter 0 on.

    Each filter has a contrast of its own: a weight of 0 is mid grey (128), and the filter's largest
    weight in magnitude is 1 or 255, whatever the other filters have. The three colours share that
    scale. Weights are drawn as they are, which is as they act on normalised pixels. Each is a
    square of `zoom` pixels, not smoothed.

    Parameters
    ----------
    weights : str, path or Backbone
        As `decaf.load_backbone` takes them; any architecture of the family.
    columns : int, optional
        Filters side by side; by default about as many as there are rows.
    zoom : int, optional
        Side of a weight, in pixels; by default such that a filter takes about 44.

    Returns
    -------
    array of uint8, shape (H, W, 3)

    Examples
    --------
    >>> filters_picture("random:0:alexnet-64", columns=8, zoom=1).shape
    (58, 58, 3)
    """
    refuse(
        whole_number("columns", columns, 1, optional=True)
        + whole_number("zoom", zoom, 1, 100, optional=True)
    )
    from decaf.backbone.model import load_backbone

    kernels = load_backbone(weights).network.conv1.weight.detach()
    filters = kernels.permute(0, 2, 3, 1).double().cpu().numpy()
    count, side = filters.shape[:2]
    peaks = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    tiles = np.rint(128 + 127 * filters / np.where(peaks > 0, peaks, 1)).astype(np.uint8)
    times = zoom or max(1, round(_TILE / side))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    across = min(count, columns or math.ceil(math.sqrt(count)))
    step = side * times + GAP
    picture = np.full(
        (step * math.ceil(count / across) + GAP, step * across + GAP, 3), _PAPER, np.uint8
    )
    for number, tile in enumerate(tiles):
        top, left = (GAP + step * place for place in divmod(number, across))
        picture[top : top + side * times, left : left + side * times] = tile
    return picture

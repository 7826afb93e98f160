"""Whether two images show the same picture: resized, recompressed, mirrored or cropped.

One is asked whether it shows a box of the other: of all boxes on a coarse grid that one is taken
which agrees best, and its edges are then moved until the grey levels of both agree best (least
squares in the box, the contrast and the brightness: Lucas and Kanade 1981). What decides is the
correlation of the edges, the differences of neighbouring grey levels. Photographs that are alike (a
face before the same wall, a product on white paper) agree in the large, with correlations of grey
levels up to 0.99; their edges do not. Of copies of photographs of Caltech-101, of half the size,
recompressed or cropped, the edges had correlations from 0.98 on; of the most alike others up to
0.96 (``benchmarks/duplicates.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["CORRELATION", "Agreement", "Picture", "compare_pictures"]

Floats = npt.NDArray[np.float32]

CORRELATION = 0.97
"""Correlation of the edges from which two images show the same picture."""

_SIDE = 96  # of the grey levels that are kept of an image
_FINE = 48  # of those that are compared in the end
_COARSE = 16  # and when boxes are tried
# Boxes that are tried: sides from 1 to 0.8 of the whole, at steps of 0.05.
_STEP = 0.05
_SPANS = tuple(
    (offset * _STEP, 1 - size * _STEP) for size in range(5) for offset in range(size + 1)
)
_LEAST_SIDE = 0.7  # of a box that is found
_PROMISING = 0.8  # correlation of the coarse grey levels from which a box is looked at more closely
_ITERATIONS = 12
_FLAT = 2.0  # grey levels: the deviation below which an image has no structure to compare


@dataclass(frozen=True)
class Agreement:
    """How two images show the same picture.

    Attributes
    ----------
    correlation : float
        Of their edges, once mirrored and cropped alike; from -1 to 1.
    mirrored : bool
    share : float
        Area of the part that both show, of the one that shows more.
    """

    correlation: float
    mirrored: bool
    share: float

    @property
    def same(self) -> bool:
        """Whether it is the same picture."""
        return self.correlation >= CORRELATION


class Picture:
    """An image as it is compared: its grey levels at 96 × 96 pixels, whatever its shape.

    Parameters
    ----------
    pixels : array of uint8, shape (H, W, 3)
        RGB.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        self.size = (width, height)
        grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        down, across = _sampling(0, 1, _SIDE, height), _sampling(0, 1, _SIDE, width)
        self.levels: Floats = np.asarray(down @ grey @ across.T, np.float32)

    def part(self, box: npt.NDArray[np.float64], side: int) -> Floats:
        """Return the mean grey levels of a box, in a square of pixels.

        Parameters
        ----------
        box : array, shape (4,)
            Left edge and width, top edge and height, as shares of the whole.
        side : int
        """
        left, width, top, height = box.tolist()
        down = _sampling(top, height, side, _SIDE)
        levels: Floats = np.asarray(down @ self.levels, np.float32)
        return np.asarray(levels @ _sampling(left, width, side, _SIDE).T, np.float32)

    @cached_property
    def whole(self) -> Floats:
        """All of it, as it is compared in the end."""
        return self.part(np.array([0.0, 1, 0, 1]), _FINE)

    @cached_property
    def flat(self) -> bool:
        """Whether it has no structure to compare."""
        return float(self.whole.std()) < _FLAT

    @cached_property
    def boxes(self) -> Floats:
        """The coarse grey levels of all boxes that are tried, standardised: (boxes, values)."""
        samplings = np.concatenate([_sampling(*span, _COARSE, _SIDE) for span in _SPANS])
        every = samplings @ self.levels @ samplings.T
        shape = (len(_SPANS), _COARSE, len(_SPANS), _COARSE)
        parts = every.reshape(shape).transpose(0, 2, 1, 3)
        return _standardised(parts.reshape(-1, _COARSE * _COARSE))

    @cached_property
    def mirrored(self) -> Picture:
        """Its mirror image."""
        other = object.__new__(Picture)
        other.size, other.levels = self.size, np.ascontiguousarray(self.levels[:, ::-1])
        return other


def compare_pictures(a: Picture, b: Picture) -> Agreement:
    """Find how two images agree best.

    Parameters
    ----------
    a, b : Picture

    Returns
    -------
    Agreement
        Of images without structure, which agree if they are equally bright, with a correlation of
        1, else 0.
    """
    if a.flat or b.flat:
        alike = a.flat and b.flat and abs(float(a.whole.mean() - b.whole.mean())) < _FLAT
        return Agreement(float(alike), False, 1.0)
    best = Agreement(-1.0, False, 1.0)
    for mirrored in (False, True):
        other = b.mirrored if mirrored else b
        for whole, part in ((a, other), (other, a)):
            correlation, share = _as_part(whole, part)
            if correlation > best.correlation:
                best = Agreement(correlation, mirrored, share)
    return best


def _as_part(a: Picture, b: Picture) -> tuple[float, float]:
    """Find the box of an image that another one shows: their correlation, and its area."""
    shown = a.boxes @ b.boxes[0]  # the first box is the whole
    place = int(shown.argmax())
    box = np.array([*_SPANS[place % len(_SPANS)], *_SPANS[place // len(_SPANS)]])
    if shown[place] < _PROMISING:
        return -1.0, 1.0
    target = _standardised(b.whole.reshape(1, -1))[0]
    best, best_box, best_values = -1.0, box, target
    for _ in range(_ITERATIONS):
        values = a.part(box, _FINE).ravel()
        correlation = float(_standardised(values[None])[0] @ target)
        if correlation <= best + 1e-5:
            break
        best, best_box, best_values = correlation, box, values
        box = _moved(a, box, values, target)
    edges = _standardised(np.stack([_edges(best_values), _edges(b.whole.ravel())]))
    return float(edges[0] @ edges[1]), float(best_box[1] * best_box[3])


def _edges(levels: Floats) -> Floats:
    """Return the differences of grey levels across and down, as one row."""
    across, down = np.gradient(levels.reshape(_FINE, _FINE))
    return np.concatenate([across.ravel(), down.ravel()])


def _moved(
    a: Picture, box: npt.NDArray[np.float64], values: Floats, target: Floats
) -> npt.NDArray[np.float64]:
    """Move the edges of a box towards better agreement: one step of Gauss and Newton.

    target ≈ gain · (values + J · step) + brightness is linear in gain, brightness and gain · step.
    """
    nudge = 0.01
    columns = [values, np.ones_like(values)]
    for edge in range(4):
        moved = box.copy()
        moved[edge] += nudge
        columns.append((a.part(moved, _FINE).ravel() - values) / nudge)
    design = np.stack(columns, axis=1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, target.astype(np.float64), rcond=None)
    step = solution[2:] / solution[0] if solution[0] > 0 else np.zeros(4)
    moved = box + np.clip(step, -0.05, 0.05)
    for start, extent in ((0, 1), (2, 3)):
        moved[extent] = np.clip(moved[extent], _LEAST_SIDE, 1)
        moved[start] = np.clip(moved[start], 0, 1 - moved[extent])
    return moved


def _standardised(rows: Floats) -> Floats:
    """Return rows with mean 0 and length 1; constant ones are zeros."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    result: Floats = centred / np.where(norms > 1e-3, norms, 1)
    return result


def _sampling(start: float, extent: float, steps: int, size: int) -> Floats:
    """Return the matrix (steps, size) that averages a stretch of pixels in equal steps.

    Entry (i, j) is the share of step i that lies in pixel j; what lies beyond the edge is left out.
    """
    edges = (start + extent * np.arange(steps + 1) / steps) * size
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)
    overlap = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    weights = np.maximum(overlap, 0)
    sums = weights.sum(axis=1, keepdims=True)
    result: Floats = (weights / np.where(sums > 0, sums, 1)).astype(np.float32)
    return result

"""Scales of a chart: round numbers for its ticks, and how wide a text will be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Scale", "nice_ticks", "text_width", "thinned"]


@dataclass(frozen=True)
class Scale:
    """A map from values to pixels, straight or logarithmic.

    Parameters
    ----------
    low, high : float
        Values at the ends; `high` is above `low`.
    start, end : float
        Pixels at the ends.
    log : bool
        Equal ratios are equally far apart; all values are above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 2)


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round numbers, evenly spaced, the first at most `low` and the last at least `high`.

    Parameters
    ----------
    low, high : float
    count : int
        About how many.

    Examples
    --------
    >>> nice_ticks(41.3, 86.9)
    [40.0, 50.0, 60.0, 70.0, 80.0, 90.0]
    """
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / max(count - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(first, last + 1)]


def thinned(values: Sequence[float], scale: Scale, distance: float) -> list[float]:
    """Return those values, from the last one down, that lie far enough apart to be labelled.

    Parameters
    ----------
    values : sequence of float
        Rising.
    scale : Scale
    distance : float
        The least number of pixels between two.
    """
    kept: list[float] = []
    for value in reversed(values):
        if not kept or abs(scale(kept[-1]) - scale(value)) >= distance:
            kept.append(value)
    return kept[::-1]


def text_width(text: str, size: float) -> float:
    """Return about how many pixels wide a text is in a plain sans-serif face of this size."""
    narrow = sum(character in " .,:;|'!ijlI()[]" for character in text)
    wide = sum(not character.isascii() or character in "mwMW@%" for character in text)
    return size * (0.57 * (len(text) - narrow - wide) + 0.31 * narrow + 0.95 * wide)

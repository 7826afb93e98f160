"""How good two classifiers are on the same images, and whether one is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Accuracy", "sign_test"]

# 97.5 % of a normal distribution lies below.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """A share of images named rightly.

    Attributes
    ----------
    right, images : int
    """

    right: int
    images: int

    @classmethod
    def of(cls, right: np.ndarray) -> Accuracy:
        """Count.

        Parameters
        ----------
        right : ndarray of bool, shape (N,)
            Whether each image was named rightly.
        """
        return cls(int(right.sum()), len(right))

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval in percent: Wilson's score interval.

        References
        ----------
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".

        Examples
        --------
        >>> [round(end, 1) for end in Accuracy(29, 35).interval]
        [67.3, 91.9]
        """
        # The p with |p̂ - p| <= z √(p (1 - p) / n): the roots of a quadratic in p.
        n, share = self.images, self.right / self.images
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
        return max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} % ({low:.1f} to {high:.1f})"

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "right": self.right,
            "images": self.images,
            "percent": self.percent,
            "interval": list(self.interval),
        }


def sign_test(one: np.ndarray, other: np.ndarray) -> float:
    """Give how likely so large a difference is between classifiers that are equally good.

    McNemar's test in its exact form: of the images that one alone names rightly and the other
    alone, each kind has the same chance; two-sided.

    Parameters
    ----------
    one, other : ndarray of bool, shape (N,)
        Whether each image was named rightly.

    Returns
    -------
    float
        1 where they differ on no image.

    Examples
    --------
    >>> sign_test(np.array([True] * 6), np.array([False] * 6))
    0.03125
    """
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    total, fewer = first + second, min(first, second)
    # In whole numbers, each from the one before, and divided last: 2**total is beyond floats from
    # 1024 on.
    ways = term = 1
    for k in range(fewer):
        term = term * (total - k) // (k + 1)
        ways += term
    return min(1.0, float(2 * ways / 2**total))

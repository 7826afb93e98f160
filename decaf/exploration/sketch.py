"""Few numbers of each row that say how near it can be to a query, so that most are not looked at.

Rows of length 1 are written as x = Q p + s, with an orthonormal basis Q of few columns, p = Qᵀx and
s at right angles to it. For two rows x and y of a unit length then

    x · y = p_x · p_y + s_x · s_y  ≤  p_x · p_y + ‖s_x‖ ‖s_y‖

(Cauchy and Schwarz). Rows whose bound lies below the k-th best cosine so far cannot be among the k
nearest, so the answer stays exact whatever the basis is. A good one, near the first principal axes,
leaves few rows: 256 of 4,096 numbers are read of all rows, and all numbers of some.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Sketch"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

COLUMNS = 256
_SAMPLE = 2048  # rows that the basis is made of
_PASSES = 3  # of the power iteration, which turns the basis to the principal axes
_BLOCK = 4096
# Products of rows of length 1 are off by less, in float32.
_ROUNDING = 1e-5
_FIRST = 64  # rows that are looked at first, to know how near the nearest are
_MOST = 0.25  # share of the rows from which a pass over all is no slower


class Sketch:
    """The sketch of rows that are held in memory.

    Parameters
    ----------
    units : array of float32, shape (n, D)
        Rows of length 1, or of zeros.
    """

    def __init__(self, units: Floats) -> None:
        self._units = units
        sample = units[:: -(-len(units) // _SAMPLE)]
        random = np.random.default_rng(0)
        basis = random.standard_normal((units.shape[1], COLUMNS), np.float32)
        for _ in range(_PASSES):
            basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
        self._basis: Floats = np.ascontiguousarray(basis, np.float32)
        self._parts = np.empty((len(units), COLUMNS), np.float32)
        self._rests = np.empty(len(units), np.float32)
        for start in range(0, len(units), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._parts[block], self._rests[block] = self._divided(units[block])

    def candidates(self, unit: Floats, k: int) -> Rows | None:
        """Return the rows among which the k nearest of a query are.

        Parameters
        ----------
        unit : array of float32, shape (D,)
            Of length 1.
        k : int

        Returns
        -------
        array of int64, or None
            Places in the rows, in order; None where they would be so many that a pass over all rows
            is no slower.
        """
        first = max(_FIRST, 2 * k)
        if 2 * first >= len(self._units):
            return None
        parts, rests = self._divided(unit[None])
        bounds = self._parts @ parts[0]
        bounds += self._rests * (rests[0] + _ROUNDING) + _ROUNDING
        places = np.argpartition(bounds, len(bounds) - first)[-first:]
        cosines = self._units[places] @ unit
        kth = np.partition(cosines, first - k)[first - k]
        left = np.flatnonzero(bounds >= kth - _ROUNDING)
        return left if len(left) <= _MOST * len(bounds) else None

    def _divided(self, units: Floats) -> tuple[Floats, Floats]:
        """Return the parts of rows in the basis, and the lengths of the rests."""
        parts = units @ self._basis
        # ‖x‖² - ‖p‖² would lose the digits of a small rest.
        rests = np.linalg.norm(units - parts @ self._basis.T, axis=1)
        return parts, rests

"""The largest values of each unit in a stream of rows, and where they were, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from decaf.features.rows import Rows

__all__ = ["PLACE", "Strongest"]

PLACE = "place of the largest value"
"""Of a block of rows: where in its map the largest value of a unit lies, counted row by row.

Numbers up to the largest input's 4096² pixels are exact in float32."""

_LOW = np.uint64(0xFFFFFFFF)
_SIGN = np.uint32(0x80000000)


class Strongest:
    """The largest values of each unit so far, with their rows and places, in any order.

    Value and row are one number, so that the largest numbers are the largest values and of equal
    values those of the smallest rows, in whatever order blocks of rows come. The bits of a float32,
    all of them turned for negative ones and else the sign alone, are ordered as the values are.
    They are the upper half; 2³² - 1 - row is the lower one. No value is the number 0.

    Parameters
    ----------
    units : int
        How many units there are.
    top : int
        How many values each of them keeps.
    """

    def __init__(self, units: int, top: int) -> None:
        self._keys = np.zeros((units, top), np.uint64)
        self._places = np.zeros((units, top), np.int64)

    def add(self, rows: Rows, layer: str, good: npt.NDArray[np.bool_], *, silent: bool) -> None:
        """Take a block of rows, with the largest value of each unit and its place.

        Parameters
        ----------
        rows : Rows
            Its features are those of `layer`, and of `PLACE`.
        layer : str
        good : array of bool
            Which of the rows count.
        silent : bool
            Values of zero and less do not count.
        """
        if not good.any():
            return
        values = rows.features[layer][good].T + np.float32(0)  # makes 0 of -0
        numbers = np.flatnonzero(good) + rows.start
        keys = (_ordered(values).astype(np.uint64) << np.uint64(32)) | (
            _LOW - numbers.astype(np.uint64)
        )
        if silent:
            keys[values <= 0] = 0
        # From the first hundreds of images on most units have nothing new in a block.
        units = np.flatnonzero((keys > self._keys.min(axis=1, keepdims=True)).any(axis=1))
        places = rows.features[PLACE][good].T[units].astype(np.int64)
        top = self._keys.shape[1]
        both = np.concatenate([self._keys[units], keys[units]], axis=1)
        best = np.argpartition(both, both.shape[1] - top, axis=1)[:, -top:]
        self._keys[units] = np.take_along_axis(both, best, axis=1)
        both_places = np.concatenate([self._places[units], places], axis=1)
        self._places[units] = np.take_along_axis(both_places, best, axis=1)

    def ranked(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return values, rows and places, the largest first; NaN, -1 and 0 where there is none.

        Returns
        -------
        values : array of float32, shape (units, top)
        rows, places : array of int64, shape (units, top)
        """
        order = np.argsort(self._keys, axis=1)[:, ::-1]
        keys = np.take_along_axis(self._keys, order, axis=1)
        places = np.take_along_axis(self._places, order, axis=1)
        none = keys == 0
        values = _value_of((keys >> np.uint64(32)).astype(np.uint32))
        rows = (_LOW - (keys & _LOW)).astype(np.int64)
        values[none], rows[none], places[none] = np.nan, -1, 0
        return values, rows, places


def _ordered(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Return whole numbers that are ordered as values are.

    >>> _ordered(np.array([-2, -1, 0, 3], np.float32)).argsort().tolist()
    [0, 1, 2, 3]
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value_of(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """Return the values of which `_ordered` made these.

    >>> _value_of(_ordered(np.array([-2, 0, 3], np.float32))).tolist()
    [-2.0, 0.0, 3.0]
    """
    return np.where(numbers & _SIGN, numbers & ~_SIGN, ~numbers).view(np.float32)

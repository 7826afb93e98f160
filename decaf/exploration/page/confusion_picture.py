"""The picture of a confusion matrix: a cell a pair of classes, the stronger the more often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from decaf.exploration.page.sections import ConfusionMatrix

__all__ = ["TABLE_CLASSES", "ConfusionPicture", "confusion_picture", "mistakes_of", "root_shares"]

# Up to so many classes the matrix is a table of counts, above it a picture.
TABLE_CLASSES = 20

_LEVELS = 10
_NAMED_CELLS = 300
_NAMED_ROWS = 40


@dataclass(frozen=True)
class ConfusionPicture:
    """The drawn parts of a matrix, on a grid with a unit for each class.

    Attributes
    ----------
    layers : list of (kind, opacity, path)
        Cells of one colour, as the path of an SVG; the kinds are "hit" and "miss".
    pointed_at : list of (row, column, count)
        The most frequent mistakes, which say their names when pointed at.
    ticks : list of (name, place)
        Names of rows, as many as there is room for, and how far down they stand, in percent.
    """

    layers: list[tuple[str, float, str]]
    pointed_at: list[tuple[int, int, int]]
    ticks: list[tuple[str, float]]


def confusion_picture(matrix: ConfusionMatrix) -> ConfusionPicture:
    """Return what is to be drawn of a confusion matrix.

    Parameters
    ----------
    matrix : ConfusionMatrix

    Returns
    -------
    ConfusionPicture
    """
    size = len(matrix.class_names)
    cells: dict[tuple[str, int], list[str]] = {}
    mistakes = []
    for i, row in enumerate(matrix.counts):
        for j, share in enumerate(root_shares(row)):
            if share:
                kind = "hit" if i == j else "miss"
                # One mistake in a hundred must be seen in a cell of three pixels.
                level = round((share if i == j else 0.25 + 0.75 * share) * _LEVELS)
                cells.setdefault((kind, max(level, 1)), []).append(f"M{j} {i}h1v1h-1z")
                mistakes += [(i, j, row[j])] * (i != j)
    mistakes.sort(key=lambda place: (-place[2], *place[:2]))
    step = -(-size // _NAMED_ROWS)
    return ConfusionPicture(
        [(kind, level / _LEVELS, "".join(path)) for (kind, level), path in sorted(cells.items())],
        mistakes[:_NAMED_CELLS],
        [(matrix.class_names[i], 100 * (i + 0.5) / size) for i in range(0, size, step)],
    )


def root_shares(row: Sequence[int]) -> list[float]:
    """Return the square root of each count's share of the row, by which rare mistakes are seen.

    Parameters
    ----------
    row : sequence of int
    """
    total = sum(row)
    return [math.sqrt(count / total) if total else 0.0 for count in row]


def mistakes_of(matrix: ConfusionMatrix, i: int, most: int = 3) -> list[tuple[str, int]]:
    """Return what a class was taken for most often, and how often, itself left out.

    Parameters
    ----------
    matrix : ConfusionMatrix
    i : int
        The class.
    most : int
        How many to return.

    Returns
    -------
    list of (str, int)
    """
    row = matrix.counts[i]
    others = sorted((-count, j) for j, count in enumerate(row) if count and j != i)
    return [(matrix.class_names[j], -negative) for negative, j in others[:most]]

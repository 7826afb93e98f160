"""The copies that were found among images: pairs, the groups that they make, and their tables."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.images import path_text
from decaf.runtime.names import name_bytes, name_text
from decaf.storage.spreadsheet import spreadsheet_cell

__all__ = ["CopyPair", "Duplicates"]


@dataclass(frozen=True)
class CopyPair:
    """Two images that are copies of one another, or may be.

    Attributes
    ----------
    first, second : int
        Their rows; the first is the lower.
    kind : str
        ``"same bytes"``; ``"same picture"``, with what was done to it (``", mirrored"``,
        ``", cropped"``, ``", resized"``) where it was seen; or ``"alike"``, by their features
        alone, where the images could not be compared.
    cosine : float
        Of their features; 1 for the same bytes.
    correlation : float
        Of their edges (see `decaf.exploration.same_picture`); NaN where the images were not
        compared.
    across_classes, across_splits : bool
        Whether they are of two classes, or in two splits.
    """

    first: int
    second: int
    kind: str
    cosine: float
    correlation: float
    across_classes: bool
    across_splits: bool

    @property
    def certain(self) -> bool:
        """Whether the bytes or the pixels of both were compared."""
        return self.kind != "alike"


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The result of `decaf.duplicates`.

    Attributes
    ----------
    features : str
        The feature file.
    layer : str
    cosine : float
        Cosine from which two images were compared.
    names : sequence of bytes
        Names of the images, a row each.
    ok : array of bool, shape (N,)
        Which rows have features; the others, and their number `left_out`, were not looked at.
    pairs : tuple of CopyPair
        In the order of their rows. Of images with the same bytes, the first with each other one.
    refused : int
        Pairs that are alike by their features and are no copies: their pixels differ.
    unseen : tuple of (int, str)
        Rows of images that could not be compared, with the reason.
    """

    features: str
    layer: str
    cosine: float
    names: Sequence[bytes]
    ok: npt.NDArray[np.bool_]
    pairs: tuple[CopyPair, ...]
    refused: int
    unseen: tuple[tuple[int, str], ...]

    @property
    def left_out(self) -> int:
        """Rows without features."""
        return int(len(self.ok) - self.ok.sum())

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """The lowest row of the group of each row: (N,), its own number for an image alone.

        Pairs whose bytes or pixels were compared join their groups, since a split that divides any
        of them divides a picture. A pair that is alike by its features only makes a group of two,
        and only of images that are in no other: likeness is no copy, and chains of it join whole
        classes.
        """
        group = np.arange(len(self.ok))

        def root(row: int) -> int:
            while group[row] != row:
                group[row] = group[group[row]]
                row = int(group[row])
            return row

        for pair in self.pairs:
            if pair.certain:
                a, b = sorted((root(pair.first), root(pair.second)))
                group[b] = a
        group = np.array([root(row) for row in range(len(group))], np.int64)
        sizes = np.bincount(group, minlength=len(group))
        for pair in sorted(self.pairs, key=lambda each: -each.cosine):
            if not pair.certain and sizes[group[[pair.first, pair.second]]].max() == 1:
                group[pair.second] = pair.first
                sizes[pair.first] = 2
        return group

    @property
    def copies(self) -> int:
        """Images that are in a group with an image before them."""
        return int((self.groups != np.arange(len(self.groups))).sum())

    @property
    def counts(self) -> dict[str, int]:
        """How many pairs there are of each kind, without what was done to a picture."""
        return dict(Counter(pair.kind.partition(",")[0] for pair in self.pairs))

    def name(self, row: int) -> str:
        """Return the name of an image; bytes that are no UTF-8 stand as ``\\xNN``.

        Parameters
        ----------
        row : int
        """
        return path_text(self.names[row])

    def to_record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "features": self.features,
            "layer": self.layer,
            "cosine": self.cosine,
            "images": int(self.ok.sum()),
            "left_out": self.left_out,
            "copies": self.copies,
            "pairs": [
                {
                    **asdict(pair),
                    "correlation": None if math.isnan(pair.correlation) else pair.correlation,
                    "paths": [self.name(pair.first), self.name(pair.second)],
                }
                for pair in self.pairs
            ],
            "refused": self.refused,
            "unseen": [
                {"row": row, "path": self.name(row), "reason": reason}
                for row, reason in self.unseen
            ],
        }

    def groups_table(self) -> bytes:
        """Return the table that ``groups`` of `decaf.fit` takes: ``path`` and ``group``.

        Every image is in it, alone or with its copies. Names are written as they are, byte for
        byte, behind an apostrophe where a spreadsheet would take one for a formula.
        """
        lines = [b"path,group"]
        for name, group in zip(self.names, self.groups.tolist(), strict=True):
            text = spreadsheet_cell(name_text(name)).replace('"', '""')
            lines.append(b'"%s",%d' % (name_bytes(text), group))
        return b"\n".join(lines) + b"\n"

    def pairs_table(self, *, raw_text: bool = False) -> str:
        """Return the pairs as CSV.

        Parameters
        ----------
        raw_text : bool
            Write names as they are; by default see
            `decaf.storage.spreadsheet.spreadsheet_cell`.
        """
        text = io.StringIO()
        line = csv.writer(text, lineterminator="\n").writerow
        cell = str if raw_text else spreadsheet_cell
        seen = ["kind", "cosine", "correlation", "across_classes", "across_splits"]
        line([*seen, "first_row", "first", "second_row", "second"])
        for each in self.pairs:
            correlation = "" if math.isnan(each.correlation) else f"{each.correlation:.4f}"
            line(
                [
                    *(each.kind, f"{each.cosine:.6f}", correlation),
                    *(int(each.across_classes), int(each.across_splits)),
                    *(each.first, cell(self.name(each.first))),
                    *(each.second, cell(self.name(each.second))),
                ]
            )
        return text.getvalue()

"""What the page of `decaf.explore` shows, and how it is handed to the page's script."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.exploration.copies import CopyPair
from decaf.exploration.head_findings import HeadFindings
from decaf.exploration.maps import LayerMap
from decaf.exploration.outliers import Outlier
from decaf.exploration.page import SHEET_COLUMNS, SpriteSheets
from decaf.features.store.feature_file import FeatureFile
from decaf.images import path_text
from decaf.runtime.wording import printable
from decaf.version import __version__

__all__ = ["Seen", "page_values"]

Rows = npt.NDArray[np.int64]

# What is listed of each kind; of more it is said how many there are.
MOST_LISTED = 240
MOST_UNREADABLE = 500
# Places of a map are counted in so many steps, its trust in 100.
_STEPS = 65535
_NO_TRUST = 255
_NONE = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class Seen:
    """All that a page shows of a feature file.

    Attributes
    ----------
    file : FeatureFile
        Open.
    rows : array of int64, shape (n,)
        The images on the maps.
    maps : tuple of LayerMap
        Of these rows.
    outliers : tuple of Outlier
    copies : tuple of CopyPair
        Those that are certain first.
    findings : HeadFindings or None
    notes : tuple of str
        What was left out.
    pictured : tuple of int
        The rows that are on the sheets, in order.
    sheets : SpriteSheets or None
    patches : dict of int to tuple of str
        For units of a map the patches that excite them, as ``data:`` addresses.
    """

    file: FeatureFile
    rows: Rows
    maps: tuple[LayerMap, ...]
    outliers: tuple[Outlier, ...]
    copies: tuple[CopyPair, ...]
    findings: HeadFindings | None
    notes: tuple[str, ...]
    pictured: tuple[int, ...] = ()
    sheets: SpriteSheets | None = None
    patches: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """How many images have a thumbnail."""
        return 0 if self.sheets is None else len(self.pictured) - self.sheets.gone

    @property
    def listed(self) -> Rows:
        """The rows that are named below the maps, each once, in the order of the lists."""
        rows = [row for each in self.copies[:MOST_LISTED] for row in (each.first, each.second)]
        rows += [each.row for each in self.outliers]
        if (found := self.findings) is not None:
            places = [*found.mistakes[:MOST_LISTED].tolist()]
            if found.errors is not None:
                places += found.errors.order[:MOST_LISTED].tolist()
            places += found.by_certainty[:MOST_LISTED].tolist()
            places += found.by_certainty[::-1][:MOST_LISTED].tolist()
            rows += found.rows[places].tolist()
            rows += [row for examples in found.examples.values() for row in examples]
        return np.array(list(dict.fromkeys(rows)), np.int64)


def page_values(seen: Seen, *, title: str) -> dict[str, Any]:
    """Return what the template ``explore.html`` shows.

    Parameters
    ----------
    seen : Seen
    title : str

    Returns
    -------
    dict
        Values for people, and ``data`` for the script: numbers packed as base64 of little-endian
        bytes, names with all that a terminal or a page would obey escaped.
    """
    file, found = seen.file, seen.findings
    bad = np.flatnonzero(~file.ok)
    unreadable = [
        (_name(file, row), file.status_names[file.status[row]], file.messages[row])
        for row in bad[:MOST_UNREADABLE].tolist()
    ]
    return {
        "title": title,
        "scripts": ["explore.js"],
        "images": len(file),
        "shown": len(seen.rows),
        "maps": seen.maps,
        "notes": seen.notes,
        "copies": len(seen.copies),
        "outliers": len(seen.outliers),
        "unreadable": unreadable,
        "unreadable_count": len(bad),
        "found": found,
        "patched": bool(seen.patches),
        "facts": _facts(file),
        "data": _data(seen),
    }


def _facts(file: FeatureFile) -> dict[str, str]:
    weights = file.run["weights"]
    return {
        "Features": file.path,
        "Weights": f"{weights['name']}, SHA-256 {weights['sha256'][:16]}",
        "Crops": str(file.run["crops"]),
        "Precision": str(file.run["precision"]),
        "Made": str(file.attrs["created"]),
        "decaf": __version__,
    }


def _splits(file: FeatureFile, rows: Rows) -> dict[str, Any] | None:
    """Return the names of the splits and the place of each row's among them, -1 for none."""
    if file.splits is None:
        return None
    own = [file.splits[row] for row in rows.tolist()]
    names = sorted(set(own) - {""})
    codes = np.array([names.index(each) if each else -1 for each in own])
    return {"names": [printable(name) for name in names], "of": _packed(codes, "<i2")}


def _data(seen: Seen) -> dict[str, Any]:
    file, rows = seen.file, seen.rows
    place = np.full(len(file) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    labels, names = file.labels[rows], file.class_names
    present = np.unique(labels[labels >= 0])
    classes = [printable(names[code] if names else str(code)) for code in present.tolist()]
    codes = np.where(labels >= 0, np.searchsorted(present, labels), -1)
    return {
        "names": [_name(file, row) for row in rows.tolist()],
        "classes": classes,
        "labels": _packed(codes, "<i2"),
        "splits": _splits(file, rows),
        "counts": [Counter(codes.tolist())[code] for code in range(len(classes))],
        "maps": [_map_data(each, place) for each in seen.maps],
        "sheets": _sheet_data(seen, place),
        "copies": [
            [int(place[each.first]), int(place[each.second]), round(each.cosine, 3), each.kind]
            for each in seen.copies[:MOST_LISTED]
        ],
        "outliers": [[int(place[each.row]), each.reason] for each in seen.outliers],
        "head": None if seen.findings is None else _head_data(seen.findings, place, seen.patches),
    }


def _name(file: FeatureFile, row: int) -> str:
    return printable(path_text(file.path_bytes[row]))


def _map_data(layer_map: LayerMap, place: Rows) -> dict[str, Any]:
    trust = np.where(np.isfinite(layer_map.trust), layer_map.trust * 100, _NO_TRUST)
    return {
        "layer": layer_map.layer,
        "xy": _packed(np.round(layer_map.xy * _STEPS), "<u2"),
        "trust": _packed(np.round(trust), "<u1"),
        "k": layer_map.nearest.shape[1],
        # No neighbour is row -1, whose place is the last entry: -1, too, and so the largest number.
        "nearest": _packed(place[layer_map.nearest] & _NONE, "<u4"),
        "cosines": _packed(np.round(np.nan_to_num(layer_map.cosines) * 1000), "<i2"),
    }


def _sheet_data(seen: Seen, place: Rows) -> dict[str, Any]:
    sheets = seen.sheets
    square = np.full(len(seen.rows), -1, np.int64)
    sizes = np.zeros((len(seen.rows), 2), np.uint8)
    if sheets is not None:
        places = place[list(seen.pictured)]
        there = sheets.sizes[:, 0] > 0
        square[places[there]] = np.flatnonzero(there)
        sizes[places] = sheets.sizes
    return {
        "uris": [] if sheets is None else list(sheets.uris),
        "side": 0 if sheets is None else sheets.side,
        "columns": SHEET_COLUMNS,
        "square": _packed(square, "<i4"),
        "sizes": _packed(sizes, "<u1"),
    }


def _head_data(
    found: HeadFindings, place: Rows, patches: dict[int, tuple[str, ...]]
) -> dict[str, Any]:
    """Return the lists of what a head makes of images; its places are those of the maps' rows."""
    percent = np.round(100 * np.nan_to_num(found.probability)).astype(np.int64)
    errors = found.errors
    proposed: list[list[int]] = []
    if errors is not None:
        proposed = [
            [at, code]
            for at, code in zip(
                errors.order[:MOST_LISTED].tolist(), errors.proposed.tolist(), strict=False
            )
        ]
    sure = found.by_certainty
    return {
        "layer": found.layer,
        "classes": _printable(found.class_names),
        "answers": _packed(found.answer, "<i2"),
        "percent": _packed(percent, "<u1"),
        "heldOut": found.held_out,
        "mistakes": found.mistakes[:MOST_LISTED].tolist(),
        "errors": proposed,
        "likely": 0 if errors is None else errors.likely,
        "unsure": sure[:MOST_LISTED].tolist(),
        "sure": sure[::-1][:MOST_LISTED].tolist(),
        "headClasses": _printable(found.head_classes),
        "pairs": [
            [
                pair.a,
                pair.b,
                round(pair.contrasts.margin, 4),
                pair.contrasts.units.tolist(),
                _rounded(pair.contrasts.contribution),
                _rounded(pair.contrasts.a),
                _rounded(pair.contrasts.b),
            ]
            for pair in found.pairs
        ],
        "examples": {
            str(unit): place[list(rows)].tolist() for unit, rows in found.examples.items()
        },
        "patches": {str(unit): list(uris) for unit, uris in patches.items()},
    }


def _printable(names: Iterable[str]) -> list[str]:
    return [printable(name) for name in names]


def _rounded(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode()

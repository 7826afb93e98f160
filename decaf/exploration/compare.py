"""`decaf.compare`: why two feature files differ, and by how much."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError
from decaf.exploration.neighbours import NearestRows
from decaf.exploration.similarity import linear_cka, shared_neighbours
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.images import path_text
from decaf.images.listing.names import below_shared
from decaf.images.status import NO_DIGEST
from decaf.runtime.settings import refuse, whole_number
from decaf.storage import differing_fields

__all__ = ["Comparison", "LayerComparison", "Matched", "compare"]

Rows = npt.NDArray[np.int64]

_MOVED = 10  # images that are named
_BLOCK = 1024
_LAYER_BYTES = 1 << 30  # of the rows of a layer that alignment is computed of


@dataclass(frozen=True)
class Matched:
    """How the rows of two files belong together.

    Attributes
    ----------
    same : int
        Images that both files hold, by their content; whose features are compared.
    renamed : int
        Those of them that have another name.
    changed : int
        Names that both files have, of images with other content.
    only_a, only_b : int
        Images that one of the files alone holds.
    bad : int
        Images that at least one of the files has no features of.
    """

    same: int
    renamed: int
    changed: int
    only_a: int
    only_b: int
    bad: int


@dataclass(frozen=True)
class LayerComparison:
    """How the features of the same images differ at a layer.

    Attributes
    ----------
    layer : str
    cosine : dict of str to float, or None
        Of the two rows of each image: ``mean``, ``median`` and ``smallest``; None where the rows
        have other sizes.
    cka : float
        Linear centred kernel alignment; NaN where features do not vary.
    neighbours : float
        Share of an image's nearest images that are the same, on average.
    k : int
        How many nearest images were compared.
    rows : int
        Images that `cka` and `neighbours` are of, an even share where there are many.
    moved : tuple of (str, float)
        The images that moved most: their names in the first file and the cosine, or without one
        the share of neighbours that stayed, lowest first.
    """

    layer: str
    cosine: dict[str, float] | None
    cka: float
    neighbours: float
    k: int
    rows: int
    moved: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes
    ----------
    a, b : str
        The files.
    settings : tuple of (str, str, str)
        Fields of their runs that differ, and the values of both.
    matched : Matched
    layers : tuple of LayerComparison
        Of the layers that both hold.
    only_a, only_b : tuple of str
        Layers that one of them alone holds.
    """

    a: str
    b: str
    settings: tuple[tuple[str, str, str], ...]
    matched: Matched
    layers: tuple[LayerComparison, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(
    a: str | bytes | os.PathLike[str] | FeatureFile,
    b: str | bytes | os.PathLike[str] | FeatureFile,
    *,
    layer: str | None = None,
    k: int = 10,
    rows: int = 4000,
) -> Comparison:
    """Compare two feature files: how they were made, and what became of the same images.

    Images are matched by their content, and by their names where several are the same; those that
    only one file has are counted.

    Parameters
    ----------
    a, b : path or FeatureFile
    layer : str, optional
        By default every layer that both hold.
    k : int
        Nearest images that are compared.
    rows : int
        Images of which alignment and neighbours are computed, at most: memory grows with their
        square. The cosines are of all.

    Returns
    -------
    Comparison

    Raises
    ------
    SettingError
        For a layer that one of the files has not, and for files without a layer in common.

    References
    ----------
    Kornblith et al. 2019, for the alignment: see `decaf.exploration.similarity.linear_cka`.
    """
    refuse([*whole_number("k", k, 1), *whole_number("rows", rows, 3)])
    with ExitStack() as stack:
        files = [stack.enter_context(opened_features(each)) for each in (a, b)]
        first, second = files
        layers = [name for name in first.layers if name in second]
        if layer is not None:
            layers = [file[layer].name for file in files][:1]
        if not layers:
            raise SettingError(
                f"{first.path} holds {', '.join(first.layers)}, {second.path} "
                f"{', '.join(second.layers)}: they have no layer in common"
            )
        matched, pairs = _matched(first, second)
        return Comparison(
            first.path,
            second.path,
            tuple(differing_fields(first.run, second.run)),
            matched,
            tuple(_of_layer(first, second, name, pairs, k, rows) for name in layers),
            tuple(name for name in first.layers if name not in second),
            tuple(name for name in second.layers if name not in first),
        )


def _matched(a: FeatureFile, b: FeatureFile) -> tuple[Matched, Rows]:
    """Match rows by content: the places of both in each file, shape (n, 2)."""
    names_a, names_b = (below_shared(file.path_bytes.tolist(), file.path_system) for file in (a, b))
    there: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(b.content_sha256):
        there[digest.tobytes()].append(row)
    there.pop(NO_DIGEST, None)
    pairs, alone, renamed = [], [], 0
    for row, digest in enumerate(a.content_sha256):
        rows = there.get(digest.tobytes())
        if not rows:
            alone.append(row)
            continue
        # One of the same name, or else the first that is left.
        other = next((each for each in rows if names_b[each] == names_a[row]), rows[0])
        rows.remove(other)
        renamed += names_b[other] != names_a[row]
        pairs.append((row, other))
    taken = {other for _, other in pairs}
    left = {names_b[row] for row in range(len(b)) if row not in taken}
    changed = sum(names_a[row] in left for row in alone)
    every = np.array(pairs, np.int64).reshape(-1, 2)
    both = every[a.ok[every[:, 0]] & b.ok[every[:, 1]]]
    matched = Matched(
        same=len(both),
        renamed=renamed,
        changed=changed,
        only_a=len(alone) - changed,
        only_b=len(b) - len(taken) - changed,
        bad=len(every) - len(both),
    )
    return matched, both


def _of_layer(
    a: FeatureFile, b: FeatureFile, layer: str, pairs: Rows, k: int, most: int
) -> LayerComparison:
    nan = float("nan")
    if not len(pairs):
        return LayerComparison(layer, None, nan, nan, k, 0, ())
    width = max(math.prod(file[layer].shape[1:]) for file in (a, b))
    most = max(3, min(most, _LAYER_BYTES // (8 * width)))
    some = pairs[:: -(-len(pairs) // most)]
    values = [_rows(file, layer, rows) for file, rows in ((a, some[:, 0]), (b, some[:, 1]))]
    shares = np.full(len(some), nan)
    near = min(k, len(some) - 1)
    if near >= 1:
        lists = []
        for file, rows in ((a, some[:, 0]), (b, some[:, 1])):
            found, _ = NearestRows(file, layer, rows=rows).of_rows(rows, k=near)
            # As places among the images that are compared, which are the same in both files.
            place = np.full(len(file) + 1, -1)
            place[rows] = np.arange(len(rows))
            lists.append(place[found])
        shares = shared_neighbours(*lists)
    cosine = None
    if a[layer].shape[1:] == b[layer].shape[1:]:
        cosines = _cosines(a, b, layer, pairs)
        defined = cosines[~np.isnan(cosines)]
        if len(defined):
            cosine = {
                "mean": float(defined.mean()),
                "median": float(np.median(defined)),
                "smallest": float(defined.min()),
            }
        moved = _lowest(a, pairs[:, 0], cosines)
    else:
        moved = _lowest(a, some[:, 0], shares)
    known = shares[~np.isnan(shares)]
    return LayerComparison(
        layer,
        cosine,
        linear_cka(*values) if len(some) > 2 else nan,
        float(known.mean()) if len(known) else nan,
        near,
        len(some),
        moved,
    )


def _rows(file: FeatureFile, layer: str, rows: Rows) -> npt.NDArray[Any]:
    return file[layer][rows].reshape(len(rows), -1)


def _cosines(a: FeatureFile, b: FeatureFile, layer: str, pairs: Rows) -> npt.NDArray[np.float64]:
    """Return the cosine between the two rows of each image; NaN where one is all zeros."""
    cosines = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        x, y = (
            _rows(file, layer, pairs[part, side]).astype(np.float64)
            for side, file in enumerate((a, b))
        )
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosines[part] = (x * y).sum(axis=1) / np.where(norms > 0, norms, np.nan)
    return np.clip(cosines, -1, 1)


def _lowest(
    file: FeatureFile, rows: Rows, values: npt.NDArray[np.float64]
) -> tuple[tuple[str, float], ...]:
    order = np.argsort(values, kind="stable")[:_MOVED]  # NaN comes last
    return tuple(
        (path_text(file.path_bytes[rows[place]]), float(values[place]))
        for place in order
        if not np.isnan(values[place])
    )

"""`decaf.duplicates`: copies among the images of a feature file, each pair seen to be one."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.near_copies import COSINES
from decaf.errors import ImageError, SettingError, Stopped
from decaf.exploration.copies import CopyPair, Duplicates
from decaf.exploration.neighbours import NearestRows
from decaf.exploration.same_picture import Agreement, Picture, compare_pictures
from decaf.features.image_finder import ImageFinder
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.features.store.schema import NO_LABEL
from decaf.images.status import NO_DIGEST
from decaf.runtime.cores import cores_of_process
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.storage import TEXT_KINDS, check_output, disk_errors, write_atomically

__all__ = ["CANDIDATES", "duplicates"]

# Cosines from which two images are compared, by layer, where nobody says otherwise; in the order in
# which a layer is chosen. They are far below those of images that are copies by their features
# alone (`COSINES`), since the pixels decide. With the packaged weights, of 50 copies each of
# photographs of Caltech-101 the lowest cosines were, mirrored: 0.89 of fc7, 0.69 of fc6, 0.48 of
# pool5; of half the width and height: 0.82, 0.85, 0.86; cropped to 90 %: 0.90, 0.88, 0.82.
CANDIDATES = {"fc7": 0.8, "fc6": 0.7, "pool5": 0.5}

_MOST = 10  # of the images nearest to each that are compared with it
_PAIRS = 512  # that are compared at a time
_KEPT_PICTURES = 8192  # of 36 kB
_RESIZED = 0.02  # relative difference of the sides from which a copy is called resized
_CROPPED = 0.97  # share of the area up to which it is called cropped


def duplicates(
    features: str | bytes | os.PathLike[str] | FeatureFile,
    *,
    layer: str | None = None,
    cosine: float | None = None,
    images: bool = True,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Duplicates:
    """Find copies among the images of a feature file: the same bytes, or the same picture.

    Images with the same bytes are told by their SHA-256. Of the others each is compared with its
    nearest by cosine, from `cosine` on: grey levels and edges, mirrored and cropped too, where
    the images are still at their place (see `decaf.exploration.same_picture`). What the pixels do
    not bear out is no copy. Where images are gone or have changed, or with ``images=False``, pairs
    are told that are alike by their features alone, from a cosine that few photographs have with
    another one (`decaf.classify.near_copies`).

    Parameters
    ----------
    features : path or FeatureFile
    layer : str, optional
        By default fc7, fc6 or pool5, the first of these that the file holds: mirrored copies are
        nearest by fc7.
    cosine : float, optional
        Smallest cosine of a pair that is looked at; by default 0.8 of fc7, 0.7 of fc6, 0.5 of
        pool5. Needed for other layers.
    images : bool
        Compare the images themselves.
    out : path, optional
        Write the groups there, as ``decaf.fit(…, groups="OUT:group")`` takes them.
    overwrite : bool
        Replace `out`, if it is a table.
    compute : ComputeSettings, optional
        How the work is done: progress and stop; or its fields by their names.
    **named
        Fields of `compute`: ``progress=False``.

    Returns
    -------
    Duplicates

    Raises
    ------
    SettingError
        For a layer that the file has not, or one without a known cosine.
    OutputError
        Where `out` is there already, or cannot be written.
    Stopped
        After `stop` was set.

    Examples
    --------
    >>> import decaf
    >>> decaf.duplicates("pets.h5", out="groups.csv")  # doctest: +SKIP
    >>> decaf.fit("pets.h5", groups="groups.csv:group")  # doctest: +SKIP
    """
    without = ("device", "workers")
    (how,) = settings_from(duplicates, named, Part("compute", ComputeSettings, compute, without))
    target = None if out is None else Path(out)
    if target is not None:
        kinds = (*TEXT_KINDS[1:], *TEXT_KINDS[:1])
        check_output(target, *kinds, example="groups.csv", overwrite=overwrite)
    with opened_features(features) as file:
        layer, least = _chosen(file, layer, cosine, images)
        result = _found(file, layer, least, images, how)
    if target is not None:
        with disk_errors(target, "nothing was written"):
            write_atomically(target, result.groups_table())
    return result


def _chosen(
    file: FeatureFile, layer: str | None, cosine: float | None, images: bool
) -> tuple[str, float]:
    """Return the layer, and the cosine from which pairs are looked at."""
    known = CANDIDATES if images else COSINES
    if layer is None:
        layer = next((name for name in CANDIDATES if name in file), None)
    if layer is None and cosine is None:
        raise SettingError(
            f"{file.path}: holds {', '.join(file.layers)}; name the `layer`, and the `cosine` from "
            "which two images are to be compared"
        )
    layer = file[file.layers[-1] if layer is None else layer].name
    if cosine is None and layer not in known:
        raise SettingError(
            f"{layer}: it is not known which cosine copies have; give `cosine`, the smallest of a "
            f"pair that is to be compared, or name another `layer`, such as {', '.join(known)}"
        )
    least = known[layer] if cosine is None else cosine
    if not (isinstance(least, (int, float)) and 0 < least <= 1):
        raise SettingError(f"`cosine` {least!r}: must be a number above 0, up to 1")
    return layer, float(least)


def _found(
    file: FeatureFile, layer: str, least: float, images: bool, compute: ComputeSettings
) -> Duplicates:
    firsts, copies = _same_bytes(file)
    across = _Across(file)
    pairs = [
        CopyPair(first, second, "same bytes", 1.0, 1.0, *across.of(first, second))
        for first, second in copies
    ]
    near = _near_rows(file, layer, firsts, least)
    unseen: dict[int, str] = {}
    refused = 0
    pictures = _Pictures(file, unseen)
    # Pairs are in the order of their first image, which is what people count.
    with progress_for(compute.progress, len(file), 0) as shown:
        for start in range(0, len(near), _PAIRS):
            some = near[start : start + _PAIRS]
            if compute.stopped:
                raise Stopped("stopped before all pairs were compared")
            pictures.load({row for pair in some for row in pair[:2]} if images else set())
            for first, second, value in some:
                agreement = pictures.compared(first, second) if images else None
                if agreement is not None and not agreement.same:
                    refused += 1
                    continue
                if agreement is None and value < COSINES.get(layer, least):
                    continue
                kind = "alike" if agreement is None else _worded(file, first, second, agreement)
                correlation = math.nan if agreement is None else agreement.correlation
                where = across.of(first, second)
                pairs.append(CopyPair(first, second, kind, value, correlation, *where))
            shown.advance(some[-1][0] - shown.done)
        shown.advance(len(file) - shown.done)
    return Duplicates(
        features=file.path,
        layer=layer,
        cosine=least,
        names=file.path_bytes.tolist(),
        ok=file.ok,
        pairs=tuple(sorted(pairs, key=lambda pair: (pair.first, pair.second))),
        refused=refused,
        unseen=tuple(sorted(unseen.items())),
    )


def _same_bytes(file: FeatureFile) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    """Return the first row of each content, and the pairs of these and of those that come again."""
    first_of: dict[bytes, int] = {}
    firsts, pairs = [], []
    digests = file.content_sha256
    for row in np.flatnonzero(file.ok).tolist():
        digest = digests[row].tobytes()
        first = row if digest == NO_DIGEST else first_of.setdefault(digest, row)
        if first == row:
            firsts.append(row)
        else:
            pairs.append((first, row))
    return np.array(firsts, np.int64), pairs


def _near_rows(
    file: FeatureFile, layer: str, rows: npt.NDArray[np.int64], least: float
) -> list[tuple[int, int, float]]:
    """Return pairs of rows that are near to one another, each once, in order."""
    if len(rows) < 2:
        return []
    nearest = NearestRows(file, layer, rows=rows)
    others, cosines = nearest.of_rows(k=min(_MOST, len(rows) - 1), least=least)
    pairs: dict[tuple[int, int], float] = {}
    for place, column in np.argwhere(others >= 0).tolist():
        a, b = int(rows[place]), int(others[place, column])
        pairs[min(a, b), max(a, b)] = float(cosines[place, column])
    return sorted((a, b, value) for (a, b), value in pairs.items())


def _worded(file: FeatureFile, first: int, second: int, agreement: Agreement) -> str:
    words = ["same picture"]
    if agreement.mirrored:
        words.append("mirrored")
    if agreement.share < _CROPPED:
        words.append("cropped")
    else:
        a, b = file.source_size[first].astype(float), file.source_size[second].astype(float)
        if np.abs(a / b - 1).max() > _RESIZED:
            words.append("resized")
    return ", ".join(words)


class _Across:
    """Tells which pairs cross a border of classes or of splits."""

    def __init__(self, file: FeatureFile) -> None:
        self._labels, self._splits = file.labels, file.splits

    def of(self, first: int, second: int) -> tuple[bool, bool]:
        """Return whether two images are of two classes, and in two splits."""
        a, b = self._labels[[first, second]].tolist()
        splits = self._splits
        return (
            NO_LABEL not in (a, b) and a != b,
            splits is not None and splits[first] != splits[second],
        )


class _Pictures:
    """The pictures of rows, read where they are now; those used last are kept."""

    def __init__(self, file: FeatureFile, unseen: dict[int, str]) -> None:
        self._names, self._digests = file.path_bytes, file.content_sha256
        self._finder = ImageFinder(file)
        self._unseen = unseen
        self._kept: OrderedDict[int, Picture | None] = OrderedDict()

    def load(self, rows: set[int]) -> None:
        """Read pictures that are not kept, in threads."""
        for row, picture in self._kept.items():
            if picture is not None and row not in rows:
                picture.forget_boxes()
        wanted = []
        for row in sorted(rows):
            if row in self._kept:
                self._kept.move_to_end(row)
            else:
                wanted.append(row)
        # Archives are listed here, one after the other: threads only read.
        refs = [self._finder.find(row, self._names[row]) for row in wanted]
        with ThreadPoolExecutor(cores_of_process()) as pool:
            for row, read in zip(wanted, pool.map(self._read, wanted, refs), strict=True):
                self._kept[row] = read if isinstance(read, Picture) else None
                if isinstance(read, str):
                    self._unseen[row] = read
        while len(self._kept) > max(_KEPT_PICTURES, len(wanted)):
            self._kept.popitem(last=False)

    def compared(self, first: int, second: int) -> Agreement | None:
        """Compare two pictures that were loaded; None where one of them is not to be had."""
        a, b = self._kept[first], self._kept[second]
        return None if a is None or b is None else compare_pictures(a, b)

    def _read(self, row: int, ref: Any) -> Picture | str:
        from decaf.images.decoding.decode import decode

        if ref is None:
            return "it was in memory, or what held it is gone"
        try:
            content = ref.load()
            if ref.digest(content) != self._digests[row].tobytes():
                return "it has changed since its features were computed"
            return Picture(ref.cut(decode(content).pixels))
        except ImageError as error:
            return f"{error.message} ({error.status})"

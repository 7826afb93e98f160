"""Images that a feature file is asked about: rows of it, or new ones, computed as those were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, SettingError
from decaf.exploration.neighbours import NearestRows
from decaf.features.extraction import Extraction
from decaf.features.image_finder import ImageFinder
from decaf.features.recorded_run import recorded_backbone, recorded_settings
from decaf.features.store.feature_file import FeatureFile
from decaf.images import STATUS_NAMES, ImageList, ImageRef, collect, path_text
from decaf.runtime.settings import ComputeSettings

if TYPE_CHECKING:
    import numpy.typing as npt

    from decaf.backbone.model import Backbone

__all__ = ["Query", "QuerySettings", "find_queries"]


@dataclass(frozen=True, eq=False)
class QuerySettings:
    """How new images are computed.

    Parameters
    ----------
    weights : str, path or Backbone, optional
        Where the weights of the feature file are now.
    batch_size : int, optional
        Images a forward pass.
    compute : ComputeSettings
    """

    weights: Any
    batch_size: int | None
    compute: ComputeSettings


@dataclass(frozen=True, eq=False)
class Query:
    """An image that a feature file is asked about.

    Attributes
    ----------
    path : str
        Its name; bytes that are no UTF-8 stand as ``\\xNN``.
    row : int or None
        Its own row, where it is an image of the file.
    status : str
        ``"ok"``, or why it has no features.
    message : str
        The error, or why nothing is near it; else empty.
    values : array of float32, shape (D,), or None
        Its features; None where it has none.
    ref : ImageRef or None
        Where a new image lies; None for one in memory, and for a row.
    """

    path: str
    row: int | None = None
    status: str = "ok"
    message: str = ""
    values: npt.NDArray[np.float32] | None = None
    ref: ImageRef | None = None


def find_queries(nearest: NearestRows, queries: Any, settings: QuerySettings) -> list[Query]:
    """Find the features of images, in the file or else by its network.

    Parameters
    ----------
    nearest : NearestRows
        Rows that are to be asked.
    queries : int, sequence of int, or what `decaf.extract` takes
        As `decaf.search` takes them.
    settings : QuerySettings

    Returns
    -------
    list of Query
        One for each image, in order.

    Raises
    ------
    SettingError
        For a row that the file has not.
    InputError, FeatureFileError, WeightsError
        As `decaf.search`.
    """
    rows = _as_rows(queries)
    if rows is not None:
        found = [_of_row(nearest, row) for row in rows]
    else:
        found = _of_images(nearest, _listed(nearest.file, queries), settings)
    nothing = f"its {nearest.layer} is all zeros, which are near to nothing"
    return [
        replace(each, message=nothing)
        if each.values is not None and not each.values.any()
        else each
        for each in found
    ]


def _as_rows(images: Any) -> list[int] | None:
    """Return the rows of the file that are asked for; None where images are."""
    if isinstance(images, (bool, np.bool_)):
        raise SettingError(f"`queries` {images!r}: is neither a row nor an image")
    if isinstance(images, (int, np.integer)):
        return [int(images)]
    if (
        isinstance(images, (list, tuple, range))
        and len(images)
        and all(isinstance(each, (int, np.integer)) for each in images)
    ):
        return [int(each) for each in images]
    if isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "iu":
        return [int(each) for each in images]
    return None


def _of_row(nearest: NearestRows, row: int) -> Query:
    file = nearest.file
    if not 0 <= row < len(file):
        raise SettingError(f"{file.path}: has no row {row}; its rows are 0 to {len(file) - 1}")
    status = file.status_names[file.status[row]]
    values = nearest.values(row)[0] if status == "ok" else None
    return Query(path_text(file.path_bytes[row]), row, status, str(file.messages[row]), values)


def _listed(file: FeatureFile, images: Any) -> list[int | ImageList]:
    """List images; a path that is there no more is a row, if one has its name."""
    alone = isinstance(images, (str, bytes, os.PathLike))
    given: Sequence[Any] = [images] if alone else images if isinstance(images, list | tuple) else []
    if not given or not all(isinstance(each, (str, bytes, os.PathLike)) for each in given):
        return [collect(images, labels="none")]
    gone = [os.fsencode(each) for each in given if not os.path.lexists(each)]
    row_of = {name: row for row, name in enumerate(file.path_bytes)} if gone else {}
    if not any(name in row_of for name in gone):
        return [collect(images, labels="none")]
    listed: list[int | ImageList] = []
    for each in given:
        row = None if os.path.lexists(each) else row_of.get(os.fsencode(each))
        listed.append(collect(each, labels="none") if row is None else row)
    return listed


def _of_images(
    nearest: NearestRows, listed: Iterable[int | ImageList], settings: QuerySettings
) -> list[Query]:
    known = _KnownImages(nearest)
    queries: list[Query | None] = []
    new: list[ImageList] = []
    for each in listed:
        if isinstance(each, int):
            queries.append(_of_row(nearest, each))
            continue
        there = [known.find(each, place) for place in range(len(each))]
        queries += there
        missing = [place for place, query in enumerate(there) if query is None]
        new += [each.take(np.array(missing))] if missing else []
    backbone = None
    # What was asked for is checked in any case; torch is loaded where it is needed.
    if settings.compute.device != "auto":
        from decaf.runtime.device import choose_device

        choose_device(settings.compute.device)
    if new or settings.weights is not None:
        backbone = recorded_backbone(nearest.file, settings.weights)
    computed = iter(_computed(nearest, new, backbone, settings) if new and backbone else ())
    return [next(computed) if query is None else query for query in queries]


def _computed(
    nearest: NearestRows, new: list[ImageList], backbone: Backbone, settings: QuerySettings
) -> Iterable[Query]:
    """Compute the features of new images as those of the file were."""
    from decaf.runtime.device import choose_device

    images, compute = ImageList.join(new) if len(new) > 1 else new[0], settings.compute
    run = replace(recorded_settings(nearest.file), layers=(nearest.layer,), dtype="float32")
    with Extraction(
        images,
        backbone,
        run,
        device=choose_device(compute.device),
        workers=compute.workers,
        batch_size=settings.batch_size,
    ) as extraction:
        rows = extraction.all_rows(progress=compute.progress, stop=compute.stop)
    values = rows.features[nearest.layer].reshape(len(images), -1)
    for place, name in enumerate(images.names):
        status = STATUS_NAMES[rows.status[place]]
        row_values = values[place] if status == "ok" else None
        ref = None if images.refs is None else images.refs[place]
        yield Query(path_text(name), None, status, rows.messages[place], row_values, ref)


class _KnownImages:
    """Finds queries among the rows of the file by what they hold, so that nothing is computed."""

    def __init__(self, nearest: NearestRows) -> None:
        self._nearest, file = nearest, nearest.file
        self._rows: dict[bytes, list[int]] = {}
        for row in nearest.rows.tolist():
            self._rows.setdefault(file.content_sha256[row].tobytes(), []).append(row)
        self._rows.pop(bytes(32), None)
        self._finder = ImageFinder(file)

    def find(self, images: ImageList, place: int) -> Query | None:
        """Return an image with its features; None where the file does not hold what it holds."""
        if images.refs is None:
            return None
        ref = images.refs[place]
        try:
            rows = self._rows.get(ref.digest(ref.load()))
        except ImageError:
            return None  # which extraction says again
        if rows is None:
            return None
        own = next((row for row in rows if self._is_at(row, ref.name, ref.archive)), None)
        values = self._nearest.values(rows[0] if own is None else own)[0]
        return Query(path_text(ref.name), own, values=values, ref=ref)

    def _is_at(self, row: int, name: bytes, archive: bytes | None) -> bool:
        stored: bytes = self._nearest.file.path_bytes[row]
        if archive is not None or stored == name:
            return stored == name
        ref = self._finder.find(row, stored)
        try:
            return ref is not None and ref.archive is None and os.path.samefile(ref.name, name)
        except OSError:
            return False

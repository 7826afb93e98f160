"""`decaf.search`: the images of a feature file that are most like some images."""

from __future__ import annotations

import csv
import io
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, InputError, SettingError
from decaf.exploration.neighbours import NearestRows
from decaf.exploration.page import check_page, render_page, thumbnail, thumbnails, write_page
from decaf.exploration.queries import Query, QuerySettings, find_queries
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.features.store.schema import NO_LABEL
from decaf.images import path_text
from decaf.images.listing.names import below_shared
from decaf.runtime.settings import ComputeSettings, Part, refuse, settings_from, whole_number
from decaf.runtime.wording import counted
from decaf.storage.spreadsheet import spreadsheet_cell

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["Answer", "Match", "SearchResult", "class_of", "search"]

_ON_PAGE = 300  # answers that a page shows: with nine matches each it takes some 25 MB


@dataclass(frozen=True)
class Match:
    """An image of a feature file that is near to a query.

    Attributes
    ----------
    row : int
        Its row in the file.
    path : str
        Its name as given; bytes that are no UTF-8 stand as ``\\xNN``.
    class_name : str
        Name or number of its class, empty where it has none.
    cosine : float
        Between the features of both.
    """

    row: int
    path: str
    class_name: str
    cosine: float


@dataclass(frozen=True)
class Answer:
    """The images that are nearest to one query.

    Attributes
    ----------
    path : str
        Name of the query.
    row : int or None
        Its own row, where it is an image of the file; it is not among the matches.
    status : str
        ``"ok"``, or why it has no features, as in a feature file.
    message : str
        The error, or why nothing is near it; else empty.
    matches : tuple of Match
        The nearest first.
    """

    path: str
    row: int | None
    status: str
    message: str
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class SearchResult:
    """The result of `search`.

    Attributes
    ----------
    features : str
        The feature file.
    layer : str
    searched : int
        Rows that were compared with each query.
    left_out : int
        Rows without features, whose images could not be read.
    answers : tuple of Answer
        One for each query, in order.
    """

    features: str
    layer: str
    searched: int
    left_out: int
    answers: tuple[Answer, ...]

    @property
    def bad(self) -> int:
        """Queries that could not be read."""
        return sum(each.status != "ok" for each in self.answers)

    def to_csv(self, *, raw_text: bool = False) -> str:
        """Return a table with a line for each match, and one for each query without any.

        Parameters
        ----------
        raw_text : bool
            Write names as they are; by default see
            `decaf.storage.spreadsheet.spreadsheet_cell`.
        """
        text = io.StringIO()
        line = csv.writer(text, lineterminator="\n").writerow
        cell = str if raw_text else spreadsheet_cell
        line(["query", "status", "message", "rank", "cosine", "row", "path", "class"])
        for each in self.answers:
            query = [cell(each.path), each.status, cell(each.message)]
            for rank, match in enumerate(each.matches, 1):
                name, class_name = cell(match.path), cell(match.class_name)
                line([*query, rank, f"{match.cosine:.6f}", match.row, name, class_name])
            if not each.matches:
                line([*query, "", "", "", "", ""])
        return text.getvalue()


def search(
    features: str | bytes | os.PathLike[str] | FeatureFile | NearestRows,
    queries: Any,
    *,
    layer: str | None = None,
    k: int = 9,
    weights: str | os.PathLike[str] | Backbone | None = None,
    batch_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    images: bool = True,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> SearchResult:
    """Find the images of a feature file that are nearest to some images, by cosine.

    The answer is exact: every row is compared. An image of the file is looked up there, and is not
    among its own matches; others are computed as the file's were, with its weights, preprocessing,
    crops and precision. For many calls, open the file once and pass a `NearestRows` of it.

    Parameters
    ----------
    features : path, FeatureFile or NearestRows
    queries : int, sequence of int, or what `decaf.extract` takes
        Numbers are rows of the file. A path that is there no more may be the name of a row.
    layer : str, optional
        By default the last that the file holds.
    k : int
        How many images for each; no more than there are.
    weights : str, path or Backbone, optional
        Where the file's weights are now; by default the name that it gives.
    batch_size : int, optional
        Images a forward pass; chosen by the device when not given.
    out : path, optional
        Write a page there that shows the answers, the first 300 of them.
    images : bool
        Show the images on the page, which have to be the ones that the file was made of.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop; or its fields by their names.
    **named
        Fields of `compute`: ``device="cuda"``.

    Returns
    -------
    SearchResult

    Raises
    ------
    SettingError
        For a layer, row or `k` that cannot be used.
    WeightsError
        Where the weights are not those of the file.
    InputError, FeatureFileError
        Where the images or the file cannot be read.
    OutputError
        Where `out` cannot be written.

    Examples
    --------
    >>> import decaf
    >>> for match in decaf.search("pets.h5", "new.jpg").answers[0].matches:  # doctest: +SKIP
    ...     print(match.cosine, match.path)
    """
    (how,) = settings_from(search, named, Part("compute", ComputeSettings, compute))
    refuse([*whole_number("k", k, 1), *whole_number("batch_size", batch_size, 1, optional=True)])
    if isinstance(features, NearestRows) and layer not in (None, features.layer):
        raise SettingError(f"`layer` {layer!r}: the rows are of {features.layer}")
    page = None if out is None else check_page(out)
    settings = QuerySettings(weights, batch_size, how)
    with ExitStack() as stack:
        if not isinstance(features, NearestRows):
            file = stack.enter_context(opened_features(features))
            # One pass over the file serves all queries of a call, so that nothing need be held.
            features = NearestRows(file, layer, max_bytes=0)
            if not len(features):
                raise InputError(
                    f"{file.path}: none of its {counted(len(file), 'image')} could be read"
                )
        found = find_queries(features, queries, settings)
        result = _answered(features, found, k)
        if page is not None:
            write_page(page, _page(features.file, found, result, images))
    return result


def class_of(file: FeatureFile, row: int) -> str:
    """Return the name of a row's class, or its number where classes have none; else nothing.

    Parameters
    ----------
    file : FeatureFile
    row : int
    """
    label = int(file.labels[row])
    if label == NO_LABEL:
        return ""
    return file.class_names[label] if file.class_names else str(label)


def _answered(nearest: NearestRows, queries: list[Query], k: int) -> SearchResult:
    file = nearest.file
    asked = [query for query in queries if query.values is not None]
    found = np.empty((0, k), np.int64)
    cosines = np.empty((0, k), np.float32)
    if asked:
        found, cosines = nearest.of_queries(
            np.stack([query.values for query in asked if query.values is not None]),
            min(k, max(1, len(nearest))),
            without=[-1 if query.row is None else query.row for query in asked],
        )
    matches = {
        id(query): tuple(
            Match(int(row), path_text(file.path_bytes[row]), class_of(file, row), float(cosine))
            for row, cosine in zip(places, values, strict=True)
            if row >= 0
        )
        for query, places, values in zip(asked, found, cosines, strict=True)
    }
    return SearchResult(
        file.path,
        nearest.layer,
        len(nearest),
        len(file) - len(nearest),
        tuple(
            Answer(each.path, each.row, each.status, each.message, matches.get(id(each), ()))
            for each in queries
        ),
    )


def _page(file: FeatureFile, queries: list[Query], result: SearchResult, images: bool) -> str:
    queries, answers = queries[:_ON_PAGE], result.answers[:_ON_PAGE]
    every = {match.row for each in answers for match in each.matches}
    rows = sorted(every | {each.row for each in queries if each.row is not None})
    pictures: dict[int, str | None] = {}
    if images:
        pictures = dict(zip(rows, thumbnails(file, rows).uris, strict=True))
    names = file.path_bytes.tolist()
    below = below_shared(names, file.path_system)
    values = {
        "result": result,
        "answers": answers,
        "shared": path_text(names[0][: len(names[0]) - len(below[0])]),
        "asked": [_picture(each, pictures) if images else None for each in queries],
        "pictures": pictures,
        "images": images,
        "gone": sum(uri is None for uri in pictures.values()),
    }
    return render_page("search.html", values)


def _picture(query: Query, pictures: dict[int, str | None]) -> str | None:
    if query.row is not None:
        return pictures.get(query.row)
    try:
        return None if query.ref is None else thumbnail(query.ref)
    except ImageError:
        return None

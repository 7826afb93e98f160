"""Tables whose rows are images: files of them, and the DataFrames of pandas and polars.

A DataFrame is read as the table that it would be saved as, by the same rules; nothing of pandas is
imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from decaf.errors import InputError
from decaf.images.listing.class_folders import PathImages, split_called
from decaf.images.listing.folders import has_image_ending
from decaf.images.listing.labels import is_missing
from decaf.images.listing.names import nearest_path, shortened, some_of
from decaf.images.listing.splits import is_split_column
from decaf.images.listing.table_paths import spellings
from decaf.images.listing.tables import (
    Table,
    as_utf8,
    decoded,
    find_reading,
    read_tables,
    told_no_labels,
)
from decaf.runtime.names import slashed
from decaf.runtime.wording import counted

__all__ = ["FrameImages", "images_of_frame", "images_of_table", "is_frame", "named_in_frame"]

# Rows of a table by which its columns are told.
_ROWS_LOOKED_AT = 100

# What a column of paths is called in a DataFrame, whose other columns may name files too.
_PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img")
_SPLIT, _GROUP = "split", "group"

_FRAMES = frozenset((("pandas", "DataFrame"), ("polars", "DataFrame")))

_logger = logging.getLogger(__name__)


def images_of_table(path: bytes, columns: tuple[str, ...] | None, layout: str) -> PathImages:
    """List the images of a table, with a path in each row and perhaps a label (see `tables`).

    A column called split divides them where it holds the names of splits and nothing else.

    Parameters
    ----------
    path : bytes
    columns : tuple of str or None
        Names of the column of paths, and perhaps of that of labels.
    layout : {"auto", "splits", "classes"}
        "classes" takes no notice of splits.

    Raises
    ------
    InputError
        If it cannot be read, has no such columns, or names no image that is there.
    """
    name = f"table {shortened(path)}"
    with open(path, "rb") as file:
        content = file.read()
    located = _locator(os.path.dirname(path))
    best: list[tuple[bytes, bytes]] = []
    splits: list[str] = []
    notes: list[str] = []
    tables = read_tables(content, name)
    read = tables[0].described() if tables else "no table of several columns"
    for table in tables:
        some = Table(table.separator, table.encoding, table.rows[:_ROWS_LOOKED_AT])
        reading = find_reading(
            some, columns, lambda cell: located(cell) is not None, name, label_needed=False
        )
        if reading is not None:
            whole = replace(reading, table=table)
            best = [*whole.pairs()]
            place = table.column(_SPLIT) if layout != "classes" else None
            if place not in (None, reading.path, reading.label):
                splits = [decoded(row[place]) for row in table.rows]
            if reading.is_guess:
                notes.append(f"{name}: {reading.told_guess()}")
            if words := whole.no_labels():
                notes.append(f"{name}: {told_no_labels(words)}")
            if reading.label < 0:
                notes.append(
                    f"{name}: no column is called label, class, species, category or target, or "
                    "several that differ are, so the images have no labels; name the one, as "
                    "FILE:PATH,LABEL"
                )
            break
    if not best and columns is None:
        lines = [line.strip() for line in as_utf8(content, name)[0].split(b"\n")]
        if tables and not any(located(line) for line in lines):  # an error, which names a path
            lines = _likely_paths(tables[0])
        best = [(line, b"") for line in lines if line]
    if best and located(best[0][0]) is None and not has_image_ending(best[0][0]):
        best, splits = best[1:], splits[1:]  # the header
    empty = [not cell for cell, _ in best]
    if any(empty):
        _logger.warning("%s: %s no path, passed over", name, counted(sum(empty), "row", "have"))
        kept = [row for row, is_empty in enumerate(empty) if not is_empty]
        best, splits = [best[row] for row in kept], [splits[row] for row in kept if splits]
    cells = [cell for cell, _ in best]
    names = _names(cells, located, f"{name} names no image that is there: read as {read}", path)
    classes = [decoded(text).encode() if text else None for _, text in best]
    without = classes.count(None)
    if 0 < without < len(classes):
        notes.append(f"{name}: {without} of {len(classes)} images have no label")
    return PathImages(
        "table",
        path,
        names,
        [*map(slashed, cells)],
        [*classes],
        splits=_divided(splits, name),
        class_notes=tuple(notes),
    )


def _likely_paths(table: Table) -> list[bytes]:
    """Return the column that most looks like names of images, whether or not these are there."""
    columns = [[cell.strip() for cell in column] for column in zip(*table.rows, strict=True)]
    # Names without an ending may still be told by the folders in them.
    return max(columns, key=lambda c: (sum(map(has_image_ending, c)), sum(b"/" in x for x in c)))


def _locator(folder: bytes) -> Callable[[bytes], bytes | None]:
    """Return what finds the file that a cell names, relative to a folder or the working folder."""

    def located(cell: bytes) -> bytes | None:
        if not cell:
            return None
        for key in spellings(cell):
            for place in dict.fromkeys((os.path.join(folder, key), key)):
                if os.path.isfile(place):
                    return place
        return None

    return located


def _names(
    cells: Sequence[bytes], located: Callable[[bytes], bytes | None], nothing: str, table: bytes
) -> list[bytes]:
    """Return where the images of the cells are; those that are not there keep their places."""
    folder = os.path.dirname(table)
    places = [located(cell) for cell in cells]
    if not any(places):
        first = ""
        if cells:
            near = nearest_path(os.path.join(folder, spellings(cells[0])[-1]))
            first = f"; the first path is {shortened(decoded(cells[0]))}{near}"
        base = "the table's folder or the working folder" if table else "the working folder"
        raise InputError(f"{nothing}{first}; paths are absolute, or relative to {base}")
    return [
        os.path.join(folder, cell) if place is None else place
        for place, cell in zip(places, cells, strict=True)
    ]


def _divided(splits: Sequence[str], name: str) -> list[str]:
    """Return the splits that a column says; none where it holds anything else."""
    if not any(text.strip() for text in splits):
        return []
    if not is_split_column(splits):
        strange = sorted({t for t in splits if t.strip() and not split_called(t.strip().encode())})
        _logger.warning(
            "%s: its column split is taken for no splits, since it holds %s",
            name,
            some_of(map(repr, strange), 3),
        )
        return []
    divided = [split_called(text.strip().encode()) or "" for text in splits]
    _logger.info(
        "%s: its column split divides the images: %s; `layout='classes'` takes no notice of it",
        name,
        ", ".join(f"{split or 'in none'} {divided.count(split)}" for split in sorted({*divided})),
    )
    return divided


def is_frame(value: Any) -> bool:
    """Tell whether something is a DataFrame of pandas or polars, without importing these.

    Parameters
    ----------
    value : any
    """
    return any((t.__module__.partition(".")[0], t.__name__) in _FRAMES for t in type(value).__mro__)


@dataclass(frozen=True)
class FrameImages:
    """The images of a DataFrame.

    Attributes
    ----------
    images : PathImages
        Without classes.
    labels : list of any, or None
        The column of labels as the frame has it; None where it has none.
    groups : list of any, or None
        The column called group.
    """

    images: PathImages
    labels: list[Any] | None
    groups: list[Any] | None


def named_in_frame(frame: Any, name: Any) -> bool:
    """Tell whether an argument names columns of a DataFrame: one, or ``PATH,LABEL``.

    Parameters
    ----------
    frame : DataFrame
    name : any
    """
    header = {str(column) for column in frame.columns}
    return isinstance(name, str) and (name in header or header >= set(name.split(",")))


def images_of_frame(frame: Any, columns: str = "", layout: str = "auto") -> FrameImages:
    """List the images of a DataFrame, as those of the table that it would be saved as.

    Parameters
    ----------
    frame : DataFrame
        Of pandas or polars. The column of paths is the one whose cells name files; of several one
        called path, file, filename or image. That of labels is called label, class, species,
        category or target, or is of few columns the last. Those called split and group are these.
    columns : str
        ``LABEL`` or ``PATH,LABEL``, the names of columns; empty for those above.
    layout : {"auto", "splits", "classes"}
        "classes" takes no notice of splits.

    Raises
    ------
    InputError
        If it has no rows, or no column names an image that is there.
    """
    name = f"the DataFrame of {len(frame)} rows"
    column_of = {str(column): column for column in frame.columns}
    if not len(frame) or len(column_of) < len(frame.columns):
        wrong = "is empty" if not len(frame) else "has two columns of one name"
        raise InputError(f"no images: {name} {wrong}")
    # Where several columns name files the first of them is that of the paths.
    header = sorted(column_of, key=lambda each: each.casefold() not in _PATH_NAMES)
    first = [_cells(islice(frame[column_of[each]], _ROWS_LOOKED_AT)) for each in header]
    table = Table(
        b",",
        "in memory",
        [[each.encode() for each in header], *map(list, zip(*first, strict=True))],
    )
    parts = [columns] if columns in column_of else columns.split(",") if columns else []
    located = _locator(b"")
    reading = find_reading(
        table,
        (None, *parts) if len(parts) == 1 else tuple(parts) or None,
        lambda cell: located(cell) is not None,
        name,
        label_needed=False,
    )
    if reading is None:
        told = some_of(map(repr, column_of), 12)
        first_path = next((row for row in table.rows[1] if has_image_ending(row)), b"")
        near = f"; {shortened(first_path)} is not there{nearest_path(first_path)}"
        raise InputError(
            f"{name}: no column names images that are there; its columns are {told}"
            f"{near if first_path else ''}"
        )
    path = header[reading.path]
    label = header[reading.label] if reading.label >= 0 else None
    cells = _cells(frame[column_of[path]])
    if b"" in cells:
        raise InputError(
            f"{name}: {cells.count(b'')} of its rows have no {path!r} (the first is row "
            f"{cells.index(b'')}); leave them out, as frame.dropna(subset=[{path!r}]) does"
        )
    names = _names(cells, located, f"{name}: its column {path!r} names no image that is there", b"")

    def values(called: str) -> list[Any] | None:
        found = next((each for each in header if each.casefold() == called), None)
        return None if found in (None, path, label) else list(frame[column_of[found]])

    splits = None if layout == "classes" else values(_SPLIT)
    texts = ["" if is_missing(each) else str(each) for each in splits or ()]
    guess = (
        f"{name}: takes the last column, {label!r}, for the label; `labels` names another, or "
        "'none'"
    )
    return FrameImages(
        PathImages(
            "table",
            b"",
            names,
            cells,
            [None] * len(names),
            splits=_divided(texts, name),
            class_notes=(guess,) if reading.is_guess and not columns else (),
        ),
        None if label is None else list(frame[column_of[label]]),
        values(_GROUP),
    )


def _cells(values: Iterable[Any]) -> list[bytes]:
    """Return values as a file would hold them, an empty text for what is no path or label."""
    return [
        os.fsencode(value)
        if isinstance(value, (str, bytes, os.PathLike))
        else str(value).encode("utf-8", "backslashreplace")
        if isinstance(value, (int, float)) and not is_missing(value)
        else b""
        for value in values
    ]

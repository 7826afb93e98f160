"""Labels of images: from folder names, a labels file, or a sequence.

Whatever they come from, labels end as int64 with -1 for none, and class names if they were texts.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images.listing.folders import has_image_ending
from decaf.images.listing.names import nearest_name, path_text, shortened
from decaf.images.listing.table_paths import TablePaths
from decaf.images.listing.tables import (
    Reading,
    Table,
    as_utf8,
    decoded,
    find_reading,
    is_no_label,
    named_columns,
    read_table_file,
    read_tables,
    told_no_labels,
    uneven_row,
)
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted

__all__ = [
    "Labels",
    "class_of",
    "is_missing",
    "labels_from_classes",
    "labels_from_file",
    "labels_from_sequence",
    "texts_from_file",
]

Labels = tuple[npt.NDArray[np.int64], tuple[str, ...]]

_INT64 = np.iinfo(np.int64)
_logger = logging.getLogger(__name__)


def class_of(relative: bytes) -> bytes | None:
    """Return the class of an image from its path below its source: the first folder, if any.

    Parameters
    ----------
    relative : bytes

    Examples
    --------
    >>> class_of(b"cat/young/1.jpg"), class_of(b"1.jpg")
    (b'cat', None)
    """
    parts = [part for part in relative.split(b"/") if part not in (b"", b".")]
    return parts[0] if len(parts) > 1 else None


def is_missing(label: Any) -> bool:
    """Tell whether a label stands for none: None, NaN (pandas' NA and NaT too), an empty text.

    Parameters
    ----------
    label : object

    Examples
    --------
    >>> is_missing(float("nan")), is_missing(""), is_missing("nan"), is_missing(-1)
    (True, True, False, False)
    """
    if isinstance(label, (str, bytes)):
        return not label
    if label is None or isinstance(label, bool):
        return label is None
    same = label == label
    return not isinstance(same, (bool, np.bool_)) or not same


def labels_from_classes(classes: Sequence[bytes | str | None]) -> Labels:
    """Number classes in sorted order.

    Parameters
    ----------
    classes : sequence of bytes, str or None
        One for each image; None where it has none.

    Returns
    -------
    labels : array of shape (N,), int64
        Places in `class_names`, or -1.
    class_names : tuple of str
        Sorted. Bytes that are not UTF-8 are shown as ``\\xNN``; those that are come in Unicode's
        composed form (NFC), since macOS decomposes the names of files. Names that differ in case
        or spaces alone are warned of.

    Examples
    --------
    >>> labels_from_classes([b"dog", None, b"cat"])
    (array([ 1, -1,  0]), ('cat', 'dog'))
    """
    texts = [None if name is None else path_text(name) for name in classes]
    # What a program has given in memory stays as it is, so that it can be compared with.
    texts = [
        unicodedata.normalize("NFC", text) if text and isinstance(name, bytes) else text
        for name, text in zip(classes, texts, strict=True)
    ]
    class_names = tuple(sorted({text for text in texts if text is not None}))
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    if several := [names for names in alike.values() if len(names) > 1]:
        _logger.warning(
            "%d classes differ from others in case or spaces alone, such as %s",
            sum(map(len, several)),
            " and ".join(map(repr, several[0])),
        )
    number = {text: i for i, text in enumerate(class_names)}
    values = [-1 if text is None else number[text] for text in texts]
    return np.array(values, dtype=np.int64), class_names


def labels_from_sequence(values: Iterable[object], count: int) -> Labels:
    """Take labels given in the order of the images.

    Parameters
    ----------
    values : sequence of int or str
        All integers, which are kept (-1 is none), or all texts, which are numbered; None, NaN and
        an empty text are none.
    count : int
        How many images there are.

    Raises
    ------
    InputError
        If there are more or fewer than `count`, or they are neither.
    """
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if len(values) != count:
        raise InputError(f"{counted(len(values), 'label')} for {counted(count, 'image')}")
    none = [is_missing(value) for value in values]
    if any(none):
        _logger.warning("%d of %d labels are empty: these images have none", sum(none), count)
        texts = [None if empty else v for v, empty in zip(values, none, strict=True)]
        if all(text is None or isinstance(text, (str, bytes)) for text in texts):
            return labels_from_classes(texts)
        values = [
            -1 if empty else int(v) if isinstance(v, float) and v.is_integer() else v
            for v, empty in zip(values, none, strict=True)
        ]
    if all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values):
        return _integers(values), ()
    if all(isinstance(v, (str, bytes)) for v in values):
        return labels_from_classes(values)  # type: ignore[arg-type]
    kinds = sorted({type(v).__name__ for v in values})
    raise InputError(f"`labels` must be all integers or all texts, got {', '.join(kinds)}")


def labels_from_file(
    path: str | bytes | os.PathLike[str], names: Sequence[bytes], relative: Sequence[bytes]
) -> Labels:
    """Read a labels file.

    Either one label a line, in the order of the images; or a table with an image and its label in
    every row, separated by tabs, semicolons, commas or bars, with or without quotes and a header
    (see `decaf.images.listing.tables`). ``FILE:LABEL`` names the column of the labels, and
    ``FILE:PATH,LABEL`` that of the paths too, or gives their numbers from 1 on; else the column
    that names images is the path, and the one called label, class, species, category or target the
    label, or of few columns the last; where several are called so, they must divide the images
    alike, as the number and the name of a class do. An image is named by its path as given or below
    its source, by the end of its path, or without folders by its file name, where only one image
    has it; backslashes count as slashes. Folders that all paths of the table share, as of another
    machine, may stand for the source's (see `decaf.images.listing.table_paths`).

    An image that is not in the table, or whose cell is empty, has no label; how many there are is
    logged as a warning, and so is how many rows name no image.

    Parameters
    ----------
    path : path
        The file, in UTF-8, UTF-16 or Windows-1252.
    names : sequence of bytes
        Paths of the images as given.
    relative : sequence of bytes
        The same below their sources.

    Raises
    ------
    InputError
        If the file cannot be read, no row of it names an image, one names several, an image has
        labels that differ, or it is not clear which column is the label.
    """
    file, columns = named_columns(os.fsencode(path))
    texts = _texts(file, columns, names, relative, "label")
    numbers = [-1 if text is None else _as_int(text) for text in texts]
    if all(number is not None for number in numbers):
        return _integers(numbers), ()
    return labels_from_classes([None if text is None else _cell_text(text) for text in texts])


def texts_from_file(
    file: str, columns: str, names: Sequence[bytes], relative: Sequence[bytes], noun: str
) -> list[str | None]:
    """Read a column of a table, whose rows are matched with the images as those of labels are.

    Parameters
    ----------
    file : str
    columns : str
        ``COLUMN``, ``PATH,COLUMN``, or an empty text for the column that labels would be in.
    names, relative
        As in `labels_from_file`.
    noun : str
        Name of what an image has in it, for messages.

    Returns
    -------
    list of str or None
        None where a cell is empty, or the image is not in the table.
    """
    named: tuple[str | None, ...] | None = tuple(columns.split(",")) if columns else None
    if named is not None and len(named) == 1:
        named = (None, *named)
    texts = _texts(os.fsencode(file), named, names, relative, noun)
    return [None if text is None else _cell_text(text) for text in texts]


def _cell_text(cell: bytes) -> str | None:
    """Return what a cell says, composed as in NFC, without spaces (or no-break ones) around it."""
    return unicodedata.normalize("NFC", decoded(cell)).strip() or None


def _texts(
    file: bytes,
    columns: tuple[str | None, ...] | None,
    names: Sequence[bytes],
    relative: Sequence[bytes],
    noun: str,
) -> list[bytes | None]:
    """Return what a file says of every image, None where it says nothing."""
    shown = f"{noun}s file {name_text(file)!r}"
    content = read_table_file(file, shown)
    images = TablePaths(names, relative)
    try:
        read = _by_table(read_tables(content, shown), columns, images, shown)
        if read is None:
            return _by_lines(content, len(names), shown)
    except InputError as error:
        uneven = uneven_row(content, shown)
        if uneven is None:
            raise
        raise InputError(f"{error}; {uneven}") from error
    without = read.texts.count(None)
    if without:
        _logger.warning(
            "%s: %d of %d images have no %s, since they are not in it or their cell is empty (such "
            "as %r)",
            shown,
            without,
            len(names),
            noun,
            name_text(names[read.texts.index(None)]),
        )
    if read.reading.is_guess:
        _logger.warning("%s: %s", shown, read.reading.told_guess())
    if words := read.reading.no_labels():
        _logger.warning("%s: %s", shown, told_no_labels(words))
    if read.strangers:
        first = decoded(read.strangers[0])
        left = [name for name, text in zip(relative, read.texts, strict=True) if text is None]
        _logger.warning(
            "%s: %d of its rows name no image, such as %s%s",
            shown,
            len(read.strangers),
            shortened(first),
            nearest_name(first, left or relative),
        )
    return read.texts


@dataclass(frozen=True)
class _Matched:
    """A table, and what it says of every image: None where it says nothing.

    `strangers` are the cells that should name an image and name none.
    """

    reading: Reading
    texts: list[bytes | None]
    strangers: list[bytes]

    @property
    def count(self) -> int:
        return len(self.texts) - self.texts.count(None)


def _by_table(
    tables: Sequence[Table], columns: tuple[str | None, ...] | None, images: TablePaths, shown: str
) -> _Matched | None:
    """Return how a table was read and the label of every image; None if the file is no table."""
    if columns is not None and not tables:
        asked = " and ".join(repr(name) for name in columns if name is not None)
        raise InputError(f"{shown} has one column, not {asked}")
    best: _Matched | None = None
    problem: InputError | None = None
    for table in tables:
        try:
            reading = find_reading(table, columns, images.may_be, shown)
            if reading is None:
                continue
            matched = _matched(reading, images, shown)
        except InputError as error:
            problem = problem or error
            continue
        if best is None or matched.count > best.count:
            best = matched
        if not matched.count:
            problem = problem or InputError(f"{shown}: {_nothing_matches(matched, images)}")
    if best is not None and best.count:
        return best
    if problem is not None:
        raise problem
    if tables:
        nothing = _Matched(Reading(tables[0], 0, -1), [], [row[0] for row in tables[0].rows])
        raise InputError(f"{shown}: {_nothing_matches(nothing, images)}")
    return None


def _nothing_matches(matched: _Matched, images: TablePaths) -> str:
    """Say how a table was read in which no image has a text, and what is nearest to a path."""
    read = matched.reading.table.described()
    cells = [cell for cell, _ in matched.reading.pairs()]
    if len(matched.strangers) < len(cells) - 1:
        column = shortened(matched.reading.table.header[matched.reading.label])
        return f"the column {column} is empty for every image; read as {read}"
    first = decoded(cells[1] if len(cells) > 1 else cells[0])
    return (
        f"no row names an image; read as {read}. A path in it is "
        f"{shortened(first)}{nearest_name(first, images.relative)}: name images by their path as "
        "given, below their source, or a file name that only one has"
    )


def _matched(reading: Reading, images: TablePaths, shown: str) -> _Matched:
    """Find the label of every image in a table."""
    cells, texts = zip(*reading.pairs(), strict=True)
    labels: list[bytes | None] = [None] * len(images.names)
    strangers: list[tuple[bytes, bytes]] = []
    for row, places in enumerate(images.find(cells, shown)):
        for place in places:
            if labels[place] not in (None, texts[row]):
                raise _two_labels(cells[row], shown)
            labels[place] = texts[row]
        # The first row may be a header.
        if not places and cells[row] and (row or has_image_ending(cells[row])):
            strangers.append((cells[row], texts[row]))
    without = [place for place, text in enumerate(labels) if text is None]
    _refuse_ambiguous(without, strangers, set(cells), images, shown)
    return _Matched(reading, [text or None for text in labels], [cell for cell, _ in strangers])


def _refuse_ambiguous(
    without: list[int],
    strangers: list[tuple[bytes, bytes]],
    cells: set[bytes],
    images: TablePaths,
    shown: str,
) -> None:
    """Refuse images without a label that cells may mean, and others too."""
    for place in without:
        base, count = images.of_base(place)
        if base in cells and count > 1:
            raise InputError(
                f"{shown}: {decoded(base)!r} names {counted(count, 'image')}; give their paths "
                "below the "
                "source"
            )
    text_of = dict(strangers)
    for place, alike in images.cells_ending_in(without, text_of).items():
        if len({text_of[cell] for cell in alike}) > 1:
            one, other = (shortened(decoded(cell)) for cell in alike[:2])
            raise _two_labels(images.relative[place], f"{shown}: as {one} and {other}, it")


def _two_labels(path: bytes, shown: str) -> InputError:
    return InputError(f"{shown} has two labels for {shortened(decoded(path))}")


def _by_lines(content: bytes, count: int, shown: str) -> list[bytes | None]:
    """Take one label a line, in the order of the images; a blank line may stand for none."""
    text, _ = as_utf8(content, shown)
    lines = [line.strip() for line in text.removesuffix(b"\n").split(b"\n")]
    filled = [line for line in lines if line]
    texts: list[bytes | None] = [*filled]
    if len(filled) != count and len(lines) == count and filled:
        texts = [line or None for line in lines]
        _logger.warning(
            "%s: %d of %d images have no label: their lines are empty",
            shown,
            texts.count(None),
            count,
        )
    quoted = _quoted(text)
    if quoted is not None and len(texts) == len(quoted):
        texts = [text or None for text in quoted]
    if len(texts) != count:
        raise InputError(
            f"{shown} has {counted(len(texts), 'label')} for {counted(count, 'image')}"
        )
    words = Counter(decoded(text) for text in texts if text and is_no_label(text))
    if words:
        _logger.warning("%s: %s", shown, told_no_labels(words))
    return [None if text and is_no_label(text) else text for text in texts]


def _quoted(text: bytes) -> list[bytes] | None:
    """Read a file of one quoted label a line; None where it is none."""
    if b'"' not in text:
        return None
    reader = csv.reader(io.StringIO(text.decode("latin-1"), newline=""), strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error:
        return None
    if any(len(row) != 1 for row in rows):
        return None
    return [row[0].strip().encode("latin-1") for row in rows]


def _as_int(text: bytes) -> int | None:
    try:
        return int(text) if len(text) < 20 else None
    except ValueError:
        return None


def _integers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    numbers = [int(v) for v in values]  # type: ignore[call-overload]
    wrong = [v for v in numbers if not -1 <= v <= _INT64.max]
    if wrong:
        raise InputError(f"`labels` must be -1 (none) or more, got {wrong[0]}")
    return np.array(numbers, dtype=np.int64)

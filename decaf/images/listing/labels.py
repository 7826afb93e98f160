"""Labels of images: from folder names, a labels file, or a sequence.

Whatever they come from, labels end as int64 with -1 for none, and class names if they were texts.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images.listing.names import nearest_name, path_text, shortened
from decaf.images.listing.tables import (
    Reading,
    Table,
    as_utf8,
    decoded,
    find_reading,
    named_columns,
    read_tables,
    spellings,
    uneven_row,
)

__all__ = [
    "Labels",
    "class_of",
    "common_folder",
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

    >>> class_of(b"cat/young/1.jpg"), class_of(b"1.jpg")
    (b'cat', None)
    """
    parts = [part for part in relative.split(b"/") if part not in (b"", b".")]
    return parts[0] if len(parts) > 1 else None


def common_folder(paths: Sequence[bytes], depth: int | None = None) -> bytes:
    """Return the leading folders that all paths share, at most `depth` of them, ending in a slash.

    Parameters
    ----------
    paths : sequence of bytes
    depth : int, optional

    >>> common_folder([b"data/train/cat/1.jpg", b"data/train/dog/1.jpg"])
    b'data/train/'
    """
    if not paths:
        return b""
    # The shared start of the least and the greatest is shared by all that lie between.
    folders = [path.split(b"/")[:-1] for path in paths]
    low, high = min(folders), max(folders)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    if depth is not None:
        shared = min(shared, depth)
    return b"".join(part + b"/" for part in low[:shared])


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
        Sorted. Bytes that are not UTF-8 are shown as ``\\xNN``.

    Examples
    --------
    >>> labels_from_classes([b"dog", None, b"cat"])
    (array([ 1, -1,  0]), ('cat', 'dog'))
    """
    texts = [None if name is None else path_text(name) for name in classes]
    class_names = tuple(sorted({text for text in texts if text is not None}))
    number = {text: i for i, text in enumerate(class_names)}
    values = [-1 if text is None else number[text] for text in texts]
    return np.array(values, dtype=np.int64), class_names


def labels_from_sequence(values: Sequence[object], count: int) -> Labels:
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
        raise InputError(f"{len(values)} labels for {count} images")
    # NaN is what pandas has for an empty cell; it alone differs from itself.
    none = [v is None or v in ("", b"") or v != v for v in values]
    if any(none) and not all(none):
        _logger.warning("%d of %d labels are empty: these images have none", sum(none), count)
        texts = [None if empty else v for v, empty in zip(values, none, strict=True)]
        if all(text is None or isinstance(text, (str, bytes)) for text in texts):
            return labels_from_classes(texts)  # type: ignore[arg-type]
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
    every row, separated by tabs, semicolons or commas, with or without quotes and a header (see
    `decaf.images.listing.tables`). ``FILE:PATH,LABEL`` names its columns; else the column that
    names images is the path, and the one called label, class, species, category or target the
    label, or of few columns the last. An image is named by its path as given, its path below its
    source, a longer path that ends in this, or its file name where only one image has it;
    backslashes count as slashes. Rows that name no image, such as a header, are passed over.

    An image that is not in the table, or whose cell is empty, has no label; how many there are is
    logged as a warning.

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
        If the file cannot be read, no row of it names an image, one names several, or an image has
        labels that differ.
    """
    file, columns = named_columns(os.fsencode(path))
    texts = _texts(file, columns, names, relative, "label")
    numbers = [-1 if text is None else _as_int(text) for text in texts]
    if all(number is not None for number in numbers):
        return _integers(numbers), ()
    return labels_from_classes([None if text is None else decoded(text) for text in texts])


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
    return [None if text is None else decoded(text) for text in texts]


def _texts(
    file: bytes,
    columns: tuple[str | None, ...] | None,
    names: Sequence[bytes],
    relative: Sequence[bytes],
    noun: str,
) -> list[bytes | None]:
    """Return what a file says of every image, None where it says nothing."""
    shown = f"{noun}s file {os.fsdecode(file)!r}"
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{shown} cannot be read: {error}") from error
    images = _Images(names, relative)
    try:
        read = _by_table(read_tables(content, shown), columns, images, shown)
        if read is None:
            return _by_lines(content, len(names), shown)
    except InputError as error:
        uneven = uneven_row(content, shown)
        if uneven is None:
            raise
        raise InputError(f"{error}; {uneven}") from error
    reading, texts = read
    without = texts.count(None)
    if without:
        _logger.warning(
            "%s: %d of %d images have no %s, since they are not in it or their cell is empty (such "
            "as %r)%s",
            shown,
            without,
            len(names),
            noun,
            os.fsdecode(names[texts.index(None)]),
            _strange_rows(reading, texts, images),
        )
    return texts


def _strange_rows(reading: Reading, texts: list[bytes | None], images: _Images) -> str:
    """Say how many rows of a table name no image, and which one the first may have meant."""
    cells = [cell for cell, _ in reading.pairs()][1:]  # the first may be a header
    strange = [cell for cell in cells if cell and not images.known(cell)]
    if not strange:
        return ""
    without = [name for name, text in zip(images.relative, texts, strict=True) if text is None]
    return (
        f"; {len(strange)} of its rows name no image, such as "
        f"{shortened(decoded(strange[0]))}{nearest_name(decoded(strange[0]), without)}"
    )


class _Images:
    """The names by which a table may call images."""

    def __init__(self, names: Sequence[bytes], relative: Sequence[bytes]) -> None:
        self.names = names
        self.relative = relative
        self.bases = Counter(os.path.basename(name) for name in names)
        self._all = {*names, *relative, *self.bases}

    def known(self, cell: bytes) -> bool:
        """Tell whether a cell of a table names an image."""
        return any(key in self._all or _base(key) in self.bases for key in spellings(cell) if key)


def _base(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _by_table(
    tables: Sequence[Table], columns: tuple[str | None, ...] | None, images: _Images, shown: str
) -> tuple[Reading, list[bytes | None]] | None:
    """Return how a table was read and the label of every image; None if the file is no table."""
    if columns is not None and not tables:
        asked = " and ".join(repr(name) for name in columns if name is not None)
        raise InputError(f"{shown} has one column, not {asked}")
    best: tuple[int, Reading, list[bytes | None]] | None = None
    problem: InputError | None = None
    for table in tables:
        try:
            reading = find_reading(table, columns, images.known, shown)
            if reading is None:
                continue
            labels = _matched(reading, images, shown)
        except InputError as error:
            problem = problem or error
            continue
        count = sum(text is not None for text in labels)
        if best is None or count > best[0]:
            best = count, reading, labels
        if count == 0:
            problem = problem or InputError(f"{shown}: {_nothing_matches(reading, images)}")
    if best is not None and best[0]:
        return best[1:]
    if problem is not None:
        raise problem
    if tables:
        raise InputError(f"{shown}: {_nothing_matches(Reading(tables[0], 0, -1), images)}")
    return None


def _nothing_matches(reading: Reading, images: _Images) -> str:
    """Say how a table was read in which no image has a text, and what is nearest to a path."""
    cells = [cell for cell, _ in reading.pairs()]
    if any(images.known(cell) for cell in cells):
        column = shortened(reading.table.header[reading.label])
        return f"the column {column} is empty for every image; read as {reading.table.described()}"
    first = decoded(cells[1] if len(cells) > 1 else cells[0])
    return (
        f"no row names an image; read as {reading.table.described()}. A path in it is "
        f"{shortened(first)}{nearest_name(first, images.relative)}: name images by their path as "
        "given, below their source, or a file name that only one has"
    )


def _matched(reading: Reading, images: _Images, shown: str) -> list[bytes | None]:
    """Find the label of every image in a table; None where it has none."""
    table: dict[bytes, bytes] = {}
    for cell, text in reading.pairs():
        for key in spellings(cell):
            if table.setdefault(key, text) != text:
                raise InputError(f"{shown} has two labels for {shortened(decoded(cell))}")
    labels: list[bytes | None] = []
    for name, below in zip(images.names, images.relative, strict=True):
        base = os.path.basename(name)
        label = table.get(name, table.get(below))
        if label is None and base in table:
            if images.bases[base] > 1:
                raise InputError(
                    f"{shown}: {decoded(base)!r} names {images.bases[base]} images; give their "
                    "paths below the source"
                )
            label = table[base]
        labels.append(label)
    if None in labels:
        _match_ends(labels, table, images)
    return [label or None for label in labels]


def _match_ends(labels: list[bytes | None], table: dict[bytes, bytes], images: _Images) -> None:
    """Look up images that have no label yet by longer paths that end in theirs."""
    wanted: dict[bytes, list[int]] = {}
    for row, label in enumerate(labels):
        if label is None:
            wanted.setdefault(images.relative[row], []).append(row)
            base = os.path.basename(images.names[row])
            if images.bases[base] == 1:
                wanted.setdefault(base, []).append(row)
    ends: dict[bytes, set[bytes]] = {}
    for key, label in table.items():
        end = key.partition(b"/")[2]
        while end:
            if end in wanted:
                ends.setdefault(end, set()).add(label)
            end = end.partition(b"/")[2]
    # Those of the longer paths are looked at first.
    for end in sorted(ends, key=len, reverse=True):
        if len(ends[end]) == 1:
            for row in wanted[end]:
                if labels[row] is None:
                    labels[row] = next(iter(ends[end]))


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
        raise InputError(f"{shown} has {len(texts)} labels for {count} images")
    return texts


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

"""Labels of images: from folder names, a labels file, or a sequence.

Whatever they come from, labels end as int64 with -1 for none, and class names if they were texts.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError

__all__ = [
    "Labels",
    "class_of",
    "common_folder",
    "labels_from_classes",
    "labels_from_file",
    "labels_from_sequence",
]

# What a labels file should be, for messages.
_EXPECTED = "expected a label a line, or an image and its label with a comma or a tab between"

Labels = tuple[npt.NDArray[np.int64], tuple[str, ...]]

_INT64 = np.iinfo(np.int64)


def class_of(relative: bytes) -> bytes | None:
    """Give the class of an image from its path below its source: the first folder, if any.

    >>> class_of(b"cat/young/1.jpg"), class_of(b"1.jpg")
    (b'cat', None)
    """
    parts = [part for part in relative.split(b"/") if part not in (b"", b".")]
    return parts[0] if len(parts) > 1 else None


def common_folder(paths: Sequence[bytes], depth: int | None = None) -> bytes:
    """Give the leading folders that all paths share, at most `depth` of them, ending in a slash.

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
    texts = [None if name is None else _text(name) for name in classes]
    class_names = tuple(sorted({text for text in texts if text is not None}))
    number = {text: i for i, text in enumerate(class_names)}
    values = [-1 if text is None else number[text] for text in texts]
    return np.array(values, dtype=np.int64), class_names


def labels_from_sequence(values: Sequence[object], count: int) -> Labels:
    """Take labels given in the order of the images.

    Parameters
    ----------
    values : sequence of int or str
        All integers, which are kept (-1 is none), or all texts, which are numbered.
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
    if all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values):
        return _integers(values), ()
    if all(isinstance(v, (str, bytes)) for v in values):
        return labels_from_classes(values)  # type: ignore[arg-type]
    kinds = sorted({type(v).__name__ for v in values})
    raise InputError(f"labels must be all integers or all texts, got {', '.join(kinds)}")


def labels_from_file(
    path: str | bytes | os.PathLike[str], names: Sequence[bytes], relative: Sequence[bytes]
) -> Labels:
    """Read a labels file.

    Either one label a line, in the order of the images, or on every line an image and its label
    with a tab or a comma between (the last one counts), with or without quotes as CSV has them. An
    image is named by its path as given, else its path below its source, else its file name where
    only one image has it. Blank lines are passed over, and so are lines that name no image (such
    as a header) and the column of row numbers that R and pandas write under an empty header.

    Parameters
    ----------
    path : path
        The file, UTF-8 or any bytes.
    names : sequence of bytes
        Paths of the images as given.
    relative : sequence of bytes
        The same below their sources.

    Raises
    ------
    InputError
        If the file cannot be read, or an image has no label or several that differ.
    """
    shown = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError) as error:
        raise InputError(f"labels file {shown!r} cannot be read: {error}") from error
    if b"\0" in content:
        raise InputError(
            f"labels file {shown!r} holds zero bytes, as UTF-16 text does; {_EXPECTED} in UTF-8"
        )
    texts = _texts(content.replace(b"\r\n", b"\n"), names, relative, shown)
    numbers = [_as_int(text) for text in texts]
    if all(number is not None for number in numbers):
        return _integers(numbers), ()
    return labels_from_classes(texts)


def _texts(
    content: bytes, names: Sequence[bytes], relative: Sequence[bytes], shown: str
) -> list[bytes]:
    """Give the label of every image, in the images' order."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    texts = [line.strip() for line in lines]
    failed: InputError | None = None
    for separator in (b"\t", b","):
        rows = _csv_rows(content, separator)
        for pairs in _readings(rows, lines, separator):
            try:
                return _matched(pairs, names, relative, shown)
            except InputError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        if rows and b'"' in content and all(len(row) == 1 for row in rows):
            texts = [row[0].strip() for row in rows]
    if _by_semicolons(lines, names, relative, shown) or (
        len(texts) != len(names) and texts and all(b";" in text for text in texts)
    ):
        raise InputError(f"labels file {shown!r} is separated by ';'; {_EXPECTED}")
    if len(texts) != len(names):
        raise InputError(f"labels file {shown!r} has {len(texts)} labels for {len(names)} images")
    return texts


def _csv_rows(content: bytes, separator: bytes) -> list[list[bytes]] | None:
    """Split a text by CSV's rules (RFC 4180); None where its quotes do not fit them."""
    # Latin-1 takes any bytes there and back: names need not be UTF-8.
    text = io.StringIO(content.decode("latin-1"), newline="")
    reader = csv.reader(
        text, delimiter=separator.decode(), strict=True, skipinitialspace=separator != b"\t"
    )
    try:
        rows = [[field.encode("latin-1") for field in row] for row in reader]
    except csv.Error:
        return None
    return [row for row in rows if any(field.strip() for field in row)]


def _readings(
    rows: list[list[bytes]] | None, lines: list[bytes], separator: bytes
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Give the pairs of image and label that a file may mean, the likelier first."""
    if rows and all(len(row) > 1 for row in rows):
        yield [(separator.join(row[:-1]).strip(), row[-1].strip()) for row in rows]
        if not rows[0][0] and all(len(row) > 2 for row in rows):
            yield [(separator.join(row[1:-1]).strip(), row[-1].strip()) for row in rows]
    elif rows:
        return
    # Names may hold quotes that are no CSV.
    if lines and all(separator in line for line in lines):
        pairs = [line.rsplit(separator, 1) for line in lines]
        yield [(name.strip(), text.strip()) for name, text in pairs]


def _by_semicolons(
    lines: list[bytes], names: Sequence[bytes], relative: Sequence[bytes], shown: str
) -> bool:
    """Tell whether lines name the images with a semicolon after each."""
    if not lines or not all(b";" in line for line in lines):
        return False
    pairs = [line.rsplit(b";", 1) for line in lines]
    try:
        _matched([(k.strip(b' "'), v) for k, v in pairs], names, relative, shown)
    except InputError:
        return False
    return True


def _matched(
    pairs: list[tuple[bytes, bytes]],
    names: Sequence[bytes],
    relative: Sequence[bytes],
    shown: str,
) -> list[bytes]:
    """Find the label of every image in a table."""
    table: dict[bytes, bytes] = {}
    for name, text in pairs:
        if table.setdefault(name, text) != text:
            raise InputError(f"labels file {shown!r} has two labels for {os.fsdecode(name)!r}")
    bases: dict[bytes, int] = {}
    for name in names:
        base = os.path.basename(name)
        bases[base] = bases.get(base, 0) + 1
    found: list[bytes] = []
    without: list[str] = []
    for name, below in zip(names, relative, strict=True):
        base = os.path.basename(name)
        label: bytes | None = table.get(name, table.get(below))
        if label is None and bases[base] == 1:
            label = table.get(base)
        if label is None:
            without.append(repr(os.fsdecode(name)))
        else:
            found.append(label)
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        raise InputError(
            f"labels file {shown!r} has no label for {', '.join(without[:3])}{more}; "
            "name images by their path as given, below their source, or a file name that is unique"
        )
    return found


def _as_int(text: bytes) -> int | None:
    try:
        return int(text) if len(text) < 20 else None
    except ValueError:
        return None


def _integers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    numbers = [int(v) for v in values]  # type: ignore[call-overload]
    wrong = [v for v in numbers if not -1 <= v <= _INT64.max]
    if wrong:
        raise InputError(f"labels must be -1 (none) or more, got {wrong[0]}")
    return np.array(numbers, dtype=np.int64)


def _text(name: bytes | str) -> str:
    """Give a text that any file can hold, whatever the bytes."""
    if isinstance(name, str):
        name = name.encode("utf-8", "surrogateescape")
    return name.decode("utf-8", "backslashreplace")

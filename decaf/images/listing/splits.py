"""Which images are for training, for validation and for the test, where a table says so."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from decaf.errors import InputError, SettingError
from decaf.images.listing.class_folders import SPLITS, split_called
from decaf.images.listing.labels import is_missing, texts_from_file
from decaf.images.listing.names import nearest_path, shortened, some_of
from decaf.runtime.names import name_text

__all__ = ["find_splits", "is_split_column", "table_and_columns"]

_logger = logging.getLogger(__name__)

_CALLED = "; ".join(f"{split}: {', '.join(names)}" for split, names in SPLITS.items())


def find_splits(splits: Any, names: Sequence[bytes], relative: Sequence[bytes]) -> tuple[str, ...]:
    """Find the split of each image.

    Parameters
    ----------
    splits : str, path or sequence
        ``"FILE:COLUMN"`` or ``"FILE:PATH,COLUMN"``: the column of a table, whose rows are matched
        with the images as those of labels are (see
        `decaf.images.listing.labels.labels_from_file`); by default the one called split. Or one
        text for each image. A split is called as its folder may be
        (`decaf.images.listing.class_folders.SPLITS`); an empty cell is none.
    names : sequence of bytes
        Paths of the images as given.
    relative : sequence of bytes
        The same below their sources.

    Returns
    -------
    tuple of str
        "train", "val", "test", or an empty text for an image that is in none.

    Raises
    ------
    SettingError
        Where there is no such file.
    InputError
        If no image is in a split, a cell names none, or the table cannot be read.
    """
    if isinstance(splits, (str, bytes, os.PathLike)):
        text = name_text(splits)
        shown = f"`splits` {text!r}"
        file, columns = table_and_columns(text, "splits", "FILE:COLUMN, or one for each image")
        given: Sequence[Any] = texts_from_file(file, columns or "split", names, relative, "split")
    else:
        shown = "`splits`"
        if not isinstance(splits, Iterable):
            raise SettingError(f"`splits` {splits!r:.80}: must be FILE:COLUMN, or one an image")
        given = list(splits)
        if len(given) != len(names):
            raise InputError(f"{len(given)} splits for {len(names)} images")
    texts = ["" if is_missing(value) else str(value).strip() for value in given]
    known = {text: split_called(text.encode()) if text else "" for text in set(texts)}
    strange = sorted(text for text, split in known.items() if split is None)
    if strange:
        counts = Counter(texts)
        told = some_of((f"{shortened(text)} ({counts[text]})" for text in strange), 3)
        raise InputError(f"{shown}: {told} is no split; they are called {_CALLED}")
    if not any(texts):
        raise InputError(f"{shown}: none of the {len(texts)} images is in a split")
    without = texts.count("")
    # Of a table its reader has told.
    if without and not isinstance(splits, (str, bytes, os.PathLike)):
        _logger.warning("%s: %d of %d images are in no split", shown, without, len(texts))
    return tuple(known[text] or "" for text in texts)


def is_split_column(values: Iterable[str]) -> bool:
    """Tell whether a column that is called split holds the names of splits, or nothing.

    Parameters
    ----------
    values : iterable of str

    Examples
    --------
    >>> is_split_column(["train", "", "Test"]), is_split_column(["1", "2"]), is_split_column([""])
    (True, False, False)
    """
    filled = {value.strip() for value in values} - {""}
    return bool(filled) and all(split_called(value.encode()) for value in filled)


def table_and_columns(text: str, argument: str, forms: str) -> tuple[str, str]:
    """Divide ``FILE:COLUMNS``; the columns are an empty text where the file is named alone.

    Parameters
    ----------
    text : str
    argument : str
        Name of the argument, for the message.
    forms : str
        What else it may be, for the message.

    Raises
    ------
    SettingError
        Where there is no such file.
    """
    if os.path.exists(text):
        return text, ""
    file, colon, columns = text.rpartition(":")
    if colon and os.path.exists(file):
        return file, columns
    near = nearest_path(os.fsencode(file if colon and "/" not in columns else text))
    raise SettingError(
        f"`{argument}` {text!r}: there is no such file, and it is none of {forms}{near}"
    )

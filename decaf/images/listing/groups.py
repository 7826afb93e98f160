"""Which images belong together: photographs of one animal, of one burst, of one site.

Images of one group are so much alike that what was learnt of some tells of the others. A group is
therefore never on both sides of a split (`decaf.images.listing.draws`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from decaf.errors import ImageError, InputError, SettingError
from decaf.images.decoding.tiff_tags import CaptureTime, capture_time
from decaf.images.listing.image_ref import ImageRef
from decaf.images.listing.labels import is_missing, texts_from_file
from decaf.images.listing.splits import table_and_columns
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted

__all__ = ["find_groups", "is_table"]

# What is read of a file for its EXIF block, which stands near the beginning.
_HEAD_BYTES = 256 * 1024
_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORMS = "FILE:COLUMN, path:REGEX, folder, folder:N, or time:60s"

_logger = logging.getLogger(__name__)


def find_groups(
    groups: Any,
    names: Sequence[bytes],
    relative: Sequence[bytes],
    refs: Sequence[ImageRef] | None,
) -> tuple[str, ...] | None:
    """Find the group of each image.

    Parameters
    ----------
    groups : str, path or sequence, or None
        ``"FILE:COLUMN"``: the column of a table whose rows are matched with the images as those of
        labels are (see `decaf.images.listing.labels.labels_from_file`); an empty cell is no group.
        ``"path:REGEX"``: the first group of a regular expression that is searched for in the path
        below the source, or all that matches. ``"folder"``: the folder that an image lies in;
        ``"folder:2"`` the one above, and so on. ``"time:60s"``: images whose capture times (EXIF)
        follow one another within 60 seconds (``min``, ``h`` and ``d`` are units too), for each
        camera by itself. Or one text or number for each image, None for no group.
    names : sequence of bytes
        Paths of the images as given.
    relative : sequence of bytes
        The same below their sources.
    refs : sequence of ImageRef or None
        How each is loaded.

    Returns
    -------
    tuple of str, or None
        An empty text for an image without a group; None where `groups` is None.

    Raises
    ------
    SettingError
        For a text that names no groups.
    InputError
        If no image is in a group, or the table cannot be read.
    """
    if groups is None:
        return None
    if not isinstance(groups, (str, bytes, os.PathLike)):
        group_names = _from_sequence(groups, len(names))
        shown = "groups"
    else:
        text = name_text(groups)
        shown = f"`groups` {text!r}"
        kind, _, rest = text.partition(":")
        if kind == "path":
            group_names = _by_path(rest, relative, shown)
        elif kind == "folder":
            group_names = _by_folder(rest, relative, shown)
        elif kind == "time":
            group_names = _by_time(rest, names, refs, shown)
        else:
            return _from_file(text, names, relative)
    without = group_names.count("")
    if without == len(group_names):
        raise InputError(f"{shown}: none of the {counted(len(group_names), 'image')} is in a group")
    if without:
        _logger.warning(
            "%s: %d of %d images are in no group, each counts as one of its own (such as %r)",
            shown,
            without,
            len(group_names),
            name_text(names[group_names.index("")]),
        )
    return tuple(group_names)


def is_table(groups: str | bytes | os.PathLike[Any]) -> bool:
    """Tell whether groups that are a text are those of a table, which knows images by their paths.

    Parameters
    ----------
    groups : str or path

    Examples
    --------
    >>> is_table("animals.csv:animal"), is_table("folder:2")
    (True, False)
    """
    return name_text(groups).partition(":")[0] not in ("path", "folder", "time")


def _from_sequence(groups: Any, count: int) -> list[str]:
    if not isinstance(groups, Iterable):
        raise SettingError(f"`groups` {groups!r:.80}: must be {_FORMS}, or one for each image")
    values = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(values) != count:
        raise InputError(f"{counted(len(values), 'group')} for {counted(count, 'image')}")
    return ["" if is_missing(value) else _text(value) for value in values]


def _from_file(text: str, names: Sequence[bytes], relative: Sequence[bytes]) -> tuple[str, ...]:
    file, columns = table_and_columns(text, "groups", _FORMS)
    cells = texts_from_file(file, columns, names, relative, "group")
    return tuple("" if cell is None else _text(cell) for cell in cells)


def _by_path(pattern: str, relative: Sequence[bytes], shown: str) -> list[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"{shown}: is no regular expression: {error}") from error
    group_names = []
    for path in relative:
        match = expression.search(name_text(path))
        part = "" if match is None else match[1 if expression.groups else 0]
        group_names.append(_text(part or ""))
    return group_names


def _by_folder(levels: str, relative: Sequence[bytes], shown: str) -> list[str]:
    if levels and not (levels.isdecimal() and int(levels) >= 1):
        raise SettingError(f"{shown}: folder:N takes a whole number from 1 on")
    above = int(levels or 1)
    return [_text(b"/".join(path.split(b"/")[:-above])) for path in relative]


def _by_time(
    span: str, names: Sequence[bytes], refs: Sequence[ImageRef] | None, shown: str
) -> list[str]:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)\s*", span)
    if match is None:
        raise SettingError(f"{shown}: time takes a span such as 60s, 5min, 2h or 1d")
    if refs is None:
        raise SettingError(f"{shown}: images in memory, and those of a pack, have no capture times")
    apart = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    taken = [_taken(ref) for ref in refs]
    if not any(taken):
        raise InputError(
            f"{shown}: none of the {counted(len(names), 'image')} has a capture time (EXIF), "
            "which programs "
            f"often leave out of what they save; give {_FORMS.rpartition(',')[0]}"
        )
    of_camera: dict[str, list[tuple[datetime, bytes, int]]] = {}
    for row, each in enumerate(taken):
        if each is not None:
            of_camera.setdefault(each.camera, []).append((each.time, names[row], row))
    group_names = [""] * len(names)
    for camera, shots in of_camera.items():
        before, group = datetime.min, ""
        for time, _, row in sorted(shots):
            if not group or time - before > apart:
                group = _text(f"{camera} {time.isoformat(sep=' ')}".strip())
            before, group_names[row] = time, group
    return group_names


def _taken(ref: ImageRef) -> CaptureTime | None:
    if ref.archive is None:
        try:
            if not os.path.isfile(ref.name):
                return None
            with open(ref.name, "rb") as file:
                return capture_time(file.read(_HEAD_BYTES))
        except (OSError, ValueError):
            return None
    try:
        return capture_time(ref.load()[:_HEAD_BYTES])
    except ImageError:
        return None


def _text(value: object) -> str:
    """Return a name that any file can hold."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode().replace("\0", "")

"""The name of a file that is to be written, checked before anything is computed.

What is replaced is a file of the kind that is written, never something else: a name that was
mistyped, or completed by a shell to that of a photograph, must not cost it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decaf.errors import OutputError, ResumeError
from decaf.images.listing.recognise import KINDS, recognise
from decaf.runtime.names import name_text
from decaf.storage.atomic import temporary_path

__all__ = ["TEXT_KINDS", "check_output", "output_called"]

TEXT_KINDS = ("text", "table", "list")
"""Kinds of files of text, as `decaf.images.listing.recognise.KINDS` has them."""


def check_output(
    path: Path,
    *kinds: str,
    inputs: Iterable[Any] = (),
    example: str = "",
    overwrite: bool = True,
) -> None:
    """Refuse a place where no file could be written, and one whose file must not be replaced.

    Parameters
    ----------
    path : Path
        The file to be.
    *kinds : str
        What may be replaced, besides an empty file: names of `decaf.images.listing.recognise.KINDS`
        of which the first is the one that is written.
    inputs : iterable
        What the run reads, where that may be of such a kind too: paths, as the user gives them;
        whatever else it holds is passed over.
    example : str
        Name of a file, for the error where `path` is a folder.
    overwrite : bool
        Whether a file of such a kind may be replaced, for a caller whose file is called `out`.

    Raises
    ------
    OutputError
        If it is a folder or lies in none, or in one that is not writable; is a device, a pipe or a
        socket; a file of another kind; or an input; or is there and not to be replaced.
    """
    if path.is_dir():
        such_as = f", such as {path}/{example}" if example else ""
        raise OutputError(f"{path}: is a folder; give the name of a file{such_as}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
    there = recognise(path)
    if there.name == "absent":
        _check_folder(path)
    if there.name not in ("absent", "empty", *kinds):
        raise OutputError(
            f"{path}: exists and is {there.noun}, not {KINDS[kinds[0]].noun}, so it is not "
            "replaced; give another name, or move it away"
        )
    if there.name != "absent" and any(_is_same(path, each) for each in inputs):
        raise OutputError(f"{path}: is read by this run, so it is not replaced; give another name")
    if not overwrite and path.exists():
        raise OutputError(f"{path}: exists; give another `out`, or `overwrite=True`")


@contextmanager
def output_called(argument: str) -> Iterator[None]:
    """Name the caller's own argument in errors that are raised within, where they name `out`.

    Parameters
    ----------
    argument : str
        What the caller's users call the file, such as ``keep_features``.

    Raises
    ------
    OutputError, ResumeError
        Those raised within, with the other name.

    Examples
    --------
    >>> from decaf.errors import OutputError
    >>> with output_called("keep_features"):
    ...     raise OutputError("a.h5: exists; give another `out`, or `overwrite=True`")
    Traceback (most recent call last):
    decaf.errors.OutputError: a.h5: exists; give another `keep_features`, or `overwrite=True`
    """
    try:
        yield
    except (OutputError, ResumeError) as error:
        if "`out`" not in str(error):
            raise
        raise type(error)(str(error).replace("`out`", f"`{argument}`")) from error


def _check_folder(path: Path) -> None:
    """Refuse a new file that its folder would not take; else that is told when all is computed."""
    folder = path.parent
    try:
        # A longer name than its own, which it has until it is complete.
        os.lstat(temporary_path(path))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{path}: cannot be written: {reason}; give another name") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"{path}: cannot be written: the folder {folder} is not writable; give another name"
        )


def _is_same(path: Path, given: Any) -> bool:
    """Tell whether what a user gives as an input, perhaps with columns, is a file."""
    if isinstance(given, (list, tuple)):
        return any(_is_same(path, each) for each in given)
    if not isinstance(given, (str, bytes, os.PathLike)):
        return False
    name = name_text(given)
    for place in (name, name.removeprefix("@"), name.rpartition(":")[0]):
        try:
            if place and os.path.samefile(path, place):
                return True
        except (OSError, ValueError):
            continue
    return False

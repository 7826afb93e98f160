"""The file of a classifier to be, and the folder beside it that keeps features until it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.weights import is_registry_name
from decaf.errors import HeadError, OutputError
from decaf.heads.saved import SavedHead, load_head
from decaf.runtime.names import name_text
from decaf.storage import check_output, disk_errors

__all__ = [
    "FEATURES_NAME",
    "check_targets",
    "ending",
    "is_almost_done",
    "is_same_head",
    "parts_path",
    "remove_parts",
]

FEATURES_NAME = "features.h5"


def check_targets(
    out: Path | None,
    keep_features: str | os.PathLike[str] | None,
    *,
    overwrite: bool,
    inputs: Iterable[Any] = (),
) -> None:
    """Refuse places that cannot be written to, and files of another kind whatever is asked for.

    Parameters
    ----------
    out : Path or None
        The classifier's file.
    keep_features : path or None
        The features' file.
    overwrite : bool
        Whether a classifier may be replaced.
    inputs : iterable
        As in `decaf.storage.check_output`.

    Raises
    ------
    OutputError
    """
    kept = None if keep_features is None else Path(name_text(keep_features))
    if out is not None:
        _check_out(out, overwrite)
        if kept is not None and os.path.realpath(out) == os.path.realpath(kept):
            raise OutputError(
                f"{out}: named both for the classifier and for the features; give two names"
            )
    if kept is not None:
        check_output(kept, "features", inputs=inputs)


def _check_out(out: Path, overwrite: bool) -> None:
    if is_registry_name(str(out)):
        raise OutputError(f"{out}: is the name of weights; give the classifier another name")
    check_output(out, "head", overwrite=overwrite)


def parts_path(out: Path) -> Path:
    """Return the folder that holds the features while a classifier is being made.

    Parameters
    ----------
    out : Path
        The classifier's file.
    """
    return out.with_name(out.name + ".parts")


def remove_parts(out: Path) -> None:
    """Remove the features that were kept for a classifier that is made now, and nothing else.

    Parameters
    ----------
    out : Path
        The classifier's file.
    """
    folder = parts_path(out)
    for path in folder.glob(f"{FEATURES_NAME}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or somebody's own
        folder.rmdir()


@contextmanager
def ending(out: Path) -> Iterator[None]:
    """Have a folder beside a classifier while it is written, which is then removed.

    It tells the same command, where that is given again, that this run was killed at its end.

    Parameters
    ----------
    out : Path
        The classifier's file.
    """
    folder = parts_path(out)
    made = not folder.exists()
    with disk_errors(folder, "nothing was written"):
        folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    remove_parts(out)


def is_same_head(out: Path, head: SavedHead) -> bool:
    """Tell whether a file holds a head that was fitted to the same features, up to rounding.

    Parameters
    ----------
    out : Path
    head : SavedHead
    """
    there = load_head(out)
    if (there.class_names, there.identity) != (head.class_names, head.identity):
        return False
    return all(
        np.allclose(getattr(there.estimator, name), getattr(head.estimator, name), 1e-4, 1e-6)
        for name in ("coef_", "intercept_")
    )


def is_almost_done(out: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether a run wrote its classifier, and was killed before it had removed its features.

    Parameters
    ----------
    out : Path
        The classifier's file.
    settings : mapping
        The record of the settings that are asked for now: those of the run that was killed must be
        the same.
    """
    try:
        left = os.listdir(parts_path(out))
        if not all(name.startswith(FEATURES_NAME) for name in left):
            return False
        return bool(load_head(out).report.get("settings") == settings)
    except (OSError, HeadError):
        return False

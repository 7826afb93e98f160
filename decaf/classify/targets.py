"""Where a classifier and its features are to be written: refused before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from decaf.backbone.weights.registry import is_registry_name
from decaf.errors import OutputError
from decaf.heads.saved import is_head_file
from decaf.images.decoding.formats import is_hdf5

__all__ = ["check_targets"]


def check_targets(
    out: Path | None, keep_features: str | os.PathLike[str] | None, *, overwrite: bool
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

    Raises
    ------
    OutputError
    """
    kept = None if keep_features is None else Path(os.fsdecode(keep_features))
    if out is not None:
        _check_out(out, overwrite)
        if kept is not None and os.path.realpath(out) == os.path.realpath(kept):
            raise OutputError(
                f"{out}: named both for the classifier and for the features; give two names"
            )
    if kept is not None and kept.is_file() and not _is_empty(kept) and not is_hdf5(kept):
        raise OutputError(
            f"{kept}: exists and is no feature file, so it is not replaced; give another "
            "--keep-features, or move it away"
        )


def _check_out(out: Path, overwrite: bool) -> None:
    if is_registry_name(str(out)):
        raise OutputError(f"{out}: is the name of weights; give the classifier another name")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; give the name of a file")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: there is no folder {out.parent}")
    if not out.exists():
        return
    if not _is_empty(out) and not is_head_file(out):
        raise OutputError(
            f"{out}: exists and is no classifier of decaf, so it is not replaced; give another "
            "--out, or move it away"
        )
    if not overwrite:
        raise OutputError(f"{out}: exists; give another --out, or --overwrite")


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0

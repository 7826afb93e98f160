"""An evaluation as a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from decaf.errors import OutputError
from decaf.evaluate.classification import Evaluation
from decaf.storage import disk_errors, write_atomically

__all__ = ["check_report_path", "save_report"]


def check_report_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a place that no report could be written to, before anything is computed.

    Parameters
    ----------
    path : path
    overwrite : bool
        Whether what is there may be replaced.

    Raises
    ------
    OutputError
        If it is a folder, lies in none, or is there already and must not be replaced.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no folder {target.parent}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists; give another `out`, or `overwrite=True`")


def save_report(
    evaluation: Evaluation, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write what `Evaluation.to_dict` gives; the same evaluation gives the same bytes.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        The file, which is complete or as it was before, whatever happens.
    overwrite : bool
        Replace it if it is there.

    Raises
    ------
    OutputError
        If it is there, or cannot be written.
    """
    check_report_path(path, overwrite=overwrite)
    text = json.dumps(evaluation.to_dict(), indent=2) + "\n"
    with disk_errors(Path(path), "nothing was written"):
        write_atomically(Path(path), text.encode())

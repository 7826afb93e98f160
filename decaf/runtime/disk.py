"""The room on a disk, before a run is begun."""

from __future__ import annotations

import shutil
from pathlib import Path

from decaf.errors import DiskError

__all__ = ["need_room"]


def need_room(path: Path, size: int, what: str, remedy: str) -> None:
    """Refuse to begin a run for which the disk has not enough room.

    Parameters
    ----------
    path : Path
        The file or folder to be written, which need not be there yet.
    size : int
        Bytes that are still to be written.
    what : str
        Noun and verb of the run that takes them, for the error.
    remedy : str
        Remedy besides making room, for the error.

    Raises
    ------
    DiskError
        With both figures.
    """
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise DiskError(
            f"{path}: {what} {size / 1e9:.3g} GB, and the disk has {free / 1e9:.3g} GB left; make "
            f"room, {remedy}"
        )

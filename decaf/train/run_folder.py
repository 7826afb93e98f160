"""The folder of a run: taken by one run at a time, and of one run for ever."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from decaf.errors import OutputError, ResumeError
from decaf.storage.atomic import SUFFIX, disk_errors, write_atomically
from decaf.storage.lock import LOCK_NAME, acquire
from decaf.storage.records import differences
from decaf.train.checkpoint import Checkpoints
from decaf.version import __version__

__all__ = ["RunFolder"]

FORMAT = "decaf-train"
SCHEMA = 1
CHECKPOINTS = "checkpoints"
SETTINGS_FILE = "run.json"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"


class RunFolder:
    """The folder of a run.

    Parameters
    ----------
    path : Path
    checkpoints : Checkpoints
        In it.
    record : dict
        JSON values: all that determines the run.

    Attributes
    ----------
    lengthened : list of dict
        For each time that the run was asked for more epochs: ``epochs``, which it had before, and
        ``step``, at which it went on. They stand in ``run.json``.
    grown : bool
        Whether the last of them is of this session.
    """

    def __init__(self, path: Path, checkpoints: Checkpoints, record: dict[str, Any]) -> None:
        self.path = path
        self.checkpoints = checkpoints
        self.record = record
        self.lengthened: list[dict[str, Any]] = []
        self.grown = False
        self._lock: int | None = None

    def open(self, resume: bool, needed: int) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Take the folder.

        Parameters
        ----------
        resume : bool
            Whether to go on with the run that is there.
        needed : int
            Bytes that all checkpoints and the weights take.

        Returns
        -------
        state : dict
        tensors : dict of str to Tensor
            Of the last intact checkpoint; or None in place of both, where there is none.

        Raises
        ------
        OutputError
            If it holds a run and `resume` is not wanted, holds something else, is in use, or the
            disk has not enough room.
        ResumeError
            If the run in it was another, or none of its checkpoints is intact.
        """
        path = self.path / SETTINGS_FILE
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is no folder; give another `out`")
        if self.path.is_dir() and not path.exists():
            # What a run that was killed as it began has left is no hindrance.
            strange = [
                name
                for name in sorted(os.listdir(self.path))
                if name != LOCK_NAME and not _is_unfinished(name)
            ]
            if strange:
                raise OutputError(
                    f"{self.path}: holds something else ({strange[0]!r}); give another `out`"
                )
        with disk_errors(self.path, "nothing was begun"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = acquire(self.path)
            if path.exists() and not resume:
                raise OutputError(
                    f"{self.path}: holds a run already; give `resume=True` to go on with it, "
                    "or another `out`"
                )
            self._check_room(needed)
            for name in os.listdir(self.path):
                if _is_unfinished(name):
                    (self.path / name).unlink()
            if not path.exists():
                self._write(path)
                return None
        epochs = self._compare(path)
        found = self.checkpoints.newest()
        if epochs is not None:
            step = 0 if found is None else found[0]["trainer"]["step"]
            self.lengthened.append({"epochs": epochs, "step": step})
            self.grown = True
            with disk_errors(self.path, "nothing was changed"):
                self._write(path)
        return found

    def _write(self, path: Path) -> None:
        head = {"format": FORMAT, "schema": SCHEMA, "decaf_version": __version__}
        more = {"lengthened": self.lengthened} if self.lengthened else {}
        write_atomically(path, json.dumps({**head, **self.record, **more}, indent=1).encode())

    def _compare(self, path: Path) -> float | None:
        """Refuse another run; return the epochs that it had, where it is asked for more."""
        try:
            before = json.loads(path.read_bytes())
            kind, schema, version = (before.pop(k) for k in ("format", "schema", "decaf_version"))
            if kind != FORMAT:
                raise ValueError("it is not of a run of decaf")
            self.lengthened = list(before.pop("lengthened", []))
            epochs, now = before["settings"]["epochs"], self.record["settings"]["epochs"]
            longer = epochs < now
            if longer:
                before["settings"]["epochs"] = now
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ResumeError(f"{path}: is damaged ({error}); give another `out`") from error
        if schema != SCHEMA:
            raise ResumeError(
                f"{path}: was written in schema {schema!r:.60} by decaf {version!s:.60}, this "
                f"version reads {SCHEMA}; go on with that version, or give another `out`"
            )
        found = differences(before, self.record)
        if found:
            raise ResumeError(
                f"{self.path}: was begun with other settings ({'; '.join(found)}); "
                "give those, or another `out`"
            )
        return epochs if longer else None

    def _check_room(self, needed: int) -> None:
        """See that the checkpoints will fit, before hours go by."""
        needed -= sum(p.stat().st_size for p in self.checkpoints.paths())
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise OutputError(
                f"{self.path}: the run needs {needed / 1e6:.0f} MB for checkpoints and weights, "
                f"and the disk has {free / 1e6:.0f} MB; make room, or keep fewer with `keep`"
            )

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _is_unfinished(name: str) -> bool:
    """Tell whether a file is one that was being written when its process was killed."""
    whole = (SETTINGS_FILE, LOG_FILE, WEIGHTS_FILE, CURVES_FILE)
    return name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in whole

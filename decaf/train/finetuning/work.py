"""The folder in which a fine-tuning works: taken by one run at a time, and of one run for ever."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from decaf import __version__
from decaf.errors import OutputError, ResumeError
from decaf.features.disk import disk_errors, write_atomically
from decaf.features.parts.lock import acquire
from decaf.features.run import differences
from decaf.train.checkpoint import read_checkpoint, write_checkpoint

__all__ = ["WorkFolder"]

FORMAT = "decaf-finetune"
SCHEMA = 1
KEPT = "what is finished is kept, for --resume"

_RECORD = "finetune.json"
_PACK = "data.pack"
_HEAD = "head.safetensors"
_RUN = "run"


class WorkFolder:
    """The folder beside a model in which it is made.

    It holds ``finetune.json`` (what was asked for), ``data.pack``, ``head.safetensors`` (the frozen
    head) and ``run/``, the folder of the training run, with ``log.csv``, ``curves.png`` and
    checkpoints.

    Parameters
    ----------
    model : Path
        The weights file to be.
    record : dict
        JSON values: all that was asked for.
    """

    def __init__(self, model: Path, record: dict[str, Any]) -> None:
        self.model = model
        self.path = model.with_name(model.stem + ".finetune")
        self.record = json.loads(json.dumps(record))
        self.pack = self.path / _PACK
        self.run = self.path / _RUN
        self._lock: int | None = None

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Take the folder.

        Parameters
        ----------
        resume : bool
            Go on with what is there.
        overwrite : bool
            Remove what is there.

        Raises
        ------
        OutputError
            If the model or the folder is there and neither is wanted, if the folder is no
            fine-tuning's, or in use.
        ResumeError
            If what is there was begun with other settings.
        """
        if self.model.exists() and not (resume or overwrite):
            raise OutputError(
                f"{self.model}: exists already; give another --out, or --overwrite to replace it"
            )
        known = self.path / _RECORD
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is needed for work and is no folder; move it away")
        if self.path.is_dir() and not known.exists():
            strange = [name for name in sorted(os.listdir(self.path)) if not _is_early(name)]
            if strange:
                raise OutputError(
                    f"{self.path}: is needed for work and holds something else ({strange[0]!r}); "
                    "move it away, or give another --out"
                )
        with disk_errors(self.path, "nothing was begun"):
            self._lock = acquire(self.path)
            if known.exists() and not (resume or overwrite):
                raise OutputError(
                    f"{self.path}: holds a run already; give --resume to go on with it, "
                    "--overwrite to begin anew, or another --out"
                )
            if overwrite and not resume:
                self._empty()
            if known.exists():
                self._compare(known)
            elif self.model.exists() and not overwrite:
                raise OutputError(
                    f"{self.model}: exists already, and no unfinished run beside it; give another "
                    "--out, or --overwrite to replace it"
                )
            else:
                self._write(None)

    def _compare(self, path: Path) -> None:
        try:
            found = json.loads(path.read_bytes())
            kind, schema, version = (found[k] for k in ("format", "schema", "decaf_version"))
            before = found["asked"]
            if kind != FORMAT or not isinstance(before, dict):
                raise ValueError("it is not of a fine-tuning of decaf")
        except (ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{path}: is damaged ({error}); give --overwrite") from error
        if schema != SCHEMA:
            raise ResumeError(
                f"{path}: was written in schema {schema!r:.60} by decaf {version!s:.60}, this "
                f"version reads {SCHEMA}; go on with that version, or give --overwrite"
            )
        differing = differences(before, self.record)
        if differing:
            raise ResumeError(
                f"{self.path}: was begun with other settings ({'; '.join(differing)}); "
                "give those, another --out, or --overwrite instead of --resume"
            )

    def _write(self, adjusted: dict[str, Any] | None, result: dict[str, Any] | None = None) -> None:
        head = {"format": FORMAT, "schema": SCHEMA, "decaf_version": __version__}
        body = {"asked": self.record, "adjusted": adjusted, "result": result}
        text = json.dumps({**head, **body}, indent=1)
        with disk_errors(self.path / _RECORD, KEPT):
            write_atomically(self.path / _RECORD, text.encode())

    def adjusted(self) -> dict[str, Any] | None:
        """Give the training settings that were taken in place of those asked for, if any."""
        found: dict[str, Any] | None = json.loads((self.path / _RECORD).read_bytes())["adjusted"]
        return found

    def result(self) -> dict[str, Any] | None:
        """Give what `keep_result` kept; None where the run is not finished."""
        found: dict[str, Any] | None = json.loads((self.path / _RECORD).read_bytes())["result"]
        return found

    def keep_result(self, result: dict[str, Any]) -> None:
        """Write down that model and card are written, and what they tell."""
        self._write(self.adjusted(), result)

    def adjust(self, settings: dict[str, Any]) -> None:
        """Write down the training settings taken instead, and drop what was made with others."""
        self._write(settings)
        if self.run.exists():
            shutil.rmtree(self.run)

    def head(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Give what `keep_head` kept; None where there is none that is intact."""
        try:
            return read_checkpoint(self.path / _HEAD)
        except ResumeError:
            return None

    def keep_head(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep the frozen head, so that going on compares with the very same."""
        write_checkpoint(self.path / _HEAD, state, tensors)

    def tidy(self) -> None:
        """Remove what a finished run needs no more: pack, checkpoints and weights."""
        for path in (self.pack, self.path / _HEAD, self.run / "weights.safetensors"):
            path.unlink(missing_ok=True)
        for folder in (self.pack.with_name(_PACK + ".parts"), self.run / "checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder and all that is in it, as if nothing had been begun."""
        if self._lock is not None:
            self._empty()
            shutil.rmtree(self.path, ignore_errors=True)

    def _empty(self) -> None:
        for name in os.listdir(self.path):
            inside = self.path / name
            if name == "lock":
                continue
            if inside.is_dir() and not inside.is_symlink():
                shutil.rmtree(inside)
            else:
                inside.unlink()

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _is_early(name: str) -> bool:
    """Tell whether a name is one that a run which was killed at once leaves."""
    return name == "lock" or (name.startswith(_RECORD) and name.endswith(".tmp"))

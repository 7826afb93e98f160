"""The folder of a training run and its checkpoints: whole or absent, the last few kept.

A checkpoint is a safetensors file. Its header holds, as JSON, all of the state that is not
tensors, and the SHA-256 of that and of the tensors. There is no state of random generators in it:
what a step draws depends on the seed and the number of the step alone (`decaf.train.randomness`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from decaf.backbone.weights.state import state_sha256
from decaf.errors import OutputError, ResumeError
from decaf.runtime.disk import need_room
from decaf.storage import RunFolder, disk_errors, whole_file
from decaf.storage.atomic import SUFFIX, remove_leftover
from decaf.storage.tensors import write_tensors
from decaf.version import __version__

__all__ = [
    "CURVES_FILE",
    "LOG_FILE",
    "SETTINGS_FILE",
    "WEIGHTS_FILE",
    "Checkpoints",
    "TrainingFolder",
    "read_checkpoint",
    "write_checkpoint",
]

FORMAT = "decaf-checkpoint"
SCHEMA = "1"

CHECKPOINTS = "checkpoints"
SETTINGS_FILE = "run.json"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a run, in their folder.

    Parameters
    ----------
    folder : Path
        Is made where it is not there.
    keep : int
        How many of the newest to keep, at least 1.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """List them, the oldest first."""
        paths = [p for p in self.folder.glob("step-*.safetensors") if _step_of(p) >= 0]
        return sorted(paths, key=_step_of)

    def write(self, step: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
        """Write the checkpoint of a step, then delete those beyond the newest `keep`.

        One of a later step is deleted too: it was passed over as damaged when the run went on from
        an earlier one.

        Parameters
        ----------
        step : int
        state : dict
            JSON values.
        tensors : dict of str to Tensor

        Raises
        ------
        OutputError
            Where the disk refuses; the earlier ones stay.
        """
        path = self.folder / f"step-{step:09d}.safetensors"
        with disk_errors(path, "earlier checkpoints are kept, for `resume=True`"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for stray in self.folder.glob(f"step-*.safetensors{SUFFIX}"):
                remove_leftover(stray.with_name(stray.name.removesuffix(SUFFIX)))
            write_checkpoint(path, state, tensors)
            paths = self.paths()
            kept = [p for p in paths if _step_of(p) <= step][-self.keep :]
            for old in paths:
                if old not in kept:
                    old.unlink()
        return path

    def newest(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Read the newest that is intact, and log a warning for each that is not.

        Returns
        -------
        state : dict
        tensors : dict of str to Tensor
            Or None in place of both, where there is no checkpoint.

        Raises
        ------
        ResumeError
            Where there are some, and none is intact.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except ResumeError as error:
                _logger.warning("%s; going back to the one before", error)
        if paths:
            raise ResumeError(
                f"{self.folder}: none of its {len(paths)} checkpoints is intact; begin again with "
                "another `out`"
            )
        return None


def _step_of(path: Path) -> int:
    match = re.fullmatch(r"step-(\d{9,})\.safetensors", path.name)
    return int(match[1]) if match else -1


def write_checkpoint(path: Path, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint so that it is whole under its name, or absent, whatever happens.

    Parameters
    ----------
    path : Path
    state : dict
        JSON values.
    tensors : dict of str to Tensor

    Raises
    ------
    OutputError
        Where the disk refuses.
    """
    ready = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    text = json.dumps(state)
    metadata = {
        "format": FORMAT,
        "schema": SCHEMA,
        "decaf_version": __version__,
        "state": text,
        "sha256": _sha256(text, ready),
    }
    kept = "earlier checkpoints are kept, for `resume=True`"
    with disk_errors(path, kept), whole_file(path) as stream:
        write_tensors(stream, ready, metadata)


def _sha256(text: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256((state_sha256(tensors) + text).encode()).hexdigest()


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint back.

    Parameters
    ----------
    path : Path

    Returns
    -------
    state : dict
    tensors : dict of str to Tensor
        On the CPU.

    Raises
    ------
    ResumeError
        Where the file is not what was written.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError("it is no checkpoint of decaf")
            if header.get("schema") != SCHEMA:
                raise ValueError(
                    f"it was written in schema {header.get('schema')!r:.60} by decaf "
                    f"{header.get('decaf_version', '?')[:60]}, this version reads {SCHEMA}"
                )
            names: list[str] = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
        if header["sha256"] != _sha256(header["state"], tensors):
            raise ValueError("its contents are not those of its checksum")
        state: dict[str, Any] = json.loads(header["state"])
        return state, tensors
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ResumeError(f"{path}: is damaged, or no checkpoint ({error})") from error


class TrainingFolder(RunFolder):
    """The folder of a training run.

    Parameters
    ----------
    path : Path
    record : dict
        JSON values: all that determines the run.
    keep : int
        How many of the newest checkpoints to keep, at least 1.

    Attributes
    ----------
    checkpoints : Checkpoints
    lengthened : list of dict
        For each time that the run was asked for more epochs: ``epochs``, which it had before, and
        ``step``, at which it went on. They stand in ``run.json``.
    grown : bool
        Whether the last of them is of this session.
    """

    def __init__(self, path: Path, record: dict[str, Any], keep: int) -> None:
        super().__init__(
            path, SETTINGS_FILE, format="decaf-train", schema=1, remedy="give another `out`"
        )
        self.checkpoints = Checkpoints(path / CHECKPOINTS, keep)
        self.lengthened: list[dict[str, Any]] = []
        self.grown = False
        self._record = record

    def refuse_other(self, resume: bool) -> None:
        """Refuse a run that is there and is not gone on with; nothing is taken or changed.

        Parameters
        ----------
        resume : bool
            Whether to go on with the run that is there.

        Raises
        ------
        OutputError
            If it holds a run and `resume` is not wanted.
        ResumeError
            If the run in it was another.
        """
        if not self.record_path.exists():
            return
        if not resume:
            raise OutputError(
                f"{self.path}: holds a run already; give `resume=True` to go on with it, "
                "or another `out`"
            )
        self._compare()

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
            Values of the last intact checkpoint; or None in place of both, where there is none.

        Raises
        ------
        OutputError
            If it holds a run and `resume` is not wanted, holds something else, is in use, or the
            disk has not enough room.
        ResumeError
            If the run in it was another, or none of its checkpoints is intact.
        """
        with disk_errors(self.path, "nothing was begun"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.hold(_is_unfinished)
            self.refuse_other(resume)
            self._check_room(needed)
            for name in os.listdir(self.path):
                if _is_unfinished(name):
                    (self.path / name).unlink()
            if not self.record_path.exists():
                self._write()
                return None
        epochs = self._compare()
        newest = self.checkpoints.newest()
        if epochs is not None:
            step = 0 if newest is None else newest[0]["trainer"]["step"]
            self.lengthened.append({"epochs": epochs, "step": step})
            self.grown = True
            with disk_errors(self.path, "nothing was changed"):
                self._write()
        return newest

    def _write(self) -> None:
        more = {"lengthened": self.lengthened} if self.lengthened else {}
        self.write_record({**self._record, **more})

    def _compare(self) -> float | None:
        """Refuse another run; return the epochs that it had, where it is asked for more."""
        before = self.read_record()
        with self.reading_record():
            self.lengthened = list(before.pop("lengthened", []))
            epochs, now = before["settings"]["epochs"], self._record["settings"]["epochs"]
            longer = epochs < now
            if longer:
                # The schedule is that of the longer run, and so is a warm-up that was cut short
                # because the epochs were few (`decaf.train.presets.preset`).
                if before["settings"].get("warmup_epochs") == epochs / 10:
                    before["settings"]["warmup_epochs"] = self._record["settings"]["warmup_epochs"]
                before["settings"]["epochs"] = now
        self.refuse_differences(before, self._record, "give those, or another `out`")
        return epochs if longer else None

    def _check_room(self, needed: int) -> None:
        """Check that the checkpoints will fit, before hours go by."""
        needed -= sum(p.stat().st_size for p in self.checkpoints.paths())
        need_room(
            self.path, needed, "checkpoints and weights take", "or keep fewer of them with `keep`"
        )


def _is_unfinished(name: str) -> bool:
    """Tell whether a file is one that was being written when its process was killed."""
    whole = (SETTINGS_FILE, LOG_FILE, WEIGHTS_FILE, CURVES_FILE)
    return name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in whole

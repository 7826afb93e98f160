"""Checkpoints: whole or absent, checked when they are read, the last few kept.

A checkpoint is a safetensors file. Its header holds, as JSON, all of the state that is not
tensors, and the SHA-256 of that and of the tensors. There is no state of random generators in it:
what a step draws depends on the seed and the number of the step alone (`decaf.train.randomness`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from decaf.backbone.weights.state import state_sha256
from decaf.errors import ResumeError
from decaf.storage.atomic import SUFFIX, disk_errors, remove_leftover, whole_file
from decaf.storage.tensors import write_tensors
from decaf.version import __version__

__all__ = ["Checkpoints", "read_checkpoint", "write_checkpoint"]

FORMAT = "decaf-checkpoint"
SCHEMA = "1"

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
        found = [p for p in self.folder.glob("step-*.safetensors") if _step_of(p) >= 0]
        return sorted(found, key=_step_of)

    def write(self, step: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
        """Write the checkpoint of a step, then delete those beyond the newest `keep`.

        One of a later step is deleted too: it was passed over as damaged when the run went on from
        an earlier one.

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
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)
        if header["sha256"] != _sha256(header["state"], tensors):
            raise ValueError("its contents are not those of its checksum")
        state: dict[str, Any] = json.loads(header["state"])
        return state, tensors
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ResumeError(f"{path}: is damaged, or no checkpoint ({error})") from error

"""Checkpoints: whole or absent, checked when they are read, the last few kept.

A checkpoint is a safetensors file. Its header holds, as JSON, all of the state that is not
tensors, and the SHA-256 of that and of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from decaf import __version__
from decaf.backbone.state import state_sha256
from decaf.errors import ResumeError
from decaf.features.disk import disk_errors, sync_directory

__all__ = ["Checkpoints", "read_checkpoint", "write_checkpoint"]

FORMAT = "decaf-checkpoint"
SCHEMA = "1"


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
        """Write the checkpoint of a step, then delete the oldest beyond `keep`.

        Raises
        ------
        OutputError
            Where the disk refuses; the earlier ones stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stray in self.folder.glob("*.tmp"):
            stray.unlink()
        path = self.folder / f"step-{step:09d}.safetensors"
        write_checkpoint(path, state, tensors)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def newest(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Read the newest that is intact, with a warning for each that is not; None without any.

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
                warnings.warn(f"{error}; going back to the one before", stacklevel=2)
        if paths:
            raise ResumeError(f"{self.folder}: none of its {len(paths)} checkpoints is intact")
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
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "decaf_version": __version__,
        "state": text,
        "sha256": _sha256(text, ready),
    }
    temporary = path.with_name(f"{path.name}.tmp")
    with disk_errors(path, "earlier checkpoints are kept"):
        try:
            try:
                safetensors.torch.save_file(ready, temporary, metadata=header)
            except safetensors.SafetensorError as error:  # what it makes of an OSError
                raise OSError(str(error)) from error
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


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
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise ValueError("it is no checkpoint of decaf")
        if header.get("schema") != SCHEMA:
            raise ValueError(
                f"it was written in schema {header.get('schema')!r:.60} by decaf "
                f"{header.get('decaf_version', '?')[:60]}, this version reads {SCHEMA}"
            )
        if header["sha256"] != _sha256(header["state"], tensors):
            raise ValueError("its contents are not those of its checksum")
        state: dict[str, Any] = json.loads(header["state"])
        return state, tensors
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ResumeError(f"{path}: cannot be gone on from ({error})") from error

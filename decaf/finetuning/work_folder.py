"""The folder in which a fine-tuning works: taken by one run at a time, and of one run for ever."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from decaf.errors import DiskError, OutputError, ResumeError, Stopped
from decaf.storage import RunFolder, differences, disk_errors
from decaf.storage.atomic import SUFFIX
from decaf.storage.lock import LOCK_NAME
from decaf.train.checkpoint import read_checkpoint, write_checkpoint

__all__ = ["WorkFolder"]

KEPT = "what is finished is kept, for `resume=True`"

_RECORD = "finetune.json"
_PACK = "data.pack"
_HEAD = "head.safetensors"
_RUN = "run"
_BEFORE = "before"


class WorkFolder(RunFolder):
    """The folder beside a model in which it is made.

    It holds ``finetune.json`` (what was asked for), ``data.pack``, ``head.safetensors`` (the frozen
    head) and ``run/``, the folder of the training run, with ``log.csv``, ``curves.png`` and
    checkpoints. While a run replaces another, ``before/`` holds what the other left. A folder with
    ``before/finetune.json`` and no ``finetune.json`` of its own was caught between the two, and
    gets back what it had.

    Parameters
    ----------
    model : Path
        The weights file to be.
    record : dict
        JSON values: all that was asked for.
    images : dict
        JSON values: by which a later run tells whether it is asked for the same images; see
        `decaf.finetuning.data.identity_of`.
    """

    def __init__(
        self, model: Path, record: dict[str, Any], images: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            model.with_name(model.stem + ".finetune"),
            _RECORD,
            format="decaf-finetune",
            schema=2,
            remedy="give `overwrite=True`",
        )
        self.model = model
        self.record = json.loads(json.dumps(record))
        self.images = images
        self.pack = self.path / _PACK
        self.run = self.path / _RUN
        self._replaced = _identity(model)

    def open(self, *, resume: bool, overwrite: bool) -> bool:
        """Take the folder.

        Parameters
        ----------
        resume : bool
            Go on with what is there.
        overwrite : bool
            Begin anew; what is there stays aside until the new run is finished.

        Returns
        -------
        bool
            `resume`; or true, where the same run had its result, and was killed before all was
            tidy: it is only to be finished.

        Raises
        ------
        OutputError
            If the model or the folder is there and neither is wanted, if the folder is no
            fine-tuning's, or in use.
        ResumeError
            If what is there was begun with other settings, or finished with other images.
        """
        resume = resume or (not overwrite and self._is_almost_done())
        if self.model.exists() and not (resume or overwrite):
            raise OutputError(
                f"{self.model}: exists already; give another `out`, or `overwrite=True` to replace "
                "it"
            )
        known = self.record_path
        caught = (self.path / _BEFORE / _RECORD).exists()
        self.hold(lambda name: caught or _is_early(name))
        with disk_errors(self.path, "nothing was begun"):
            self._recover()
            if known.exists() and not (resume or overwrite):
                raise OutputError(
                    f"{self.path}: holds a run already; give `resume=True` to go on with it, "
                    "`overwrite=True` to begin anew, or another `out`"
                )
            if overwrite and not resume:
                self._set_aside()
            if known.exists():
                self._compare()
            elif self.model.exists() and not overwrite:
                raise OutputError(
                    f"{self.model}: exists already, and no unfinished run beside it; give another "
                    "`out`, or `overwrite=True` to replace it"
                )
            else:
                self._write(None)
        return resume

    def _compare(self) -> None:
        there = self.read_record()
        before = there.get("asked")
        with self.reading_record():
            if not isinstance(before, dict):
                raise ValueError("it does not say what was asked for")
        # Of an unfinished run packing compares the images, which sees more.
        same = not differences(before, self.record)
        if same and there.get("result") and there.get("images") != self.images:
            raise ResumeError(
                f"{self.path}: was begun with other images ({_changed(there, self.images)}); give "
                "those, another `out`, or `overwrite=True` instead of `resume=True`"
            )
        self.refuse_differences(
            before,
            self.record,
            "give those, another `out`, or `overwrite=True` instead of `resume=True`",
        )

    def check_content(self, before: str, now: str) -> None:
        """Refuse images of a finished run that were packed again and became another pack; drop it.

        Parameters
        ----------
        before, now : str
            Fingerprints of the packs.

        Raises
        ------
        ResumeError
        """
        if before != now:
            self.pack.unlink(missing_ok=True)
            raise ResumeError(
                f"{self.path}: was begun with other images (some have changed since, or are read "
                "by another version); give another `out`, or `overwrite=True` instead of "
                "`resume=True`"
            )

    def _is_almost_done(self) -> bool:
        """Tell whether the same run was killed after it had its result, before all was tidy."""
        try:
            there = self.read_record()
            unfinished = there["result"] is not None and there.get("tidy") is False
            return bool(unfinished and there["asked"] == self.record)
        except (OSError, ResumeError, KeyError):
            return False

    def _write(
        self,
        adjusted: dict[str, Any] | None,
        result: dict[str, Any] | None = None,
        *,
        tidy: bool = False,
    ) -> None:
        body = {"asked": self.record, "images": self.images}
        with disk_errors(self.record_path, KEPT):
            self.write_record({**body, "adjusted": adjusted, "result": result, "tidy": tidy})

    def adjusted(self) -> dict[str, Any] | None:
        """Return the training settings that were taken in place of those asked for, if any."""
        adjusted: dict[str, Any] | None = self.read_record()["adjusted"]
        return adjusted

    def result(self) -> dict[str, Any] | None:
        """Return what `keep_result` kept; None where the run is not finished."""
        result: dict[str, Any] | None = self.read_record()["result"]
        return result

    def keep_result(self, result: dict[str, Any]) -> None:
        """Write down what model and card are going to tell, which are written next.

        Parameters
        ----------
        result : dict
            JSON values.
        """
        self._write(self.adjusted(), result)
        self._drop_before()

    def adjust(self, settings: dict[str, Any]) -> None:
        """Write down the training settings taken instead, and drop what was made with others.

        Parameters
        ----------
        settings : dict
            JSON values.
        """
        self._write(settings)
        if self.run.exists():
            shutil.rmtree(self.run)

    def head(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return what `keep_head` kept; None where there is none that is intact."""
        try:
            return read_checkpoint(self.path / _HEAD)
        except ResumeError:
            return None

    def keep_head(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep the frozen head, so that going on compares with the very same.

        Parameters
        ----------
        state : dict
            JSON values.
        tensors : dict of str to Tensor
        """
        write_checkpoint(self.path / _HEAD, state, tensors)

    def stopped(self, text: str) -> Stopped:
        """Return the error of a run that was asked to stop.

        Parameters
        ----------
        text : str
            How far it was, up to the first semicolon.
        """
        told = text.partition("; ")[0]
        return Stopped(
            f"{told}; {self.path} holds what is finished: run the same again with `resume=True` to "
            "go on"
        )

    def disk_failed(self, text: str) -> DiskError:
        """Return the error of a run that the disk has ended, with what became of what was there.

        Parameters
        ----------
        text : str
            What failed, up to the first semicolon.
        """
        told = f"{text.partition('; ')[0]}; {self.path} holds what is finished"
        if self._replaced is not None:
            same = _identity(self.model) == self._replaced
            told += f", and {self.model} is {'as it was' if same else 'the new one'}"
        return DiskError(
            f"{told}: make room, and run the same again with `resume=True` (not `overwrite=True`) "
            "to go on"
        )

    def tidy(self, *, keep: bool) -> None:
        """Remove what a finished run needs no more: pack, checkpoints and weights.

        Parameters
        ----------
        keep : bool
            Keep them.
        """
        if not keep:
            self._drop_material()
        record = self.read_record()
        if record.get("tidy") is False:
            self._write(record["adjusted"], record["result"], tidy=True)

    def _drop_material(self) -> None:
        for path in (self.pack, self.path / _HEAD, self.run / "weights.safetensors"):
            path.unlink(missing_ok=True)
        for folder in (self.pack.with_name(_PACK + ".parts"), self.run / "checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove what this run made, and give back what it was to replace."""
        if not self.is_held:
            return
        self._empty()
        if (self.path / _BEFORE).exists():
            self._put_back()
        else:
            self.remove()

    def _recover(self) -> None:
        """Mend what a kill has left between two runs."""
        before = self.path / _BEFORE
        if not before.exists():
            return
        if not (before / _RECORD).exists():
            shutil.rmtree(before)  # nothing yet in it, or hardly anything any more
        elif not self.record_path.exists():
            self._put_back()
        elif _is_finished(self.record_path):
            self._drop_before()

    def _set_aside(self) -> None:
        """Make room for a new run; of two that were there the one that was finished is kept."""
        before, known = self.path / _BEFORE, self.record_path
        if before.exists() and known.exists() and not _is_finished(known):
            self._empty()
            return
        self._drop_before()
        if not known.exists():
            self._empty()
            return
        before.mkdir()
        # First: a folder without it is one that gets everything back.
        os.rename(known, before / _RECORD)
        for name in self._names():
            os.rename(self.path / name, before / name)

    def _put_back(self) -> None:
        before = self.path / _BEFORE
        for name in sorted(os.listdir(before), key=lambda name: name == _RECORD):
            _remove(self.path / name)
            os.rename(before / name, self.path / name)
        before.rmdir()

    def _drop_before(self) -> None:
        before = self.path / _BEFORE
        if before.exists():
            (before / _RECORD).unlink(missing_ok=True)
            shutil.rmtree(before)

    def _empty(self) -> None:
        # The record last: as long as it is there, this is a run that can go on.
        for name in sorted(self._names(), key=lambda name: name == _RECORD):
            _remove(self.path / name)

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self.path) if name not in (LOCK_NAME, _BEFORE)]


def _is_early(name: str) -> bool:
    """Tell whether a name is one that a run which was killed at once leaves."""
    return name in (_BEFORE, _RECORD + SUFFIX)


def _identity(model: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from one that replaces it; None where there is none."""
    try:
        status = model.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _is_finished(record: Path) -> bool:
    try:
        return bool(json.loads(record.read_bytes()).get("result"))
    except (ValueError, AttributeError):
        return False


def _changed(there: dict[str, Any], now: dict[str, Any] | None) -> str:
    counts = [(images or {}).get("count") for images in (there.get("images"), now)]
    if counts[0] != counts[1]:
        return f"{counts[0]} there, {counts[1]} now"
    return "as many, with other names, labels or sizes"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

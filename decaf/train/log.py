"""The log of a run: a CSV file, its curves, and TensorBoard's events."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import os
import socket
import time
from pathlib import Path
from typing import Any

from decaf.errors import SettingError
from decaf.storage import disk_errors, write_atomically

__all__ = ["COLUMNS", "Log", "can_draw", "draw_curves", "read_log", "wants_tensorboard"]

_KEPT = "checkpoints are kept, for `resume=True`"

COLUMNS: tuple[str, ...] = (
    "step",
    "epoch",
    "lr",
    "train_loss",
    "train_top1_error",
    "val_loss",
    "val_top1_error",
    "val_top5_error",
    "images_per_second",
    "seconds",
)
"""Columns of ``log.csv``. Errors are in percent; what a row does not tell is empty."""


class Log:
    """The log of a run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    step : int
        From which it goes on: rows of later steps, which are about to be made again, are dropped.
    tensorboard : bool or None
        Write TensorBoard's events too; None where it is installed.

    Raises
    ------
    SettingError
        Where TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool | None) -> None:
        self._path = folder / "log.csv"
        self._events: _Events | None = None
        if wants_tensorboard(tensorboard):
            self._events = _Events(folder / "tensorboard", step + 1)
        kept = [row for row in read_log(self._path) if row["step"] <= step]
        text = ",".join(COLUMNS) + "\n" + "".join(map(_line, kept))
        with disk_errors(self._path, _KEPT):
            write_atomically(self._path, text.encode())

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()

    def add(self, row: dict[str, float]) -> None:
        """Write a row; keys are of `COLUMNS`.

        Parameters
        ----------
        row : dict of str to float

        Raises
        ------
        OutputError
            Where the disk refuses.
        """
        with disk_errors(self._path, _KEPT):
            # One write, so that a process that is killed leaves whole lines, or a last one that
            # read_log passes over.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            with open(descriptor, "wb") as stream:  # goes on where the disk takes a part of it
                stream.write(_line(row).encode())
        if self._events is not None:
            self._events.add(row)


class _Events:
    """TensorBoard's events of one session, in a file of their own.

    Written here, and not by its own writer: that has a thread, which prints a traceback where the
    disk is full.

    Parameters
    ----------
    folder : Path
        Is made where it is not there.
    step : int
        Events of earlier sessions are passed over from this step on.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        with disk_errors(self._path, _KEPT):
            folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(open(self._path, "xb"))  # noqa: SIM115  (for the session)
            self._write(step=step, file_version="brain.Event:2")
            self._write(step=step, session_log=SessionLog(status=SessionLog.START))
            self._records.flush()

    def add(self, row: dict[str, float]) -> None:
        """Write the values of a row.

        Parameters
        ----------
        row : dict of str to float
        """
        from torch.utils.tensorboard.summary import scalar

        with disk_errors(self._path, _KEPT):
            for key, value in row.items():
                if key != "step":
                    group = "validation" if key.startswith("val_") else "training"
                    self._write(step=int(row["step"]), summary=scalar(f"{group}/{key}", value))
            self._records.flush()

    def _write(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())

    def close(self) -> None:
        """Close the file, of which all is written that could be."""
        with contextlib.suppress(OSError):
            self._records.close()


def _line(row: dict[str, float]) -> str:
    values = (row.get(key, "") for key in COLUMNS)
    return ",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values) + "\n"


def wants_tensorboard(wish: bool | None) -> bool:
    """Decide whether to write TensorBoard's events.

    Parameters
    ----------
    wish : bool or None
        None for yes where it is installed.

    Raises
    ------
    SettingError
        Where TensorBoard is asked for and not installed.
    """
    there = importlib.util.find_spec("tensorboard") is not None
    if wish and not there:
        raise SettingError(
            "TensorBoard is not installed: pip install tensorboard, or leave `tensorboard` out"
        )
    return there and wish is not False


def read_log(path: Path) -> list[dict[str, float]]:
    """Read a ``log.csv``; a line that was cut short is passed over, values that are not there too.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        Numbers by their `COLUMNS`, in the order of the file; empty where there is none.
    """
    rows = []
    with contextlib.suppress(FileNotFoundError), open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            try:
                row = {key: float(line[key]) for key in COLUMNS if line[key]}
                rows.append({**row, "step": int(row["step"])})
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curves(log: Path, out: Path) -> None:
    """Draw loss, error and learning rate over the epochs.

    Parameters
    ----------
    log : Path
        A run's ``log.csv``.
    out : Path
        The PNG to write.

    Raises
    ------
    SettingError
        Where matplotlib is not installed.
    OutputError
        Where the disk refuses.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingError(
            "curves are drawn by matplotlib, which is not installed: pip install matplotlib"
        ) from None
    rows = read_log(log)
    figure = Figure(figsize=(9, 8), layout="constrained")
    loss, error, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1])
    lines = [
        (loss, "train_loss", "training"),
        (loss, "val_loss", "validation"),
        (error, "train_top1_error", "training, top-1"),
        (error, "val_top1_error", "validation, top-1"),
        (error, "val_top5_error", "validation, top-5"),
        (rate, "lr", ""),
    ]
    for axes, key, label in lines:
        points = [(row["epoch"], row[key]) for row in rows if key in row and "epoch" in row]
        if points:
            marker = "." if key.startswith("val_") else ""
            axes.plot(*zip(*points, strict=True), label=label, marker=marker, linewidth=1.2)
    loss.set_ylabel("cross-entropy (nats)")
    error.set_ylabel("error (%)")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    for axes in (loss, error):
        if axes.lines:
            axes.legend(frameon=False)
    for axes in (loss, error, rate):
        axes.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    with disk_errors(out, "the weights are kept"):
        write_atomically(out, picture.getvalue())

"""A picture of how a run went."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

from decaf.errors import SettingError
from decaf.storage.atomic import disk_errors, write_atomically
from decaf.train.log import read_log

__all__ = ["can_draw", "draw_curves"]


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

"""The card of a fine-tuned network: what it is, as a page of Markdown."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from decaf.errors import OutputError
from decaf.finetuning.result import Finetuned
from decaf.images.listing.names import path_text
from decaf.runtime.wording import counted
from decaf.storage import disk_errors, write_atomically
from decaf.train.recipe import TrainSettings

__all__ = ["card_text", "check_card_path", "write_card"]

# How the first line of a card ends, by which it is known.
_HEADING = ": a fine-tuned network"
_HEADING_BYTES = 4096


def check_card_path(path: Path) -> None:
    """Refuse a place that no card could be written to, before anything is computed.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OutputError
        If something is there that is no card.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is needed for the card and is a folder; move it away")
    if os.path.lexists(path) and not _is_card(path):
        raise OutputError(
            f"{path}: exists and is no card of decaf, so it is not replaced; give another `out`, "
            "or move it away"
        )


def _is_card(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would wait for its writer
        return False
    try:
        with open(path, "rb") as file:
            first = file.readline(_HEADING_BYTES)
    except OSError:
        return False
    return first.startswith(b"# ") and first.rstrip().endswith(_HEADING.encode())


def write_card(result: Finetuned, settings: TrainSettings) -> Path:
    """Write the card beside the weights.

    Parameters
    ----------
    result : Finetuned
        Written.
    settings : TrainSettings
        Settings of the run.

    Raises
    ------
    OutputError
        Where the disk refuses.
    """
    if result.card is None or result.path is None:
        raise OutputError("nothing was written, so that there is no place for a card")
    with disk_errors(result.card, f"the weights are in {result.path}"):
        write_atomically(result.card, card_text(result, settings).encode())
    return result.card


def card_text(result: Finetuned, settings: TrainSettings) -> str:
    """Return the card.

    Parameters
    ----------
    result : Finetuned
    settings : TrainSettings
    """
    weights = result.weights
    known = weights.provenance
    train = sum(count for _, count, _ in result.classes)
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    title = weights.name.removesuffix(".safetensors")
    facts = [
        ("network", f"`{weights.spec.name}`, {counted(weights.spec.classes, 'class')}"),
        ("started from", f"`{known['from']['name']}`, SHA-256 `{known['from']['sha256']}`"),
        ("SHA-256 of the tensors", f"`{weights.sha256}`"),
        ("images", f"{train} for training, {result.tuned.images} for validation"),
        ("pack", f"`{known['pack']}`"),
        ("trained", f"{result.epochs:.4g} epochs, kept is the state after {result.best_epoch:.3g}"),
        ("time", f"{result.seconds / 60:.1f} minutes of training on {known['device']}"),
        ("made", f"{today}, decaf {known['decaf_version']}, torch {known['torch_version']}"),
    ]
    comparison = [
        (name, f"{each.percent:.1f}", _interval(each.interval), f"{each.calibrated_loss:.3f}")
        for name, each in result.compared.items()
    ]
    preprocess = weights.preprocess
    cut = f"Preprocessing: {preprocess.resize} to {preprocess.resize_to} pixels, centre crop of "
    cut += f"{preprocess.crop}."
    wilson = "Wilson" if result.frozen.independent is None else "Wilson, by groups"
    chosen = "The choice was made on these images: expect somewhat less on new ones."
    lines = [
        f"# {_plain(title)}{_HEADING}",
        "",
        *_table(("", ""), facts),
        "",
        "## How good it is",
        "",
        f"On the validation images: accuracy in percent with its 95 % interval ({wilson}), and",
        "calibrated loss, which is better lower: the cross-entropy in nats, after each was made as",
        "sure of itself as its rights and wrongs warrant (temperature scaling).",
        "",
        *_table(("", "accuracy", "interval", "calibrated loss"), comparison),
        "",
        f"{_sentence(result.verdict)}. {chosen}",
        "",
        *_curves(result),
        "## Classes",
        "",
        *_table(
            ("class", "training", "validation"),
            [(_plain(name), str(t), str(v)) for name, t, v in result.classes],
        ),
        "",
        *_bad(result),
        "## Settings",
        "",
        *_table(("setting", "value"), _settings(known["start"], settings)),
        "",
        cut,
        "",
    ]
    return "\n".join(lines)


def _settings(start: str, settings: TrainSettings) -> list[tuple[str, str]]:
    """List what was used; what was not, such as the momentum of another optimizer, is left out."""
    unused = {"preset", "arch", "init", "patience", "max_drops"}
    unused |= {"nesterov", "momentum"} if settings.optimizer == "adamw" else set()
    unused |= {"lr_factor"} if settings.schedule != "step" else set()
    used = [("start", start), *settings.to_dict().items()]
    return [(k, _value(v)) for k, v in used if k not in unused and v not in (None, "")]


def _curves(result: Finetuned) -> list[str]:
    rows = [row for row in result.history if "val_loss" in row]
    if not rows:
        return []
    table = [
        (f"{row['epoch']:.3g}", f"{100 - row['val_top1_error']:.1f}", f"{row['val_loss']:.3f}")
        for row in rows
    ]
    picture: list[str] = []
    if result.folder is not None and (result.folder / "run/curves.png").exists():
        assert result.path is not None
        there = os.path.relpath(result.folder / "run/curves.png", result.path.parent)
        picture = [f"![curves](<{there}>)", ""]
    head = ("epoch", "validation accuracy", "loss")
    return ["## Curves", "", *picture, *_table(head, table), ""]


def _bad(result: Finetuned) -> list[str]:
    if not result.bad:
        return []
    rows = [(_plain(path_text(name)), status) for _, name, status, _ in result.bad]
    return ["## Images left out", "", *_table(("image", "why"), rows), ""]


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in lines]


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return " to ".join(_value(part) for part in value)
    return _plain("" if value is None else str(value))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(text: str) -> str:
    """Return a text that Markdown's tables show as it is."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    for sign in "\\`*_[]<>|":
        kept = kept.replace(sign, "\\" + sign)
    return kept

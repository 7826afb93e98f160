"""What the commands that train have in common: flags on saving, being stopped, the result."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decaf.cli.log_lines import log_lines
from decaf.cli.stop import stopped_by_signals
from decaf.cli.text import printable, show, tell

if TYPE_CHECKING:
    from decaf.train.session import TrainResult

__all__ = ["add_saving", "is_chief", "run_training", "time_taken"]


def add_saving(parser: argparse.ArgumentParser) -> None:
    """Add the flags on how often a run saves and tells."""
    saving = parser.add_argument_group("saving and telling")
    saving.add_argument("--checkpoint-minutes", type=float, default=10.0, metavar="M")
    saving.add_argument("--checkpoint-steps", type=int, metavar="N")
    saving.add_argument("--keep", type=int, default=3, metavar="N", help="checkpoints to keep")
    saving.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    saving.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write TensorBoard's events (default: where it is installed)",
    )


def is_chief() -> bool:
    """Tell whether this process of a ``torchrun`` reports."""
    return os.environ.get("RANK", "0") == "0"


def run_training(
    args: argparse.Namespace,
    work: Callable[[threading.Event], TrainResult],
    worded: Callable[[dict[str, Any]], str],
) -> int:
    """Train until the end or a signal, print the result, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    work : callable
        Trains until the event is set.
    worded : callable
        From the result, as JSON values, to the line for people.
    """
    from decaf.errors import Stopped
    from decaf.runtime.memory import keep_freed_memory

    keep_freed_memory()
    with stopped_by_signals("stopping after this step") as stop, log_lines(is_chief()):
        try:
            result = work(stop.event)
        except Stopped as error:
            if is_chief():
                tell(str(error))
            return stop.exit_code
    if is_chief():
        plain = dataclasses.asdict(result)
        plain |= {"folder": str(result.folder), "weights": str(result.weights)}
        print(json.dumps(plain)) if args.json else show(worded(plain))
    return 0


def time_taken(result: dict[str, Any]) -> str:
    """Say what was written, and in what time."""
    return (
        f"{printable(result['weights'])}: {result['epochs']:g} epochs in "
        f"{result['seconds'] / 60:.1f} minutes"
    )

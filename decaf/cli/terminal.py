"""Lines on a terminal: results, and what decaf logs and warns of."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from decaf.runtime.progress import tell_line
from decaf.runtime.wording import counted, printable

if TYPE_CHECKING:
    from decaf.train import TrainResult, Validation

__all__ = [
    "is_chief",
    "log_lines",
    "print_training",
    "show",
    "tell",
]


def show(*lines: str) -> None:
    """Print lines on standard output; what a terminal would obey is escaped.

    Parameters
    ----------
    *lines : str
        Each is printed on one line, also where a name in it has line breaks.
    """
    print("\n".join(map(printable, lines)))


def tell(text: str) -> None:
    """Print one line of decaf on standard error; what a terminal would obey is escaped.

    Parameters
    ----------
    text : str
    """
    tell_line(f"decaf: {printable(text)}")


def is_chief() -> bool:
    """Tell whether this process of a ``torchrun`` is the one that reports."""
    return os.environ.get("RANK", "0") == "0"


def print_training(
    result: TrainResult, worded: Callable[[Validation], str], *, as_json: bool
) -> None:
    """Print the result of a training, in one line or as JSON; the chief alone prints.

    Parameters
    ----------
    result : TrainResult
    worded : callable
        Returns the words for the figures of the validation.
    as_json : bool
    """
    if not is_chief():
        return
    if as_json:
        plain = dataclasses.asdict(result)
        print(json.dumps({**plain, "folder": str(result.folder), "weights": str(result.weights)}))
        return
    line = f"{result.weights}: {counted(result.epochs, 'epoch')} in "
    line += f"{result.seconds / 60:.1f} minutes"
    show(line if result.validation is None else f"{line}; {worded(result.validation)}")


@contextmanager
def log_lines(worded: Callable[[str], str], *, news: bool = False) -> Iterator[None]:
    """Print what decaf logs and warns of on standard error, as lines of the command line.

    Under torchrun the chief alone prints.

    Parameters
    ----------
    worded : callable
        Returns a message of the library in the words of the command line.
    news : bool
        Print news, too, and not only warnings.
    """

    def show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
        if is_chief():
            tell(worded(re.sub(r"\s*\n\s*", " ", str(message))))

    handler = logging.StreamHandler() if is_chief() else logging.NullHandler()
    handler.setFormatter(_OneLine(worded))
    logger = logging.getLogger("decaf")
    propagate, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    if news:
        logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():  # puts `showwarning` back
            warnings.showwarning = show_warning
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


class _OneLine(logging.Formatter):
    """A record on one line, with nothing in it that a terminal would obey."""

    def __init__(self, worded: Callable[[str], str]) -> None:
        super().__init__("decaf: %(message)s")
        self._worded = worded

    def format(self, record: logging.LogRecord) -> str:
        return printable(self._worded(super().format(record)))

"""Lines on a terminal: names, numbers, results, and what decaf logs and warns of."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from decaf.train.training_run import TrainResult
    from decaf.train.validate import Validation

__all__ = [
    "byte_size",
    "counted",
    "is_chief",
    "log_lines",
    "print_training",
    "printable",
    "show",
    "tell",
]

# A byte of a file name that is no UTF-8, as `os.fsdecode` gives it.
_BYTE = re.compile("[\udc80-\udcff]")


def printable(name: bytes | str) -> str:
    """Return a name on one line, with nothing in it that a terminal would obey.

    Parameters
    ----------
    name : bytes or str
        File names, as bytes or as `os.fsdecode` gives them; bytes that are not UTF-8 are escaped.

    Returns
    -------
    str
        With control characters, line breaks and undecodable bytes escaped.

    Examples
    --------
    >>> print(printable(b"a\\xff\\n.jpg"))
    a\\xff\\n.jpg
    >>> import os
    >>> print(printable(os.fsdecode(b"a\\xff.jpg")))
    a\\xff.jpg
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    # Other halves of characters, which no file system gives, are escaped below.
    text = _BYTE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def show(text: str, stream: TextIO | None = None) -> None:
    """Print lines, by default on standard output; what a terminal would obey is escaped.

    Parameters
    ----------
    text : str
    stream : TextIO, optional
    """
    print("\n".join(map(printable, text.split("\n"))), file=stream)


def tell(text: str) -> None:
    """Print one line of decaf on standard error; what a terminal would obey is escaped.

    Parameters
    ----------
    text : str
    """
    print(f"decaf: {printable(text)}", file=sys.stderr)


def counted(count: float, what: str) -> str:
    """Return a number of things in words.

    Parameters
    ----------
    count : float
    what : str
        The thing in the singular, whose plural ends in s.

    Examples
    --------
    >>> counted(1, "image"), counted(12.5, "epoch")
    ('1 image', '12.5 epochs')
    """
    number = f"{count}" if isinstance(count, int) else f"{count:.3g}"
    return f"{number} {what}{'' if count == 1 else 's'}"


def byte_size(count: int) -> str:
    """Return a number of bytes in three digits and a unit.

    Parameters
    ----------
    count : int

    Examples
    --------
    >>> byte_size(2_097_152)
    '2 MiB'
    """
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


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
    line = f"{printable(str(result.weights))}: {result.epochs:g} epochs in "
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

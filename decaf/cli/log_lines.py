"""What decaf logs, as lines of the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from decaf.cli.text import printable

__all__ = ["log_lines"]


class _OneLine(logging.Formatter):
    """What is logged, on one line, with nothing in it that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def log_lines(shown: bool = True, *, news: bool = False) -> Iterator[None]:
    """Print what decaf logs on stderr, as all that it says; once for all processes.

    Parameters
    ----------
    shown : bool
        False in processes that say nothing.
    news : bool
        Print what is merely told too, not warnings alone.
    """
    handler = logging.StreamHandler() if shown else logging.NullHandler()
    handler.setFormatter(_OneLine("decaf: %(message)s"))
    logger = logging.getLogger("decaf")
    propagate, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    if news:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)

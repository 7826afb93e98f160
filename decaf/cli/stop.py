"""Ending a run in good order when a signal asks for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Stop", "stopped_by_signals"]


class Stop:
    """What a signal leaves behind.

    Attributes
    ----------
    event : threading.Event
        Set when a signal came.
    exit_code : int
        What to exit with then.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code = 0


@contextmanager
def stopped_by_signals(what: str) -> Iterator[Stop]:
    """Let SIGINT and SIGTERM end the run in good order; a second one ends it at once.

    Parameters
    ----------
    what : str
        Is happening then, as the user is told.
    """
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.event.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.exit_code = 128 + number
        stop.event.set()
        # Not by print: the signal may have come in the middle of one, or nobody may be reading.
        with suppress(OSError):
            os.write(2, f"\ndecaf: {what}; once more to stop at once\n".encode())

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

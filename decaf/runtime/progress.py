"""Showing how far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["Progress", "duration", "progress_for", "tell_line"]

# Seconds between two plain lines.
LINE_INTERVAL = 10.0


class Progress:
    """A report that shows nothing; the base class of those that do.

    Use it as a context manager around the run.

    Parameters
    ----------
    total : int
        Number of images.
    done : int
        How many were done in an earlier run.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.done = done

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, images: int, note: str = "") -> None:
        """Count images as done; `note` is shown beside the count.

        Parameters
        ----------
        images : int
            Number of images.
        note : str
            Text beside the count.
        """
        self.done += images

    def close(self) -> None:
        """End the report."""


class _Bar(Progress):
    def __init__(self, total: int, done: int, unit: str) -> None:
        from tqdm import tqdm

        super().__init__(total, done)
        self._bar: Any = tqdm(
            total=total, initial=done, unit=f" {unit}", unit_scale=False, dynamic_ncols=True
        )

    def advance(self, images: int, note: str = "") -> None:
        super().advance(images)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(images)

    def close(self) -> None:
        self._bar.close()


class _Lines(Progress):
    def __init__(self, total: int, done: int, unit: str, stream: TextIO) -> None:
        super().__init__(total, done)
        self._unit = unit
        self._stream = stream
        self._first = done
        self._began = self._told = time.monotonic()

    def advance(self, images: int, note: str = "") -> None:
        super().advance(images)
        now = time.monotonic()
        if now - self._told >= LINE_INTERVAL:
            self._told = now
            rate = (self.done - self._first) / (now - self._began)
            left = (self.total - self.done) / rate
            tell_line(
                f"decaf: {self.done}/{self.total} {self._unit}, {rate:.1f} {self._unit}/s, "
                f"{_clock(left)} left" + (f", {note}" if note else ""),
                self._stream,
            )


class _Call(Progress):
    def __init__(self, total: int, done: int, call: Callable[[int, int], Any]) -> None:
        super().__init__(total, done)
        self._call = call
        call(done, total)

    def advance(self, images: int, note: str = "") -> None:
        super().advance(images)
        self._call(self.done, self.total)


def progress_for(
    wish: bool | Callable[[int, int], Any] | None, total: int, done: int, unit: str = "images"
) -> Progress:
    """Choose how to report.

    Parameters
    ----------
    wish : bool, callable or None
        True for a bar on a terminal and plain lines every ten seconds elsewhere (on stderr);
        False for none; None for a bar, where there is a terminal, alone; a function is called with
        (images done, images in all).
    total, done : int
        Images in all, and those done in an earlier run.
    unit : str
        The plural of what is counted.
    """
    if callable(wish):
        return _Call(total, done, wish)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if wish is False or (wish is None and not terminal):
        return Progress(total, done)
    return _Bar(total, done, unit) if terminal else _Lines(total, done, unit, sys.stderr)


def tell_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line at once that is for people; where it cannot be written the work goes on.

    A terminal that was closed, a full disk and a reader that has gone (``2>&1 | head``) are no
    reason to end a run of hours.

    Parameters
    ----------
    line : str
    stream : TextIO, optional
        By default standard error.
    """
    with suppress(OSError):
        print(line, file=sys.stderr if stream is None else stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def duration(seconds: float) -> str:
    """Return a time in the units that a person would choose.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> [duration(t) for t in (0.0312, 7.25, 59.96, 192, 3600, 4000)]
    ['31 ms', '7.2 s', '1 min 0 s', '3 min 12 s', '1 h 0 min', '1 h 6 min']
    """
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes} min"

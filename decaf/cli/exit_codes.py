"""The end of a command: its exit code, the line that says why, and signals that stop it.

0 done; 1 done, some images recorded as bad; 2 not done, and a line says why; 130 and 143 stopped
by a signal. Where the reader of the output has gone (``decaf predict … | head``) nothing is left to
be done: that is 0 too.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from decaf.errors import DecafError, Stopped
from decaf.runtime.names import name_text

__all__ = [
    "DONE",
    "INTERRUPTED",
    "NOT_DONE",
    "TERMINATED",
    "Ended",
    "Stop",
    "ended_by_signals",
    "reason_of",
    "stopped_by_signals",
]

DONE = 0
NOT_DONE = 2
INTERRUPTED = 130
TERMINATED = 143

_STOPS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    _STOPS.append(signal.SIGBREAK)  # by which a program asks another one to end

# How torch, its allocators and the loader of libraries word that there is no memory left.
_NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "can't start new thread",
)


def reason_of(error: Exception, arguments: set[str]) -> str | None:
    """Return the line that says why a command has failed; None for a defect of decaf.

    Parameters
    ----------
    error : Exception
        In the library's own terms.
    arguments : set of str
        Arguments that the command has, by their names in the library.

    Examples
    --------
    >>> reason_of(MemoryError(), {"batch_size"})
    'memory ran out; make `batch_size` smaller, or give the process more memory'
    """
    if isinstance(error, DecafError):
        return str(error)
    if _is_out_of_memory(error):
        message = " ".join(str(error).split())[:200]
        smaller = " and ".join(f"`{n}`" for n in ("batch_size", "workers") if n in arguments)
        remedy = (
            "give the process more memory (2 GB, and 4 GB of addresses where `ulimit -v` is set)"
        )
        if not isinstance(error, ImportError) and smaller:
            remedy = f"make {smaller} smaller, or give the process more memory"
        return f"memory ran out{f' ({message})' if message else ''}; {remedy}"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{name_text(error.filename)}: {reason}"
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    message = str(error).lower()
    kinds = (RuntimeError, ImportError)  # torch's own is a RuntimeError
    return isinstance(error, kinds) and any(words in message for words in _NO_MEMORY)


class Ended(Exception):
    """A command that a signal has stopped, with all finished work kept.

    Parameters
    ----------
    reason : str
        The line that says what was stopped, and how to go on.
    exit_code : int
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Stop:
    """Whether a signal has asked a run to stop.

    Attributes
    ----------
    event : threading.Event
        Set when a signal came.
    exit_code : int
        The exit code that belongs to the signal.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code = 0


class _Terminated(BaseException):
    """SIGTERM, as `KeyboardInterrupt` is SIGINT: it unwinds what is under way."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM unwind a command as SIGINT does, so that it takes away what is half written.

    Commands that have work to finish first do that in `stopped_by_signals`.

    Raises
    ------
    Ended
        In place of what a signal has raised, or made others raise.
    """

    came: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    timers: list[threading.Timer] = []
    hook = sys.unraisablehook

    def unraisable(ignored: sys.UnraisableHookArgs) -> None:
        # In a destructor nothing can be raised: once more, a moment later.
        if came and isinstance(ignored.exc_value, KeyboardInterrupt | _Terminated):
            timers.append(threading.Timer(0.01, _send_again, (came[-1],)))
            timers[-1].start()
        else:
            hook(ignored)

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may have handlers
        for number in _STOPS:
            usual = signal.getsignal(number) is signal.default_int_handler
            if usual or number != signal.SIGINT:  # else that is ignored
                before[number] = signal.signal(number, end)
        sys.unraisablehook = unraisable
    try:
        yield
    except (KeyboardInterrupt, _Terminated, Exception) as error:
        # An extension that a signal stops while it is loaded raises an error of its own instead.
        if isinstance(error, Ended) or not (came or isinstance(error, KeyboardInterrupt)):
            raise
        last = came[-1] if came else signal.SIGINT
        reason = f"stopped by {signal.Signals(last).name}; no file is left half written"
        raise Ended(reason, _exit_code(last)) from None
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _send_again(number: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(signal.Signals(number))  # os.kill would end the process at once
    else:
        os.kill(os.getpid(), number)


def _exit_code(number: int) -> int:
    return INTERRUPTED if number == signal.SIGINT else TERMINATED


@contextmanager
def stopped_by_signals(what: str) -> Iterator[Stop]:
    """Let SIGINT and SIGTERM end the run in good order; a second one ends it at once.

    Parameters
    ----------
    what : str
        Text for the user, such as "stopping after this step".

    Yields
    ------
    Stop
        Its event is for the library, which raises `decaf.Stopped` once it is set.

    Raises
    ------
    Ended
        In place of `decaf.Stopped`.
    """
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.event.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.exit_code = _exit_code(number)
        stop.event.set()
        # Not by print: the signal may have come in the middle of one, or nobody may be reading.
        with suppress(OSError):
            os.write(2, f"\ndecaf: {what}; once more to stop at once\n".encode())

    before = {number: signal.signal(number, handle) for number in _STOPS}
    try:
        yield stop
    except Stopped as error:
        raise Ended(str(error), stop.exit_code) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

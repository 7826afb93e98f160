"""Settings of the demo: its address, how much it answers, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from decaf.images.decoding.limits import MAX_FILE_BYTES, MAX_PIXELS
from decaf.runtime.settings import refuse, whole_number, wrong_types

__all__ = ["DemoSettings"]


@dataclass(frozen=True)
class DemoSettings:
    """How the demo is served.

    Parameters
    ----------
    port : int
        Port of the loopback interface; 0 for one that is free.
    top : int
        Classes that are named for a photograph.
    neighbours : int
        Nearest images that are shown.
    max_bytes : int
        Size of an upload, at most.
    max_pixels : int
        Width times height of a photograph, at most; no more than any image of decaf may have.
    max_waiting : int
        Requests that may be answered or wait for an answer at a time; further ones are refused.
    seconds : float
        Time that an upload, and then its answer, may take.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    port: int = 0
    top: int = 5
    neighbours: int = 9
    max_bytes: int = 64 << 20
    max_pixels: int = MAX_PIXELS
    max_waiting: int = 8
    seconds: float = 60.0

    def __post_init__(self) -> None:
        wrong = [
            *whole_number("port", self.port, 0, 65_535),
            *whole_number("top", self.top, 1),
            *whole_number("neighbours", self.neighbours, 1, 100),
            *whole_number("max_bytes", self.max_bytes, 1, MAX_FILE_BYTES),
            *whole_number("max_pixels", self.max_pixels, 1, MAX_PIXELS),
            *whole_number("max_waiting", self.max_waiting, 1),
        ]
        refuse(wrong or wrong_types(self))
        if self.seconds <= 0:
            refuse([f"`seconds` {self.seconds!r}: must be more than 0"])

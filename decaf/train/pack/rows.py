"""Consecutive images of a pack in memory, as a shard keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from decaf.images.status import Outcome, status_code
from decaf.train.pack.statistics import PixelSums

__all__ = ["PackRows"]


@dataclass(slots=True, eq=False)
class PackRows:
    """Consecutive images of all that go into a pack, one split after the other.

    Attributes
    ----------
    start, stop : int
        Which.
    status : ndarray of uint8, shape (stop - start,)
    content_sha256 : ndarray of uint8, shape (stop - start, 32)
    messages : list of str
    length : ndarray of int64, shape (stop - start,)
        Bytes of each in `data`; 0 for a bad one.
    kept : ndarray of uint8, shape (stop - start,)
        1 where these are the source's own.
    data : ndarray of uint8, shape (sum of length,)
    sums : PixelSums
        Over the good images of the split train.
    """

    start: int
    stop: int
    status: np.ndarray
    content_sha256: np.ndarray
    messages: list[str]
    length: np.ndarray
    kept: np.ndarray
    data: np.ndarray
    sums: PixelSums

    @classmethod
    def empty(cls, start: int, stop: int) -> PackRows:
        """Make rows without data, to be filled in.

        Parameters
        ----------
        start : int
        stop : int
        """
        count = stop - start
        return cls(
            start=start,
            stop=stop,
            status=np.zeros(count, np.uint8),
            content_sha256=np.zeros((count, 32), np.uint8),
            messages=[""] * count,
            length=np.zeros(count, np.int64),
            kept=np.zeros(count, np.uint8),
            data=np.zeros(0, np.uint8),
            sums=PixelSums(),
        )

    def record(self, row: int, outcome: Outcome) -> None:
        """Write down what became of an image.

        Parameters
        ----------
        row : int
        outcome : Outcome
        """
        place = row - self.start
        self.status[place] = status_code(outcome.status)
        self.messages[place] = outcome.message
        self.content_sha256[place] = np.frombuffer(outcome.sha256, np.uint8)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the rows as the arrays of a shard, by name."""
        messages = json.dumps(self.messages).encode()
        return {
            "status": self.status,
            "content_sha256": self.content_sha256,
            "messages": np.frombuffer(messages, np.uint8),
            "length": self.length,
            "kept": self.kept,
            "data": self.data,
            **self.sums.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> PackRows:
        """Make rows of the arrays of a shard.

        Parameters
        ----------
        start : int
        stop : int
        arrays : dict of str to ndarray
        """
        return cls(
            start=start,
            stop=stop,
            status=arrays["status"],
            content_sha256=arrays["content_sha256"],
            messages=json.loads(arrays["messages"].tobytes()),
            length=arrays["length"],
            kept=arrays["kept"],
            data=arrays["data"],
            sums=PixelSums.from_arrays(arrays),
        )

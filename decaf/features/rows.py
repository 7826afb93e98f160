"""Consecutive rows in memory: what the pipeline makes, a shard keeps and the file is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from decaf.images.status import Outcome, status_code

__all__ = ["Rows"]

_LAYER_PREFIX = "features/"


@dataclass(slots=True, eq=False)
class Rows:
    """Consecutive rows of a feature file, in memory.

    Attributes
    ----------
    start, stop : int
        Which rows.
    features : dict of str to ndarray of float32 or float16, shape (stop - start, …)
        NaN where the image is bad.
    status : ndarray of uint8, shape (stop - start,)
    source_size : ndarray of int32, shape (stop - start, 2)
    content_sha256 : ndarray of uint8, shape (stop - start, 32)
    messages : list of str
    """

    start: int
    stop: int
    features: dict[str, np.ndarray]
    status: np.ndarray
    source_size: np.ndarray
    content_sha256: np.ndarray
    messages: list[str]

    @classmethod
    def empty(cls, start: int, stop: int) -> Rows:
        """Make rows without features, to be filled in.

        Parameters
        ----------
        start, stop : int
            Which rows.
        """
        count = stop - start
        return cls(
            start=start,
            stop=stop,
            features={},
            status=np.zeros(count, np.uint8),
            source_size=np.full((count, 2), -1, np.int32),
            content_sha256=np.zeros((count, 32), np.uint8),
            messages=[""] * count,
        )

    def record(self, row: int, outcome: Outcome) -> None:
        """Write down what became of the image of a row.

        Parameters
        ----------
        row : int
        outcome : Outcome
            Message of the decoder.
        """
        place = row - self.start
        self.status[place] = status_code(outcome.status)
        self.messages[place] = outcome.message
        self.source_size[place] = (outcome.width, outcome.height)
        self.content_sha256[place] = np.frombuffer(outcome.sha256, np.uint8)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the rows as the arrays of a shard, by name."""
        messages = json.dumps(self.messages).encode()
        return {
            **{_LAYER_PREFIX + layer: values for layer, values in self.features.items()},
            "status": self.status,
            "source_size": self.source_size,
            "content_sha256": self.content_sha256,
            "messages": np.frombuffer(messages, np.uint8),
        }

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> Rows:
        """Make rows of the arrays of a shard.

        Parameters
        ----------
        start, stop : int
            Which rows.
        arrays : dict of str to ndarray
            From `to_arrays`.
        """
        return cls(
            start=start,
            stop=stop,
            features={
                name.removeprefix(_LAYER_PREFIX): values
                for name, values in arrays.items()
                if name.startswith(_LAYER_PREFIX)
            },
            status=arrays["status"],
            source_size=arrays["source_size"],
            content_sha256=arrays["content_sha256"],
            messages=json.loads(arrays["messages"].tobytes()),
        )

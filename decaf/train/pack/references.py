"""References to the images of large data sets, without an object for each of a million."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np

from decaf.images.refs import ImageRef

__all__ = ["JoinedRefs", "LazyRefs", "PickedRefs"]


class LazyRefs(Sequence[ImageRef]):
    """References that are made when they are asked for, by `one` of a derived class."""

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRef]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | list[ImageRef]:
        """Give one reference, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self.one(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.one(index % len(self))

    @abstractmethod
    def one(self, index: int) -> ImageRef:
        """Make the reference of a place, which is in range."""


class PickedRefs(LazyRefs):
    """Some references of a sequence.

    Parameters
    ----------
    refs : sequence of ImageRef
    rows : ndarray of int
        Which, in order.
    """

    def __init__(self, refs: Sequence[ImageRef], rows: np.ndarray) -> None:
        self._refs, self._rows = refs, rows

    def __len__(self) -> int:
        """Count them."""
        return len(self._rows)

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place."""
        return self._refs[int(self._rows[index])]


class JoinedRefs(LazyRefs):
    """Several sequences of references as one.

    Parameters
    ----------
    parts : sequence of sequence of ImageRef
    """

    def __init__(self, parts: Sequence[Sequence[ImageRef]]) -> None:
        self._parts = parts
        self._stops = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        """Count them."""
        return int(self._stops[-1])

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place."""
        part = int(np.searchsorted(self._stops, index, side="right"))
        return self._parts[part][index - int(self._stops[part]) + len(self._parts[part])]

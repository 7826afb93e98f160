"""Classes and splits of which no image can be read: told as soon as that is known."""

from __future__ import annotations

import os

import numpy as np

from decaf.errors import InputError
from decaf.train.pack.sources import PackSource

__all__ = ["NoneReadable", "ReadableImages"]


class NoneReadable(InputError):
    """A class or a split without an image that can be read.

    Parameters
    ----------
    text : str
        The error and its remedy.
    kept : str
        Remedy for the images that were packed, after `text`.
    """

    def __init__(self, text: str, kept: str) -> None:
        super().__init__(text + kept)
        self.text = text
        self.kept = kept

    def __reduce__(self) -> tuple[type[NoneReadable], tuple[str, str]]:
        return type(self), (self.text, self.kept)


class ReadableImages:
    """Counts, of each split and each class of train, the images not known to be bad.

    Parameters
    ----------
    source : PackSource
    kept : str
        Where finished images are kept, for the error.
    """

    def __init__(self, source: PackSource, kept: str) -> None:
        self._source = source
        self._kept = kept
        self._train = source.splits["train"]
        labels = source.images.labels[: self._train]
        self._of_class = np.bincount(labels, minlength=len(source.wnids))
        self._splits = list(source.splits)
        self._stops = np.cumsum(list(source.splits.values()))
        self._of_split = np.array(list(source.splits.values()))

    def count(self, start: int, status: np.ndarray) -> None:
        """Take what became of consecutive images.

        Parameters
        ----------
        start : int
            Row of the first.
        status : ndarray of uint8, shape (n,)
            0 for a good one.

        Raises
        ------
        InputError
            Where a split, or a class of train, has no image left that may be good.
        """
        for row in (np.flatnonzero(status) + start).tolist():
            split = int(np.searchsorted(self._stops, row, side="right"))
            self._of_split[split] -= 1
            if not self._of_split[split]:
                name = self._splits[split]
                self._refuse(
                    f"none of the {self._source.splits[name]} {name} images can be read", row
                )
            if split == 0:
                label = int(self._source.images.labels[row])
                self._of_class[label] -= 1
                if not self._of_class[label]:
                    name = self._source.wnids[label]
                    self._refuse(f"no training image of the class {name!r} can be read", row)

    def _refuse(self, what: str, row: int) -> None:
        example = os.fsdecode(self._source.images.names[row])
        raise NoneReadable(
            f"{what} (such as {example!r}); mend these images, or remove them and their folder",
            f", and run the same command again with `overwrite=True`: what is finished is in "
            f"{self._kept} and is used where nothing else has changed",
        )

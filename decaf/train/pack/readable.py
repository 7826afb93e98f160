"""Classes and splits of which no image can be read: told as soon as that is known."""

from __future__ import annotations

import os

import numpy as np

from decaf.errors import InputError
from decaf.images import ImageList

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
    images : ImageList
        As `decaf.train.pack.sources.find_source` returns it.
    kept : str
        Where finished images are kept, for the error.
    """

    def __init__(self, images: ImageList, kept: str) -> None:
        self._images = images
        self._kept = kept
        counts = images.split_counts
        labels = images.labels[: counts["train"]]
        self._of_class = np.bincount(labels, minlength=len(images.class_names))
        self._counts = counts
        self._stops = np.cumsum(list(counts.values()))
        self._of_split = np.array(list(counts.values()))

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
                name = list(self._counts)[split]
                self._refuse(f"none of the {self._counts[name]} {name} images can be read", row)
            if split == 0:
                label = int(self._images.labels[row])
                self._of_class[label] -= 1
                if not self._of_class[label]:
                    name = self._images.class_names[label]
                    self._refuse(f"no training image of the class {name!r} can be read", row)

    def _refuse(self, what: str, row: int) -> None:
        example = os.fsdecode(self._images.names[row])
        raise NoneReadable(
            f"{what} (such as {example!r}); mend these images, or remove them and their folder",
            f", and run the same command again with `overwrite=True`: what is finished is in "
            f"{self._kept} and is used where nothing else has changed",
        )

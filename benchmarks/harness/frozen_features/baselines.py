"""What stands beside a network's features: the same without training, and without a network."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.errors import InputError
from decaf.storage import disk_errors
from harness.fisher_vectors import (
    FisherVectors,
    FisherVectorSettings,
    fisher_vectors_of_splits,
)
from harness.fisher_vectors.settings import require
from harness.protocol.splits import Split

__all__ = [
    "BASELINES",
    "CHOSEN_ON",
    "FISHER_VECTORS",
    "UnreadImages",
    "VectorsOfSplits",
    "random_weights",
]

BASELINES = ("fisher-vectors", "random")
FISHER_VECTORS = "Fisher vectors of dense SIFT"

CHOSEN_ON = {
    "Caltech-101": "the settings of the Fisher vectors were chosen on images of 24 classes of "
    "Caltech-101, test images among them: their result here is an optimistic one",
}
"""What a reader must know of the baseline on a data set that its settings were chosen on."""

# How `FisherVectorSettings.spatial` is told in a table, in the place of a layer.
_PLACES = {
    "none": "no places",
    "pyramid": "whole image and three bands",
    "coordinates": "with coordinates",
}


def random_weights(weights: str | os.PathLike[str]) -> str:
    """Name the random weights of the architecture that some weights have.

    Parameters
    ----------
    weights : str or path

    Examples
    --------
    >>> random_weights("random:3:alexnet-64")
    'random:0:alexnet-64'
    """
    from decaf.backbone.model import load_backbone

    return f"random:0:{load_backbone(weights).spec.name}"


class UnreadImages(InputError):
    """Images asked for whose vectors could not be computed.

    Parameters
    ----------
    message : str
    rows : array of int64
        Rows of all that could not be read.
    """

    def __init__(self, message: str, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(message)
        self.rows = rows


class VectorsOfSplits:
    """Fisher vectors as features, each split's from its own training images.

    Nothing is computed until rows are asked for.

    Parameters
    ----------
    dataset : Dataset
    splits : sequence of Split
    digests : mapping of image name to hexadecimal digits
        SHA-256 of the images' bytes.
    settings : FisherVectorSettings, optional
    seed : int
    workers : int, optional
    progress : bool, callable or None
        As in `decaf.extract`.
    cache : Path
        A folder for what is done.
    stop : threading.Event, optional
        Set it to end the computation early; what is done is kept.

    Attributes
    ----------
    layer : str
        What stands for a layer's name in tables.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Sequence[Split],
        *,
        digests: dict[bytes, str],
        settings: FisherVectorSettings | None = None,
        seed: int = 0,
        workers: int | None = None,
        progress: bool | Callable[[int, int], Any] | None = None,
        cache: Path,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = settings or FisherVectorSettings()
        self.layer = _PLACES[self.settings.spatial]
        self._dataset, self._splits, self._digests = dataset, tuple(splits), digests
        self._how: dict[str, Any] = {"seed": seed, "workers": workers}
        self._progress, self._stop = progress, stop
        self._seed, self._cache = seed, cache
        self._computed: FisherVectors | None = None

    def of_split(self, number: int) -> _OfSplit:
        """Return the features of one split, as `measure` takes them.

        Parameters
        ----------
        number : int
            Which split.
        """
        return _OfSplit(self, number)

    def fingerprint(self, number: int) -> str:
        """Hash the settings, the images and the training rows of a split.

        Parameters
        ----------
        number : int
            Which split.
        """
        described = {
            "settings": self.settings.to_dict(),
            "seed": self._seed,
            "versions": {name: str(require(name).__version__) for name in ("cv2", "skimage")},
        }
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name in self._dataset.names:
            digest.update(name + b"\0" + self._digests.get(name, "").encode() + b"\n")
        digest.update(np.sort(self._splits[number].train).tobytes())
        return digest.hexdigest()

    def rows(self, number: int, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return rows of a split's vectors; the first call computes all that the cache lacks.

        Parameters
        ----------
        number : int
            Which split.
        rows : array of int

        Raises
        ------
        UnreadImages
            If one of them could not be read here, though for the network's features it could.
        Stopped
            Where `stop` was set.
        """
        if self._computed is None:
            with disk_errors(self._cache, "finished results are kept"):
                self._cache.mkdir(parents=True, exist_ok=True)
            self._computed = fisher_vectors_of_splits(
                self._dataset.files,
                vocabulary_rows=[split.train for split in self._splits],
                settings=self.settings,
                cache=self._cache,
                progress=self._progress,
                stop=self._stop,
                **self._how,
            )
        bad = self._computed.bad
        if bad and np.isin(rows, list(bad)).any():
            row, (_, message) = next(iter(bad.items()))
            raise UnreadImages(
                f"{len(bad)} of {len(self._dataset)} images could not be read for the Fisher "
                "vectors and were left out of their results; the first is "
                f"{os.fsdecode(self._dataset.names[row])}: {message}",
                np.array(list(bad), np.int64),
            )
        vectors: npt.NDArray[np.float32] = self._computed.splits[number][rows]
        return vectors


class _OfSplit:
    def __init__(self, vectors: VectorsOfSplits, number: int) -> None:
        self._vectors, self._number = vectors, number

    @property
    def fingerprint(self) -> str:
        """What changes with any row."""
        return self._vectors.fingerprint(self._number)

    def matrix(self, layer: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return rows: (len(rows), settings.width) float32."""
        return self._vectors.rows(self._number, rows)

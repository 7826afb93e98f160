"""Fisher vectors of many images: vocabularies from training images, then a row for every image."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError, Stopped
from decaf.images import ImageRef
from decaf.runtime.progress import progress_for
from harness.fisher_vectors.descriptors import dense_sift, grey_image
from harness.fisher_vectors.encoding import encode
from harness.fisher_vectors.run_folder import Kept, fingerprint
from harness.fisher_vectors.settings import FisherVectorSettings, require
from harness.fisher_vectors.vocabulary import Vocabulary, learn_vocabularies
from harness.fisher_vectors.workers import Failure, Workers

__all__ = ["FisherVectors", "fisher_vectors", "fisher_vectors_of_splits"]

Floats = npt.NDArray[np.float32]
ImagePath = str | bytes | os.PathLike[str] | ImageRef

# Images a process works on at a time, and rows of a file while the run lasts.
_BLOCK = 32


@dataclass(frozen=True, eq=False)
class FisherVectors:
    """The Fisher vectors of a data set.

    Attributes
    ----------
    splits : list of ndarray of shape (N, D), float32
        For each split all images, encoded with its vocabulary. Rows of bad images are NaN.
    bad : dict of int to (str, str)
        Row → status (of `decaf.images.status.STATUS_NAMES`) and message of the bad images.
    fingerprint : str
        SHA-256 of everything that determines the rows: the settings, the seed, the libraries'
        versions, the vocabulary rows, and the images' names, sizes and times of change.
    """

    splits: list[Floats]
    bad: dict[int, tuple[str, str]]
    fingerprint: str


def fisher_vectors(
    images: Sequence[ImagePath],
    *,
    vocabulary_rows: npt.ArrayLike,
    settings: FisherVectorSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Floats:
    """Return the improved Fisher vector of every image, for one split.

    As `fisher_vectors_of_splits` with a single split, whose training images have the numbers
    `vocabulary_rows`.

    Returns
    -------
    ndarray of shape (N, settings.width), float32
        Rows of bad images are NaN.
    """
    found = fisher_vectors_of_splits(
        images,
        vocabulary_rows=[vocabulary_rows],
        settings=settings,
        seed=seed,
        workers=workers,
        progress=progress,
        cache=cache,
    )
    return found.splits[0]


def fisher_vectors_of_splits(
    images: Sequence[ImagePath],
    *,
    vocabulary_rows: Sequence[npt.ArrayLike],
    settings: FisherVectorSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    cache: str | os.PathLike[str] | None = None,
    stop: threading.Event | None = None,
) -> FisherVectors:
    """Return the improved Fisher vectors of every image, once for each split's own vocabulary.

    A vocabulary (PCA and Gaussians) is a part of the training, so each split learns its own from
    its own training images, and test images have no part in it. The descriptors of an image, which
    are what takes time, are computed once and encoded with all vocabularies.

    Parameters
    ----------
    images : sequence of N paths or ImageRef
    vocabulary_rows : sequence of arrays of int
        For each split, the numbers of its training images.
    settings : FisherVectorSettings, optional
    seed : int
        Of the drawing of descriptors and the beginning of the mixtures.
    workers : int, optional
        Processes; one a core by default, 0 for none but the calling one. With processes a script
        must do its work under ``if __name__ == "__main__"``.
    progress : bool, callable or None
        As in `decaf.extract`; images are counted when they are encoded.
    cache : path, optional
        A folder for what is done: a run that was killed goes on where it stood, and one that is
        repeated computes nothing. What was made otherwise (see `FisherVectors.fingerprint`) is
        never used.
    stop : threading.Event, optional
        Set it to end the run early: what has been begun is finished and kept, then `Stopped` is
        raised.

    Returns
    -------
    FisherVectors
        With `cache` its arrays are maps of files there, copied on write.

    Raises
    ------
    DecafError
        If OpenCV or scikit-image is missing, or processes cannot be started.
    InputError
        For no images, vocabulary rows that are none or not among them, or too few descriptors.
    SettingError
        For a negative number of workers or seed.
    OutputError
        If the cache is in use by another run, or cannot be written.
    Stopped
        After `stop` was set.
    """
    settings = settings or FisherVectorSettings()
    # Asked for here, so that what is missing is told before any image is read.
    versions = {name: str(require(name).__version__) for name in ("cv2", "skimage")}
    refs = [i if isinstance(i, ImageRef) else ImageRef(os.fsencode(i)) for i in images]
    splits = _checked(vocabulary_rows, len(refs))
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    for name, value in {"workers": workers, "seed": seed}.items():
        if value < 0:
            raise SettingError(f"Fisher vectors: {name} is {value}, expected at least 0")
    identity = fingerprint(refs, splits, settings, seed, versions)
    with Kept(cache, identity, len(refs), len(splits), settings.width, _BLOCK) as kept:
        if not kept.complete:
            with Workers(workers, stop) as processes:
                vocabularies = kept.vocabularies()
                if vocabularies is None:
                    vocabularies = _learn(refs, splits, settings, seed, processes)
                    kept.keep_vocabularies(vocabularies)
                _encode_all(refs, vocabularies, settings, processes, progress, kept)
        return FisherVectors(kept.rows(), dict(sorted(kept.bad.items())), identity)


@dataclass(frozen=True)
class _Sample:
    """Draws descriptors of an image: always the same, whatever its neighbours."""

    settings: FisherVectorSettings
    seed: int
    each: int

    def __call__(self, row: int, ref: ImageRef) -> tuple[Floats, Floats]:
        random = np.random.default_rng([self.seed, row])
        grey = grey_image(ref, self.settings)
        return dense_sift(grey, self.settings, sample=self.each, random=random)


@dataclass(frozen=True)
class _Encode:
    """Encodes an image with each vocabulary."""

    settings: FisherVectorSettings
    vocabularies: Sequence[Vocabulary]

    def __call__(self, row: int, ref: ImageRef) -> Floats:
        found = dense_sift(grey_image(ref, self.settings), self.settings)
        return np.stack([encode(*found, v, self.settings) for v in self.vocabularies])


def _checked(vocabulary_rows: Sequence[npt.ArrayLike], images: int) -> list[npt.NDArray[np.int64]]:
    if images == 0:
        raise InputError("Fisher vectors: no images")
    if len(vocabulary_rows) == 0:
        raise InputError("Fisher vectors: no split, so nothing to learn a vocabulary from")
    splits = []
    for number, rows in enumerate(vocabulary_rows):
        array = np.asarray(rows)
        if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"Fisher vectors: the vocabulary rows of split {number} are of {array.dtype} and "
                f"shape {array.shape}, expected the numbers of at least one training image"
            )
        if array.min() < 0 or array.max() >= images:
            raise InputError(
                f"Fisher vectors: the vocabulary rows of split {number} go from {array.min()} to "
                f"{array.max()}, the images from 0 to {images - 1}"
            )
        splits.append(np.unique(array.astype(np.int64)))
    return splits


def _learn(
    refs: Sequence[ImageRef],
    splits: Sequence[npt.NDArray[np.int64]],
    settings: FisherVectorSettings,
    seed: int,
    processes: Workers,
) -> list[Vocabulary]:
    """Learn each split's vocabulary from descriptors of its own images.

    All splits take their images in one random order, so that they share most of them and few are
    read in all.
    """
    order = np.random.default_rng(seed).permutation(len(refs))
    chosen = [order[np.isin(order, rows)][: settings.vocabulary_images] for rows in splits]
    each = -(-settings.vocabulary_descriptors // min(len(rows) for rows in chosen))
    wanted = np.unique(np.concatenate(chosen))
    blocks = _blocks(wanted)
    drawn: dict[int, tuple[Floats, Floats]] = {}
    sample = _Sample(settings, seed, each)
    try:
        for number, results in processes.each_block(sample, refs, blocks):
            for row, result in zip(blocks[number], results, strict=True):
                if not isinstance(result, Failure):  # told about when it is encoded
                    drawn[row] = result
    except Stopped:
        raise Stopped(
            "stopped before the vocabularies were learned; the same command begins with them"
        ) from None

    def sample_of(rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        found = [drawn[row] for row in np.sort(rows).tolist() if row in drawn]
        if not found:
            raise InputError(
                f"Fisher vectors: none of {len(rows)} training images can be read; "
                "there is nothing to learn a vocabulary from"
            )
        descriptors, positions = (np.concatenate(part) for part in zip(*found, strict=True))
        return descriptors, positions

    return learn_vocabularies([sample_of(rows) for rows in chosen], settings, seed=seed)


def _encode_all(
    refs: Sequence[ImageRef],
    vocabularies: Sequence[Vocabulary],
    settings: FisherVectorSettings,
    processes: Workers,
    progress: bool | Callable[[int, int], object] | None,
    kept: Kept,
) -> None:
    blocks = _blocks(np.arange(len(refs)))
    missing = [number for number in range(len(blocks)) if not kept.has(number)]
    done = len(refs) - sum(len(blocks[number]) for number in missing)
    shape = (len(vocabularies), settings.width)
    task = _Encode(settings, vocabularies)
    wanted = [blocks[number] for number in missing]
    with progress_for(progress, len(refs), done) as report:
        try:
            for place, results in processes.each_block(task, refs, wanted):
                rows = np.full((shape[0], len(results), shape[1]), np.nan, np.float32)
                bad = {}
                for column, (row, result) in enumerate(zip(wanted[place], results, strict=True)):
                    if isinstance(result, Failure):
                        bad[row] = (result.status, result.message)
                    else:
                        assert result.shape == shape
                        rows[:, column] = result
                kept.keep(missing[place], rows, bad)
                done += len(results)
                report.advance(len(results))
        except Stopped:
            raise Stopped(
                f"stopped after {done} of {len(refs)} images; what is done is kept"
            ) from None
    kept.finish()


def _blocks(rows: npt.NDArray[np.int64]) -> list[list[int]]:
    return [rows[start : start + _BLOCK].tolist() for start in range(0, len(rows), _BLOCK)]

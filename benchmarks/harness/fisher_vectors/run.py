"""Fisher vectors of many images: vocabularies from training images, then a row for every image."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from decaf.errors import InputError, SettingError
from decaf.images import ImageRef
from decaf.runtime.cores import cores_of_process
from decaf.runtime.processes import World
from decaf.runtime.progress import progress_for
from decaf.storage import disk_errors, fill
from harness.fisher_vectors.descriptors import dense_sift, grey_image
from harness.fisher_vectors.encoded_file import BLOCK, Bad, EncodedFile, EncodedRows
from harness.fisher_vectors.encoding import encode
from harness.fisher_vectors.settings import FisherVectorSettings, require
from harness.fisher_vectors.vocabulary import (
    Vocabulary,
    learn_vocabularies,
    load_vocabulary,
    save_vocabulary,
)
from harness.fisher_vectors.workers import Failure, Workers

__all__ = ["FisherVectors", "fisher_vectors", "fisher_vectors_of_splits"]

Floats = npt.NDArray[np.float32]
ImagePath = str | bytes | os.PathLike[str] | ImageRef

# Counts up whenever the same settings come to mean other numbers.
_SCHEMA = 1


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
        Processes; one a core by default, 0 for none but the calling one.
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
        If OpenCV or scikit-image is missing, or a process ends while it works.
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
    workers = cores_of_process() if workers is None else workers
    for name, value in {"workers": workers, "seed": seed}.items():
        if value < 0:
            raise SettingError(f"Fisher vectors: {name} is {value}, expected at least 0")
    identity = _fingerprint(refs, splits, settings, seed, versions)
    folder = None if cache is None else Path(cache) / identity[:16]
    task = _Encoding(refs, splits, settings, seed, workers, stop, folder)
    if folder is None:
        rows, bad = _in_memory(task, progress)
    else:
        with disk_errors(folder, "nothing was begun"):
            folder.mkdir(parents=True, exist_ok=True)
        output = EncodedFile(folder, refs, identity, task.rows, stop)
        fill(output, World(torch.device("cpu")), progress)
        rows, bad = output.read()
    by_split = [rows[:, number] for number in range(len(splits))]
    return FisherVectors(by_split, dict(sorted(bad.items())), identity)


def _fingerprint(
    refs: Sequence[ImageRef],
    splits: Sequence[npt.NDArray[np.int64]],
    settings: FisherVectorSettings,
    seed: int,
    versions: Mapping[str, str],
) -> str:
    """Return a hash, 64 hexadecimal digits, of everything that determines the rows."""
    whole = hashlib.sha256()
    described = {
        "schema": _SCHEMA,
        "settings": settings.to_dict(),
        "seed": seed,
        "versions": dict(versions),
        "splits": [hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest() for rows in splits],
    }
    whole.update(json.dumps(described, sort_keys=True).encode())
    for ref in refs:
        whole.update(repr((ref.to_wire(), ref.stat())).encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class _Encoding:
    """What makes rows: see `fisher_vectors_of_splits`; vocabularies are kept in the folder."""

    refs: Sequence[ImageRef]
    splits: Sequence[npt.NDArray[np.int64]]
    settings: FisherVectorSettings
    seed: int
    workers: int
    stop: threading.Event | None
    folder: Path | None

    def rows(self, ranges: list[tuple[int, int]]) -> Generator[EncodedRows, None, None]:
        """Encode the images of some ranges, in the order in which they are finished."""
        if not ranges:
            return
        with Workers(self.workers, self.stop) as processes:
            task = _Encode(self.settings, self._vocabularies(processes))
            blocks = [list(range(start, stop)) for start, stop in ranges]
            for number, results in processes.each_block(task, self.refs, blocks):
                start, stop = ranges[number]
                shape = (stop - start, len(self.splits), self.settings.width)
                rows = EncodedRows(start, stop, np.full(shape, np.nan, np.float32), {})
                for place, result in enumerate(results):
                    if isinstance(result, Failure):
                        rows.bad[start + place] = (result.status, result.message)
                    else:
                        rows.vectors[place] = result
                yield rows

    def _vocabularies(self, processes: Workers) -> list[Vocabulary]:
        """Take the vocabularies that an earlier run has learned, or learn them."""
        if self.folder is None:
            return _learn(self.refs, self.splits, self.settings, self.seed, processes)
        paths = [self.folder / f"vocabulary-{number}.npz" for number in range(len(self.splits))]
        if all(path.exists() for path in paths):
            return [load_vocabulary(path) for path in paths]
        vocabularies = _learn(self.refs, self.splits, self.settings, self.seed, processes)
        with disk_errors(self.folder, "nothing is lost"):
            for path, vocabulary in zip(paths, vocabularies, strict=True):
                save_vocabulary(path, vocabulary)
        return vocabularies


def _in_memory(
    task: _Encoding, progress: bool | Callable[[int, int], object] | None
) -> tuple[Floats, Bad]:
    count = len(task.refs)
    vectors = np.empty((count, len(task.splits), task.settings.width), np.float32)
    bad: Bad = {}
    ranges = [(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    with progress_for(progress, count, 0) as bar, closing(task.rows(ranges)) as computed:
        for rows in computed:
            vectors[rows.start : rows.stop] = rows.vectors
            bad |= rows.bad
            bar.advance(rows.stop - rows.start)
    return vectors, bad


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
    blocks = [wanted[start : start + BLOCK].tolist() for start in range(0, len(wanted), BLOCK)]
    drawn: dict[int, tuple[Floats, Floats]] = {}
    sample = _Sample(settings, seed, each)
    for number, results in processes.each_block(sample, refs, blocks):
        for row, result in zip(blocks[number], results, strict=True):
            if not isinstance(result, Failure):  # told about when it is encoded
                drawn[row] = result

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

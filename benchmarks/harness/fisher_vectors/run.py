"""Fisher vectors of many images: vocabularies from training images, then a row for every image.

In the folder of a run lie the vocabularies, ``vocabulary-N.npz``, and while it lasts the shards of
rows, ``rows.npy.parts/``; in the end there is ``rows.npy``, with ``bad.json`` beside it, which
tells of the images that have no vector.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decaf.errors import InputError
from decaf.images import ImageList, ImageRef
from decaf.runtime.cores import cores_of_process
from decaf.runtime.processes import World
from decaf.storage import (
    Entry,
    ShardDirectory,
    ShardedFile,
    disk_errors,
    fill,
    whole_file,
    write_atomically,
)
from harness.fisher_vectors.descriptors import dense_sift, grey_image
from harness.fisher_vectors.settings import FisherVectorSettings, require
from harness.fisher_vectors.vocabulary import (
    Vocabulary,
    learn_vocabularies,
    load_vocabulary,
    save_vocabulary,
)
from harness.fisher_vectors.workers import Failure, Workers

__all__ = ["FisherVectors", "fisher_vectors"]

Floats = npt.NDArray[np.float32]
Bad = dict[int, tuple[str, str]]

# Counts up whenever the same settings come to mean other numbers.
_SCHEMA = 2

# Images a process works on at a time, and rows of a shard.
BLOCK = 32


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
        SHA-256 of everything that determines the rows: the settings, the libraries' versions, the
        vocabulary rows, and the images' names and bytes.
    """

    splits: list[Floats]
    bad: Bad
    fingerprint: str


def fisher_vectors(
    files: Sequence[bytes],
    digests: Sequence[str],
    training: Sequence[npt.NDArray[np.int64]],
    *,
    cache: str | os.PathLike[str],
    settings: FisherVectorSettings | None = None,
    workers: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    stop: threading.Event | None = None,
) -> FisherVectors:
    """Return the improved Fisher vectors of every image, once for each split's own vocabulary.

    A vocabulary (PCA and Gaussians) is a part of the training, so each split learns its own from
    its own training images, and test images have no part in it. The descriptors of an image, which
    are what takes time, are computed once and encoded with all vocabularies.

    Parameters
    ----------
    files : sequence of N bytes
        Paths of images.
    digests : sequence of N str
        Digests of the images' bytes.
    training : sequence of arrays of int64
        For each split, the rows of its training images.
    cache : path
        A folder for what is done: a run that was killed goes on where it stood, and one that is
        repeated computes nothing. What was made otherwise (see `FisherVectors.fingerprint`) is
        never used.
    settings : FisherVectorSettings, optional
    workers : int, optional
        Processes; one a core by default, 0 for none but the calling one.
    progress : bool, callable or None
        As in `decaf.extract`; images are counted when they are encoded.
    stop : threading.Event, optional
        Set it to end the run early: what has been begun is finished and kept, then `Stopped` is
        raised.

    Returns
    -------
    FisherVectors
        Its arrays are maps of files in the cache, copied on write.

    Raises
    ------
    DecafError
        If OpenCV or scikit-image is missing.
    InputError
        If too few descriptors are there to learn from.
    OutputError
        If the cache is in use by another run, or cannot be written.
    Stopped
        After `stop` was set.
    """
    settings = settings or FisherVectorSettings()
    training = [np.unique(rows) for rows in training]
    described = {
        "schema": _SCHEMA,
        "settings": asdict(settings),
        # Asked for here, so that what is missing is told before any image is read.
        "versions": {name: str(require(name).__version__) for name in ("cv2", "skimage")},
        "splits": [hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest() for rows in training],
        "images": [[os.fsdecode(file), d] for file, d in zip(files, digests, strict=True)],
    }
    fingerprint = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    folder = Path(cache) / fingerprint[:16]
    with disk_errors(folder, "nothing was begun"):
        folder.mkdir(parents=True, exist_ok=True)
    workers = cores_of_process() if workers is None else workers
    refs = [ImageRef(file) for file in files]
    output = _VectorFile(folder, refs, fingerprint, training, settings, workers, stop)
    fill(output, World(torch.device("cpu")), progress)
    rows, bad = output.read()
    return FisherVectors([rows[:, n] for n in range(len(training))], bad, fingerprint)


@dataclass(eq=False)
class _EncodedRows:
    """Consecutive images, encoded with the vocabulary of each split.

    Attributes
    ----------
    start, stop : int
        Which.
    vectors : ndarray of float32, shape (stop - start, splits, width)
        NaN where an image is bad.
    bad : dict of int to (str, str)
        Row → status and message of the bad images.
    """

    start: int
    stop: int
    vectors: Floats
    bad: Bad

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        bad = np.frombuffer(json.dumps(self.bad).encode(), np.uint8)
        return {"vectors": self.vectors, "bad": bad}

    @classmethod
    def from_arrays(
        cls, start: int, stop: int, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> _EncodedRows:
        return cls(start, stop, arrays["vectors"], _bad_of(arrays["bad"].tobytes()))


class _VectorFile(ShardedFile[_EncodedRows]):
    """The array of all rows of a run, in the folder of that run; see `fisher_vectors`."""

    noun, error, rows = "file of Fisher vectors", InputError, _EncodedRows

    def __init__(
        self,
        folder: Path,
        refs: Sequence[ImageRef],
        fingerprint: str,
        training: Sequence[npt.NDArray[np.int64]],
        settings: FisherVectorSettings,
        workers: int,
        stop: threading.Event | None,
    ) -> None:
        names, labels = [ref.name for ref in refs], np.full(len(refs), -1)
        images = ImageList(names, labels, (), (), refs)
        # What lies in the folder is of this run, or is of no use.
        super().__init__(folder / "rows.npy", images, overwrite=True, raise_bad=False, stop=stop)
        self._folder, self._refs, self._fingerprint = folder, refs, fingerprint
        self._training, self._settings = training, settings
        self._workers = workers

    def header(self) -> dict[str, Any]:
        return {"run": {"identity": self._fingerprint}, "shard_rows": BLOCK}

    def entries(self) -> list[Entry]:
        return []  # the bytes of the images are in the fingerprint

    def compare(self) -> tuple[list[str], bool]:
        return [], False  # another run has another folder

    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[_EncodedRows]
    ) -> Generator[_EncodedRows, None, None]:
        if not ranges:
            return
        with Workers(self._workers, self.stop) as processes:
            encode = partial(_encode, self._settings, self._vocabularies(processes))
            blocks = [list(range(start, stop)) for start, stop in ranges]
            for number, results in processes.each_block(encode, self._refs, blocks):
                start, stop = ranges[number]
                shape = (stop - start, len(self._training), self._settings.width)
                rows = _EncodedRows(start, stop, np.full(shape, np.nan, np.float32), {})
                for place, result in enumerate(results):
                    if isinstance(result, Failure):
                        rows.bad[start + place] = (result.status, result.message)
                    else:
                        rows.vectors[place] = result
                yield rows

    def _vocabularies(self, processes: Workers) -> list[Vocabulary]:
        """Take the vocabularies that an earlier run has learned, or learn them."""
        paths = [self._folder / f"vocabulary-{n}.npz" for n in range(len(self._training))]
        if all(path.exists() for path in paths):
            return [load_vocabulary(path) for path in paths]
        vocabularies = _learn(self._refs, self._training, self._settings, processes)
        with disk_errors(self._folder, "nothing is lost"):
            for path, vocabulary in zip(paths, vocabularies, strict=True):
                save_vocabulary(path, vocabulary)
        return vocabularies

    def assemble(self, shards: ShardDirectory[_EncodedRows]) -> None:
        count = len(self.images)
        bad: Bad = {}
        with whole_file(self.path) as stream:
            for rows in shards.all_rows(count):
                self.check_stop()
                if rows.start == 0:
                    shape = (count, *rows.vectors.shape[1:])
                    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, described)
                stream.write(rows.vectors.astype("<f4", copy=False).tobytes())
                bad |= rows.bad
            write_atomically(self._folder / "bad.json", json.dumps(bad).encode())

    def read(self) -> tuple[Floats, Bad]:
        """Return all rows, a map of the file that is copied on write, and the bad images."""
        bad = _bad_of((self._folder / "bad.json").read_bytes())
        return np.load(self.path, mmap_mode="c"), dict(sorted(bad.items()))


def _bad_of(data: bytes) -> Bad:
    described = json.loads(data)
    return {int(row): (status, message) for row, (status, message) in described.items()}


def _encode(
    settings: FisherVectorSettings, vocabularies: Sequence[Vocabulary], row: int, ref: ImageRef
) -> Floats:
    """Encode an image with each vocabulary: (vocabularies, width) float32."""
    descriptors, positions = dense_sift(grey_image(ref, settings), settings)
    return np.stack([each.encode(descriptors, positions) for each in vocabularies])


def _sample(
    settings: FisherVectorSettings, count: int, row: int, ref: ImageRef
) -> tuple[Floats, Floats]:
    """Draw descriptors of an image: always the same, whatever its neighbours."""
    random = np.random.default_rng([0, row])
    return dense_sift(grey_image(ref, settings), settings, sample=count, random=random)


def _learn(
    refs: Sequence[ImageRef],
    training: Sequence[npt.NDArray[np.int64]],
    settings: FisherVectorSettings,
    processes: Workers,
) -> list[Vocabulary]:
    """Learn each split's vocabulary from descriptors of its own images.

    All splits take their images in one random order, so that they share most of them and few are
    read in all.
    """
    order = np.random.default_rng(0).permutation(len(refs))
    chosen = [order[np.isin(order, rows)][: settings.vocabulary_images] for rows in training]
    count = -(-settings.vocabulary_descriptors // min(len(rows) for rows in chosen))
    wanted = np.unique(np.concatenate(chosen))
    blocks = [wanted[start : start + BLOCK].tolist() for start in range(0, len(wanted), BLOCK)]
    drawn: dict[int, tuple[Floats, Floats]] = {}
    for number, results in processes.each_block(partial(_sample, settings, count), refs, blocks):
        for row, result in zip(blocks[number], results, strict=True):
            if not isinstance(result, Failure):  # told about when it is encoded
                drawn[row] = result

    def sample_of(rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        readable = [drawn[row] for row in np.sort(rows).tolist() if row in drawn]
        if not readable:
            raise InputError(
                f"Fisher vectors: none of {len(rows)} training images can be read; "
                "there is nothing to learn a vocabulary from"
            )
        descriptors, positions = (np.concatenate(part) for part in zip(*readable, strict=True))
        return descriptors, positions

    return learn_vocabularies([sample_of(rows) for rows in chosen], settings)

"""What a run has done so far, on disk or in memory.

In the cache's folder ``FINGERPRINT/`` lie the vocabularies, and for each split the array of its
rows, ``split-N.npy``, which is filled in while the run lasts. A small file for each block of images
says that the block's rows are written, and comes after them; a run that is killed loses only what
was in flight. The last to be written is ``bad.json``, which says that all is there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decaf.images import ImageRef
from decaf.storage.atomic import disk_errors, write_atomically
from decaf.storage.lock import acquire
from harness.fisher_vectors.settings import FisherVectorSettings
from harness.fisher_vectors.vocabulary import (
    Vocabulary,
    load_vocabulary,
    save_vocabulary,
)

__all__ = ["Kept", "fingerprint"]

Floats = npt.NDArray[np.float32]
Bad = dict[int, tuple[str, str]]

# Counts up whenever the same settings come to mean other numbers.
_SCHEMA = 1


def fingerprint(
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


class Kept:
    """The rows of a run; a context manager, which holds the folder's lock.

    Parameters
    ----------
    cache : path or None
        Where folders of runs are kept; None for memory alone.
    identity : str
        What `fingerprint` gave.
    images, splits, width : int
        There are `splits` arrays of shape ``(images, width)``.
    block : int
        Images a block; the last may have fewer.

    Attributes
    ----------
    bad : dict of int to (str, str)
        Row → status and message, of the images done so far.
    complete : bool
        Whether all rows are there.
    """

    def __init__(
        self,
        cache: str | os.PathLike[str] | None,
        identity: str,
        images: int,
        splits: int,
        width: int,
        block: int,
    ) -> None:
        self._folder = None if cache is None else Path(cache) / identity[:16]
        self._shape = (splits, images, width)
        self._block = block
        self._lock: int | None = None
        self._memory: list[Floats] = []
        self.bad: Bad = {}
        self.complete = False

    def __enter__(self) -> Kept:
        if self._folder is None:
            splits, images, width = self._shape
            self._memory = [np.empty((images, width), np.float32) for _ in range(splits)]
            return self
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = acquire(self._folder)
        bad = self._folder / "bad.json"
        if bad.exists():  # written last
            self.bad = _read_bad(bad)
            self.complete = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def vocabularies(self) -> list[Vocabulary] | None:
        """Return the vocabularies of an earlier run, None if they are not all there."""
        if self._folder is None:
            return None
        paths = [self._vocabulary(number) for number in range(self._shape[0])]
        return [load_vocabulary(p) for p in paths] if all(p.exists() for p in paths) else None

    def keep_vocabularies(self, vocabularies: Sequence[Vocabulary]) -> None:
        """Write the vocabularies, one for each split."""
        for number, vocabulary in enumerate(vocabularies):
            if self._folder is not None:
                with disk_errors(self._folder, "nothing is lost"):
                    save_vocabulary(self._vocabulary(number), vocabulary)

    def has(self, block: int) -> bool:
        """Tell whether a block's rows are there, from an earlier run."""
        if self._folder is None or not self._done(block).exists():
            return False
        self.bad |= _read_bad(self._done(block))
        return True

    def keep(self, block: int, rows: Floats, bad: Mapping[int, tuple[str, str]]) -> None:
        """Take the rows of a block.

        Parameters
        ----------
        block : int
        rows : ndarray of shape (splits, images of the block, width), float32
        bad : dict of int to (str, str)
            Those of the images that are bad.
        """
        self.bad |= bad
        start = block * self._block
        if self._folder is None:
            for memory, values in zip(self._memory, rows, strict=True):
                memory[start : start + len(values)] = values
            return
        with disk_errors(self._folder, "all blocks that were finished are kept"):
            for number, values in enumerate(rows):
                self._write(number, start, np.ascontiguousarray(values))
            write_atomically(self._done(block), json.dumps(bad).encode())

    def finish(self) -> None:
        """Say that all blocks are there."""
        if self._folder is not None:
            with disk_errors(self._folder, "all blocks are kept"):
                write_atomically(self._folder / "bad.json", json.dumps(self.bad).encode())
                for block in range(-(-self._shape[1] // self._block)):
                    self._done(block).unlink(missing_ok=True)
        self.complete = True

    def rows(self) -> list[Floats]:
        """Return the array of each split."""
        if self._folder is None:
            return self._memory
        # Copied on write, and so writable, which torch asks of what it looks at.
        return [np.load(self._split(n), mmap_mode="c") for n in range(self._shape[0])]

    def _write(self, number: int, start: int, values: Floats) -> None:
        """Write rows into the array of a split.

        Not through a map of the file: on a full disk that would end the process.
        """
        header = io.BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": self._shape[1:]}
        np.lib.format.write_array_header_1_0(header, described)
        descriptor = os.open(self._split(number), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb", buffering=0) as file:
            _write_all(file, header.getvalue())
            file.seek(len(header.getvalue()) + start * self._shape[2] * 4)
            _write_all(file, values.astype("<f4", copy=False).tobytes())
            os.fsync(file.fileno())

    def _done(self, block: int) -> Path:
        assert self._folder is not None
        return self._folder / f"rows-{block:06d}.json"

    def _split(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"split-{number}.npy"

    def _vocabulary(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"vocabulary-{number}.npz"


def _read_bad(path: Path) -> Bad:
    found = json.loads(path.read_bytes())
    return {int(row): (status, message) for row, (status, message) in found.items()}


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

"""What a run has done so far, on disk or in memory.

In the cache's folder ``FINGERPRINT/`` lie, while the run lasts, the vocabularies and one file for
each block of images; at its end one ``split-N.npy`` for each split in their place. Files appear
under their names when they are whole, so a run that is killed loses only what was in flight.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.evaluate.fisher_vectors.settings import FisherVectorSettings
from decaf.evaluate.fisher_vectors.vocabulary import (
    Vocabulary,
    load_vocabulary,
    save_vocabulary,
)
from decaf.features.disk import disk_errors, write_atomically
from decaf.features.parts.lock import acquire
from decaf.images.refs import ImageRef

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
    """Give a hash, 64 hexadecimal digits, of everything that determines the rows."""
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
        """Give the vocabularies of an earlier run, None if they are not all there."""
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
        if self._folder is None or not self._part(block).exists():
            return False
        self.bad |= _read_bad(self._part(block).with_suffix(".json"))
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
        if self._folder is None:
            start = block * self._block
            for memory, values in zip(self._memory, rows, strict=True):
                memory[start : start + len(values)] = values
            return
        buffer = io.BytesIO()
        np.save(buffer, rows)
        path = self._part(block)
        with disk_errors(self._folder, "all blocks that were finished are kept"):
            # The rows last: where they are, what is bad among them is there too.
            write_atomically(path.with_suffix(".json"), json.dumps(bad).encode())
            write_atomically(path, buffer.getvalue())

    def finish(self) -> None:
        """Put the blocks together, and remove them."""
        if self._folder is not None:
            with disk_errors(self._folder, "all blocks are kept"):
                self._assemble(self._folder)
        self.complete = True

    def rows(self) -> list[Floats]:
        """Give the array of each split."""
        if self._folder is None:
            return self._memory
        # Copied on write, and so writable, which torch asks of what it looks at.
        return [np.load(self._split(n), mmap_mode="c") for n in range(self._shape[0])]

    def _assemble(self, folder: Path) -> None:
        splits, images, width = self._shape
        blocks = range(-(-images // self._block))
        for number in range(splits):
            path = self._split(number)
            temporary = path.with_suffix(".tmp")
            whole: Any = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float32, shape=(images, width)
            )
            for block in blocks:
                start = block * self._block
                rows = np.load(self._part(block), mmap_mode="r")[number]
                whole[start : start + len(rows)] = rows
            whole.flush()
            del whole
            os.replace(temporary, path)
        write_atomically(folder / "bad.json", json.dumps(self.bad).encode())
        for block in blocks:
            self._part(block).unlink(missing_ok=True)
            self._part(block).with_suffix(".json").unlink(missing_ok=True)

    def _part(self, block: int) -> Path:
        assert self._folder is not None
        return self._folder / f"rows-{block:06d}.npy"

    def _split(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"split-{number}.npy"

    def _vocabulary(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"vocabulary-{number}.npz"


def _read_bad(path: Path) -> Bad:
    found = json.loads(path.read_bytes())
    return {int(row): (status, message) for row, (status, message) in found.items()}

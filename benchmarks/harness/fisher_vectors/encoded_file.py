"""The Fisher vectors of a run on disk: blocks of images as shards, and the array made of them.

In the folder of a run lie the vocabularies, ``vocabulary-N.npz``, and while it lasts the shards,
``rows.npy.parts/``; in the end there is ``rows.npy``, with ``bad.json`` beside it, which tells of
the images that could not be read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images import ImageList, ImageRef
from decaf.storage import Entry, ShardDirectory, ShardedFile, whole_file, write_atomically

__all__ = ["Bad", "EncodedFile", "EncodedRows"]

Floats = npt.NDArray[np.float32]
Bad = dict[int, tuple[str, str]]

# Images a process works on at a time, and rows of a shard.
BLOCK = 32


@dataclass(eq=False)
class EncodedRows:
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
        """Return the rows as the arrays of a shard, by name."""
        bad = np.frombuffer(json.dumps(self.bad).encode(), np.uint8)
        return {"vectors": self.vectors, "bad": bad}

    @classmethod
    def from_arrays(
        cls, start: int, stop: int, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> EncodedRows:
        """Make rows of the arrays of a shard."""
        return cls(start, stop, arrays["vectors"], _bad_of(arrays["bad"].tobytes()))


class EncodedFile(ShardedFile[EncodedRows]):
    """The array of all rows of a run, in the folder of that run.

    Parameters
    ----------
    folder : Path
        Named by all that determines the rows.
    refs : sequence of ImageRef
    identity : str
        What determines the rows, as a hash.
    encode : callable
        From ranges of rows to `EncodedRows` of them, in any order.
    stop : threading.Event, optional
    """

    noun, error, rows = "file of Fisher vectors", InputError, EncodedRows

    def __init__(
        self,
        folder: Path,
        refs: Sequence[ImageRef],
        identity: str,
        encode: Callable[[list[tuple[int, int]]], Generator[EncodedRows, None, None]],
        stop: threading.Event | None,
    ) -> None:
        names, labels = [ref.name for ref in refs], np.full(len(refs), -1)
        images = ImageList(names, labels, (), (), refs)
        # What lies in the folder is of this run, or is of no use.
        super().__init__(folder / "rows.npy", images, overwrite=True, raise_bad=False, stop=stop)
        self._identity = identity
        self._encode = encode
        self._bad_path = folder / "bad.json"

    def header(self) -> dict[str, Any]:
        return {"run": {"identity": self._identity}, "shard_rows": BLOCK}

    def entries(self) -> list[Entry]:
        return []  # sizes and times of the images are in the identity

    def compare(self) -> tuple[list[str], bool]:
        return [], False  # another run has another folder

    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[EncodedRows]
    ) -> Generator[EncodedRows, None, None]:
        return self._encode(ranges)

    def assemble(self, shards: ShardDirectory[EncodedRows]) -> None:
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
            write_atomically(self._bad_path, json.dumps(bad).encode())

    def read(self) -> tuple[Floats, Bad]:
        """Return all rows, a map of the file that is copied on write, and the bad images."""
        return np.load(self.path, mmap_mode="c"), _bad_of(self._bad_path.read_bytes())


def _bad_of(data: bytes) -> Bad:
    described = json.loads(data)
    return {int(row): (status, message) for row, (status, message) in described.items()}

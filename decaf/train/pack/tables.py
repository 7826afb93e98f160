"""Checksums of a pack's tables: with those of its data they are its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import h5py
import numpy as np

from decaf.train.pack import schema

__all__ = ["TableDigests", "table_digest"]

# Names of a million images take tens of megabytes; they are gone through in pieces.
_ROWS = 65_536


class TableDigests:
    """The attribute ``content`` of a pack, as its tables are written or read."""

    def __init__(self) -> None:
        self._splits: dict[str, dict[str, Any]] = {}
        self._tables: dict[str, str] = {}

    def add(self, dataset: h5py.Dataset, blocks: Iterable[np.ndarray]) -> None:
        """Count a table, with its rows in order, as they are to be in the file.

        Parameters
        ----------
        dataset : h5py.Dataset
        blocks : iterable of ndarray
        """
        digest = hashlib.sha256(f"{dataset.shape} {dataset.dtype.str}".encode())
        for block in blocks:
            digest.update(np.ascontiguousarray(block, dataset.dtype).tobytes())
        self._tables[dataset.name.removeprefix("/")] = digest.hexdigest()

    def count(self, split: str, *, images: int, size: int, kept: int) -> None:
        """Put down the images of a split, the bytes they take, and how many are as they came.

        Parameters
        ----------
        split : str
        images : int
        size : int
            Bytes of all images.
        kept : int
            Number of images whose files are kept as they are.
        """
        self._splits[split] = {"images": images, "bytes": size, "kept": kept}

    def content(self) -> dict[str, Any]:
        """Return the attribute.

        Returns
        -------
        dict
            ``splits``: for each, ``images``, ``bytes``, ``kept`` (JPEGs whose bytes are those of
            the source) and a SHA-256 for each of its tables; that of ``data_sha256`` stands for the
            data. ``tables``: a SHA-256 for each of the others.
        """
        left, splits = dict(self._tables), {}
        for split, counts in self._splits.items():
            own = sorted(name for name in left if name.startswith(f"{split}/"))
            sums = {name.removeprefix(f"{split}/"): left.pop(name) for name in own}
            splits[split] = {**counts, "sha256": sums}
        return {"splits": splits, "tables": left}


def table_digest(file: h5py.File) -> dict[str, Any]:
    """Read all tables of a pack, and return what its attribute ``content`` should be.

    Parameters
    ----------
    file : h5py.File

    Returns
    -------
    dict
        See `TableDigests.content`.
    """
    digests = TableDigests()
    for split in schema.SPLITS:
        if split not in file:
            continue
        group = file[split]
        kept = int(group["kept"][:].sum()) if "kept" in group else 0
        size, images = int(group["data"].size), int(group["label"].shape[0])
        digests.count(split, images=images, size=size, kept=kept)
        for name in sorted(group):
            if name != "data":
                digests.add(group[name], _blocks(group[name]))
    bad = (f"{schema.BAD}/{name}" for name in sorted(file[schema.BAD]))
    for name in (*schema.STATISTICS, "wnid", "class_name", *bad):
        digests.add(file[name], _blocks(file[name]))
    return digests.content()


def _blocks(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    for start in range(0, int(dataset.shape[0]), _ROWS):
        yield dataset[start : start + _ROWS]

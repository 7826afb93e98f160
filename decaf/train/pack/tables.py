"""Checksums of a pack's tables: with those of its data they are its identity."""

from __future__ import annotations

import hashlib
from typing import Any

import h5py

from decaf.train.pack import schema

__all__ = ["table_digest"]

# Names of a million images take tens of megabytes; they are gone through in pieces.
_ROWS = 65_536


def table_digest(file: h5py.File) -> dict[str, Any]:
    """Give the attribute ``content`` of a pack whose datasets are all written.

    Parameters
    ----------
    file : h5py.File

    Returns
    -------
    dict
        ``splits``: for each, ``images``, ``bytes``, ``kept`` (JPEGs whose bytes are those of the
        source) and a SHA-256 for each of its tables; that of ``data_sha256`` stands for the
        data. ``tables``: a SHA-256 for each of the others.
    """
    splits = {}
    for split in schema.SPLITS:
        if split not in file:
            continue
        group = file[split]
        splits[split] = {
            "images": int(group["label"].shape[0]),
            "bytes": int(group["data"].size),
            "kept": int(group["kept"][:].sum()) if "kept" in group else 0,
            "sha256": {name: _digest(group[name]) for name in sorted(group) if name != "data"},
        }
    tables = {name: _digest(file[name]) for name in (*schema.STATISTICS, "wnid", "class_name")}
    tables |= {f"bad/{name}": _digest(file[schema.BAD][name]) for name in sorted(file[schema.BAD])}
    return {"splits": splits, "tables": tables}


def _digest(dataset: h5py.Dataset) -> str:
    digest = hashlib.sha256(f"{dataset.shape} {dataset.dtype.str}".encode())
    for start in range(0, int(dataset.shape[0]), _ROWS):
        digest.update(dataset[start : start + _ROWS].tobytes())
    return digest.hexdigest()

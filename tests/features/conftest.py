"""A feature file written straight with h5py, knowing nothing of decaf's writer.

What is spelled out here, and not taken from `decaf.features.store.schema`, is the format as it
stands on disk: a change of a name or a type there must fail here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

RUN = {
    "weights": {"name": "random:0", "sha256": "ab" * 32},
    "arch": {"name": "alexnet-2012"},
    "preprocess": {"name": "decaf", "resize": "warp", "resize_to": 256, "crop": 227},
    "crops": "center",
    "layers": ["fc6", "conv1"],
    "precision": "fp32",
    "versions": {"torch": "2.11.0"},
}
NAMES = [b"cats/a.jpg", b"cats/b\xff\n.jpg", b"dogs/c.jpg", b"d.jpg"]
STATUS_NAMES = ["ok", "missing", "corrupt"]


def text(values: list[str], width: int = 0) -> np.ndarray:
    """Text as it stands in the file: UTF-8 of fixed length, padded with NUL."""
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", width or max(map(len, encoded))))


def write_features(path: Path, *, rows: int = 4, run: Mapping[str, Any] = RUN) -> Path:
    """Write a valid file: layers fc6 (8 values) and conv1 (2, 3, 3), row 1 of every 4 corrupt."""
    generator = np.random.default_rng(0)
    index = np.arange(rows)
    bad = index % 4 == 1
    columns = {
        "path": np.array([NAMES[i % 4] for i in index], "S16"),
        "label": np.array([0, 0, 1, -1], np.int64)[index % 4],
        "status": np.where(bad, 2, 0).astype(np.uint8),
        "source_size": np.where(bad[:, None], 0, [500, 375]).astype(np.int32),
        "content_sha256": np.where(bad[:, None], 0, index[:, None] + np.arange(32)).astype("u1"),
    }
    checked = {"fletcher32": True}
    packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        for layer, shape in (("fc6", (8,)), ("conv1", (2, 3, 3))):
            values = generator.standard_normal((rows, *shape)).astype(np.float32)
            values[bad] = np.nan
            file.create_dataset(
                f"features/{layer}", data=values, chunks=(min(rows, 3), *shape), **checked
            )
        for name, values in columns.items():
            file.create_dataset(name, data=values, chunks=True, **packed)
        messages = ["cut short after 10 bytes" if i else "" for i in bad]
        file.create_dataset("message", data=text(messages, 512), chunks=True, **packed)
        file.create_dataset("class_names", data=text(["cats", "dogs"]), chunks=True, **packed)
        file.create_dataset("status_names", data=text(STATUS_NAMES), chunks=True, **packed)
        canonical = json.dumps(run, sort_keys=True, separators=(",", ":"))
        file.attrs["schema"] = 1
        for name, value in {
            "format": "decaf-features",
            "decaf_version": "0.1.0",
            "created": "2026-01-02T03:04:05+00:00",
            "run": canonical,
            "fingerprint": hashlib.sha256(canonical.encode()).hexdigest(),
            "environment": json.dumps({"device": "cpu"}),
        }.items():
            attribute = text([value])
            file.attrs.create(name, attribute[0], dtype=attribute.dtype)
    return path


@pytest.fixture(name="write_features")
def _write_features() -> Callable[..., Path]:
    return write_features


@pytest.fixture
def feature_file(tmp_path: Path) -> Path:
    """A valid file of four rows."""
    return write_features(tmp_path / "f.h5")

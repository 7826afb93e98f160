"""Feature files of features that a test makes up, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from decaf.features.rows import Rows
from decaf.features.store.assemble import FileHead, write_feature_file

RUN = {
    "weights": {"name": "random:0:alexnet-64", "sha256": "ab" * 32},
    "arch": {"name": "alexnet-64"},
    "preprocess": {"name": "decaf"},
    "crops": "center",
    "precision": "fp32",
    "dtype": "float32",
    "versions": {"torch": "2.11.0"},
}
CORRUPT = 5


def made_file(
    path: Path,
    features: dict[str, np.ndarray],
    *,
    names: Sequence[bytes] | None = None,
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] = (),
    bad: Sequence[int] = (),
    digests: np.ndarray | None = None,
    run: dict[str, Any] | None = None,
    splits: Sequence[str] | None = None,
    environment: dict[str, Any] | None = None,
) -> Path:
    """Write a feature file; the rows of `bad` are those of corrupt images."""
    count = len(next(iter(features.values())))
    rows = Rows.empty(0, count)
    rows.features = {name: np.array(values, np.float32) for name, values in features.items()}
    rows.source_size[:] = (80, 60)
    rows.content_sha256[:] = np.arange(count)[:, None] % 251 + 1 if digests is None else digests
    for row in bad:
        rows.status[row], rows.messages[row] = CORRUPT, "cut short"
        for values in rows.features.values():
            values[row] = np.nan
    head = FileHead(
        names=names or [b"%03d.jpg" % row for row in range(count)],
        labels=np.full(count, -1) if labels is None else np.array(labels, np.int64),
        class_names=class_names,
        run={**RUN, **(run or {}), "layers": list(features)},
        environment=environment or {},
        decaf_version="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        splits=splits,
    )
    shapes = {name: values.shape[1:] for name, values in rows.features.items()}
    write_feature_file(path, head, shapes, [rows])
    return path

"""The facts of a feature file, as `decaf info` and `FeatureFile.info` tell them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.features.store import schema

if TYPE_CHECKING:
    from decaf.features.store.feature_file import FeatureFile

__all__ = ["file_info"]


def file_info(file: FeatureFile, size: int) -> dict[str, Any]:
    """Sum a feature file up in JSON values.

    Parameters
    ----------
    file : FeatureFile
    size : int
        Bytes of the file.

    Returns
    -------
    dict
        ``path``, ``bytes``, ``format``, ``schema``, ``decaf_version``, ``created``,
        ``fingerprint``, ``rows``, ``ok``, ``bad`` (number by status), ``layers`` (shape of a
        row, dtype and bytes of each), ``labelled``, ``classes`` (number of rows by name or
        number), ``splits`` (number of rows by name; empty where there are none), ``groups``
        (how many), ``boxes`` (rows that are parts of images), ``size`` (width and height where all
        images have the same, else None), ``run`` and ``environment``.
    """
    sizes = np.unique(file.source_size[file.ok], axis=0).tolist()
    labels = file.labels[file.labels != schema.NO_LABEL]
    codes, counts = np.unique(labels, return_counts=True)
    names = file.class_names
    classes = dict.fromkeys(names, 0)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        name = names[code] if names else str(code)
        classes[name] = classes.get(name, 0) + count
    statuses = np.bincount(file.status, minlength=len(file.status_names)).tolist()
    layers = {}
    for layer in file.layers:
        view = file[layer]
        layers[layer] = {
            "shape": list(view.shape[1:]),
            "dtype": view.dtype.name,
            "bytes": view.size * view.dtype.itemsize,
        }
    return {
        "path": file.path,
        "bytes": size,
        **{name: file.attrs[name] for name in ("format", "schema", "decaf_version", "created")},
        "fingerprint": file.fingerprint,
        "rows": len(file),
        "ok": statuses[0],
        "bad": {
            name: count
            for name, count in zip(file.status_names[1:], statuses[1:], strict=True)
            if count
        },
        "layers": layers,
        "labelled": len(labels),
        "classes": classes,
        "splits": dict(Counter(file.splits or ())),
        "groups": len(set(file.groups or ()) - {""}),
        "boxes": sum(crop is not None for crop in file.crops or ()),
        "size": sizes[0] if len(sizes) == 1 else None,
        "run": file.run,
        "environment": file.environment,
    }

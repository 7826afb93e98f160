"""What a feature file has to hold: checked before it is read, since it may come from a stranger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import h5py

from decaf.features.store import schema
from decaf.features.store.schema import FEATURE_FILE
from decaf.storage import fingerprint
from decaf.storage.hdf5_checks import MAX_CLASSES, HDF5Check

__all__ = ["Contents", "check_contents"]

MAX_STATUSES = 256

_LAYER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ROOT = {
    schema.FEATURES,
    schema.PATH,
    schema.MESSAGE,
    schema.CLASS_NAMES,
    schema.STATUS_NAMES_DATASET,
    *schema.COLUMNS,
}


@dataclass(frozen=True)
class Contents:
    """What a checked file says of itself.

    Attributes
    ----------
    rows : int
        Number of images.
    layers : tuple of str
        In the order of the run's settings.
    attrs : dict
        The root attributes, strings as stored and ``schema`` an int.
    run, environment : dict
        The attributes of that name, parsed.
    content : dict or None
        Likewise, where there is one.
    """

    rows: int
    layers: tuple[str, ...]
    attrs: dict[str, str | int]
    run: dict[str, Any]
    environment: dict[str, Any]
    content: dict[str, Any] | None


def check_contents(file: h5py.File, path: str) -> Contents:
    """Check that an open file is a feature file of schema 1 and safe to read.

    Parameters
    ----------
    file : h5py.File
        From `decaf.storage.hdf5_checks.open_hdf5`.
    path : str
        What error texts call it.

    Returns
    -------
    Contents

    Raises
    ------
    FeatureFileError
        Names the file, the part of it, what was found and what was expected.
    """
    with FEATURE_FILE.reading(path):
        check = HDF5Check(file, path, FEATURE_FILE)
        attrs, parsed = check.attributes()
        run = parsed["run"]
        computed = fingerprint(run)
        if computed != attrs["fingerprint"]:
            check.refuse(
                f"its fingerprint {attrs['fingerprint']!r} is not that of its settings, "
                f"{computed!r}"
            )
        names = set(check.links(file, "the file"))
        check.only(names - set(schema.OPTIONAL), _ROOT)
        features = check.group(schema.FEATURES)
        layers = check.links(features, schema.FEATURES)
        _check_layer_names(check, layers, run)
        rows = _check_columns(check)
        for layer in layers:
            _check_layer(check, features, layer, rows)
        check.total()
    return Contents(
        rows, tuple(run["layers"]), attrs, run, parsed["environment"], parsed.get("content")
    )


def _check_layer_names(check: HDF5Check, layers: tuple[str, ...], run: dict[str, Any]) -> None:
    if not layers:
        check.refuse(f"{schema.FEATURES!r} holds no layer")
    for layer in layers:
        if not _LAYER_NAME.fullmatch(layer):
            check.refuse(f"{layer!r} is not the name of a layer")
    recorded = run.get("layers")
    if not isinstance(recorded, list) or sorted(map(str, recorded)) != sorted(layers):
        check.refuse(f"holds the layers {', '.join(layers)}, its settings say {recorded!r}")


def _check_columns(check: HDF5Check) -> int:
    """Check everything beside the layers, and return the number of rows."""
    file = check.file
    rows = check.names(file, schema.PATH)
    for name, (dtype, row_shape) in schema.COLUMNS.items():
        check.typed(name, check.dataset(file, name), (dtype,), (rows, *row_shape))
    check.strings(file, schema.MESSAGE, rows, rows)
    for name in schema.OPTIONAL:
        if name in file:
            check.strings(file, name, rows, rows)
    check.strings(file, schema.CLASS_NAMES, 0, MAX_CLASSES)
    check.strings(file, schema.STATUS_NAMES_DATASET, 1, MAX_STATUSES)
    return rows


def _check_layer(check: HDF5Check, features: h5py.Group, layer: str, rows: int) -> None:
    """Check one layer: a float a value, at least one value a row, checksums, no compression."""
    name = f"{schema.FEATURES}/{layer}"
    dataset = check.dataset(features, layer)
    shape = dataset.shape
    if len(shape) < 2 or len(shape) > 5 or shape[0] != rows or 0 in shape[1:]:
        check.refuse(f"{name} has shape {shape}, expected ({rows}, …)")
    check.typed(name, dataset, schema.LAYER_DTYPES, shape)
    if rows and check.filters(dataset) != {h5py.h5z.FILTER_FLETCHER32}:
        check.refuse(f"{name} is not stored with checksums and nothing else (fletcher32)")

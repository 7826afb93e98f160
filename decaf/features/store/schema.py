"""The feature file's schema: the names, types and attributes of version 1, and their check.

Writer and reader both take them from here, and nothing else in decaf spells them out. A file is
HDF5 with the datasets below at its root and one dataset a layer in the group ``features``; row i
of every one of them belongs to image i.

====================  ==============  =========================================================
dataset               type            content
====================  ==============  =========================================================
``features/<layer>``  (N, …) f4, f2   the layer in its natural shape; NaN where status is not ok
``path``              (N,) S          name as given, bytes, padded with NUL
``label``             (N,) i8         class index, -1 where there is none
``status``            (N,) u1         0 ok, else a place in ``status_names``
``message``           (N,) str        what was wrong with the image, empty where ok
``source_size``       (N, 2) i4       width and height as displayed, -1 where unknown
``content_sha256``    (N, 32) u1      SHA-256 of the image's bytes, zero where unknown; of a part of
                                      an image that of these and of ``crop``
``class_names``       (K,) str        names of the classes; none where labels are bare numbers
``status_names``      (S,) str        names of the status codes
``split``             (N,) str        train, val or test, empty where in none; may be missing
``group``             (N,) str        what the image belongs to, empty where to nothing; likewise
``crop``              (N,) str        of a part of an image, what determines it; may be missing
``box``               (N, 4) f8       its box: left, top, width, height in pixels, NaN where unknown
``annotation``        (N,) str        what the box is called where it is from
``confidence``        (N,) f8         of a detector, NaN where it does not tell
``key``               (N,) str        of a part: the sample that the image is of
``txt``, ``json``     (N,) str        of a part: what came with the sample; may be missing
====================  ==============  =========================================================

All text is UTF-8 of fixed length, padded with NUL (`decaf.storage.hdf5` says why).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py

from decaf.errors import FeatureFileError
from decaf.storage import changed_settings
from decaf.storage.hdf5_checks import MAX_CLASSES, FileKind, HDF5Check

__all__ = [
    "ANNOTATION",
    "BOX",
    "CLASS_NAMES",
    "COLUMNS",
    "CONFIDENCE",
    "CONTENT_SHA256",
    "CROP",
    "FEATURES",
    "FEATURE_FILE",
    "FORMAT",
    "GROUP",
    "JSON",
    "KEY",
    "LABEL",
    "LAYER_DTYPES",
    "MESSAGE",
    "MESSAGE_BYTES",
    "NO_LABEL",
    "OF_CROPS",
    "OPTIONAL",
    "PATH",
    "SCHEMA",
    "SOURCE_SIZE",
    "SPLIT",
    "STATUS",
    "STATUS_NAMES_DATASET",
    "TXT",
    "Contents",
    "check_contents",
]

FORMAT = "decaf-features"
SCHEMA = 1

FEATURES = "features"
PATH = "path"
LABEL = "label"
STATUS = "status"
MESSAGE = "message"
SOURCE_SIZE = "source_size"
CONTENT_SHA256 = "content_sha256"
CLASS_NAMES = "class_names"
STATUS_NAMES_DATASET = "status_names"
SPLIT = "split"
GROUP = "group"
CROP = "crop"
BOX = "box"
ANNOTATION = "annotation"
CONFIDENCE = "confidence"
KEY = "key"
TXT = "txt"
JSON = "json"
# Columns of text that are there only where the images came divided, in groups, as parts of others,
# or as the samples of a shard.
OPTIONAL = (SPLIT, GROUP, CROP, ANNOTATION, KEY, TXT, JSON)

NO_LABEL = -1

# numpy type and shape of a row, for the columns whose rows have a fixed size.
COLUMNS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    LABEL: ("<i8", ()),
    STATUS: ("|u1", ()),
    SOURCE_SIZE: ("<i4", (2,)),
    CONTENT_SHA256: ("|u1", (32,)),
}
# Likewise, those that are there only where the images are parts of others.
OF_CROPS: Mapping[str, tuple[str, tuple[int, ...]]] = {BOX: ("<f8", (4,)), CONFIDENCE: ("<f8", ())}
LAYER_DTYPES: tuple[str, ...] = ("<f4", "<f2")

# Width of the message column.
MESSAGE_BYTES = 512

# Attributes of the root: ``schema`` is an integer, the others are UTF-8 strings. ``run`` is JSON of
# all that determines a row, ``environment`` JSON of what does not (device, versions, command).
# Files written since they were added have ``content`` and ``attributes``, too: JSON of the SHA-256
# of each dataset, and of each field of the other attributes (`decaf.features.store.checksums`), and
# ``path_system``, "posix" or "windows": in the names of Windows a backslash stands between folders,
# as a slash does. Files without it are not of Windows.
FEATURE_FILE = FileKind(
    name="features",
    noun="feature file",
    plural="feature files",
    error=FeatureFileError,
    format=FORMAT,
    schema=SCHEMA,
    attributes=(
        "format",
        "schema",
        "decaf_version",
        "created",
        "run",
        "fingerprint",
        "environment",
    ),
    json=("run", "environment", "content", "attributes"),
    optional=("content", "attributes", "path_system"),
)

MAX_STATUSES = 256

_LAYER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ROOT = {
    FEATURES,
    PATH,
    MESSAGE,
    CLASS_NAMES,
    STATUS_NAMES_DATASET,
    *COLUMNS,
}


@dataclass(frozen=True)
class Contents:
    """Description of itself that a checked file has.

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
    content, attributes : dict or None
        Likewise, where there is one.
    """

    rows: int
    layers: tuple[str, ...]
    attrs: dict[str, str | int]
    run: dict[str, Any]
    environment: dict[str, Any]
    content: dict[str, Any] | None
    attributes: dict[str, Any] | None


def check_contents(file: h5py.File, path: str) -> Contents:
    """Check that an open file is a feature file of schema 1 and safe to read.

    Parameters
    ----------
    file : h5py.File
        From `decaf.storage.hdf5_checks.open_hdf5`.
    path : str
        Name of the file in error texts.

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
        if told := changed_settings(run, attrs["fingerprint"], parsed.get("attributes")):
            check.refuse(told)
        names = set(check.links(file, "the file"))
        check.only(names - {*OPTIONAL, *OF_CROPS}, _ROOT)
        if there := names & {CROP, ANNOTATION, *OF_CROPS}:
            check.only(there, {CROP, ANNOTATION, *OF_CROPS})
        features = check.group(FEATURES)
        layers = check.links(features, FEATURES)
        _check_layer_names(check, layers, run)
        rows = _check_columns(check)
        for layer in layers:
            _check_layer(check, features, layer, rows)
        check.total()
    return Contents(
        rows,
        tuple(run["layers"]),
        attrs,
        run,
        parsed["environment"],
        parsed.get("content"),
        parsed.get("attributes"),
    )


def _check_layer_names(check: HDF5Check, layers: tuple[str, ...], run: dict[str, Any]) -> None:
    if not layers:
        check.refuse(f"{FEATURES!r} holds no layer")
    for layer in layers:
        if not _LAYER_NAME.fullmatch(layer):
            check.refuse(f"{layer!r} is not the name of a layer")
    recorded = run.get("layers")
    if not isinstance(recorded, list) or sorted(map(str, recorded)) != sorted(layers):
        check.refuse(f"holds the layers {', '.join(layers)}, its settings say {recorded!r}")


def _check_columns(check: HDF5Check) -> int:
    """Check everything beside the layers, and return the number of rows."""
    file = check.file
    rows = check.names(file, PATH)
    for name, (dtype, row_shape) in COLUMNS.items():
        check.typed(name, check.dataset(file, name), (dtype,), (rows, *row_shape))
    for name, (dtype, row_shape) in OF_CROPS.items():
        if name in file:
            check.typed(name, check.dataset(file, name), (dtype,), (rows, *row_shape))
    check.strings(file, MESSAGE, rows, rows)
    for name in OPTIONAL:
        if name in file:
            check.strings(file, name, rows, rows)
    check.strings(file, CLASS_NAMES, 0, MAX_CLASSES)
    check.strings(file, STATUS_NAMES_DATASET, 1, MAX_STATUSES)
    return rows


def _check_layer(check: HDF5Check, features: h5py.Group, layer: str, rows: int) -> None:
    """Check one layer: a float a value, at least one value a row, checksums, no compression."""
    name = f"{FEATURES}/{layer}"
    dataset = check.dataset(features, layer)
    shape = dataset.shape
    if len(shape) < 2 or len(shape) > 5 or shape[0] != rows or 0 in shape[1:]:
        check.refuse(f"{name} has shape {shape}, expected ({rows}, …)")
    check.typed(name, dataset, LAYER_DTYPES, shape)
    if rows and check.filters(dataset) != {h5py.h5z.FILTER_FLETCHER32}:
        check.refuse(f"{name} is not stored with checksums and nothing else (fletcher32)")

"""Opening a feature file that may come from a stranger: everything is checked before it is read.

HDF5 can make one file open others (external links, external storage, virtual datasets), load
plugins (unknown filters), and claim more data than the disk holds. A feature file needs none of
it, so a file that does any of it is refused, on its metadata alone. The sizes rest on what is
really stored: layers are not compressed, so every row is on disk; all datasets together take no
more than the file, so no bytes are counted twice; and what is compressed has a bounded ratio.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from decaf.errors import FeatureFileError
from decaf.features import schema

__all__ = ["Contents", "check_contents", "open_hdf5", "refusing"]

MAX_LAYERS = 64
MAX_CLASSES = 1_000_000
MAX_STATUSES = 256
MAX_JSON_BYTES = 16 * 2**20
MAX_CHUNK_BYTES = 64 * 2**20
# Deflate packs at most 1032 bytes into one.
MAX_DEFLATE_RATIO = 1100
# File names padded to the longest may take far more room than their compressed selves, but not
# without bound.
MAX_UNPACKED_BYTES = 2**30
MAX_UNPACKED_RATIO = 64

_LAYER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
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
        In the order of the run's settings where they give one, else sorted.
    attrs : dict
        The root attributes, strings as stored and ``schema`` an int.
    run, environment : dict
        The attributes of that name, parsed.
    """

    rows: int
    layers: tuple[str, ...]
    attrs: dict[str, str | int]
    run: dict[str, Any]
    environment: dict[str, Any]


@contextlib.contextmanager
def refusing(path: str) -> Iterator[None]:
    """Turn whatever h5py raises on damaged metadata into a `FeatureFileError` naming the file."""
    try:
        yield
    except FeatureFileError:
        raise
    except (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError) as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> FeatureFileError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return FeatureFileError(f"{path}: the file is damaged ({reason})")


def open_hdf5(path: str | bytes | os.PathLike[str]) -> h5py.File:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path : str, bytes or path-like

    Returns
    -------
    h5py.File

    Raises
    ------
    FeatureFileError
        Where there is no such file, or it is not a readable HDF5 file.
    """
    name = os.fsdecode(path)
    try:
        found = os.stat(path)
    except OSError as error:
        raise FeatureFileError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise FeatureFileError(f"{name!r}: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        # Opening a FIFO would wait for ever.
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise FeatureFileError(f"{name}: this is {kind}, not a feature file")
    if found.st_size == 0:
        raise FeatureFileError(f"{name}: the file is empty")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:  # HDF5's own text for it says nothing of permissions
        raise FeatureFileError(f"{name}: {error.strerror or error}") from error
    try:
        return h5py.File(name, "r", locking="best-effort")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise FeatureFileError(
            f"{name}: not an HDF5 file, or cut short or damaged ({reason})"
        ) from error


def check_contents(file: h5py.File, path: str) -> Contents:
    """Check that an open file is a feature file of schema 1 and safe to read.

    Parameters
    ----------
    file : h5py.File
        From `open_hdf5`.
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
    check = _Check(file, path)
    with refusing(path):
        attrs, run, environment = check.attributes()
        names = check.names(file, "the file", len(_ROOT))
        check.same_names("the file", names, _ROOT)
        if check.kind(file, schema.FEATURES) != h5py.h5o.TYPE_GROUP:
            check.refuse(f"{schema.FEATURES!r} is not a group")
        features = file[schema.FEATURES]
        layers = check.names(features, schema.FEATURES, MAX_LAYERS)
        check.layer_names(layers, run)
        rows = check.columns()
        for layer in layers:
            check.layer(features, layer, rows)
        check.total()
    recorded = run.get("layers")
    ordered = recorded if isinstance(recorded, list) and set(recorded) == set(layers) else layers
    return Contents(rows, tuple(ordered), attrs, run, environment)


class _Check:
    """The checks of one file, and the bytes its datasets take so far."""

    def __init__(self, file: h5py.File, path: str) -> None:
        self.file = file
        self.path = path
        self.file_bytes = os.stat(os.fsencode(file.filename)).st_size
        self.stored_bytes = 0
        self.unpacked_bytes = 0

    def refuse(self, text: str) -> None:
        raise FeatureFileError(f"{self.path}: {text}")

    # Attributes

    def attributes(self) -> tuple[dict[str, str | int], dict[str, Any], dict[str, Any]]:
        names = set(self.file.attrs) if len(self.file.attrs) <= 1024 else set()
        if "format" not in names or (form := self.text("format")) != schema.FORMAT:
            found = f"format {form!r}" if "format" in names else "no format"
            self.refuse(f"not a feature file of decaf: {found}, expected {schema.FORMAT!r}")
        if "schema" not in names or (version := self.integer("schema")) != schema.SCHEMA:
            found = f"schema {version}" if "schema" in names else "no schema"
            self.refuse(f"{found}, but this decaf reads schema {schema.SCHEMA}; update decaf")
        if missing := sorted(set(schema.ATTRIBUTES) - names):
            self.refuse(f"lacks the attributes {', '.join(missing)}")
        attrs: dict[str, str | int] = {"schema": schema.SCHEMA}
        for name in schema.ATTRIBUTES:
            if name != "schema":
                attrs[name] = self.text(name)
        run = self.json_object("run", str(attrs["run"]))
        environment = self.json_object("environment", str(attrs["environment"]))
        computed = schema.fingerprint(run)
        if computed != attrs["fingerprint"]:
            self.refuse(
                f"its fingerprint {attrs['fingerprint']!r} is not that of its settings, {computed}"
            )
        return attrs, run, environment

    def _attribute(self, name: str) -> h5py.h5a.AttrID:
        attribute = h5py.h5a.open(self.file.id, name.encode())
        if attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
            self.refuse(f"attribute {name!r} is an array, not one value")
        return attribute

    def text(self, name: str) -> str:
        kind = self._attribute(name).get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID):
            self.refuse(f"attribute {name!r} is not text")
        if not kind.is_variable_str() and kind.get_size() > MAX_JSON_BYTES:
            self.refuse(f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
        value = self.file.attrs[name]
        text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        text.encode("utf-8")  # h5py lets undecodable bytes through as surrogates
        if len(text) > MAX_JSON_BYTES:
            self.refuse(f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
        return text

    def integer(self, name: str) -> int:
        if not isinstance(self._attribute(name).get_type(), h5py.h5t.TypeIntegerID):
            self.refuse(f"attribute {name!r} is not an integer")
        return int(self.file.attrs[name])

    def json_object(self, name: str, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FeatureFileError(
                f"{self.path}: attribute {name!r} is not JSON ({error})"
            ) from error
        if not isinstance(value, dict):
            self.refuse(f"attribute {name!r} is not a JSON object")
        return dict(value)

    # Names and links

    def names(self, group: h5py.Group, where: str, most: int) -> tuple[str, ...]:
        """List a group after making sure that all its links are hard ones."""
        if len(group) > most:
            self.refuse(f"{where} holds {len(group)} objects, at most {most} expected")
        names = tuple(group)
        for name in names:
            link = group.id.links.get_info(os.fsencode(name)).type
            if link != h5py.h5l.TYPE_HARD:
                kinds = {
                    h5py.h5l.TYPE_SOFT: "a soft link",
                    h5py.h5l.TYPE_EXTERNAL: "an external link",
                }
                kind = kinds.get(link, "a link of unknown kind")
                self.refuse(f"{name!r} in {where} is {kind}; feature files hold none")
        return names

    def same_names(self, where: str, found: tuple[str, ...], expected: set[str]) -> None:
        if missing := sorted(expected - set(found)):
            self.refuse(f"{where} lacks {', '.join(missing)}")
        if unknown := sorted(set(found) - expected):
            self.refuse(f"{where} holds {unknown[0]!r}, which schema {schema.SCHEMA} has not")

    def layer_names(self, layers: tuple[str, ...], run: dict[str, Any]) -> None:
        if not layers:
            self.refuse(f"{schema.FEATURES!r} holds no layer")
        for layer in layers:
            if not _LAYER_NAME.fullmatch(layer):
                self.refuse(f"{layer!r} is not the name of a layer")
        recorded = run.get("layers")
        if isinstance(recorded, list) and sorted(map(str, recorded)) != sorted(layers):
            self.refuse(
                f"holds the layers {', '.join(layers)}, its settings say "
                f"{', '.join(map(str, recorded))}"
            )

    def kind(self, group: h5py.Group, name: str) -> int:
        return int(h5py.h5o.get_info(group.id, name.encode()).type)

    # Datasets

    def columns(self) -> int:
        path = self.dataset(self.file, schema.PATH)
        kind = path.id.get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
            self.refuse(f"{schema.PATH!r} is not of fixed-length strings")
        if kind.get_size() > schema.MAX_PATH_BYTES:
            self.refuse(
                f"{schema.PATH!r} has names of {kind.get_size()} bytes, at most "
                f"{schema.MAX_PATH_BYTES} expected"
            )
        if len(path.shape) != 1:
            self.refuse(f"{schema.PATH!r} has shape {path.shape}, expected one axis")
        rows = int(path.shape[0])
        for name, (dtype, row_shape) in schema.COLUMNS.items():
            column = self.dataset(self.file, name)
            self.type_and_shape(name, column, (dtype,), (rows, *row_shape))
        self.strings(schema.MESSAGE, rows, rows)
        self.strings(schema.CLASS_NAMES, 0, MAX_CLASSES)
        self.strings(schema.STATUS_NAMES_DATASET, 1, MAX_STATUSES)
        return rows

    def layer(self, features: h5py.Group, layer: str, rows: int) -> None:
        name = f"{schema.FEATURES}/{layer}"
        dataset = self.dataset(features, layer)
        shape = dataset.shape
        if len(shape) < 2 or len(shape) > 5 or shape[0] != rows or 0 in shape[1:]:
            self.refuse(f"{name} has shape {shape}, expected ({rows}, …)")
        self.type_and_shape(name, dataset, schema.LAYER_DTYPES, shape)
        if rows and self.filters(dataset) != {h5py.h5z.FILTER_FLETCHER32}:
            self.refuse(f"{name} is not stored with checksums and nothing else (fletcher32)")

    def dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        """Open a dataset once its kind, and then its storage, is known to be harmless."""
        if self.kind(group, name) != h5py.h5o.TYPE_DATASET:
            self.refuse(f"{name!r} is not a dataset")
        dataset = group[name]
        storage = dataset.id.get_create_plist()
        if storage.get_layout() == h5py.h5d.VIRTUAL:
            self.refuse(f"{name!r} is a virtual dataset; feature files hold their own data")
        if storage.get_external_count():
            self.refuse(f"{name!r} has its data in another file; feature files hold their own")
        if unknown := self.filters(dataset) - _FILTERS:
            self.refuse(f"{name!r} is stored with filter {min(unknown)}, which is not on the list")
        self.sizes(name, dataset)
        return dataset

    def filters(self, dataset: h5py.Dataset) -> set[int]:
        storage = dataset.id.get_create_plist()
        return {storage.get_filter(i)[0] for i in range(storage.get_nfilters())}

    def sizes(self, name: str, dataset: h5py.Dataset) -> None:
        space = dataset.id.get_space()
        if space.get_simple_extent_type() != h5py.h5s.SIMPLE:
            self.refuse(f"{name!r} is not an array")
        item = dataset.id.get_type().get_size()
        claimed = item
        for n in space.get_simple_extent_dims():
            claimed *= int(n)
        stored = dataset.id.get_storage_size()
        packed = h5py.h5z.FILTER_DEFLATE in self.filters(dataset)
        if claimed > stored * (MAX_DEFLATE_RATIO if packed else 1):
            self.refuse(f"{name!r} claims {claimed} bytes, but {stored} are stored")
        if dataset.chunks:
            row = claimed // max(1, int(dataset.shape[0]))
            chunk = item * int(np.prod(dataset.chunks, dtype=object))
            if chunk > max(MAX_CHUNK_BYTES, row):
                self.refuse(f"{name!r} has chunks of {chunk} bytes")
        self.stored_bytes += stored
        self.unpacked_bytes += claimed if packed else 0

    def type_and_shape(
        self, name: str, dataset: h5py.Dataset, dtypes: tuple[str, ...], shape: tuple[int, ...]
    ) -> None:
        # Compared as HDF5 types: numpy's view of an odd one may look like the right one.
        kind = dataset.id.get_type()
        if not any(kind.equal(h5py.h5t.py_create(np.dtype(dtype))) for dtype in dtypes):
            expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            self.refuse(f"{name!r} is not of {expected}")
        if dataset.shape != shape:
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {shape}")

    def strings(self, name: str, least: int, most: int) -> None:
        dataset = self.dataset(self.file, name)
        kind = dataset.id.get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID) or not kind.is_variable_str():
            self.refuse(f"{name!r} is not of text")
        if len(dataset.shape) != 1 or not least <= dataset.shape[0] <= most:
            expected = f"({most},)" if least == most else f"{least} to {most} names"
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {expected}")

    def total(self) -> None:
        if self.stored_bytes > self.file_bytes:
            self.refuse(f"its data claims {self.stored_bytes} bytes of a file of {self.file_bytes}")
        most = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * self.file_bytes)
        if self.unpacked_bytes > most:
            self.refuse(f"its columns would unpack to {self.unpacked_bytes} bytes, at most {most}")

"""Opening a feature file that may come from a stranger: everything is checked before it is read.

HDF5 can make one file open others (external links, external storage, virtual datasets), load
plugins (unknown filters), and claim more data than the disk holds. A feature file needs none of
it, so a file that does any of it is refused, on its metadata alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import h5py

from decaf.errors import FeatureFileError
from decaf.features.store import schema
from decaf.features.store.storage import DatasetCheck, object_kind
from decaf.features.store.text import decode_text

__all__ = ["Contents", "check_contents", "open_hdf5", "refusing"]

MAX_OBJECTS = 64
MAX_ATTRIBUTES = 1024
MAX_JSON_BYTES = 16 * 2**20

# Besides OSError and KeyError, which it raises for most.
_H5PY_ERRORS = (RuntimeError, TypeError, ValueError)
_LAYER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
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
    except (ArithmeticError, LookupError, MemoryError, OSError, *_H5PY_ERRORS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FeatureFileError(f"{path}: the file is damaged ({reason})") from error


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
    with refusing(path):
        attrs, run, environment = _attributes(file, path)
        found = _names(file, path, "the file")
        if missing := sorted(_ROOT - set(found)):
            _refuse(path, f"lacks {', '.join(missing)}")
        if unknown := sorted(set(found) - _ROOT):
            _refuse(path, f"holds {unknown[0]!r}, which schema {schema.SCHEMA} has not")
        if object_kind(file, schema.FEATURES) != h5py.h5o.TYPE_GROUP:
            _refuse(path, f"{schema.FEATURES!r} is not a group")
        features = file[schema.FEATURES]
        layers = _names(features, path, schema.FEATURES)
        _check_layer_names(path, layers, run)
        datasets = DatasetCheck(file, path)
        rows = datasets.columns()
        for layer in layers:
            datasets.layer(features, layer, rows)
        datasets.total()
    return Contents(rows, tuple(run["layers"]), attrs, run, environment)


def _refuse(path: str, text: str) -> NoReturn:
    raise FeatureFileError(f"{path}: {text}")


def _attributes(
    file: h5py.File, path: str
) -> tuple[dict[str, str | int], dict[str, Any], dict[str, Any]]:
    """Read the root attributes: as stored, and ``run`` and ``environment`` parsed."""
    if len(file.attrs) > MAX_ATTRIBUTES:
        _refuse(path, f"has {len(file.attrs)} attributes, at most {MAX_ATTRIBUTES} expected")
    names = set(file.attrs)
    form = _text(file, path, "format") if "format" in names else None
    if form != schema.FORMAT:
        _refuse(path, f"not a feature file: its format is {form!r}, not {schema.FORMAT!r}")
    version = _integer(file, path, "schema") if "schema" in names else None
    if version != schema.SCHEMA:
        _refuse(
            path,
            f"its schema is {version}, this decaf reads {schema.SCHEMA}; "
            "read it with the decaf that wrote it, or a later one",
        )
    if missing := [name for name in schema.ATTRIBUTES if name not in names]:
        _refuse(path, f"lacks the attributes {', '.join(missing)}")
    texts = {name: _text(file, path, name) for name in schema.ATTRIBUTES if name != "schema"}
    run = _json_object(path, "run", texts["run"])
    environment = _json_object(path, "environment", texts["environment"])
    computed = schema.fingerprint(run)
    if computed != texts["fingerprint"]:
        _refuse(
            path,
            f"its fingerprint {texts['fingerprint']!r} is not that of its settings, {computed!r}",
        )
    return {**texts, "schema": schema.SCHEMA}, run, environment


def _attribute_type(file: h5py.File, path: str, name: str) -> h5py.h5t.TypeID:
    attribute = h5py.h5a.open(file.id, name.encode())
    if attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
        _refuse(path, f"attribute {name!r} is not one value")
    return attribute.get_type()


def _text(file: h5py.File, path: str, name: str) -> str:
    kind = _attribute_type(file, path, name)
    if not isinstance(kind, h5py.h5t.TypeStringID):
        _refuse(path, f"attribute {name!r} is not text")
    if kind.is_variable_str():
        _refuse(path, f"attribute {name!r} is text of variable length; feature files hold none")
    if kind.get_size() > MAX_JSON_BYTES:
        _refuse(path, f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
    value = file.attrs[name]
    if len(value) > MAX_JSON_BYTES:
        _refuse(path, f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
    return decode_text(value)


def _integer(file: h5py.File, path: str, name: str) -> int:
    if not isinstance(_attribute_type(file, path, name), h5py.h5t.TypeIntegerID):
        _refuse(path, f"attribute {name!r} is not an integer")
    return int(file.attrs[name])


def _json_object(path: str, name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FeatureFileError(f"{path}: attribute {name!r} is not JSON ({error})") from error
    if not isinstance(value, dict):
        _refuse(path, f"attribute {name!r} is not a JSON object")
    return value


def _names(group: h5py.Group, path: str, where: str) -> tuple[str, ...]:
    """List a group, after making sure that all its links are hard ones."""
    if len(group) > MAX_OBJECTS:
        _refuse(path, f"{where} holds {len(group)} objects, at most {MAX_OBJECTS} expected")
    names = tuple(group)
    for name in names:
        link = group.id.links.get_info(os.fsencode(name)).type
        if link != h5py.h5l.TYPE_HARD:
            kind = _LINKS.get(link, "a link of unknown kind")
            _refuse(path, f"{name!r} in {where} is {kind}; feature files hold none")
    return names


def _check_layer_names(path: str, layers: tuple[str, ...], run: dict[str, Any]) -> None:
    if not layers:
        _refuse(path, f"{schema.FEATURES!r} holds no layer")
    for layer in layers:
        if not _LAYER_NAME.fullmatch(layer):
            _refuse(path, f"{layer!r} is not the name of a layer")
    recorded = run.get("layers")
    if not isinstance(recorded, list) or sorted(map(str, recorded)) != sorted(layers):
        _refuse(path, f"holds the layers {', '.join(layers)}, its settings say {recorded!r}")

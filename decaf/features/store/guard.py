"""Opening an HDF5 file that may come from a stranger: all is checked before it is read.

HDF5 can make one file open others (external links, external storage, virtual datasets), load
plugins (unknown filters), and claim more data than the disk holds. No file of decaf's needs any of
it, so a file that does any of it is refused, on its metadata alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from typing import Any

import h5py

from decaf.features.store import schema
from decaf.features.store.datasets import DatasetCheck, object_kind
from decaf.features.store.kind import FEATURE_FILE, FileKind
from decaf.images.decoding.formats import is_hdf5
from decaf.images.listing.recognise import not_wanted
from decaf.storage.hdf5_text import decode_text
from decaf.storage.records import fingerprint

__all__ = [
    "Contents",
    "check_contents",
    "check_names",
    "link_names",
    "open_hdf5",
    "refusing",
    "root_attributes",
]

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
    content : dict or None
        Likewise, where there is one.
    """

    rows: int
    layers: tuple[str, ...]
    attrs: dict[str, str | int]
    run: dict[str, Any]
    environment: dict[str, Any]
    content: dict[str, Any] | None


@contextlib.contextmanager
def refusing(path: str, kind: FileKind = FEATURE_FILE) -> Iterator[None]:
    """Turn whatever h5py raises on damaged metadata into the kind's error, naming the file."""
    try:
        yield
    except kind.error:
        raise
    except (ArithmeticError, LookupError, MemoryError, OSError, *_H5PY_ERRORS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise kind.error(f"{path}: the file is damaged ({reason})") from error


def open_hdf5(path: str | bytes | os.PathLike[str], kind: FileKind = FEATURE_FILE) -> h5py.File:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path : str, bytes or path-like
    kind : FileKind
        What it should be.

    Returns
    -------
    h5py.File

    Raises
    ------
    FeatureFileError, or the kind's own
        Where there is no such file, or it is not a readable HDF5 file.
    """
    name = os.fsdecode(path)
    try:
        found = os.stat(path)
    except OSError as error:
        raise kind.error(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise kind.error(f"{name!r}: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        # Opening a FIFO would wait for ever.
        raise kind.error(not_wanted(path, kind.name))
    try:
        with open(path, "rb"):
            pass
    except OSError as error:  # HDF5's own text for it says nothing of permissions
        raise kind.error(f"{name}: {error.strerror or error}") from error
    if not is_hdf5(path):
        raise kind.error(not_wanted(path, kind.name))
    try:
        return h5py.File(name, "r", locking="best-effort")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise kind.error(f"{name}: an HDF5 file, but cut short or damaged ({reason})") from error


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
        attrs, parsed = root_attributes(file, path, FEATURE_FILE)
        run = parsed["run"]
        computed = fingerprint(run)
        if computed != attrs["fingerprint"]:
            FEATURE_FILE.refuse(
                path,
                f"its fingerprint {attrs['fingerprint']!r} is not that of its settings, "
                f"{computed!r}",
            )
        names = set(link_names(file, path, "the file", FEATURE_FILE))
        check_names(names - set(schema.OPTIONAL), _ROOT, path, FEATURE_FILE)
        if object_kind(file, schema.FEATURES) != h5py.h5o.TYPE_GROUP:
            FEATURE_FILE.refuse(path, f"{schema.FEATURES!r} is not a group")
        features = file[schema.FEATURES]
        layers = link_names(features, path, schema.FEATURES, FEATURE_FILE)
        _check_layer_names(path, layers, run)
        datasets = DatasetCheck(file, path)
        rows = datasets.columns()
        for layer in layers:
            datasets.layer(features, layer, rows)
        datasets.total()
    return Contents(
        rows, tuple(run["layers"]), attrs, run, parsed["environment"], parsed.get("content")
    )


def root_attributes(
    file: h5py.File, path: str, kind: FileKind
) -> tuple[dict[str, str | int], dict[str, dict[str, Any]]]:
    """Read the root attributes of a file of a kind, after making sure that it is of that kind.

    Parameters
    ----------
    file : h5py.File
    path : str
        What error texts call it.
    kind : FileKind

    Returns
    -------
    attributes : dict
        As stored, ``schema`` an int.
    parsed : dict of str to dict
        Those that are JSON.
    """
    if len(file.attrs) > MAX_ATTRIBUTES:
        kind.refuse(path, f"has {len(file.attrs)} attributes, at most {MAX_ATTRIBUTES} expected")
    names = set(file.attrs)
    form = _text(file, path, "format", kind) if "format" in names else None
    if form != kind.format:
        text = not_wanted(path, kind.name)
        raise kind.error(f"{text} (its format says {form!r:.60}, not {kind.format!r})")
    version = _integer(file, path, "schema", kind) if "schema" in names else None
    if version != kind.schema:
        kind.refuse(
            path,
            f"its schema is {version}, this decaf reads {kind.schema}; "
            "read it with the decaf that wrote it, or a later one",
        )
    if missing := [name for name in kind.attributes if name not in names]:
        kind.refuse(path, f"lacks the attributes {', '.join(missing)}")
    wanted = [*kind.attributes, *(name for name in kind.optional if name in names)]
    texts = {name: _text(file, path, name, kind) for name in wanted if name != "schema"}
    parsed = {
        name: _json_object(path, name, texts[name], kind) for name in kind.json if name in texts
    }
    return {**texts, "schema": kind.schema}, parsed


def _attribute_type(file: h5py.File, path: str, name: str, kind: FileKind) -> h5py.h5t.TypeID:
    attribute = h5py.h5a.open(file.id, name.encode())
    if attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
        kind.refuse(path, f"attribute {name!r} is not one value")
    return attribute.get_type()


def _text(file: h5py.File, path: str, name: str, kind: FileKind) -> str:
    stored = _attribute_type(file, path, name, kind)
    if not isinstance(stored, h5py.h5t.TypeStringID):
        kind.refuse(path, f"attribute {name!r} is not text")
    if stored.is_variable_str():
        kind.refuse(path, f"attribute {name!r} is text of variable length; {kind.plural} hold none")
    if stored.get_size() > MAX_JSON_BYTES:
        kind.refuse(path, f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
    value = file.attrs[name]
    if len(value) > MAX_JSON_BYTES:
        kind.refuse(path, f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
    return decode_text(value)


def _integer(file: h5py.File, path: str, name: str, kind: FileKind) -> int:
    if not isinstance(_attribute_type(file, path, name, kind), h5py.h5t.TypeIntegerID):
        kind.refuse(path, f"attribute {name!r} is not an integer")
    return int(file.attrs[name])


def _json_object(path: str, name: str, text: str, kind: FileKind) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise kind.error(f"{path}: attribute {name!r} is not JSON ({error})") from error
    if not isinstance(value, dict):
        kind.refuse(path, f"attribute {name!r} is not a JSON object")
    return value


def link_names(group: h5py.Group, path: str, where: str, kind: FileKind) -> tuple[str, ...]:
    """List a group, after making sure that all its links are hard ones.

    Parameters
    ----------
    group : h5py.Group
    path, where : str
        What error texts call the file and the group.
    kind : FileKind
    """
    if len(group) > MAX_OBJECTS:
        kind.refuse(path, f"{where} holds {len(group)} objects, at most {MAX_OBJECTS} expected")
    names = tuple(group)
    for name in names:
        link = group.id.links.get_info(os.fsencode(name)).type
        if link != h5py.h5l.TYPE_HARD:
            what = _LINKS.get(link, "a link of unknown kind")
            kind.refuse(path, f"{name!r} in {where} is {what}; {kind.plural} hold none")
    return names


def check_names(found: Collection[str], expected: Set[str], path: str, kind: FileKind) -> None:
    """Refuse a file whose root lacks an object or holds one that the schema does not know."""
    if missing := sorted(expected - set(found)):
        kind.refuse(path, f"lacks {', '.join(missing)}")
    if unknown := sorted(set(found) - expected):
        kind.refuse(path, f"holds {unknown[0]!r}, which schema {kind.schema} has not")


def _check_layer_names(path: str, layers: tuple[str, ...], run: dict[str, Any]) -> None:
    if not layers:
        FEATURE_FILE.refuse(path, f"{schema.FEATURES!r} holds no layer")
    for layer in layers:
        if not _LAYER_NAME.fullmatch(layer):
            FEATURE_FILE.refuse(path, f"{layer!r} is not the name of a layer")
    recorded = run.get("layers")
    if not isinstance(recorded, list) or sorted(map(str, recorded)) != sorted(layers):
        FEATURE_FILE.refuse(
            path, f"holds the layers {', '.join(layers)}, its settings say {recorded!r}"
        )

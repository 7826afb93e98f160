"""Checks before an HDF5 file that may come from a stranger is read, on its metadata alone.

HDF5 can make one file open others (external links, external storage, virtual datasets), load
plugins (unknown filters), and claim more data than the disk holds. No file of decaf's needs any of
it, so a file that does any of it is refused.

The sizes that a file claims rest on what is really stored: what is large is not compressed, so
every row is on disk; all datasets together take no more than the file, so that no bytes are counted
twice; and what is compressed has a bounded ratio.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from typing import Any, NoReturn

import h5py
import numpy as np

from decaf.errors import DecafError
from decaf.images.decoding.formats import is_hdf5
from decaf.images.decoding.limits import MAX_NAME_BYTES
from decaf.images.listing.recognise import not_wanted
from decaf.runtime.names import name_text
from decaf.storage.hdf5 import decode_text

__all__ = ["MAX_CLASSES", "FileKind", "HDF5Check", "open_hdf5"]

MAX_CLASSES = 1_000_000
MAX_OBJECTS = 64
MAX_ATTRIBUTES = 1024
MAX_JSON_BYTES = 16 * 2**20
MAX_CHUNK_BYTES = 64 * 2**20
# Deflate packs at most 1032 bytes into one.
MAX_DEFLATE_RATIO = 1100
# File names padded to the longest may take far more room than their compressed selves, but not
# without bound.
MAX_UNPACKED_BYTES = 2**30
MAX_UNPACKED_RATIO = 64

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
# Besides OSError and KeyError, which it raises for most.
_H5PY_ERRORS = (RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class FileKind:
    """A kind of HDF5 file that decaf writes, as far as the checks differ in it.

    Attributes
    ----------
    name : str
        One of `decaf.images.listing.recognise.KINDS`.
    noun, plural : str
        What it is, for error texts.
    error : type of DecafError
        What is raised where it is not one.
    format : str
        The attribute ``format``.
    schema : int
        The attribute ``schema``.
    attributes : tuple of str
        Root attributes that must be there, ``schema`` among them; the others are text.
    json : tuple of str
        Those that are JSON objects.
    optional : tuple of str
        Text attributes that earlier versions did not write.
    """

    name: str
    noun: str
    plural: str
    error: type[DecafError]
    format: str
    schema: int
    attributes: tuple[str, ...]
    json: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def refuse(self, path: str, text: str) -> NoReturn:
        """Raise the error of the kind, naming the file.

        Parameters
        ----------
        path, text : str
        """
        raise self.error(f"{path}: {text}")

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Turn whatever h5py raises on damaged metadata into the error of the kind.

        Parameters
        ----------
        path : str
            Name of the file, for the error.
        """
        try:
            yield
        except self.error:
            raise
        except (ArithmeticError, LookupError, MemoryError, OSError, *_H5PY_ERRORS) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self.error(f"{path}: the file is damaged ({reason})") from error


def open_hdf5(path: str | bytes | os.PathLike[str], kind: FileKind) -> h5py.File:
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
    DecafError
        The error of the kind, where there is no such file, or it is not a readable HDF5 file.
    """
    name = name_text(path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise kind.error(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise kind.error(f"{name!r}: {error}") from error
    if not stat.S_ISREG(status.st_mode):
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


class HDF5Check:
    """Checks an open file piece by piece, and adds up the bytes that its datasets take.

    Each method raises the error of the kind where something is not as it should be. To be used
    within `FileKind.reading`.

    Parameters
    ----------
    file : h5py.File
        From `open_hdf5`.
    path : str
        Name of the file, for errors.
    kind : FileKind
        What it should be.
    """

    def __init__(self, file: h5py.File, path: str, kind: FileKind) -> None:
        self.file = file
        self.path = path
        self.kind = kind
        self.file_bytes = os.stat(os.fsencode(file.filename)).st_size
        self.stored_bytes = 0
        self.unpacked_bytes = 0
        self._addresses: set[int] = set()

    def refuse(self, text: str) -> NoReturn:
        """Raise the error of the kind, naming the file.

        Parameters
        ----------
        text : str
        """
        self.kind.refuse(self.path, text)

    def attributes(self) -> tuple[dict[str, str | int], dict[str, dict[str, Any]]]:
        """Read the root attributes, after making sure that the file is of its kind.

        Returns
        -------
        attributes : dict
            As stored, ``schema`` an int.
        parsed : dict of str to dict
            Those that are JSON.
        """
        kind, there = self.kind, set(self.file.attrs)
        if len(there) > MAX_ATTRIBUTES:
            self.refuse(f"has {len(there)} attributes, at most {MAX_ATTRIBUTES} expected")
        form = self._text_attribute("format") if "format" in there else None
        if form != kind.format:
            text = not_wanted(self.path, kind.name)
            raise kind.error(f"{text} (its format says {form!r:.60}, not {kind.format!r})")
        version = self._integer_attribute("schema") if "schema" in there else None
        if version != kind.schema:
            self.refuse(
                f"its schema is {version}, this decaf reads {kind.schema}; "
                "read it with the decaf that wrote it, or a later one"
            )
        if missing := [name for name in kind.attributes if name not in there]:
            self.refuse(f"lacks the attributes {', '.join(missing)}")
        wanted = [*kind.attributes, *(name for name in kind.optional if name in there)]
        texts = {name: self._text_attribute(name) for name in wanted if name != "schema"}
        parsed = {name: self._json_object(name, texts[name]) for name in kind.json if name in texts}
        return {**texts, "schema": kind.schema}, parsed

    def _attribute_type(self, name: str) -> h5py.h5t.TypeID:
        attribute = h5py.h5a.open(self.file.id, name.encode())
        if attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
            self.refuse(f"attribute {name!r} is not one value")
        return attribute.get_type()

    def _text_attribute(self, name: str) -> str:
        stored = self._attribute_type(name)
        if not isinstance(stored, h5py.h5t.TypeStringID):
            self.refuse(f"attribute {name!r} is not text")
        if stored.is_variable_str():
            self.refuse(f"attribute {name!r} is text of variable length; {self._plural} hold none")
        if stored.get_size() > MAX_JSON_BYTES:
            self.refuse(f"attribute {name!r} is longer than {MAX_JSON_BYTES} bytes")
        return decode_text(self.file.attrs[name])

    def _integer_attribute(self, name: str) -> int:
        if not isinstance(self._attribute_type(name), h5py.h5t.TypeIntegerID):
            self.refuse(f"attribute {name!r} is not an integer")
        return int(self.file.attrs[name])

    def _json_object(self, name: str, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.kind.error(
                f"{self.path}: attribute {name!r} is not JSON ({error})"
            ) from error
        if not isinstance(value, dict):
            self.refuse(f"attribute {name!r} is not a JSON object")
        return value

    @property
    def _plural(self) -> str:
        return self.kind.plural

    def links(self, group: h5py.Group, where: str) -> tuple[str, ...]:
        """List a group, after making sure that all its links are hard ones.

        Parameters
        ----------
        group : h5py.Group
        where : str
            Name of the group, for errors.
        """
        if len(group) > MAX_OBJECTS:
            self.refuse(f"{where} holds {len(group)} objects, at most {MAX_OBJECTS} expected")
        names = tuple(group)
        for name in names:
            link = group.id.links.get_info(os.fsencode(name)).type
            if link != h5py.h5l.TYPE_HARD:
                what = _LINKS.get(link, "a link of unknown kind")
                self.refuse(f"{name!r} in {where} is {what}; {self._plural} hold none")
        return names

    def only(self, names: Collection[str], expected: Set[str], where: str = "") -> None:
        """Refuse a group that lacks an object, or holds one that the schema does not know.

        Parameters
        ----------
        names : collection of str
            Those of its objects.
        expected : set of str
        where : str
            Name of the group with a colon, for errors; the root by default.
        """
        if missing := sorted(expected - set(names)):
            self.refuse(f"{where}lacks {', '.join(missing)}")
        if unknown := sorted(set(names) - expected):
            self.refuse(f"{where}holds {unknown[0]!r}, which schema {self.kind.schema} has not")

    def group(self, name: str) -> h5py.Group:
        """Open a group of the root once it is known to be one.

        Parameters
        ----------
        name : str
        """
        if h5py.h5o.get_info(self.file.id, name.encode()).type != h5py.h5o.TYPE_GROUP:
            self.refuse(f"{name!r} is not a group")
        group: h5py.Group = self.file[name]
        return group

    def dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        """Open a dataset once its type, and then its storage, is known to be harmless.

        Parameters
        ----------
        group : h5py.Group
        name : str
        """
        info = h5py.h5o.get_info(group.id, name.encode())
        if info.type != h5py.h5o.TYPE_DATASET:
            self.refuse(f"{name!r} is not a dataset")
        if info.addr in self._addresses:
            self.refuse(f"{name!r} is the same dataset as another")
        self._addresses.add(info.addr)
        dataset = group[name]
        storage = dataset.id.get_create_plist()
        if storage.get_layout() == h5py.h5d.VIRTUAL:
            self.refuse(f"{name!r} is a virtual dataset; {self._plural} hold their own data")
        if storage.get_external_count():
            self.refuse(f"{name!r} has its data in another file; {self._plural} hold their own")
        if unknown := self.filters(dataset) - _FILTERS:
            self.refuse(f"{name!r} is stored with filter {min(unknown)}, which is not on the list")
        self._sizes(name, dataset)
        return dataset

    def filters(self, dataset: h5py.Dataset) -> set[int]:
        """Return the numbers of the filters that a dataset is stored with.

        Parameters
        ----------
        dataset : h5py.Dataset
        """
        storage = dataset.id.get_create_plist()
        return {storage.get_filter(i)[0] for i in range(storage.get_nfilters())}

    def _sizes(self, name: str, dataset: h5py.Dataset) -> None:
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

    def typed(
        self, name: str, dataset: h5py.Dataset, dtypes: tuple[str, ...], shape: tuple[int, ...]
    ) -> None:
        """Check that a dataset is of one of some types, and of a shape.

        Parameters
        ----------
        name : str
            Name of the dataset, for errors.
        dataset : h5py.Dataset
        dtypes : tuple of str
            As numpy writes them.
        shape : tuple of int
        """
        # Compared as HDF5 types: numpy's view of an odd one may look like the right one.
        stored = dataset.id.get_type()
        if not any(stored.equal(h5py.h5t.py_create(np.dtype(dtype))) for dtype in dtypes):
            expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            self.refuse(f"{name!r} is not of {expected}")
        if dataset.shape != shape:
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {shape}")

    def names(self, group: h5py.Group, name: str) -> int:
        """Check a column of names, bytes of fixed length, and return how many there are.

        Parameters
        ----------
        group : h5py.Group
        name : str
            Name of the dataset.
        """
        dataset = self.dataset(group, name)
        stored = dataset.id.get_type()
        if not isinstance(stored, h5py.h5t.TypeStringID) or stored.is_variable_str():
            self.refuse(f"{name!r} is not of fixed-length strings")
        if stored.get_size() > MAX_NAME_BYTES:
            self.refuse(
                f"{name!r} has names of {stored.get_size()} bytes, at most "
                f"{MAX_NAME_BYTES} expected"
            )
        if len(dataset.shape) != 1:
            self.refuse(f"{name!r} has shape {dataset.shape}, expected one axis")
        return int(dataset.shape[0])

    def strings(self, group: h5py.Group, name: str, least: int, most: int) -> int:
        """Check a column of text of fixed length, and return how many there are.

        Parameters
        ----------
        group : h5py.Group
        name : str
            Name of the dataset.
        least, most : int
            How many there may be.
        """
        dataset = self.dataset(group, name)
        stored = dataset.id.get_type()
        if not isinstance(stored, h5py.h5t.TypeStringID):
            self.refuse(f"{name!r} is not of text")
        if stored.is_variable_str():
            self.refuse(f"{name!r} is text of variable length; {self._plural} hold none")
        if stored.get_size() > MAX_NAME_BYTES:
            self.refuse(
                f"{name!r} has texts of {stored.get_size()} bytes, at most "
                f"{MAX_NAME_BYTES} expected"
            )
        if len(dataset.shape) != 1 or not least <= dataset.shape[0] <= most:
            expected = f"({most},)" if least == most else f"{least} to {most} names"
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {expected}")
        return int(dataset.shape[0])

    def total(self) -> None:
        """Check the sums, once all datasets have been seen."""
        if self.stored_bytes > self.file_bytes:
            self.refuse(f"its data claims {self.stored_bytes} bytes of a file of {self.file_bytes}")
        most = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * self.file_bytes)
        if self.unpacked_bytes > most:
            self.refuse(f"its columns would unpack to {self.unpacked_bytes} bytes, at most {most}")

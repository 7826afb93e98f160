"""What a file's datasets may be: their kinds, types, shapes and the sizes they claim.

The sizes rest on what is really stored: what is large is not compressed, so every row is on disk;
all datasets together take no more than the file, so that no bytes are counted twice; and what is
compressed has a bounded ratio. Nothing here reads data.
"""

from __future__ import annotations

import os
from typing import NoReturn

import h5py
import numpy as np

from decaf.features.store import schema
from decaf.features.store.kind import FEATURE_FILE, FileKind

__all__ = ["DatasetCheck", "StorageCheck", "object_kind"]

MAX_CLASSES = 1_000_000
MAX_STATUSES = 256
MAX_CHUNK_BYTES = 64 * 2**20
# Deflate packs at most 1032 bytes into one.
MAX_DEFLATE_RATIO = 1100
# File names padded to the longest may take far more room than their compressed selves, but not
# without bound.
MAX_UNPACKED_BYTES = 2**30
MAX_UNPACKED_RATIO = 64

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def object_kind(group: h5py.Group, name: str) -> int:
    """Return the kind of an object (``h5py.h5o.TYPE_…``) without opening it."""
    return int(h5py.h5o.get_info(group.id, name.encode()).type)


class StorageCheck:
    """Checks the datasets of one file and adds up the bytes they take.

    Parameters
    ----------
    file : h5py.File
    path : str
        What error texts call it.
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
        """Raise the kind's error, naming the file."""
        self.kind.refuse(self.path, text)

    def dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        """Open a dataset once its kind, and then its storage, is known to be harmless."""
        if object_kind(group, name) != h5py.h5o.TYPE_DATASET:
            self.refuse(f"{name!r} is not a dataset")
        address = h5py.h5o.get_info(group.id, name.encode()).addr
        if address in self._addresses:
            self.refuse(f"{name!r} is the same dataset as another")
        self._addresses.add(address)
        dataset = group[name]
        storage = dataset.id.get_create_plist()
        if storage.get_layout() == h5py.h5d.VIRTUAL:
            self.refuse(f"{name!r} is a virtual dataset; {self.kind.plural} hold their own data")
        if storage.get_external_count():
            self.refuse(f"{name!r} has its data in another file; {self.kind.plural} hold their own")
        if unknown := self.filters(dataset) - _FILTERS:
            self.refuse(f"{name!r} is stored with filter {min(unknown)}, which is not on the list")
        self._sizes(name, dataset)
        return dataset

    def filters(self, dataset: h5py.Dataset) -> set[int]:
        """Return the numbers of the filters that a dataset is stored with."""
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
        """Check that a dataset is of one of some types, and of a shape."""
        # Compared as HDF5 types: numpy's view of an odd one may look like the right one.
        kind = dataset.id.get_type()
        if not any(kind.equal(h5py.h5t.py_create(np.dtype(dtype))) for dtype in dtypes):
            expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            self.refuse(f"{name!r} is not of {expected}")
        if dataset.shape != shape:
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {shape}")

    def names(self, group: h5py.Group, name: str) -> int:
        """Check a column of names, bytes of fixed length, and give how many there are."""
        dataset = self.dataset(group, name)
        kind = dataset.id.get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
            self.refuse(f"{name!r} is not of fixed-length strings")
        if kind.get_size() > schema.MAX_PATH_BYTES:
            self.refuse(
                f"{name!r} has names of {kind.get_size()} bytes, at most "
                f"{schema.MAX_PATH_BYTES} expected"
            )
        if len(dataset.shape) != 1:
            self.refuse(f"{name!r} has shape {dataset.shape}, expected one axis")
        return int(dataset.shape[0])

    def strings(self, group: h5py.Group, name: str, least: int, most: int) -> None:
        """Check a column of text of fixed length, of `least` to `most` rows."""
        dataset = self.dataset(group, name)
        kind = dataset.id.get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID):
            self.refuse(f"{name!r} is not of text")
        if kind.is_variable_str():
            self.refuse(f"{name!r} is text of variable length; {self.kind.plural} hold none")
        if kind.get_size() > schema.MAX_TEXT_BYTES:
            self.refuse(
                f"{name!r} has texts of {kind.get_size()} bytes, at most "
                f"{schema.MAX_TEXT_BYTES} expected"
            )
        if len(dataset.shape) != 1 or not least <= dataset.shape[0] <= most:
            expected = f"({most},)" if least == most else f"{least} to {most} names"
            self.refuse(f"{name!r} has shape {dataset.shape}, expected {expected}")

    def total(self) -> None:
        """Check the sums, once all datasets have been seen."""
        if self.stored_bytes > self.file_bytes:
            self.refuse(f"its data claims {self.stored_bytes} bytes of a file of {self.file_bytes}")
        most = max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * self.file_bytes)
        if self.unpacked_bytes > most:
            self.refuse(f"its columns would unpack to {self.unpacked_bytes} bytes, at most {most}")


class DatasetCheck(StorageCheck):
    """Checks the datasets of a feature file.

    Parameters
    ----------
    file : h5py.File
    path : str
        What error texts call it.
    """

    def __init__(self, file: h5py.File, path: str) -> None:
        super().__init__(file, path, FEATURE_FILE)

    def columns(self) -> int:
        """Check everything beside the layers, and give the number of rows."""
        rows = self.names(self.file, schema.PATH)
        for name, (dtype, row_shape) in schema.COLUMNS.items():
            column = self.dataset(self.file, name)
            self.typed(name, column, (dtype,), (rows, *row_shape))
        self.strings(self.file, schema.MESSAGE, rows, rows)
        for name in schema.OPTIONAL:
            if name in self.file:
                self.strings(self.file, name, rows, rows)
        self.strings(self.file, schema.CLASS_NAMES, 0, MAX_CLASSES)
        self.strings(self.file, schema.STATUS_NAMES_DATASET, 1, MAX_STATUSES)
        return rows

    def layer(self, features: h5py.Group, layer: str, rows: int) -> None:
        """Check one layer: a float a value, at least one value a row, checksums, no compression."""
        name = f"{schema.FEATURES}/{layer}"
        dataset = self.dataset(features, layer)
        shape = dataset.shape
        if len(shape) < 2 or len(shape) > 5 or shape[0] != rows or 0 in shape[1:]:
            self.refuse(f"{name} has shape {shape}, expected ({rows}, …)")
        self.typed(name, dataset, schema.LAYER_DTYPES, shape)
        if rows and self.filters(dataset) != {h5py.h5z.FILTER_FLETCHER32}:
            self.refuse(f"{name} is not stored with checksums and nothing else (fletcher32)")

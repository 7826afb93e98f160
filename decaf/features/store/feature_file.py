"""The feature file, read: `open_features` and `FeatureFile`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from decaf.errors import FeatureFileError, SettingError
from decaf.features.store import schema
from decaf.features.store.layer_view import LayerView, read_rows, row_blocks
from decaf.features.store.schema import Contents, check_contents
from decaf.images import ImageList, is_kind
from decaf.images.listing.class_folders import SPLITS
from decaf.images.listing.image_ref import RefList
from decaf.images.listing.names import below_shared
from decaf.runtime.names import SYSTEMS, name_text
from decaf.storage.hdf5 import decode_text
from decaf.storage.hdf5_checks import open_hdf5
from decaf.storage.object_store import is_remote

__all__ = ["FeatureFile", "open_features"]


def open_features(path: str | bytes | os.PathLike[str]) -> FeatureFile:
    """Open a feature file, or a part set as if it were one.

    Parameters
    ----------
    path : str, bytes or path-like
        A file that ``decaf extract`` has written; or the folder, or the URL of the prefix, of a
        part set (`decaf.scale.extract_shards`), whose parts are opened as they are read.

    Returns
    -------
    FeatureFile
        Close it after use, or use it in a ``with`` statement.

    Raises
    ------
    FeatureFileError
        Where it is not a feature file, is damaged, or holds what decaf refuses to follow.

    Examples
    --------
    >>> with open_features("pets.h5") as features:  # doctest: +SKIP
    ...     X, y = features.to_xy("fc6")
    """
    name = name_text(path)
    if is_remote(name) or is_kind(name, "part-set"):
        from decaf.features.store.part_set import PartSet

        return PartSet(name)
    from decaf.features.store.parquet_part import ParquetPart, is_parquet

    return ParquetPart(path) if is_parquet(path) else FeatureFile(path)


class FeatureFile:
    """A finished feature file: ``file["fc6"]`` is the layer, row i of everything is image i.

    The file is checked when it is opened, on its metadata alone; columns are read when they are
    first asked for, and layers when they are sliced.

    Parameters
    ----------
    path : str, bytes or path-like

    Attributes
    ----------
    path : str
        As given.
    layers : tuple of str
        Names of the layers, in the order in which they were asked for.
    run : dict
        Everything that determines a row: weights, architecture, preprocessing, crops, layers, …
    attrs : dict
        The root attributes as stored: format, schema, decaf_version, created, fingerprint, ….
    environment : dict
        Settings that do not determine a row: device, versions, command, sources.
    content : dict of str to str, or None
        SHA-256 of each column as it was written; None in files of earlier versions.

    Raises
    ------
    FeatureFileError
        Where it is not a feature file, is damaged, or holds what decaf refuses to follow.
    """

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.path = name_text(path)
        self._file: h5py.File | None = None
        self._columns: dict[str, np.ndarray] = {}
        self._paths: np.ndarray | None = None
        file = open_hdf5(path, schema.FEATURE_FILE)
        try:
            contents: Contents = check_contents(file, self.path)
        except BaseException:
            file.close()
            raise
        self._file = file
        self._rows = contents.rows
        self.layers = contents.layers
        self.run = contents.run
        self.attrs = contents.attrs
        self.environment = contents.environment
        self.content = contents.content

    def close(self) -> None:
        """Close the file; layers cannot be read any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        state = "" if self._file is not None else ", closed"
        return f"<FeatureFile {self.path!r}: {len(self)} rows of {', '.join(self.layers)}{state}>"

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __getitem__(self, layer: str) -> LayerView:
        if layer not in self.layers:
            raise SettingError(
                f"{self.path}: has no layer {layer!r}; it has {', '.join(self.layers)}"
            )
        return LayerView(self._dataset(f"{schema.FEATURES}/{layer}"))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings in `run`."""
        return str(self.attrs["fingerprint"])

    @property
    def paths(self) -> np.ndarray:
        """Names of the images as given: (N,) object array of str.

        Bytes of a name that are no text of this system stand as surrogates, and those of this
        system's names come back with `os.fsencode`.
        """
        if self._paths is None:
            self._paths = np.empty(len(self), object)
            self._paths[:] = [name_text(name) for name in self.path_bytes]
            self._paths.flags.writeable = False
        return self._paths

    @property
    def path_bytes(self) -> np.ndarray:
        """The same names as the file holds them: (N,) object array of bytes."""
        return self._column(schema.PATH)

    @property
    def path_system(self) -> str:
        """System that the names are from: "windows", where backslashes separate, or "posix"."""
        return str(self.attrs.get("path_system", SYSTEMS[0]))

    @property
    def labels(self) -> np.ndarray:
        """Class of each image: (N,) int64, -1 where there is none."""
        return self._column(schema.LABEL)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where labels are bare numbers."""
        return tuple(self._column(schema.CLASS_NAMES))

    @property
    def status(self) -> np.ndarray:
        """Code of what became of each image: (N,) uint8, a place in `status_names`."""
        return self._column(schema.STATUS)

    @property
    def status_names(self) -> tuple[str, ...]:
        """Names of the status codes; the first is ``"ok"``."""
        return tuple(self._column(schema.STATUS_NAMES_DATASET))

    @property
    def messages(self) -> np.ndarray:
        """Errors of the images: (N,) object array of str, empty where it is ok."""
        return self._column(schema.MESSAGE)

    @property
    def ok(self) -> np.ndarray:
        """Which rows hold features: (N,) bool."""
        mask: np.ndarray = self.status == 0
        return mask

    @property
    def source_size(self) -> np.ndarray:
        """Width and height of each image as displayed: (N, 2) int32."""
        return self._column(schema.SOURCE_SIZE)

    @property
    def content_sha256(self) -> np.ndarray:
        """SHA-256 of each image's bytes: (N, 32) uint8, zero where they could not be read."""
        return self._column(schema.CONTENT_SHA256)

    @property
    def splits(self) -> tuple[str, ...] | None:
        """ "train", "val" or "test" of each image, empty where in none; None where not divided."""
        return self.column(schema.SPLIT)

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each image, an empty text where it is in none; None where nobody said."""
        return self.column(schema.GROUP)

    def column(self, name: str) -> tuple[str, ...] | None:
        """Return a column of text that not every file has; None where this one has it not.

        Parameters
        ----------
        name : {"split", "group", "key", "txt", "json"}
            The last three are of a part set: the key of the sample that an image is of, and what
            came with it; see `decaf.scale.extract_shards`.
        """
        if name not in schema.OPTIONAL:
            raise SettingError(f"`name` {name!r} is not one of {', '.join(schema.OPTIONAL)}")
        if name not in self._columns and not self._has(name):
            return None
        return tuple(self._column(name))

    def images(self) -> ImageList:
        """Return the images of the rows, as they were listed; they may not be there any more."""
        names = self.path_bytes.tolist()
        return ImageList(
            names,
            self.labels,
            self.class_names,
            tuple(self.environment.get("sources", ())),
            RefList(names, {}),
            splits=self.splits,
            groups=self.groups,
            relative=below_shared(names, self.path_system),
            content_sha256=self.content_sha256,
        )

    def to_xy(self, layer: str, *, ok_only: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return a layer and the labels as scikit-learn takes them.

        Parameters
        ----------
        layer : str
            One of `layers`.
        ok_only : bool
            Leave out the rows of bad images, which hold NaN.

        Returns
        -------
        X : ndarray of float32, shape (rows, D)
            Each row flattened: a map in C order, the crops of a ten-crop stack side by side.
        y : ndarray of int64, shape (rows,)
            Class index, -1 where there is none.

        Raises
        ------
        SettingError
            For a layer that the file has not.
        FeatureFileError
            Where the data is damaged.
        """
        view = self[layer]
        keep = self.ok if ok_only else np.ones(len(self), bool)
        X = np.empty((int(keep.sum()), int(np.prod(view.shape[1:]))), np.float32)
        filled = 0
        for start, values in view.blocks():
            kept = values[keep[start : start + len(values)]]
            X[filled : filled + len(kept)] = kept.reshape(len(kept), -1)
            filled += len(kept)
        return X, self.labels[keep]

    def batches(
        self, layer: str, *, rows: int = 1024, ok_only: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go through a layer and its labels in order, so that memory stays bounded.

        Parameters
        ----------
        layer : str
            One of `layers`.
        rows : int
            Rows of the file that are read at a time.
        ok_only : bool
            Leave out the rows of bad images, which hold NaN; a batch has the fewer.

        Yields
        ------
        X : ndarray of float32, shape (≤ rows, D)
        y : ndarray of int64
            Both as `to_xy` returns them; of all batches together they are what it returns.
        """
        view = self[layer]
        if rows < 1:
            raise SettingError(f"`rows` {rows}: must be 1 or more")
        for start in range(0, len(self), rows):
            values = view[start : start + rows]
            X = values.reshape(len(values), -1).astype(np.float32, copy=False)
            keep = self.ok[start : start + rows] if ok_only else slice(None)
            yield X[keep], self.labels[start : start + rows][keep]

    def info(self) -> dict[str, Any]:
        """Sum the file up in JSON values.

        Returns
        -------
        dict
            ``path``, ``bytes``, ``format``, ``schema``, ``decaf_version``, ``created``,
            ``fingerprint``, ``rows``, ``ok``, ``bad`` (number by status), ``layers`` (shape of a
            row, dtype and bytes of each), ``labelled``, ``classes`` (number of rows by name or
            number), ``splits`` (number of rows by name; empty where there are none), ``groups``
            (how many), ``size`` (width and height where all images have the same, else None),
            ``run`` and ``environment``.
        """
        sizes = np.unique(self.source_size[self.ok], axis=0).tolist()
        labels = self.labels[self.labels != schema.NO_LABEL]
        codes, counts = np.unique(labels, return_counts=True)
        names = self.class_names
        classes = dict.fromkeys(names, 0)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            name = names[code] if names else str(code)
            classes[name] = classes.get(name, 0) + count
        statuses = np.bincount(self.status, minlength=len(self.status_names)).tolist()
        layers = {}
        for layer in self.layers:
            view = self[layer]
            layers[layer] = {
                "shape": list(view.shape[1:]),
                "dtype": view.dtype.name,
                "bytes": view.size * view.dtype.itemsize,
            }
        return {
            "path": self.path,
            "bytes": self._bytes(),
            **{name: self.attrs[name] for name in ("format", "schema", "decaf_version", "created")},
            "fingerprint": self.fingerprint,
            "rows": len(self),
            "ok": statuses[0],
            "bad": {
                name: count
                for name, count in zip(self.status_names[1:], statuses[1:], strict=True)
                if count
            },
            "layers": layers,
            "labelled": len(labels),
            "classes": classes,
            "splits": dict(Counter(self.splits or ())),
            "groups": len(set(self.groups or ()) - {""}),
            "size": sizes[0] if len(sizes) == 1 else None,
            "run": self.run,
            "environment": self.environment,
        }

    def _dataset(self, name: str) -> h5py.Dataset:
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the file has been closed")
        with schema.FEATURE_FILE.reading(self.path):
            return self._file[name]

    def _bytes(self) -> int:
        return os.path.getsize(self.path)

    def _has(self, name: str) -> bool:
        return self._file is None or name in self._file

    def _column(self, name: str) -> np.ndarray:
        """Read a column when it is first asked for, check its values, and keep it."""
        if name not in self._columns:
            dataset = self._dataset(name)
            if name == schema.PATH:
                column = self._read_names(dataset)
            elif name in schema.COLUMNS:
                column = read_rows(dataset, 0, dataset.shape[0])
            else:
                column = self._read_text(dataset)
            self._check_values(name, column)
            column.flags.writeable = False
            self._columns[name] = column
        return self._columns[name]

    def _read_names(self, dataset: h5py.Dataset) -> np.ndarray:
        # By blocks: padded to the longest, the column may be many times the names themselves.
        names = np.empty(dataset.shape[0], object)
        for start, stop in row_blocks(dataset):
            names[start:stop] = read_rows(dataset, start, stop).tolist()
        return names

    def _read_text(self, dataset: h5py.Dataset) -> np.ndarray:
        texts = np.empty(dataset.shape[0], object)
        for start, stop in row_blocks(dataset):
            values = read_rows(dataset, start, stop)
            with schema.FEATURE_FILE.reading(self.path):
                texts[start:stop] = [decode_text(value) for value in values]
        return texts

    def _check_values(self, name: str, column: np.ndarray) -> None:
        if name == schema.STATUS_NAMES_DATASET:
            wrong = np.array([column[0] != "ok"])
            expected = "'ok' first"
        elif name == schema.STATUS:
            wrong = column >= len(self.status_names)
            expected = f"below {len(self.status_names)}"
        elif name == schema.SPLIT:
            wrong = ~np.isin(column, ["", *SPLITS])
            expected = f"one of {', '.join(SPLITS)}, or nothing"
        elif name == schema.LABEL:
            count = len(self.class_names)
            wrong = (column < schema.NO_LABEL) | ((column >= count) if count else False)
            expected = f"-1 to {count - 1}" if count else "-1 or more"
        else:
            return
        if wrong.any():
            row = int(wrong.argmax())
            raise FeatureFileError(
                f"{self.path}: {name}, row {row}: {column[row]!r} found, {expected} expected"
            )

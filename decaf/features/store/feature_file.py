"""The feature file, read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from decaf.errors import FeatureFileError, SettingError
from decaf.features.store import schema
from decaf.features.store.dataframe import as_dataframe, as_xarray
from decaf.features.store.info import file_info
from decaf.features.store.layer_view import LayerView, read_rows, row_blocks
from decaf.features.store.schema import Contents, check_contents
from decaf.images import ImageList
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.listing.class_folders import SPLITS
from decaf.images.listing.image_ref import CutRefs, RefList
from decaf.images.listing.names import below_shared
from decaf.runtime.names import SYSTEMS, name_text
from decaf.runtime.wording import counted
from decaf.storage.hdf5 import decode_text
from decaf.storage.hdf5_checks import open_hdf5

if TYPE_CHECKING:
    import pandas
    import xarray

__all__ = ["FeatureFile"]


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
    attribute_digests : dict of str to str, or None
        SHA-256 of each field of `run` (``run/crops``) and of the other attributes, likewise.

    Raises
    ------
    FeatureFileError
        Where it is not a feature file, is damaged, or holds what decaf refuses to follow.
    """

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.path = name_text(path)
        self._file: h5py.File | None = None
        self._columns: dict[str, np.ndarray] = {}
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
        self.attribute_digests = contents.attributes

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
        return (
            f"<FeatureFile {self.path!r}: {counted(len(self), 'row')} of "
            f"{', '.join(self.layers)}{state}>"
        )

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

    @cached_property
    def paths(self) -> np.ndarray:
        """Names of the images as given: (N,) object array of str.

        Bytes of a name that are no text of this system stand as surrogates, and those of this
        system's names come back with `os.fsencode`.
        """
        paths = np.empty(len(self), object)
        paths[:] = [name_text(name) for name in self.path_bytes]
        paths.flags.writeable = False
        return paths

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

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where labels are bare numbers."""
        return tuple(self._column(schema.CLASS_NAMES))

    @property
    def status(self) -> np.ndarray:
        """Code of what became of each image: (N,) uint8, a place in `status_names`."""
        return self._column(schema.STATUS)

    @cached_property
    def status_names(self) -> tuple[str, ...]:
        """Names of the status codes; the first is ``"ok"``."""
        return tuple(self._column(schema.STATUS_NAMES_DATASET))

    @property
    def messages(self) -> np.ndarray:
        """Errors of the images: (N,) object array of str, empty where it is ok."""
        return self._column(schema.MESSAGE)

    @cached_property
    def ok(self) -> np.ndarray:
        """Which rows hold features: (N,) bool."""
        mask: np.ndarray = self.status == 0
        mask.flags.writeable = False
        return mask

    @property
    def source_size(self) -> np.ndarray:
        """Width and height of each image as displayed: (N, 2) int32."""
        return self._column(schema.SOURCE_SIZE)

    @property
    def content_sha256(self) -> np.ndarray:
        """SHA-256 of each image's bytes: (N, 32) uint8, zero where they could not be read."""
        return self._column(schema.CONTENT_SHA256)

    @cached_property
    def splits(self) -> tuple[str, ...] | None:
        """ "train", "val" or "test" of each image, empty where in none; None where not divided."""
        return self.column(schema.SPLIT)

    @cached_property
    def groups(self) -> tuple[str, ...] | None:
        """Group of each image, an empty text where it is in none; None where nobody said."""
        return self.column(schema.GROUP)

    @property
    def boxes(self) -> np.ndarray | None:
        """Box of each image that is a part of another: (N, 4), left, top, width, height in pixels.

        NaN where it is not known; None where no image is a part.
        """
        return self._column(schema.BOX) if self._has(schema.BOX) else None

    @property
    def annotations(self) -> tuple[str, ...] | None:
        """What the boxes are called where they are from; None where there are none."""
        return self.column(schema.ANNOTATION)

    @property
    def confidences(self) -> np.ndarray | None:
        """Confidence of each box: (N,) float64, NaN where not told; None where there are none."""
        return self._column(schema.CONFIDENCE) if self._has(schema.CONFIDENCE) else None

    @cached_property
    def crops(self) -> tuple[BoxCrop | None, ...] | None:
        """What was cut out for each image; None where no image is a part of another."""
        texts, annotations = self.column(schema.CROP), self.annotations
        confidences = self.confidences
        if texts is None or annotations is None or confidences is None:
            return None
        try:
            return tuple(
                BoxCrop.from_text(text, name, None if math.isnan(sure) else sure) if text else None
                for text, name, sure in zip(texts, annotations, confidences.tolist(), strict=True)
            )
        except ValueError as error:
            raise FeatureFileError(f"{self.path}: {schema.CROP}: {error}") from error

    def column(self, name: str) -> tuple[str, ...] | None:
        """Return a column of text that not every file has; None where this one has it not.

        Parameters
        ----------
        name : {"split", "group", "crop", "annotation", "key", "txt", "json"}
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
        names, crops = self.path_bytes.tolist(), self.crops
        refs = RefList(names, {})
        return ImageList(
            names,
            self.labels,
            self.class_names,
            tuple(self.environment.get("sources", ())),
            refs if crops is None else CutRefs(refs, crops),
            splits=self.splits,
            groups=self.groups,
            relative=below_shared(names, self.path_system),
            content_sha256=self.content_sha256,
            crops=crops,
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
            X[filled : filled + len(kept)] = kept.reshape(len(kept), X.shape[1])
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

    def to_dataframe(
        self, layer: str | Sequence[str] | None = None, *, ok_only: bool = False
    ) -> pandas.DataFrame:
        """Return rows and features as a DataFrame, with the row's number as its index.

        Parameters
        ----------
        layer : str or sequence of str, optional
            Layers whose values are columns, ``fc6_0``, ``fc6_1``, …, a map in C order; by default
            all, and with an empty list none.
        ok_only : bool
            Leave out the rows of bad images, which hold NaN.

        Returns
        -------
        pandas.DataFrame
            Columns path, label (-1 where there is none), class (categorical), those of
            `row_columns` (split, group, box), status, and the values as float32.

        Raises
        ------
        SettingError
            For a layer that the file has not, or where pandas is not installed.
        """
        return as_dataframe(self, layer, ok_only=ok_only)

    def to_xarray(self, layer: str, *, ok_only: bool = False) -> xarray.DataArray:
        """Return a layer as an array with named axes.

        Parameters
        ----------
        layer : str
            One of `layers`.
        ok_only : bool
            Leave out the rows of bad images, which hold NaN.

        Returns
        -------
        xarray.DataArray
            Axes (image, channel, y, x) of a map and (image, unit) of others; of a ten-crop stack
            with crop after image. The coordinate of image is the row's number; what
            `to_dataframe` has of a row is along it.

        Raises
        ------
        SettingError
            For a layer that the file has not, or where xarray is not installed.
        """
        return as_xarray(self, layer, ok_only=ok_only)

    def info(self) -> dict[str, Any]:
        """Sum the file up in JSON values; see `decaf.features.store.info.file_info`."""
        return file_info(self, self._bytes())

    def foreign_attributes(self) -> list[str]:
        """Name the attributes, of the file and of what is in it, that decaf does not write."""
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the file has been closed")
        with schema.FEATURE_FILE.reading(self.path):
            names = [name for name in self._file.attrs if name not in self.attrs]
            features = [f"{schema.FEATURES}/{layer}" for layer in self.layers]
            for place in [*self._file, *features]:
                names += [f"{place}, attribute {name}" for name in self._file[place].attrs]
        return names

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
            elif name in schema.COLUMNS or name in schema.OF_CROPS:
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

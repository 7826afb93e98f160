"""Features of any other network: a matrix with a row an image, matched to images by their paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import DecafError, InputError
from decaf.features.store.feature_file import FeatureFile
from decaf.images.listing.arrays import open_dataset, refuse_holes
from decaf.images.listing.folders import read_start
from decaf.images.listing.names import nearest_name, path_text, shortened, some_of
from decaf.images.listing.recognise import is_kind, not_wanted
from decaf.images.listing.table_paths import TablePaths
from decaf.images.listing.tables import (
    as_utf8,
    decoded,
    find_reading,
    named_columns,
    read_table_file,
    read_tables,
)
from decaf.runtime.names import name_text

__all__ = [
    "FeatureMatrix",
    "as_matrix",
    "is_matrix_file",
    "matrix_fingerprint",
    "read_matrix",
    "refuse_not_finite",
]

Floats = npt.NDArray[np.float32]

_WANTED = "a matrix of features: .npy, .h5 or .parquet"
# What the dataset of paths in an HDF5 file may be called, where there are several of text.
_PATH_NAMES = ("path", "paths")


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features with a row an image, as some program has made them.

    Attributes
    ----------
    name : str
        The file as given, for messages.
    rows : array of float32, shape (N, D)
        Perhaps not finite.
    paths : tuple of bytes, or None
        Path of the image of each row; None where the file holds none.
    """

    name: str
    rows: Floats
    paths: tuple[bytes, ...] | None = None

    def in_order(
        self, names: Sequence[bytes], relative: Sequence[bytes], paths: Any = None
    ) -> Floats:
        """Return the rows of some images, all of which must be there, and no others.

        A row's path names an image as those of a table of labels do: as given or below the source,
        or by its last parts, where only one image ends so (see `decaf.images.listing.table_paths`).

        Parameters
        ----------
        names : sequence of bytes
            Paths of the images.
        relative : sequence of bytes
            The same below their source.
        paths : path or sequence, optional
            Path of each row's image: a text file with one a line, or a table with a column of them
            (``FILE:COLUMN`` names it); by default those that the matrix came with, which they must
            not contradict.

        Returns
        -------
        array of float32, shape (len(names), D)

        Raises
        ------
        InputError
            If there are no paths, or not one a row; a row is of no image, or of one that has
            another, or by its own path of another one; an image has no row; or a row is not finite.
        """
        images = TablePaths(names, relative)
        cells, shown = self._cells(paths, images)
        if len(cells) != len(self.rows):
            raise InputError(
                f"{self.name}: has {len(self.rows):,} rows, and {shown} {len(cells):,} paths; "
                "expected one a row"
            )
        row_of = np.full(len(names), -1, np.int64)
        found = images.find(cells, shown)
        if cells is not self.paths:
            self._refuse_contradiction(images, cells, found, shown)
        for row, places in enumerate(found):
            cell = shortened(decoded(cells[row]))
            if not places:
                near = nearest_name(decoded(cells[row]), relative)
                raise InputError(f"{self.name}: row {row}, {cell}, is none of the images{near}")
            for place in places:
                if row_of[place] >= 0:
                    raise InputError(
                        f"{self.name}: rows {row_of[place]} and {row} are both of the image "
                        f"{shortened(relative[place])}"
                    )
                row_of[place] = row
        missing = np.flatnonzero(row_of < 0)
        if len(missing):
            first = some_of((path_text(relative[place]) for place in missing.tolist()), 3)
            raise InputError(
                f"{self.name}: has no row for {len(missing):,} of {len(names):,} images: {first}"
            )
        rows = self.rows[row_of]
        refuse_not_finite(rows, self.name, relative)
        return rows

    def _refuse_contradiction(
        self, images: TablePaths, cells: Sequence[bytes], found: list[list[int]], shown: str
    ) -> None:
        """Refuse paths where the matrix came with others, by which a row is of another image."""
        if self.paths is None or len(self.paths) != len(cells):
            return
        try:
            own = images.find(self.paths, f"{self.name}: its list of paths")
        except InputError:  # what was taken for its paths names no images: the given ones count
            return
        for row, (places, others) in enumerate(zip(own, found, strict=True)):
            if places and not set(places) & set(others):
                raise InputError(
                    f"{self.name}: its own list of paths says that row {row} is of "
                    f"{shortened(decoded(self.paths[row]))}, {shown} that it is of "
                    f"{shortened(decoded(cells[row]))}; leave out `paths` to go by the first"
                )

    def _cells(self, paths: Any, images: TablePaths) -> tuple[Sequence[bytes], str]:
        """Return the path of each row, and where they are from for messages."""
        if paths is None:
            if self.paths is None:
                raise InputError(
                    f"{self.name}: does not say which image a row is of: give `paths`, a file with "
                    "the path of each row's image"
                )
            return self.paths, "its list of paths"
        if not isinstance(paths, (str, bytes, os.PathLike)):
            return [os.fsencode(path) for path in paths], "`paths`"
        file, columns = named_columns(os.fsencode(paths))
        shown = f"paths file {shortened(file)}"
        cells = _listed(file, columns, images, shown)
        if len(cells) == len(self.rows) + 1 and not images.may_be(cells[0]):
            cells = cells[1:]  # the header
        return cells, shown


def read_matrix(source: Any) -> FeatureMatrix:
    """Read a matrix of features.

    Parameters
    ----------
    source : path, array or FeatureMatrix
        ``.npy``, (N, D); a feature file of decaf, where maps are flattened; any other HDF5 file
        with a matrix, and perhaps a dataset of paths, both told by what they are, or the matrix
        named as ``FILE.h5:DATASET``; ``.parquet`` with a column ``path``, and a column of lists or
        else columns of numbers, which takes pyarrow. Or an array.

    Raises
    ------
    InputError
        If it cannot be read, or is no matrix of numbers.
    """
    if isinstance(source, FeatureMatrix):
        return source
    if not isinstance(source, (str, bytes, os.PathLike)):
        return FeatureMatrix("features", as_matrix(np.asarray(source), "features"))
    path = name_text(source)
    file, dataset = _file_and_dataset(path)
    rows: np.ndarray
    paths: tuple[bytes, ...] | None
    with _reading(path):
        if is_kind(file, "features"):
            rows, paths = _of_feature_file(file, dataset)
        elif is_kind(file, "hdf5"):
            rows, paths = _of_hdf5(file, dataset)
        elif is_kind(file, "array"):
            rows, paths = np.load(file, mmap_mode="r", allow_pickle=False), None
        elif _is_parquet(file):
            rows, paths = _of_parquet(file)
        else:
            raise InputError(not_wanted(file, _WANTED))
        return FeatureMatrix(path, as_matrix(rows, path), paths)


def is_matrix_file(source: Any) -> bool:
    """Tell whether something is the path of a file that `read_matrix` may read.

    Parameters
    ----------
    source : any
    """
    if not isinstance(source, (str, bytes, os.PathLike)):
        return False
    file, _ = _file_and_dataset(name_text(source))
    return is_kind(file, "features", "hdf5", "array") or _is_parquet(file)


def as_matrix(values: Any, shown: str) -> Floats:
    """Return numbers as a matrix of float32, or refuse them; what is beyond float32 is infinite.

    Parameters
    ----------
    values : array
    shown : str
        Begins the message.

    Raises
    ------
    InputError
        If it is not of two axes, is empty, or holds no plain real numbers.
    """
    if values.ndim != 2 or not values.size:
        raise InputError(f"{shown}: features of shape {values.shape}; expected (rows, dimensions)")
    if values.dtype.kind not in "biuf":
        raise InputError(f"{shown}: features of type {values.dtype}; expected plain real numbers")
    with np.errstate(over="ignore"):
        return np.array(values, np.float32, order="C")


def refuse_not_finite(rows: Floats, shown: str, names: Sequence[bytes] | None = None) -> None:
    """Refuse rows that hold NaN or infinity, and name the first.

    Parameters
    ----------
    rows : array of float32, shape (N, D)
    shown : str
        Begins the message.
    names : sequence of bytes, optional
        Images of the rows.

    Raises
    ------
    InputError
    """
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        which = f"row {first}" if names is None else f"that of {shortened(names[first])}"
        raise InputError(
            f"{shown}: {int(bad.sum()):,} of {len(rows):,} rows of features hold NaN, infinity or "
            f"numbers beyond float32, the first is {which}"
        )


def matrix_fingerprint(names: Sequence[bytes], rows: Floats) -> str:
    """Return the SHA-256 of images and their rows.

    Parameters
    ----------
    names : sequence of bytes
    rows : array of float32, shape (len(names), D)
    """
    digest = hashlib.sha256(b"\0".join(names))
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn what numpy, h5py and pyarrow raise on damaged files into one line."""
    try:
        yield
    except DecafError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, EOFError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a matrix of features: {reason}") from error


def _file_and_dataset(path: str) -> tuple[str, str]:
    """Split ``FILE:DATASET``."""
    file, colon, dataset = path.rpartition(":")
    whole = not colon or os.path.exists(path) or not os.path.exists(file)
    return (path, "") if whole else (file, dataset)


def _is_parquet(file: str) -> bool:
    return read_start(os.fsencode(file), 4) == b"PAR1"


def _of_feature_file(file: str, layer: str) -> tuple[np.ndarray, tuple[bytes, ...]]:
    with FeatureFile(file) as features:
        if not layer and len(features.layers) > 1:
            raise InputError(
                f"{file}: holds {', '.join(features.layers)}; name one, as {file}:"
                f"{features.layers[-1]}"
            )
        rows, _ = features.to_xy(layer or features.layers[0], ok_only=False)
        return rows, tuple(features.path_bytes.tolist())


def _of_hdf5(path: str, dataset: str) -> tuple[np.ndarray, tuple[bytes, ...] | None]:
    import h5py

    with h5py.File(path, "r") as file:
        there: dict[str, h5py.Dataset] = {}

        def look(name: str, item: Any) -> None:  # by hard links alone
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                there[name] = item

        file.visititems(look)
        matrices = [name for name, each in there.items() if len(each.shape) == 2]
        texts = [name for name, each in there.items() if _is_text(each)]
        if not dataset and len(matrices) != 1:
            told = some_of(f"{name} {each.shape}" for name, each in there.items()) or "no dataset"
            raise InputError(
                f"{path}: holds {len(matrices) or 'no'} matrices; name one, as FILE:DATASET; it "
                f"has {told}"
            )
        rows = open_dataset(file, dataset or matrices[0], path)
        refuse_holes(rows, f"{path}: dataset {dataset or matrices[0]}")
        if len(texts) > 1:
            texts = [name for name in texts if name.rpartition("/")[2].lower() in _PATH_NAMES]
        if len(texts) != 1:
            return rows[()], None
        names = open_dataset(file, texts[0], path)[()].tolist()
        return rows[()], tuple(os.fsencode(name) for name in names)


def _is_text(dataset: Any) -> bool:
    import h5py

    return len(dataset.shape) == 1 and h5py.check_string_dtype(dataset.dtype) is not None


def _of_parquet(path: str) -> tuple[np.ndarray, tuple[bytes, ...]]:
    try:
        import pyarrow.parquet as parquet
        import pyarrow.types as types
    except ImportError:
        raise InputError(f"{path}: to read parquet, install pyarrow") from None
    table = parquet.read_table(path)
    kinds = {field.name: field.type for field in table.schema}
    lists = [
        name
        for name, kind in kinds.items()
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    ]
    numbers = [name for name, kind in kinds.items() if types.is_floating(kind)]
    if "path" not in kinds:
        raise InputError(f"{path}: has no column path; it has {some_of(kinds)}")
    if len(lists) > 1 or not (lists or numbers):
        told = "columns of lists: " + some_of(lists) if lists else "no column of lists or floats"
        raise InputError(f"{path}: has {told}; expected one of lists, or columns of floats")
    if any(table[name].null_count for name in ["path", *(lists or numbers)]):
        raise InputError(f"{path}: has empty cells")
    paths = tuple(os.fsencode(each) for each in table["path"].to_pylist())
    if not lists:
        return np.column_stack([table[name].to_numpy() for name in numbers]), paths
    rows = table[lists[0]].to_numpy().tolist()
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise InputError(
            f"{path}: its rows are lists of {min(widths)} to {max(widths)} numbers; expected as "
            "many in each"
        )
    return np.stack(rows) if rows else np.empty((0, 0)), paths


def _listed(
    file: bytes, columns: tuple[str, ...] | None, images: TablePaths, shown: str
) -> list[bytes]:
    """Return the paths of a table's column, or else of the lines, as most of them name images."""
    content = read_table_file(file, shown)
    lines = [line.strip() for line in as_utf8(content, shown)[0].split(b"\n") if line.strip()]
    if all(len(line) > 1 and line[:1] == line[-1:] == b'"' for line in lines):  # as R writes them
        lines = [line[1:-1] for line in lines]
    lists = []
    problem: InputError | None = None
    for table in read_tables(content, shown):
        try:
            reading = find_reading(table, columns, images.may_be, shown, label_needed=False)
        except InputError as error:  # of another reading the column may be one
            problem = problem or error
            continue
        if reading is not None:
            lists.append([path for path, _ in reading.pairs()])
    if not columns:
        lists.append(lines)
    if not lists:
        raise problem or InputError(f"{shown}: has no column {columns and columns[0]!r}")

    def matched(cells: Sequence[bytes]) -> int:
        try:
            return sum(map(bool, images.find(cells, shown)))
        except InputError:  # which is told where nothing else fits
            return 0

    return max(lists, key=matched)

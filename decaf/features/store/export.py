"""A feature file in the formats of other tools: ``.npy``, ``.csv``, ``.npz``, ``.mat``."""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from decaf.errors import OutputError, SettingError
from decaf.features.store.dataframe import row_columns
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import open_features
from decaf.features.store.schema import NO_LABEL
from decaf.images.listing.names import path_text
from decaf.storage import TEXT_KINDS, canonical_json, check_output, disk_errors, whole_file
from decaf.storage.matlab_73 import matlab_73_output
from decaf.storage.spreadsheet import spreadsheet_cell

__all__ = ["ENDINGS", "Exported", "export_features"]

# MATLAB's format 5, the one scipy writes, counts the bytes of a variable in 31 bits.
MAX_MAT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Exported:
    """The result of `export_features`.

    Attributes
    ----------
    files : tuple of Path
        The file asked for, and for ``.npy`` the table of its rows.
    layers : dict of str to tuple of int
        The layers, and their shapes, rows first.
    dtype : str
    bad : int
        Rows of images that could not be read, written as NaN or left out.
    """

    files: tuple[Path, ...]
    layers: dict[str, tuple[int, ...]]
    dtype: str
    bad: int


@dataclass(frozen=True)
class _Selection:
    """The rows of one layer that are exported."""

    file: FeatureFile
    layer: str
    keep: np.ndarray  # (N,) bool
    raw_text: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.keep.sum()), *self.file[self.layer].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.file[self.layer].dtype

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows' places in the file and their values, a bounded number at a time."""
        for start, values in self.file[self.layer].blocks():
            rows = start + np.flatnonzero(self.keep[start : start + len(values)])
            yield rows, values[rows - start]

    def description(self, row: int) -> list[object]:
        """Return what is told of a row besides its values: name, label, class name, status."""
        label = int(self.file.labels[row])
        classes = self.file.class_names
        cell = str if self.raw_text else spreadsheet_cell
        return [
            cell(path_text(self.file.path_bytes[row])),
            label,
            cell(classes[label]) if classes and label != NO_LABEL else "",
            self.file.status_names[self.file.status[row]],
            *(
                cell(values[row])
                if values.dtype == object
                else ""
                if math.isnan(values[row])
                else repr(float(values[row]))
                for values in self.file_columns.values()
            ),
        ]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `description`."""
        return ["path", "label", "class", "status", *self.file_columns]

    @cached_property
    def file_columns(self) -> dict[str, np.ndarray]:
        """The columns that not every file has."""
        return row_columns(self.file)


_Write = Callable[[Sequence[_Selection], IO[bytes]], None]


def export_features(
    file: FeatureFile | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    layer: str | Sequence[str] | None = None,
    ok_only: bool = False,
    raw_text: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write layers in the format that the ending of `out` names.

    ``.npy``
        The layer in its natural shape and type, and beside it ``NAME.rows.csv``: one line a row
        with path, label, class and status, and split, group and box where the file has them.
    ``.csv``
        One line a row: path, label, class, status (and split, group, box), then the values ``f0``,
        ``f1``, …, a map flattened in C order; each value in the fewest digits that give it back
        exactly.
    ``.npz``, ``.mat``
        Any number of layers, each in its natural shape under its own name (``fc6``, ``fc7``); one
        that is alone is called ``features``, and ``layer`` names it. Beside them ``path``,
        ``label`` (from 0, -1 for none), ``class_names``, ``status``, ``status_names``, ``ok``,
        ``layers``, ``run`` (JSON), ``fingerprint``, and ``split`` and ``group`` where the file has
        them. The first is NumPy's, the other MATLAB's format 5, written by scipy; or where a layer
        takes 2 GiB or more, which that cannot hold, its format 7.3, which is HDF5: MATLAB loads
        both alike, ``scipy.io.loadmat`` the first alone, and Python the other by h5py (with the
        axes reversed) or mat73.

    The rows of bad images hold NaN and say so in their status, unless `ok_only` leaves them out.
    Bytes of names that are not UTF-8 are written as ``\\xNN``. Memory stays bounded, except for
    a ``.mat`` of format 5. The file appears under its name when it is complete.

    In a ``.mat`` the axes stand as they do here: image i of ``conv5`` is ``conv5(i, :, :, :)``,
    channel by row by column. Read straight from the feature file by MATLAB's ``h5read``, which
    reverses the axes, it is ``conv5(:, :, :, i)``, column by row by channel.

    Parameters
    ----------
    file : FeatureFile or path
    out : str or path-like
        Ends in ``.npy``, ``.csv``, ``.npz`` or ``.mat``.
    layer : str or sequence of str, optional
        By default all, which ``.npy`` and ``.csv`` take where the file holds one layer only.
    ok_only : bool
        Leave out the rows of bad images.
    raw_text : bool
        Write texts of ``.csv`` as they are; by default see
        `decaf.storage.spreadsheet.spreadsheet_cell`.
    overwrite : bool
        Replace files that are there. Without it a ``.npy`` or ``.csv`` that is there as it would be
        written is left as it is: of an export that was killed at its end nothing tells more.

    Returns
    -------
    Exported

    Raises
    ------
    SettingError
        For an unknown ending or layer, or a layer that the format cannot hold.
    OutputError
        Where another file is there already, or it cannot be written.
    FeatureFileError
        Where the feature file is damaged.
    """
    if not isinstance(file, FeatureFile):
        with open_features(file) as opened:
            return export_features(
                opened, out, layer=layer, ok_only=ok_only, raw_text=raw_text, overwrite=overwrite
            )
    target = Path(out)
    write = ENDINGS.get(target.suffix.lower())
    if write is None:
        raise SettingError(
            f"{target}: cannot tell the format from the ending {target.suffix!r}; "
            f"use one of {', '.join(ENDINGS)}"
        )
    layers = [layer] if isinstance(layer, str) else list(dict.fromkeys(layer or file.layers))
    if len(layers) > 1 and write not in (_write_npz, _write_mat):
        raise SettingError(
            f"{target}: takes one layer, got {', '.join(layers)} of {file.path}; name the one to "
            "export (`layer`), or write them all to an .npz or .mat"
        )
    keep = file.ok if ok_only else np.ones(len(file), bool)
    selections = [_Selection(file, each, keep, raw_text) for each in layers]
    # Asked now, so that a wrong layer is told before anything is written.
    shapes = {each.layer: each.shape for each in selections}
    dtype = selections[0].dtype
    parts: dict[Path, _Write] = {}
    if write is _write_npy:
        parts[target.with_name(f"{target.stem}.rows.csv")] = _write_rows
    parts[target] = write
    files = (target, *(path for path in parts if path != target))
    for path, part in parts.items():
        check_output(path, *_REPLACED[part], inputs=(file.path,))
    if not overwrite:
        # Of the same export, which was killed between its two files or at its end.
        parts = {path: part for path, part in parts.items() if not _is_done(selections, path, part)}
        for path in parts:
            if os.path.lexists(path):
                raise OutputError(
                    f"{path}: is there already; choose another name, or `overwrite=True`"
                )
    with ExitStack() as stack:
        # The file asked for is opened first, and so gets its name last, or none of them does.
        for path in reversed(parts):
            stack.enter_context(disk_errors(path, "nothing was written"))
            parts[path](selections, stack.enter_context(whole_file(path)))
    return Exported(files, shapes, dtype.name, len(file) - int(file.ok.sum()))


class _Differs(Exception):
    """What is written is not what is there."""


class _Compared(io.RawIOBase):
    """A stream to write to that compares with a file, up to the first difference."""

    def __init__(self, there: IO[bytes]) -> None:
        self._there = there

    def write(self, data: Any) -> int:
        expected = bytes(data)
        if self._there.read(len(expected)) != expected:
            raise _Differs
        return len(expected)


def _is_done(selections: Sequence[_Selection], path: Path, write: _Write) -> bool:
    """Tell whether a file is there as it would be written.

    Formats whose writers go back in the file, or write the time, are not compared.
    """
    if write not in (_write_npy, _write_csv, _write_rows) or not path.is_file():
        return False
    with open(path, "rb") as there:
        try:
            write(selections, cast("IO[bytes]", _Compared(there)))
        except _Differs:
            return False
        return not there.read(1)


def _write_npy(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    (selection,) = selections
    # Not through a memory map: a full disk would end the process with SIGBUS.
    header = {
        "descr": np.lib.format.dtype_to_descr(selection.dtype),
        "fortran_order": False,
        "shape": selection.shape,
    }
    np.lib.format.write_array_header_1_0(stream, header)
    for _, values in selection.blocks():
        stream.write(np.ascontiguousarray(values).data)


def _lines(stream: IO[bytes]) -> Callable[[list[Any]], Any]:
    """Return a function that writes one line of CSV to a binary stream."""

    class Encoded:
        def write(self, text: str) -> int:
            return stream.write(text.encode("utf-8", "backslashreplace"))

    return csv.writer(Encoded(), lineterminator="\n").writerow


def _write_rows(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    (selection,) = selections
    line = _lines(stream)
    line(selection.columns)
    for row in np.flatnonzero(selection.keep).tolist():
        line(selection.description(row))


def _write_csv(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    (selection,) = selections
    line = _lines(stream)
    size = int(np.prod(selection.shape[1:]))
    line([*selection.columns, *(f"f{i}" for i in range(size))])
    for rows, values in selection.blocks():
        for row, value in zip(rows.tolist(), values, strict=True):
            # As text of its own type: float32 in 9 digits at most, where float() would need 17.
            line([*selection.description(row), *value.ravel().astype(str).tolist()])


def _names(selections: Sequence[_Selection]) -> dict[str, _Selection]:
    """Return what each layer is called in a file of several arrays."""
    if len(selections) == 1:
        return {"features": selections[0]}
    return {each.layer: each for each in selections}


def _beside(
    selections: Sequence[_Selection], texts: Callable[[Sequence[str]], Any]
) -> dict[str, Any]:
    """Return what stands beside the layers in a file of several arrays.

    Parameters
    ----------
    selections : sequence of _Selection
    texts : callable
        Makes the format's own array of texts.
    """
    first = selections[0]
    file, keep = first.file, first.keep
    layers = [each.layer for each in selections]
    return {
        "path": texts([path_text(name) for name in file.path_bytes[keep]]),
        "label": file.labels[keep],
        "class_names": texts(file.class_names),
        "status": file.status[keep],
        "status_names": texts(file.status_names),
        "ok": file.ok[keep],
        **({"layer": layers[0]} if len(layers) == 1 else {"layers": texts(layers)}),
        "run": canonical_json(file.run),
        "fingerprint": file.fingerprint,
        **{
            name: texts(values[keep].tolist()) if values.dtype == object else values[keep]
            for name, values in first.file_columns.items()
        },
    }


def _write_npz(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for name, selection in _names(selections).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_npy([selection], member)
        for name, value in _beside(selections, _text_array).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def _text_array(texts: Sequence[str]) -> np.ndarray:
    return np.array(list(texts), dtype=str)


def _write_mat(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    from scipy.io import savemat

    # MATLAB has no half precision.
    if any(math.prod(each.shape) * 4 > MAX_MAT_BYTES for each in selections):
        _write_mat_73(selections, stream)
        return
    variables: dict[str, Any] = {}
    for name, selection in _names(selections).items():
        values = np.empty(selection.shape, np.float32)
        filled = 0
        for _, block in selection.blocks():
            values[filled : filled + len(block)] = block
            filled += len(block)
        variables[name] = values
    variables |= _beside(selections, _cells)
    savemat(stream, variables, oned_as="column", do_compression=False)


def _write_mat_73(selections: Sequence[_Selection], stream: IO[bytes]) -> None:
    with matlab_73_output(stream) as file:
        for name, selection in _names(selections).items():
            file.rows(name, selection.shape, selection.blocks())
        for name, value in _beside(selections, list).items():
            file.variable(name, value)


def _cells(texts: Sequence[str]) -> np.ndarray:
    """Make an object array of strings, which scipy writes as a cell array."""
    cells = np.empty(len(texts), object)
    cells[:] = texts
    return cells


ENDINGS: dict[str, _Write] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".mat": _write_mat,
}

# What each may replace.
_REPLACED: dict[_Write, tuple[str, ...]] = {
    _write_npy: ("array",),
    _write_csv: TEXT_KINDS,
    _write_rows: TEXT_KINDS,
    _write_npz: ("arrays",),
    _write_mat: ("matlab",),
}

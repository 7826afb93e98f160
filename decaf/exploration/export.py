"""A feature file for programs that explore embeddings: a table (Parquet), or an index (FAISS)."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError
from decaf.exploration.neighbours import NearestRows, chosen_layer
from decaf.exploration.page import thumbnails
from decaf.exploration.search import class_of
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.features.store.schema import NO_LABEL
from decaf.images import path_text
from decaf.runtime.settings import Part, refuse, settings_from, whole_number
from decaf.storage import check_output, disk_errors, whole_file

__all__ = ["ExportedTable", "TableSettings", "export_index", "export_table"]

_NO_PICTURES = "write no pictures, without `thumbnails`"
_BLOCK_ROWS = 1024  # of a row group of the table
_NEED_PARQUET = "to write Parquet, install pyarrow: pip install 'decaf-features[parquet]'"
_NEED_FAISS = "to write a FAISS index, install faiss-cpu: pip install 'decaf-features[faiss]'"


@dataclass(frozen=True)
class TableSettings:
    """What a table has beside paths, classes and features.

    Parameters
    ----------
    neighbours : int
        Nearest images in ``neighbours``; 0 for no such column.
    thumbnails : int, optional
        Height of the pictures in ``image``, in pixels; by default there are none.
    map : bool
        Place the images on a plane, in ``x`` and ``y``; as `decaf.exploration.make_map` does.
    ok_only : bool
        Leave out the rows of bad images.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    neighbours: int = 10
    thumbnails: int | None = None
    map: bool = False
    ok_only: bool = False

    def __post_init__(self) -> None:
        refuse(
            [
                *whole_number("neighbours", self.neighbours, 0, 1000),
                *whole_number("thumbnails", self.thumbnails, 8, 1024, optional=True),
            ]
        )


@dataclass(frozen=True)
class ExportedTable:
    """The result of `export_table` and `export_index`.

    Attributes
    ----------
    path : Path
    layer : str
    rows, dimensions : int
        Of the features.
    columns : tuple of str
        Columns of the table; none for an index.
    bad : int
        Rows of images that could not be read: without features, or left out.
    gone : int
        Images without a picture, since they are not at their place any more.
    """

    path: Path
    layer: str
    rows: int
    dimensions: int
    columns: tuple[str, ...]
    bad: int
    gone: int


def export_table(
    features: str | bytes | os.PathLike[str] | FeatureFile,
    out: str | os.PathLike[str],
    *,
    layer: str | None = None,
    settings: TableSettings | None = None,
    overwrite: bool = False,
    **named: Any,
) -> ExportedTable:
    """Write a layer as a Parquet table, a line a row, as Embedding Atlas and FiftyOne take it.

    The columns are ``row`` (in the feature file), ``path``, ``label`` (null where there is none),
    ``class``, ``status``, ``message``, ``split`` and ``group`` where the file has them, ``x`` and
    ``y`` of the map, ``neighbours`` (``ids``, which count the lines of the table from 0, and
    ``distances``, one minus the cosine), ``image`` (``bytes`` of a JPEG and ``path``) and
    ``vector``. What the row of a bad image has not is null. Memory stays bounded.

    Parameters
    ----------
    features : path or FeatureFile
    out : path
        Ends in ``.parquet``.
    layer : str, optional
        By default the last that the file holds; maps are flattened.
    settings : TableSettings, optional
        What the table has; or its fields by their names.
    overwrite : bool
        Replace `out`, if it is such a table.
    **named
        Fields of `settings` by their names: ``map=True, thumbnails=96``.

    Returns
    -------
    ExportedTable

    Raises
    ------
    SettingError
        For a layer or settings that cannot be used, or where pyarrow is not installed.
    InputError
        If an image has changed since its features were computed, with `thumbnails`.
    OutputError
        Where the table is there already, or cannot be written.
    """
    (how,) = settings_from(export_table, named, Part("settings", TableSettings, settings))
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise SettingError(f"{os.fspath(out)}: {_NEED_PARQUET}") from None
    with opened_features(features) as file:
        target = _checked(out, "parquet", file, overwrite)
        table = _Table(file, chosen_layer(file, layer), how)
        with (
            disk_errors(target, "nothing was written"),
            whole_file(target) as stream,
            parquet.ParquetWriter(stream, table.schema) as writer,
        ):
            for batch in table.batches():
                writer.write_batch(batch)
        return ExportedTable(
            target,
            table.layer,
            len(table.rows),
            table.dimensions,
            tuple(table.schema.names),
            int((~file.ok).sum()),
            table.gone,
        )


def export_index(
    features: str | bytes | os.PathLike[str] | FeatureFile,
    out: str | os.PathLike[str],
    *,
    layer: str | None = None,
    overwrite: bool = False,
) -> ExportedTable:
    """Write a layer as a FAISS index, whose ids are the rows of the feature file.

    It is a flat index of inner products over rows of length 1, so that a query of length 1 has its
    cosines as an answer (``faiss.read_index(out).search(query, 9)``). Rows of bad images are not
    in it. The index is made in memory, four bytes a value.

    Parameters
    ----------
    features : path or FeatureFile
    out : path
        Ends in ``.faiss``.
    layer : str, optional
        By default the last that the file holds; maps are flattened.
    overwrite : bool
        Replace `out`, if it is an index.

    Returns
    -------
    ExportedTable

    Raises
    ------
    SettingError
        For a layer that the file has not, or where faiss is not installed.
    OutputError
        Where the index is there already, or cannot be written.
    """
    try:
        import faiss
    except ImportError:
        raise SettingError(f"{os.fspath(out)}: {_NEED_FAISS}") from None
    with opened_features(features) as file:
        target = _checked(out, "faiss", file, overwrite)
        rows = NearestRows(file, layer, max_bytes=0)
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.dimensions))
        for place, units in rows.unit_blocks():
            index.add_with_ids(units, rows.rows[place : place + len(units)])
        with disk_errors(target, "nothing was written"), whole_file(target) as stream:
            # Through the stream, whose errors tell of a full disk; those of FAISS do not.
            library: Any = faiss  # whose types leave the writer out
            faiss.write_index(index, library.PyCallbackIOWriter(stream.write))
        bad = len(file) - len(rows)
        return ExportedTable(target, rows.layer, len(rows), rows.dimensions, (), bad, 0)


def _checked(out: str | os.PathLike[str], kind: str, file: FeatureFile, overwrite: bool) -> Path:
    target = Path(out)
    example = f"features.{kind}"
    check_output(target, kind, inputs=(file.path,), example=example, overwrite=overwrite)
    if target.suffix.lower() != f".{kind}":
        raise SettingError(f"{target}: must end in .{kind}")
    return target


class _Table:
    """The columns of a layer, a block of lines at a time."""

    def __init__(self, file: FeatureFile, layer: str, how: TableSettings) -> None:
        import pyarrow as arrow

        self.file, self.layer, self._how = file, layer, how
        self.rows = np.flatnonzero(file.ok) if how.ok_only else np.arange(len(file))
        self.dimensions = int(np.prod(file[layer].shape[1:]))
        self.gone = 0
        self._xy, self._nearest, self._cosines = self._placed()
        fields = {
            "row": arrow.int64(),
            "path": arrow.string(),
            "label": arrow.int64(),
            "class": arrow.string(),
            "status": arrow.string(),
            "message": arrow.string(),
        }
        self._texts = {"split": file.splits, "group": file.groups}
        fields |= {name: arrow.string() for name, t in self._texts.items() if t is not None}
        if how.map:
            fields |= {"x": arrow.float32(), "y": arrow.float32()}
        if how.neighbours:
            fields["neighbours"] = arrow.struct(
                {"ids": arrow.list_(arrow.int64()), "distances": arrow.list_(arrow.float32())}
            )
        if how.thumbnails is not None:
            fields["image"] = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
        fields["vector"] = arrow.list_(arrow.float32())
        run = {b"decaf_layer": layer.encode(), b"decaf_fingerprint": file.fingerprint.encode()}
        self.schema = arrow.schema(list(fields.items()), metadata=run)

    def batches(self) -> Iterator[Any]:
        """Yield the lines of the table."""
        import pyarrow as arrow

        for start in range(0, len(self.rows), _BLOCK_ROWS):
            rows = self.rows[start : start + _BLOCK_ROWS]
            columns = self._columns(rows)
            arrays = [arrow.array(columns[field.name], field.type) for field in self.schema]
            yield arrow.record_batch(arrays, schema=self.schema)

    def _columns(self, rows: npt.NDArray[np.int64]) -> dict[str, list[Any]]:
        file, ok = self.file, self.file.ok[rows]
        values = file[self.layer][rows].reshape(len(rows), -1).astype(np.float32)
        labels = file.labels[rows].tolist()
        columns: dict[str, list[Any]] = {
            "row": rows.tolist(),
            "path": [path_text(file.path_bytes[row]) for row in rows],
            "label": [None if label == NO_LABEL else label for label in labels],
            "class": [class_of(file, int(row)) or None for row in rows],
            "status": [file.status_names[file.status[row]] for row in rows],
            "message": [str(file.messages[row]) for row in rows],
            "vector": [value if good else None for value, good in zip(values, ok, strict=True)],
        }
        for name, texts in self._texts.items():
            columns[name] = [] if texts is None else [texts[row] or None for row in rows]
        if self._xy is not None:
            places = self._xy[rows]
            for axis, name in enumerate("xy"):
                columns[name] = [None if np.isnan(v) else float(v) for v in places[:, axis]]
        if self._how.neighbours:
            columns["neighbours"] = [self._neighbours(int(row)) for row in rows]
        if self._how.thumbnails is not None:
            columns["image"] = self._pictures(rows)
        return columns

    def _neighbours(self, row: int) -> dict[str, list[Any]] | None:
        if not self.file.ok[row]:
            return None
        found = self._nearest[row] >= 0
        lines = np.searchsorted(self.rows, self._nearest[row][found])
        distances = 1 - self._cosines[row][found]
        return {"ids": lines.tolist(), "distances": distances.tolist()}

    def _pictures(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any] | None]:
        height = self._how.thumbnails or 0
        made = thumbnails(self.file, rows.tolist(), height=height, instead=_NO_PICTURES)
        self.gone += sum(
            uri is None and bool(good)
            for uri, good in zip(made.uris, self.file.ok[rows], strict=True)
        )
        return [
            None
            if uri is None
            else {
                "bytes": base64.b64decode(uri.partition(",")[2]),
                "path": path_text(self.file.path_bytes[row]),
            }
            for uri, row in zip(made.uris, rows, strict=True)
        ]

    def _placed(self) -> tuple[Any, Any, Any]:
        """Return the places on the map, if there is one, and the nearest rows of every row."""
        count, k = len(self.file), self._how.neighbours
        good = np.flatnonzero(self.file.ok)
        xy = None
        nearest = np.full((count, k), -1, np.int64)
        cosines = np.full((count, k), np.nan, np.float32)
        if self._how.map:
            xy = np.full((count, 2), np.nan, np.float32)
        if xy is not None and len(good):
            from decaf.exploration.maps import make_map

            xy[good] = make_map(self.file, self.layer, rows=good).xy
        if k and len(good):
            nearest[good], cosines[good] = NearestRows(self.file, self.layer).of_rows(k=k)
        return xy, nearest, cosines

r"""A part of a part set in Parquet: the columns of a feature file, as other tools read them.

====================  ==========================  =================================================
column                type                        content
====================  ==========================  =================================================
``key``               string                      the sample that the image is of
``path``              string                      name of the image; bytes that are no UTF-8: \xNN
``status``            string                      "ok", or what is wrong with the image
``message``           string                      what was wrong, empty where ok
``width, height``     int32                       as displayed, -1 where unknown
``sha256``            fixed_size_binary(32)       of the image's bytes, zeros where unknown
``label``             int64                       class index, -1 where there is none
``txt, json``         string                      what came with the sample, empty where nothing did
``<layer>``           fixed_size_list of float,   the layer in C order; NaN where status is not ok
                      or of halffloat
====================  ==========================  =================================================

The types are the same in every part, whatever its samples hold, so that all parts are one table.
What a feature file has in its attributes stands in the metadata of the schema.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from decaf.errors import FeatureFileError, OutputError, SettingError
from decaf.features.rows import Rows
from decaf.features.store import schema
from decaf.features.store.assemble import FileHead
from decaf.features.store.checksums import ContentDigest, read_attributes, read_content
from decaf.features.store.feature_file import FeatureFile
from decaf.images.listing.folders import read_start
from decaf.images.listing.names import path_text
from decaf.images.status import STATUS_NAMES
from decaf.runtime.names import SYSTEM, name_text
from decaf.storage import changed_settings, fingerprint, temporary_path, whole_file
from decaf.storage.hdf5 import text_array

__all__ = ["ParquetPart", "is_parquet", "load_parquet", "write_parquet_part"]

_MAGIC = b"PAR1"
_TEXT_ATTRS = (*schema.FEATURE_FILE.attributes, "content")
# What stands beside them in the metadata: early versions wrote no checksums of the attributes, and
# the last is of pyarrow.
_OTHERS = ("attributes", "path_system", "shapes", "status_names", "ARROW:schema")
_FLOATS = {"float32": "float", "float16": "halffloat"}
_TEXTS = (schema.KEY, schema.PATH, schema.STATUS, schema.MESSAGE, schema.TXT, schema.JSON)
_MAX_GROUP_BYTES = 4 << 30


def load_parquet() -> Any:
    """Return the module ``pyarrow.parquet``.

    Raises
    ------
    SettingError
        Where it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise SettingError(
            "Parquet is read and written by pyarrow: pip install 'decaf-features[scale]'"
        ) from None
    return pyarrow.parquet


def is_parquet(path: str | bytes | os.PathLike[str]) -> bool:
    """Tell from a file's first bytes whether it is of Parquet.

    Parameters
    ----------
    path : path
    """
    # A pipe would be waited for.
    return os.path.isfile(path) and read_start(os.fsencode(path), len(_MAGIC)) == _MAGIC


def write_parquet_part(
    path: Path, head: FileHead, layers: dict[str, tuple[int, ...]], rows: Iterable[Rows]
) -> None:
    """Write a part from its rows, check it, and only then give it its name.

    Parameters
    ----------
    path, head, layers
        As `decaf.features.store.assemble.write_feature_file` has them.
    rows : iterable of Rows
        All rows, in order; each becomes a group of rows of the file.

    Raises
    ------
    OutputError
        Where the rows are not complete, or cannot be read back.
    """
    parquet = load_parquet()
    import pyarrow

    content = ContentDigest()
    content.texts(schema.CLASS_NAMES, [])
    content.texts(schema.STATUS_NAMES_DATASET, [name.encode() for name in STATUS_NAMES])
    table = _table_schema(pyarrow, head, layers)
    with whole_file(path, wait=True) as stream:
        sink = pyarrow.PythonFile(stream, "w")
        with parquet.ParquetWriter(
            sink,
            table,
            compression="zstd",
            compression_level=1,
            use_dictionary=[schema.STATUS],
            write_statistics=[schema.KEY, schema.LABEL, schema.STATUS],
            write_page_checksum=True,
        ) as writer:
            expected = 0
            for block in rows:
                if block.start != expected:
                    raise OutputError(f"{path}: rows {expected} to {block.start - 1} are missing")
                columns = _columns(head, layers, block)
                _count(content, head, layers, block, columns)
                arrays = [_as_arrow(pyarrow, field.type, columns[field.name]) for field in table]
                writer.write_batch(pyarrow.record_batch(arrays, schema=table))
                expected = block.stop
            if expected != len(head.names):
                raise OutputError(f"{path}: rows {expected} to {len(head.names) - 1} are missing")
            writer.add_key_value_metadata({"content": json.dumps(content.hexdigests())})
        stream.flush()
        _check(temporary_path(path))


def _table_schema(pyarrow: Any, head: FileHead, layers: dict[str, tuple[int, ...]]) -> Any:
    text, number = pyarrow.string(), pyarrow.int32()
    kinds = dict.fromkeys(_TEXTS[:4], text)
    kinds |= {"width": number, "height": number, "sha256": pyarrow.binary(32)}
    kinds |= {schema.LABEL: pyarrow.int64(), schema.TXT: text, schema.JSON: text}
    value = pyarrow.float16() if head.run["dtype"] == "float16" else pyarrow.float32()
    fields = [pyarrow.field(name, kind, nullable=False) for name, kind in kinds.items()]
    fields += [
        pyarrow.field(layer, pyarrow.list_(value, math.prod(shape)), nullable=False)
        for layer, shape in layers.items()
    ]
    described = {
        "format": schema.FORMAT,
        "schema": str(schema.SCHEMA),
        "decaf_version": head.decaf_version,
        "created": head.created,
        "run": json.dumps(head.run),
        "environment": json.dumps(head.environment),
        "fingerprint": fingerprint(head.run),
        "attributes": json.dumps(head.attribute_digests(layers)),
        "path_system": SYSTEM,
        "shapes": json.dumps({layer: list(shape) for layer, shape in layers.items()}),
        "status_names": json.dumps(STATUS_NAMES),
    }
    return pyarrow.schema(fields, metadata=described)


def _columns(head: FileHead, layers: dict[str, tuple[int, ...]], block: Rows) -> dict[str, Any]:
    """Return the columns of some rows: lists of bytes for texts, arrays for numbers."""
    place = slice(block.start, block.stop)
    columns: dict[str, Any] = {
        schema.PATH: [path_text(name).encode() for name in head.names[place]],
        schema.STATUS: [STATUS_NAMES[code].encode() for code in block.status],
        schema.MESSAGE: text_array(block.messages, schema.MESSAGE_BYTES).tolist(),
        schema.LABEL: np.asarray(head.labels[place], np.int64),
        "width": block.source_size[:, 0],
        "height": block.source_size[:, 1],
        "sha256": [digest.tobytes() for digest in block.content_sha256],
    }
    for name in (schema.KEY, schema.TXT, schema.JSON):
        columns[name] = text_array(head.samples[name][place]).tolist()
    for layer in layers:
        columns[layer] = np.asarray(block.features[layer], np.dtype(head.run["dtype"]))
    return columns


def _count(
    content: ContentDigest,
    head: FileHead,
    layers: dict[str, tuple[int, ...]],
    block: Rows,
    columns: dict[str, Any],
) -> None:
    """Count the rows in the checksums, which are those of a feature file of the same rows."""
    for name in (schema.PATH, schema.MESSAGE, schema.KEY, schema.TXT, schema.JSON):
        content.texts(name, columns[name])
    content.numbers(schema.LABEL, columns[schema.LABEL])
    content.numbers(schema.STATUS, block.status)
    content.numbers(schema.SOURCE_SIZE, block.source_size)
    content.numbers(schema.CONTENT_SHA256, block.content_sha256)
    for layer in layers:
        content.numbers(f"{schema.FEATURES}/{layer}", columns[layer])


def _as_arrow(pyarrow: Any, kind: Any, values: Any) -> Any:
    if pyarrow.types.is_fixed_size_list(kind):
        flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, type=kind)
    if pyarrow.types.is_string(kind):
        return pyarrow.array([value.decode() for value in values], kind)
    return pyarrow.array(values, kind)


def _check(temporary: Path) -> None:
    """Read the whole file back, and compare every column with what was to be written."""
    try:
        with ParquetPart(temporary) as file:
            changed = read_content(file) != file.content
            changed |= read_attributes(file) != file.attribute_digests
    except FeatureFileError as error:
        raise OutputError(
            f"{temporary}: cannot be read back as it was written ({error})"
        ) from error
    if changed:
        raise OutputError(f"{temporary}: is not what was written to it")


class ParquetPart(FeatureFile):
    """A part in Parquet, read as a feature file is; see `FeatureFile`.

    Parameters
    ----------
    path : str, bytes or path-like
    stream : binary stream, optional
        The open file, of which the columns asked for are read; where there is none it is opened.
    """

    def __init__(self, path: str | bytes | os.PathLike[str], stream: Any = None) -> None:
        self.path = name_text(path)
        self._columns: dict[str, np.ndarray] = {}
        self._file: Any = None
        self._stream = stream
        self._file = self._open()
        try:
            with self._reading("its metadata"):
                self._describe()
        except BaseException:
            self.close()
            raise

    def _open(self) -> Any:
        parquet = load_parquet()
        with self._reading("it"):
            source = self.path if self._stream is None else self._stream
            return parquet.ParquetFile(source, page_checksum_verification=True)

    def close(self) -> None:
        """Close the file; layers cannot be read any more."""
        super().close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _reading(self, what: str) -> _Reading:
        return _Reading(f"{self.path}: {what} cannot be read")

    def _describe(self) -> None:
        """Read and check what the file says of itself."""
        metadata = self._file.metadata
        texts = {k.decode(): v.decode() for k, v in (metadata.metadata or {}).items()}
        if texts.get("format") != schema.FORMAT:
            raise FeatureFileError(f"{self.path}: is no part of a part set, nor a feature file")
        if texts["schema"] != str(schema.SCHEMA):
            raise FeatureFileError(
                f"{self.path}: was written in schema {texts['schema']:.20}, this version reads "
                f"{schema.SCHEMA}"
            )
        self.attrs = {name: texts[name] for name in _TEXT_ATTRS} | {"schema": schema.SCHEMA}
        if "path_system" in texts:
            self.attrs["path_system"] = texts["path_system"]
        self.run = json.loads(texts["run"])
        self.environment = json.loads(texts["environment"])
        self.content = json.loads(texts["content"])
        stored = texts.get("attributes")  # early versions wrote none
        self.attribute_digests = None if stored is None else json.loads(stored)
        if told := changed_settings(self.run, texts["fingerprint"], self.attribute_digests):
            raise FeatureFileError(f"{self.path}: {told}")
        self.layers = tuple(self.run["layers"])
        shapes = json.loads(texts["shapes"])
        self._shapes = {layer: tuple(map(int, shapes[layer])) for layer in self.layers}
        self._status_names = [str(name) for name in json.loads(texts["status_names"])]
        self._dtype = np.dtype(self.run["dtype"])
        self._rows = metadata.num_rows
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        if any(group.total_byte_size > _MAX_GROUP_BYTES for group in groups):
            raise FeatureFileError(f"{self.path}: a group of rows takes over {_MAX_GROUP_BYTES} B")
        self._stops = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
        kinds = {field.name: str(field.type) for field in self._file.schema_arrow}
        value = _FLOATS[self._dtype.name]
        for layer, shape in self._shapes.items():
            kind = kinds.get(layer, "nothing")
            if not (kind.startswith("fixed_size_list") and value in kind) or not kind.endswith(
                f"[{math.prod(shape)}]"
            ):
                raise FeatureFileError(
                    f"{self.path}: {layer} is {kind}, {math.prod(shape)} of {value} expected"
                )

    def foreign_attributes(self) -> list[str]:
        """Name what stands in the metadata and is not of decaf."""
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the file has been closed")
        known = {*_TEXT_ATTRS, *_OTHERS}
        return [k.decode() for k in self._file.metadata.metadata if k.decode() not in known]

    def _has(self, name: str) -> bool:
        return name in (schema.KEY, schema.TXT, schema.JSON)

    def _dataset(self, name: str) -> Any:
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the file has been closed")
        layer = name.removeprefix(f"{schema.FEATURES}/")
        if name == schema.CLASS_NAMES:
            return _Column(self, name, (0,), np.dtype(object), lambda *_: np.empty(0, object))
        if name == schema.STATUS_NAMES_DATASET:
            names = np.array(self._status_names, object)
            return _Column(self, name, names.shape, names.dtype, lambda i, j: names[i:j])
        if layer != name:
            shape = self._shapes[layer]
            return _Column(
                self,
                name,
                (self._rows, *shape),
                self._dtype,
                lambda i, j: self._numbers(layer, i, j).reshape(-1, *shape),
            )
        if name in schema.COLUMNS:
            dtype, row_shape = schema.COLUMNS[name]
            return _Column(
                self,
                name,
                (self._rows, *row_shape),
                np.dtype(dtype),
                lambda i, j: self._special(name, i, j),
            )
        return _Column(
            self,
            name,
            (self._rows,),
            np.dtype(object),
            lambda i, j: _objects([text.encode() for text in self._values(name, i, j)]),
        )

    def _special(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read a column that Parquet has in another form than a feature file."""
        if name == schema.STATUS:
            codes = {status: code for code, status in enumerate(self._status_names)}
            values = self._values(name, start, stop)
            return np.array([codes.get(value, 255) for value in values], np.uint8)
        if name == schema.SOURCE_SIZE:
            both = [self._numbers(side, start, stop) for side in ("width", "height")]
            return np.stack(both, axis=1)
        if name == schema.CONTENT_SHA256:
            digests = self._values("sha256", start, stop)
            return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        return self._numbers(name, start, stop)

    def _numbers(self, name: str, start: int, stop: int) -> np.ndarray:
        column = self._read(name, start, stop)
        if name in self._shapes:
            column = column.combine_chunks().flatten()
        values: np.ndarray = column.to_numpy(zero_copy_only=False)
        return values

    def _values(self, name: str, start: int, stop: int) -> list[Any]:
        values: list[Any] = self._read(name, start, stop).to_pylist()
        return values

    def _read(self, name: str, start: int, stop: int) -> Any:
        """Read rows of a column: the groups that hold them, and of these what is asked for."""
        if self._file is None:
            raise FeatureFileError(f"{self.path}: the file has been closed")
        first = int(np.searchsorted(self._stops, start, side="right"))
        last = int(np.searchsorted(self._stops, max(start, stop - 1), side="right"))
        groups = list(range(first, min(last + 1, len(self._stops)))) if stop > start else []
        begin = int(self._stops[first - 1]) if first else 0
        with self._reading(f"{name}, rows {start} to {stop - 1},"):
            table = self._file.read_row_groups(groups, columns=[name], use_threads=False)
            return table.column(name).slice(start - begin, stop - start)


class _Reading:
    """What pyarrow raises on damage, told as an error of the file."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, *_: object) -> None:
        import pyarrow

        usual = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
        wrong = (*usual, pyarrow.ArrowException)  # some of which are none of these
        if isinstance(error, wrong) and not isinstance(error, FeatureFileError):
            if isinstance(error, FileNotFoundError):
                raise FeatureFileError(f"{self._problem}: there is no such file") from error
            reason = " ".join(f"{error}".split())[:200]
            raise FeatureFileError(f"{self._problem}: the data is damaged ({reason})") from error


class _Column:
    """A column as `decaf.features.store.layer_view` reads a dataset of HDF5."""

    def __init__(
        self,
        part: ParquetPart,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[int, int], np.ndarray],
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self.chunks = (max(1, int(part._stops[0])) if len(part._stops) else 1,)
        self.file = SimpleNamespace(filename=part.path)
        self._read = read

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        return self._read(start, max(start, stop))


def _objects(values: list[bytes]) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column

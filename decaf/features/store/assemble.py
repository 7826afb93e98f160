"""The last step of an extraction: the shards become one feature file, complete or not there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from decaf.errors import FeatureFileError, OutputError
from decaf.features.rows import Rows
from decaf.features.store import schema
from decaf.features.store.checksums import (
    ContentDigest,
    attribute_digests,
    read_attributes,
    read_content,
)
from decaf.features.store.feature_file import FeatureFile
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.status import STATUS_NAMES
from decaf.runtime.names import SYSTEM
from decaf.storage import fingerprint, temporary_path, whole_file
from decaf.storage.hdf5 import hdf5_output, text_array, write_text_attribute

__all__ = ["FileHead", "write_feature_file"]

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class FileHead:
    """All of a feature file that is known before its rows.

    Attributes
    ----------
    names : sequence of bytes
        Name of each image.
    labels : ndarray of int64, shape (N,)
    class_names : sequence of str
    run : dict
        Settings that determine a row; their hash becomes the fingerprint.
    environment : dict
        Settings that do not.
    decaf_version, created : str
        `created` in ISO 8601.
    splits, groups : sequence of str, or None
        Splits and groups of each image; see `decaf.images.listing.image_list.ImageList`.
    crops : sequence of BoxCrop or None, or None
        The part of an image that each is, likewise.
    samples : mapping of str to sequence of str
        Of a part: the columns `schema.KEY`, `schema.TXT` and `schema.JSON`.
    """

    names: Sequence[bytes]
    labels: np.ndarray
    class_names: Sequence[str]
    run: dict[str, Any]
    environment: dict[str, Any]
    decaf_version: str
    created: str
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    crops: Sequence[BoxCrop | None] | None = None
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def attribute_digests(self, layers: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """Return the checksums of what is known before the rows and stands in attributes.

        Parameters
        ----------
        layers : mapping of str to tuple of int
            Shape of a row of each layer.
        """
        return attribute_digests(
            self.run, self.environment, self.decaf_version, self.created, layers
        )

    @property
    def optional(self) -> dict[str, np.ndarray]:
        """The columns of text that not every file has, by the name of the dataset."""
        crops = annotations = None
        if self.crops is not None:
            crops = ["" if crop is None else crop.text for crop in self.crops]
            annotations = ["" if crop is None else crop.annotation for crop in self.crops]
        columns = {
            schema.SPLIT: self.splits,
            schema.GROUP: self.groups,
            schema.CROP: crops,
            schema.ANNOTATION: annotations,
            **self.samples,
        }
        return {name: text_array(texts) for name, texts in columns.items() if texts is not None}


def write_feature_file(
    path: Path,
    head: FileHead,
    layers: dict[str, tuple[int, ...]],
    rows: Iterable[Rows],
    *,
    wait: bool = False,
) -> None:
    """Write a feature file from its rows, check it, and only then give it its name.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    head : FileHead
        Everything but the rows.
    layers : dict of str to tuple of int
        Shape of a row of each layer, in the order of the run.
    rows : iterable of Rows
        All rows, in order.
    wait : bool
        Where another run is writing a file of this name, wait for it.

    Raises
    ------
    OutputError
        Where the rows are not complete.
    OSError
        Where the disk fails; nothing is left under `path` then.
    """
    with whole_file(path, wait=wait) as stream:
        written = _write(stream, path, head, layers, rows)
        _check(temporary_path(path), written)


def _write(
    stream: IO[bytes],
    path: Path,
    head: FileHead,
    layers: dict[str, tuple[int, ...]],
    rows: Iterable[Rows],
) -> dict[str, str]:
    """Write all of it; return the checksum of each column as it was meant to be."""
    content = ContentDigest()
    count = len(head.names)
    with hdf5_output(stream) as output:
        file = output.file
        _write_head(file, head, content)
        features = file.create_group(schema.FEATURES)
        for layer, shape in layers.items():
            features.create_dataset(
                layer,
                shape=(count, *shape),
                dtype=np.dtype(head.run["dtype"]),
                chunks=(_chunk_rows(count, shape, head), *shape),
                fletcher32=True,
            )
        columns = {
            name: file.create_dataset(
                name,
                shape=(count, *row_shape),
                dtype=np.dtype(dtype),
                chunks=(min(count, 4096), *row_shape),
                fletcher32=True,
            )
            for name, (dtype, row_shape) in {
                **schema.COLUMNS,
                **({} if head.crops is None else schema.OF_CROPS),
            }.items()
        }
        labels = np.asarray(head.labels, np.int64)
        columns[schema.LABEL][...] = labels
        content.numbers(schema.LABEL, labels)
        messages = file.create_dataset(
            schema.MESSAGE,
            shape=(count,),
            dtype=text_array([], schema.MESSAGE_BYTES).dtype,
            chunks=(min(count, 4096),),
            compression="gzip",
            shuffle=True,
            fletcher32=True,
        )
        expected = 0
        for block in rows:
            output.check()
            if block.start != expected:
                raise OutputError(f"{path}: rows {expected} to {block.start - 1} are missing")
            place = slice(block.start, block.stop)
            for layer in layers:
                values = np.asarray(block.features[layer], features[layer].dtype)
                features[layer][place] = values
                content.numbers(f"{schema.FEATURES}/{layer}", values)
            written = {
                schema.STATUS: block.status,
                schema.SOURCE_SIZE: block.source_size,
                schema.CONTENT_SHA256: block.content_sha256,
            }
            if head.crops is not None:
                written |= _numbers_of(head.crops[place], block.source_size)
            for name, numbers in written.items():
                columns[name][place] = numbers
                content.numbers(name, np.asarray(numbers, columns[name].dtype))
            texts = text_array(block.messages, schema.MESSAGE_BYTES)
            messages[place] = texts
            content.texts(schema.MESSAGE, texts.tolist())
            expected = block.stop
        if expected != count:
            raise OutputError(f"{path}: rows {expected} to {count - 1} are missing")
        digests = content.hexdigests()
        write_text_attribute(file, "content", json.dumps(digests))
        write_text_attribute(file, "attributes", json.dumps(head.attribute_digests(layers)))
    return digests


def _numbers_of(crops: Sequence[BoxCrop | None], sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of numbers of parts of images, NaN for what is none."""
    boxes, confidences = np.full((len(crops), 4), np.nan), np.full(len(crops), np.nan)
    for place, crop in enumerate(crops):
        if crop is not None:
            boxes[place] = crop.in_pixels(*sizes[place].tolist())
            confidences[place] = np.nan if crop.confidence is None else crop.confidence
    return {schema.BOX: boxes, schema.CONFIDENCE: confidences}


def _chunk_rows(count: int, shape: tuple[int, ...], head: FileHead) -> int:
    row_bytes = int(np.prod(shape)) * np.dtype(head.run["dtype"]).itemsize
    return int(max(1, min(count, CHUNK_BYTES // row_bytes)))


def _write_head(file: h5py.File, head: FileHead, content: ContentDigest) -> None:
    file.attrs["schema"] = schema.SCHEMA
    for name, text in {
        "format": schema.FORMAT,
        "decaf_version": head.decaf_version,
        "created": head.created,
        "run": json.dumps(head.run),
        "environment": json.dumps(head.environment),
        "fingerprint": fingerprint(head.run),
        "path_system": SYSTEM,
    }.items():
        write_text_attribute(file, name, text)
    longest = max([1, *(len(name) for name in head.names)])
    _write_texts(file, schema.PATH, head.names, np.dtype(f"S{longest}"))
    content.texts(schema.PATH, head.names)
    for name, column in head.optional.items():
        _write_texts(file, name, column.tolist(), column.dtype)
        content.texts(name, column.tolist())
    for name, texts in (
        (schema.CLASS_NAMES, head.class_names),
        (schema.STATUS_NAMES_DATASET, STATUS_NAMES),
    ):
        # A dataset without rows cannot be cut into chunks, nor has it anything to check.
        stored = {"chunks": True, "fletcher32": True} if len(texts) else {}
        written = text_array(texts)
        file.create_dataset(name, data=written, **stored)
        content.texts(name, written.tolist())


def _write_texts(file: h5py.File, name: str, texts: Sequence[bytes], dtype: np.dtype[Any]) -> None:
    """Write a column of texts that are padded to the longest, by blocks."""
    count, width = len(texts), dtype.itemsize
    column = file.create_dataset(
        name,
        shape=(count,),
        dtype=dtype,
        chunks=(max(1, min(count, CHUNK_BYTES // width)),),
        compression="gzip",
        shuffle=True,
        fletcher32=True,
    )
    step = max(1, 16 * CHUNK_BYTES // width)
    for start in range(0, count, step):
        block = texts[start : start + step]
        column[start : start + len(block)] = np.array(block, dtype=dtype)


def _check(temporary: Path, written: dict[str, str]) -> None:
    """Read the whole file back, and compare every column with what was to be written."""
    try:
        with FeatureFile(temporary) as file:
            read, stored = read_content(file), file.content
            intact = read_attributes(file) == file.attribute_digests
    except FeatureFileError as error:
        raise OutputError(
            f"{temporary}: cannot be read back as it was written ({error}); finished rows are "
            "kept: run the same command again"
        ) from error
    if stored != written or not intact:
        raise OutputError(f"{temporary}: its checksums are not those that were written")
    for name, digest in written.items():
        if read.get(name) != digest:
            raise OutputError(
                f"{temporary}: {name} is not what was written to it; finished rows are kept: run "
                "the same command again"
            )

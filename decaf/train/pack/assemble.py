"""The last step of packing: the shards become one file, complete or not there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from decaf.errors import OutputError, PackError
from decaf.images import ImageList
from decaf.images.status import STATUS_NAMES
from decaf.runtime.disk import need_room
from decaf.runtime.wording import counted
from decaf.storage import ShardDirectory, temporary_path, whole_file
from decaf.storage.hdf5 import HDF5Output, hdf5_output, text_array, write_text_attribute
from decaf.train.pack import schema
from decaf.train.pack.reader import Pack
from decaf.train.pack.schema import TableDigests
from decaf.train.pack.statistics import PixelSums, Statistics
from decaf.train.pack.stored_images import PackRows

__all__ = ["PackHead", "write_pack"]

# What the tables of a file take at most: a few numbers and checksums a row, and its name.
HEAD_BYTES = 1 << 20
ROW_BYTES = 128
MESSAGE_BYTES = 512
BAD_BYTES = 2 * MESSAGE_BYTES


@dataclass(frozen=True)
class PackHead:
    """All of a pack that is known before its images.

    Attributes
    ----------
    images : ImageList
    run, environment : dict
        Settings that determine the images beside these, and facts that do not.
    decaf_version, created : str
        `created` in ISO 8601.
    """

    images: ImageList
    run: dict[str, Any]
    environment: dict[str, Any]
    decaf_version: str
    created: str


def write_pack(
    path: Path, head: PackHead, shards: ShardDirectory[PackRows], between: Callable[[], object]
) -> None:
    """Write a pack from its shards, check it, and only then give it its name.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    head : PackHead
    shards : ShardDirectory
        With all shards, and a good image of each split and of each class of train.
    between : callable
        Called again and again meanwhile; what it raises ends this, and leaves nothing.

    Raises
    ------
    OutputError
        Where there is no room for it, or a shard has changed.
    OSError
        Where the disk fails; nothing is left under `path` then.
    """
    index = _Index(head, shards)
    longest = max(len(name) for name in head.images.names)
    count = len(head.images)
    size = index.data_bytes + 16 * head.run["size"] ** 2 + HEAD_BYTES
    size += count * (ROW_BYTES + longest) + int((index.status != 0).sum()) * BAD_BYTES
    kept = f"all {counted(count, 'image', 'are')} kept in {shards.path}"
    need_room(path, size, "the pack takes", f"or give a smaller `size`, and run again: {kept}")
    with whole_file(path) as stream:
        content = _write(stream, path, head, index, shards, between)
        _check(temporary_path(path), content, between)


def _write(
    stream: IO[bytes],
    path: Path,
    head: PackHead,
    index: _Index,
    shards: ShardDirectory[PackRows],
    between: Callable[[], object],
) -> dict[str, Any]:
    """Write all of it; return its counts and checksums as they were meant to be."""
    with hdf5_output(stream) as output:
        tables = TableDigests()
        writers = _begin_splits(output.file, head, index, tables)
        statistics = _write_images(output, index, shards, between, writers)
        for name, (dtype, _axes) in schema.STATISTICS.items():
            _table(output.file, name, getattr(statistics, name).astype(dtype), tables)
        _write_bad(output.file.create_group(schema.BAD), head.images, index, tables)
        for split, writer in writers.items():
            rows = index.good(split)
            writer.finish(path, int(index.length[rows].sum()))
            kept = 0 if head.run["encoding"] == "raw" else int(index.kept[rows].sum())
            tables.count(split, images=len(rows), size=writer.bytes, kept=kept)
        content = tables.content()
        _write_attributes(output.file, head, content)
    return content


def _check(temporary: Path, content: dict[str, Any], between: Callable[[], object]) -> None:
    """Read the whole pack back, and compare all of it with what was to be written."""
    try:
        with Pack.open(temporary) as pack:
            pack.verify(between)
            content_read = pack.content
    except PackError as error:
        raise OutputError(
            f"{temporary}: cannot be read back as it was written ({error}); finished images are "
            "kept: run the same command again"
        ) from error
    if content_read != content:
        raise OutputError(f"{temporary}: its checksums are not those that were written")


class _Index:
    """The shards' rows without their images: a few bytes each."""

    def __init__(self, head: PackHead, shards: ShardDirectory[PackRows]) -> None:
        count = len(head.images)
        self.status = np.empty(count, np.uint8)
        self.length = np.empty(count, np.int64)
        self.kept = np.empty(count, np.uint8)
        self.content_sha256 = np.empty((count, 32), np.uint8)
        self.messages: dict[int, str] = {}  # of the bad images
        columns = ["status", "length", "kept", "content_sha256"]
        for shard in shards.finished.values():
            rows = shards.peek(shard, [*columns, "messages"])
            for name in columns:
                getattr(self, name)[shard.start : shard.stop] = rows[name]
            messages = json.loads(rows["messages"].tobytes())
            for place in np.flatnonzero(rows["status"]).tolist():
                self.messages[shard.start + place] = messages[place]
        self.data_bytes = int(self.length.sum())
        self.rows: dict[str, slice] = {}
        start = 0
        for split, images in head.images.split_counts.items():
            self.rows[split] = slice(start, start + images)
            start += images

    def good(self, split: str) -> np.ndarray:
        """Return the rows of a split's good images."""
        rows = self.rows[split]
        good: np.ndarray = np.flatnonzero(self.status[rows] == 0) + rows.start
        return good


def _begin_splits(
    file: h5py.File, head: PackHead, index: _Index, tables: TableDigests
) -> dict[str, _SplitWriter]:
    """Write all tables but those that come with the images, and make room for these."""
    listed = head.images
    _table(file, "wnid", text_array(listed.class_names), tables)
    _table(file, "class_name", text_array(listed.class_titles), tables)
    raw, size = head.run["encoding"] == "raw", head.run["size"]
    writers = {}
    for split in index.rows:
        rows = index.good(split)
        length = index.length[rows]
        group = file.create_group(split)
        _names(group, [listed.names[row] for row in rows], tables)
        _table(group, "label", listed.labels[rows], tables)
        shape: tuple[int, ...] = (len(rows), size, size, 3)
        if not raw:
            offset = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
            _table(group, "offset", offset, tables)
            _table(group, "kept", index.kept[rows], tables)
            shape = (int(length.sum()),)
        _table(group, "content_sha256", index.content_sha256[rows], tables)
        _contiguous(group, "data", shape)
        writers[split] = _SplitWriter(group, tables)
    return writers


def _contiguous(group: h5py.Group, name: str, shape: tuple[int, ...]) -> None:
    """Make a dataset in one piece, which has its place in the file at once."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.STD_U8LE, space, dcpl=layout)


def _write_images(
    output: HDF5Output,
    index: _Index,
    shards: ShardDirectory[PackRows],
    between: Callable[[], object],
    writers: dict[str, _SplitWriter],
) -> Statistics:
    """Write the images from their shards, which are read once; return what train's have told."""
    sums = PixelSums()
    for rows in shards.all_rows(len(index.status)):
        between()
        output.check()
        sums.merge(rows.sums)
        ends = np.concatenate([[0], np.cumsum(rows.length)])
        for split, of_split in index.rows.items():
            first, last = max(rows.start, of_split.start), min(rows.stop, of_split.stop)
            if first < last:
                start, stop = ends[first - rows.start], ends[last - rows.start]
                writers[split].write(rows.data[start:stop])
    return Statistics.of(sums)


def _write_bad(group: h5py.Group, images: ImageList, index: _Index, tables: TableDigests) -> None:
    """Write down the images that could not be read."""
    bad = np.flatnonzero(index.status)
    rows = bad.tolist()
    splits = [(images.splits or ())[row] for row in rows]
    places = [row - index.rows[split].start for row, split in zip(rows, splits, strict=True)]
    messages = [index.messages[row] for row in rows]
    width = min(max([1, *(len(message.encode()) for message in messages)]), MESSAGE_BYTES)
    _table(group, "row", np.array(places, np.int64), tables)
    _table(group, "split", text_array(splits), tables)
    _names(group, [images.names[row] for row in rows], tables)
    _table(group, "label", images.labels[bad], tables)
    _table(group, "status", text_array([STATUS_NAMES[code] for code in index.status[bad]]), tables)
    _table(group, "message", text_array(messages, width), tables)
    _table(group, "content_sha256", index.content_sha256[bad], tables)


class _SplitWriter:
    """Writes the images of a split one after the other, with their checksums."""

    def __init__(self, group: h5py.Group, tables: TableDigests) -> None:
        self._group = group
        self._tables = tables
        self._data = group["data"]
        self._image_shape = self._data.shape[1:]  # of raw pixels; JPEGs are a single axis of bytes
        self.bytes = 0
        self._block = hashlib.sha256()
        self._in_block = 0
        self._digests: list[bytes] = []

    def write(self, data: np.ndarray) -> None:
        """Append the bytes of whole images."""
        start = self.bytes // math.prod(self._image_shape)
        pixels = data.reshape(-1, *self._image_shape)
        self._data[start : start + len(pixels)] = pixels
        self.bytes += len(data)
        at = 0
        while at < len(data):
            piece = data[at : at + schema.BLOCK_BYTES - self._in_block]
            self._block.update(piece.data)
            self._in_block += len(piece)
            at += len(piece)
            if self._in_block == schema.BLOCK_BYTES:
                self._end_block()

    def _end_block(self) -> None:
        self._digests.append(self._block.digest())
        self._block, self._in_block = hashlib.sha256(), 0

    def finish(self, path: Path, size: int) -> None:
        """Write the checksums of the images, of which there must be so many bytes."""
        if self._in_block:
            self._end_block()
        if self.bytes != size:
            raise OutputError(f"{path}: images of {self._group.name} are lost")
        digests = np.frombuffer(b"".join(self._digests), np.uint8)
        _table(self._group, "data_sha256", digests.reshape(-1, 32), self._tables)


def _write_attributes(file: h5py.File, head: PackHead, content: dict[str, Any]) -> None:
    file.attrs["schema"] = schema.SCHEMA
    for name, text in {
        "format": schema.FORMAT,
        "decaf_version": head.decaf_version,
        "created": head.created,
        "run": json.dumps(head.run),
        "content": json.dumps(content),
        "environment": json.dumps(head.environment),
        "fingerprint": schema.content_fingerprint(head.run, content),
    }.items():
        write_text_attribute(file, name, text)


def _table(group: h5py.Group, name: str, values: np.ndarray, tables: TableDigests) -> None:
    dataset = group.create_dataset(name, data=values, **_chunked(len(values)))
    tables.add(dataset, [values])


def _chunked(rows: int) -> dict[str, Any]:
    # A dataset without rows cannot be cut into chunks, nor has it anything to check.
    return {"chunks": True, "fletcher32": True} if rows else {}


def _names(group: h5py.Group, names: Sequence[bytes], tables: TableDigests) -> None:
    longest = max([1, *(len(name) for name in names)])
    options = {"compression": "gzip", "shuffle": True} if names else {}
    dataset = group.create_dataset(
        "name", (len(names),), f"S{longest}", **options, **_chunked(len(names))
    )
    step = max(1, (4 << 20) // longest)
    blocks = (names[start : start + step] for start in range(0, len(names), step))

    def written() -> Iterator[np.ndarray]:
        start = 0
        for block in blocks:
            values = np.array(block, f"S{longest}")
            dataset[start : start + len(values)] = values
            yield values
            start += len(values)

    tables.add(dataset, written())

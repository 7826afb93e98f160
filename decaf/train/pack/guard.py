"""Opening a training pack that may come from a stranger: checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from decaf.images.spec import MAX_SIDE
from decaf.storage.hdf5_checks import MAX_CLASSES, HDF5Check
from decaf.train.pack import schema

__all__ = ["PackContents", "check_pack"]

_ROOT = {*schema.STATISTICS, "wnid", "class_name", schema.BAD}
_COLUMNS = {"data", "label", "name", "content_sha256", "data_sha256"}


@dataclass(frozen=True)
class PackContents:
    """The attributes and tables of a checked pack.

    Attributes
    ----------
    size : int
        Side of its images.
    encoding : str
        One of `decaf.train.pack.schema.ENCODINGS`.
    resize : str
        One of `decaf.train.pack.schema.RESIZES`.
    splits : dict of str to (int, int)
        For each split, where its data begins in the file, and how many bytes it has.
    attrs : dict
        The root attributes, strings as stored and ``schema`` an int.
    run, content, environment : dict
        The attributes of that name, parsed.
    """

    size: int
    encoding: str
    resize: str
    splits: dict[str, tuple[int, int]]
    attrs: dict[str, str | int]
    run: dict[str, Any]
    content: dict[str, Any]
    environment: dict[str, Any]


def check_pack(file: h5py.File, path: str) -> PackContents:
    """Check that an open file is a training pack of schema 1 and safe to read.

    Parameters
    ----------
    file : h5py.File
        From `decaf.storage.hdf5_checks.open_hdf5`.
    path : str
        Its name in errors.

    Returns
    -------
    PackContents

    Raises
    ------
    PackError
        Names the file, the part of it, what was found and what was expected.
    """
    with schema.PACK_FILE.reading(path):
        check = HDF5Check(file, path, schema.PACK_FILE)
        attrs, parsed = check.attributes()
        run, content = parsed["run"], parsed["content"]
        computed = schema.content_fingerprint(run, content)
        if computed != attrs["fingerprint"]:
            check.refuse(
                f"its fingerprint {attrs['fingerprint']!r} is not that of its settings and "
                f"checksums, {computed!r}"
            )
        size, encoding, resize = run.get("size"), run.get("encoding"), run.get("resize")
        if type(size) is not int or not 1 <= size <= MAX_SIDE:
            check.refuse(f"its settings give the size {size!r}, expected 1 to {MAX_SIDE}")
        if encoding not in schema.ENCODINGS:
            check.refuse(f"its settings give the encoding {encoding!r}, expected jpeg or raw")
        if resize not in schema.RESIZES:
            check.refuse(
                f"its settings give the resize {resize!r}, expected one of "
                f"{', '.join(schema.RESIZES)}"
            )
        if file.userblock_size:
            check.refuse(f"begins with {file.userblock_size} bytes that are not its own")
        names = check.links(file, "the file")
        splits = [split for split in schema.SPLITS if split in names]
        check.only(names, _ROOT | {"train"} | set(splits))
        for name, (dtype, axes) in schema.STATISTICS.items():
            shape = (3, size, size) if name == "mean_image" else (3,) * axes
            check.typed(name, check.dataset(file, name), (dtype,), shape)
        classes = check.strings(file, "wnid", 1, MAX_CLASSES)
        check.strings(file, "class_name", classes, classes)
        _check_bad(check, _group(check, schema.BAD, set(_BAD)))
        contents = {split: _check_split(check, split, size, encoding) for split in splits}
        check.total()
    return PackContents(
        size, encoding, resize, contents, attrs, run, content, parsed["environment"]
    )


_BAD = ("row", "split", "name", "label", "status", "message", "content_sha256")


def _group(check: HDF5Check, name: str, expected: set[str]) -> h5py.Group:
    group = check.group(name)
    check.only(check.links(group, name), expected, f"{name}: ")
    return group


def _check_bad(check: HDF5Check, group: h5py.Group) -> None:
    count = check.names(group, "name")
    for name in ("split", "status", "message"):
        check.strings(group, name, count, count)
    for name in ("row", "label"):
        check.typed(f"bad/{name}", check.dataset(group, name), ("<i8",), (count,))
    digests = check.dataset(group, "content_sha256")
    check.typed("bad/content_sha256", digests, ("|u1",), (count, 32))


def _check_split(check: HDF5Check, split: str, size: int, encoding: str) -> tuple[int, int]:
    columns = _COLUMNS | ({"offset", "kept"} if encoding == "jpeg" else set())
    group = _group(check, split, columns)
    count = check.names(group, "name")
    if not count:
        check.refuse(f"{split} holds no images")
    check.typed(f"{split}/label", check.dataset(group, "label"), ("<i8",), (count,))
    digests = check.dataset(group, "content_sha256")
    check.typed(f"{split}/content_sha256", digests, ("|u1",), (count, 32))
    data = check.dataset(group, "data")
    if encoding == "jpeg":
        check.typed(f"{split}/offset", check.dataset(group, "offset"), ("<i8",), (count + 1,))
        check.typed(f"{split}/kept", check.dataset(group, "kept"), ("|u1",), (count,))
        if len(data.shape) != 1:
            check.refuse(f"{split}/data has shape {data.shape}, expected one axis")
        shape: tuple[int, ...] = data.shape
    else:
        shape = (count, size, size, 3)
    check.typed(f"{split}/data", data, ("|u1",), shape)
    storage = data.id.get_create_plist()
    start = data.id.get_offset()
    length = int(np.prod(shape, dtype=object))
    if storage.get_layout() != h5py.h5d.CONTIGUOUS or start is None:
        check.refuse(f"{split}/data is not stored in one piece")
    if start + length > check.file_bytes:
        check.refuse(f"{split}/data lies outside of the file, which has been cut short")
    blocks = -(-length // schema.BLOCK_BYTES)
    sums = check.dataset(group, "data_sha256")
    check.typed(f"{split}/data_sha256", sums, ("|u1",), (blocks, 32))
    return int(start), length

"""The training pack's schema: names, types and attributes of version 1, their check and checksums.

A pack may come from a stranger: it is checked before anything of it is read.

A pack is HDF5, with a group for each split and what belongs to all of them at the root.

==========================  ===============  ======================================================
dataset                     type             content
==========================  ===============  ======================================================
``<split>/data``            (N, s, s, 3) u1  raw: the pixels, RGB; contiguous
                            (B,) u1          jpeg: the files, one after the other; contiguous
``<split>/offset``          (N + 1,) i8      jpeg: image i is bytes offset[i] to offset[i + 1]
``<split>/kept``            (N,) u1          jpeg: 1 where the file is the source's own, untouched
``<split>/label``           (N,) i8          place of the image's class in ``wnid``
``<split>/name``            (N,) S           path below the data set, bytes, padded with NUL
``<split>/content_sha256``  (N, 32) u1       SHA-256 of the file that the image was made from
``<split>/data_sha256``     (…, 32) u1       SHA-256 of each `BLOCK_BYTES` of ``data``
``wnid``                    (K,) str         identity of the classes: names of folders, sorted
``class_name``              (K,) str         what people call them
``mean``, ``std``           (3,) f8          of all pixels of the split train, in [0, 1], RGB
``mean_image``              (3, s, s) f4     mean of the images of train, in [0, 1]
``pca_values``              (3,) f8          eigenvalues of the covariance of RGB over the pixels of
                                             train, in [0, 1], falling
``pca_vectors``             (3, 3) f8        its eigenvectors, in the columns
``bad/row``                 (M,) i8          place of an image that could not be read, in its split
``bad/split``               (M,) str         and the split
``bad/name``                (M,) S           its name, as above
``bad/label``               (M,) i8          its class
``bad/status``              (M,) str         what became of it, one of decaf's statuses
``bad/message``             (M,) str         what was wrong, in a line
``bad/content_sha256``      (M, 32) u1       as above, zero where it could not be read
==========================  ===============  ======================================================

``data`` is neither chunked nor filtered, so that it can be mapped into memory as it lies in the
file. All text is UTF-8 of fixed length, padded with NUL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from decaf.errors import PackError
from decaf.images.spec import MAX_SIDE
from decaf.storage import canonical_json
from decaf.storage.hdf5_checks import MAX_CLASSES, FileKind, HDF5Check

__all__ = [
    "BAD",
    "BLOCK_BYTES",
    "ENCODINGS",
    "FORMAT",
    "PACK_FILE",
    "RESIZES",
    "SCHEMA",
    "SPLITS",
    "STATISTICS",
    "PackContents",
    "TableDigests",
    "check_pack",
    "content_fingerprint",
    "table_digest",
]

FORMAT = "decaf-pack"
SCHEMA = 1

ENCODINGS = ("jpeg", "raw")
RESIZES = ("shorter-side", "warp", "none")

# In this order in the file; a pack without "train" is none.
SPLITS = ("train", "val", "test")
BAD = "bad"

# Of the data, under one checksum.
BLOCK_BYTES = 16 << 20

# numpy type and number of axes; "mean_image" has the pack's size in two of its three.
STATISTICS: Mapping[str, tuple[str, int]] = {
    "mean": ("<f8", 1),
    "std": ("<f8", 1),
    "mean_image": ("<f4", 3),
    "pca_values": ("<f8", 1),
    "pca_vectors": ("<f8", 2),
}

_ROOT = {*STATISTICS, "wnid", "class_name", BAD}
_COLUMNS = {"data", "label", "name", "content_sha256", "data_sha256"}
_BAD = ("row", "split", "name", "label", "status", "message", "content_sha256")

# Names of a million images take tens of megabytes; they are gone through in pieces.
_ROWS = 65_536

# ``run`` is JSON of the settings, ``content`` JSON of counts and checksums of everything else in
# the file, ``fingerprint`` the hash of both, ``environment`` JSON of what determines nothing.
PACK_FILE = FileKind(
    name="pack",
    noun="training pack",
    plural="training packs",
    error=PackError,
    format=FORMAT,
    schema=SCHEMA,
    attributes=(
        "format",
        "schema",
        "decaf_version",
        "created",
        "run",
        "content",
        "fingerprint",
        "environment",
    ),
    json=("run", "content", "environment"),
)


def content_fingerprint(run: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Hash what a pack holds and how it was made.

    Parameters
    ----------
    run, content : mapping
        The attributes of that name.

    Returns
    -------
    str
        SHA-256 of their canonical JSON, 64 hexadecimal digits.
    """
    whole = canonical_json({"run": dict(run), "content": dict(content)})
    return hashlib.sha256(whole.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class PackContents:
    """The attributes and tables of a checked pack.

    Attributes
    ----------
    size : int
        Side of its images.
    encoding : str
        One of `decaf.train.pack.ENCODINGS`.
    resize : str
        One of `decaf.train.pack.RESIZES`.
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
    with PACK_FILE.reading(path):
        check = HDF5Check(file, path, PACK_FILE)
        attrs, parsed = check.attributes()
        run, content = parsed["run"], parsed["content"]
        computed = content_fingerprint(run, content)
        if computed != attrs["fingerprint"]:
            check.refuse(
                f"its fingerprint {attrs['fingerprint']!r} is not that of its settings and "
                f"checksums, {computed!r}"
            )
        size, encoding, resize = run.get("size"), run.get("encoding"), run.get("resize")
        if type(size) is not int or not 1 <= size <= MAX_SIDE:
            check.refuse(f"its settings give the size {size!r}, expected 1 to {MAX_SIDE}")
        if encoding not in ENCODINGS:
            check.refuse(f"its settings give the encoding {encoding!r}, expected jpeg or raw")
        if resize not in RESIZES:
            check.refuse(
                f"its settings give the resize {resize!r}, expected one of {', '.join(RESIZES)}"
            )
        if file.userblock_size:
            check.refuse(f"begins with {file.userblock_size} bytes that are not its own")
        names = check.links(file, "the file")
        splits = [split for split in SPLITS if split in names]
        check.only(names, _ROOT | {"train"} | set(splits))
        for name, (dtype, axes) in STATISTICS.items():
            shape = (3, size, size) if name == "mean_image" else (3,) * axes
            check.typed(name, check.dataset(file, name), (dtype,), shape)
        classes = check.strings(file, "wnid", 1, MAX_CLASSES)
        check.strings(file, "class_name", classes, classes)
        _check_bad(check, _group(check, BAD, set(_BAD)))
        contents = {split: _check_split(check, split, size, encoding) for split in splits}
        check.total()
    return PackContents(
        size, encoding, resize, contents, attrs, run, content, parsed["environment"]
    )


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
    blocks = -(-length // BLOCK_BYTES)
    sums = check.dataset(group, "data_sha256")
    check.typed(f"{split}/data_sha256", sums, ("|u1",), (blocks, 32))
    return int(start), length


class TableDigests:
    """The attribute ``content`` of a pack, as its tables are written or read."""

    def __init__(self) -> None:
        self._splits: dict[str, dict[str, Any]] = {}
        self._tables: dict[str, str] = {}

    def add(self, dataset: h5py.Dataset, blocks: Iterable[np.ndarray]) -> None:
        """Count a table, with its rows in order, as they are to be in the file.

        Parameters
        ----------
        dataset : h5py.Dataset
        blocks : iterable of ndarray
        """
        digest = hashlib.sha256(f"{dataset.shape} {dataset.dtype.str}".encode())
        for block in blocks:
            digest.update(np.ascontiguousarray(block, dataset.dtype).tobytes())
        self._tables[dataset.name.removeprefix("/")] = digest.hexdigest()

    def count(self, split: str, *, images: int, size: int, kept: int) -> None:
        """Record of a split how many images it has, the bytes they take, and how many were kept.

        Parameters
        ----------
        split : str
        images : int
        size : int
            Bytes of all images.
        kept : int
            Number of images whose files are kept as they are.
        """
        self._splits[split] = {"images": images, "bytes": size, "kept": kept}

    def content(self) -> dict[str, Any]:
        """Return the attribute.

        Returns
        -------
        dict
            ``splits``: for each, ``images``, ``bytes``, ``kept`` (JPEGs whose bytes are those of
            the source) and a SHA-256 for each of its tables; that of ``data_sha256`` stands for the
            data. ``tables``: a SHA-256 for each of the others.
        """
        left, splits = dict(self._tables), {}
        for split, counts in self._splits.items():
            own = sorted(name for name in left if name.startswith(f"{split}/"))
            sums = {name.removeprefix(f"{split}/"): left.pop(name) for name in own}
            splits[split] = {**counts, "sha256": sums}
        return {"splits": splits, "tables": left}


def table_digest(file: h5py.File) -> dict[str, Any]:
    """Read all tables of a pack, and return what its attribute ``content`` should be.

    Parameters
    ----------
    file : h5py.File

    Returns
    -------
    dict
        See `TableDigests.content`.
    """
    digests = TableDigests()
    for split in SPLITS:
        if split not in file:
            continue
        group = file[split]
        kept = int(group["kept"][:].sum()) if "kept" in group else 0
        size, images = int(group["data"].size), int(group["label"].shape[0])
        digests.count(split, images=images, size=size, kept=kept)
        for name in sorted(group):
            if name != "data":
                digests.add(group[name], _blocks(group[name]))
    bad = (f"{BAD}/{name}" for name in sorted(file[BAD]))
    for name in (*STATISTICS, "wnid", "class_name", *bad):
        digests.add(file[name], _blocks(file[name]))
    return digests.content()


def _blocks(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    for start in range(0, int(dataset.shape[0]), _ROWS):
        yield dataset[start : start + _ROWS]

"""From what a user names to one list of images, in a fixed order, each exactly once per mention.

Nothing is decoded here, and of most files nothing is read: a folder of a million images is listed
by its names. What is wrong with one image shows when it is loaded, and then concerns its row alone.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images.archives import archive_kind, list_members, read_head
from decaf.images.folders import (
    glob_base,
    has_image_ending,
    has_wildcard,
    is_hidden,
    list_folder,
    list_glob,
    read_start,
)
from decaf.images.labels import (
    class_of,
    common_folder,
    labels_from_classes,
    labels_from_file,
    labels_from_sequence,
)
from decaf.images.memory import (
    dataset_labels,
    is_dataset,
    is_image_object,
    split_array,
    unwrap,
)
from decaf.images.refs import ImageRef, RefList, Wire
from decaf.images.sniff import HEAD_BYTES, guess_format

__all__ = ["LIST_ENDINGS", "ImageList", "ImageRef", "Wire", "collect"]

LIST_ENDINGS = frozenset((b".txt", b".lst", b".list"))


@dataclass(frozen=True)
class ImageList:
    """Images to be processed, in order.

    Attributes
    ----------
    names : list of bytes
        What is stored as each image's path: the path as given (of a folder: joined with the path
        below it), the member's name for an archive, its number for an image in memory.
    labels : array of shape (N,), int64
        -1 where there is none.
    class_names : tuple of str
        What the labels number, or empty where they are just numbers.
    sources : tuple of dict
        What the images came from, for the record: ``kind``, ``path`` (as given) and ``images``
        (how many), in order.
    refs : sequence of ImageRef or None
        How each is loaded; None for images in memory.
    """

    names: list[bytes]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]
    refs: Sequence[ImageRef] | None
    objects: Any = None

    @property
    def in_memory(self) -> bool:
        """Whether the images are objects of this process."""
        return self.refs is None

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)

    def get(self, index: int) -> Any:
        """Give an image in memory: a PIL image, an array or a tensor.

        An item ``(image, label)`` of a data set gives its image.

        Raises
        ------
        TypeError
            If the images are not in memory.
        """
        if self.refs is not None:
            raise TypeError("these images are not in memory; use refs")
        return unwrap(self.objects[index])


@dataclass
class _Found:
    """What one source gave."""

    kind: str
    path: bytes
    names: list[bytes]
    # Paths below the source, for labels files; their first folders, for labels.
    relative: list[bytes]
    classes: list[bytes | None]
    members: list[ImageRef] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": os.fsdecode(self.path), "images": len(self.names)}


def collect(images: Any, *, labels: Any = "folder") -> ImageList:
    """List the images that a user means.

    Parameters
    ----------
    images : path, str, bytes; list of these; list of images; array; data set
        A path is, in this order: an existing file, folder, tar or zip (what it holds decides), a
        list file (ending .txt, .lst or .list, or ``@FILE``, or ``-`` for standard input), else a
        pattern with wildcards. Several give their images one after the other; what is named twice
        comes twice. In a list of paths a file that is missing keeps its place if it has an image's
        ending.

        Or PIL images, arrays or tensors in a list; one array ``(N, H, W, 3)`` uint8; or a torch
        Dataset, whose items are images or tuples that begin with one.
    labels : "folder", "none", path, or sequence of int or str
        ``"folder"``: the first folder below the source, as torchvision's ImageFolder; for an
        archive, a single top folder of all members is passed over; for a list file, the first
        folder below what all its entries share; images directly in the source have none. A data
        set's own labels. A path is a labels file (see `decaf.images.labels.labels_from_file`).

    Returns
    -------
    ImageList

    Raises
    ------
    InputError
        If there are no images, a path does not exist, a folder, archive or list cannot be read, or
        labels do not fit.
    """
    if isinstance(images, np.ndarray) and images.dtype.kind in "USO":
        images = images.tolist()  # an array of paths
    if isinstance(images, (str, bytes, os.PathLike)):
        return _on_disk([_one_source(_as_bytes(images))], labels)
    if isinstance(images, np.ndarray):
        return _objects(split_array(images), "array", labels)
    if is_image_object(images) and getattr(images, "ndim", 0) != 4:
        return _objects([images], "object", labels)
    if not isinstance(images, (list, tuple)) and not is_dataset(images):
        if not isinstance(images, Iterable):
            raise InputError(f"images cannot be taken from a {type(images).__name__}")
        images = list(images)
    if not isinstance(images, (list, tuple)) and not hasattr(images, "to_numpy"):
        return _objects(images, "dataset", labels)
    items = list(images)
    if not items:
        raise InputError("no images: the list is empty")
    paths = [item for item in items if isinstance(item, (str, bytes, os.PathLike))]
    if len(paths) == len(items):
        several = len(items) > 1
        found = [_one_source(_as_bytes(path), several) for path in paths]
        if not any(os.path.lexists(f.path) for f in found if f.kind == "file") and all(
            f.kind == "file" for f in found
        ):
            raise InputError(f"none of the {len(items)} files exists, not {_shown(found[0].path)}")
        return _on_disk(found, labels)
    if paths:
        raise InputError(f"a list mixes {len(paths)} paths with {len(items) - len(paths)} images")
    return _objects(items, "objects", labels)


def _on_disk(found: list[_Found], labels: Any) -> ImageList:
    """Join what the sources gave."""
    found = _merged(found)
    names = [name for f in found for name in f.names]
    if not names:
        raise InputError(f"no images in {', '.join(_shown(f.path) for f in found[:3])}")
    members: dict[int, ImageRef] = {}
    start = 0
    for f in found:
        members.update(enumerate(f.members, start))
        start += len(f.names)
    values, class_names = _labels(
        labels,
        names,
        [r for f in found for r in f.relative],
        lambda: labels_from_classes([c for f in found for c in f.classes]),
    )
    described = tuple(f.described() for f in found)
    return ImageList(names, values, class_names, described, RefList(names, members))


def _merged(found: list[_Found]) -> list[_Found]:
    """Join runs of single files, so that a long list of them is one source."""
    merged: list[_Found] = []
    for f in found:
        last = merged[-1] if merged else None
        if f.kind == "file" and last is not None and last.kind in ("file", "files"):
            if last.kind == "file":
                last = merged[-1] = _Found("files", b"", list(last.names), [*last.relative], [None])
            last.names += f.names
            last.relative += f.relative
            last.classes += f.classes
        else:
            merged.append(f)
    return merged


def _objects(objects: Any, kind: str, labels: Any) -> ImageList:
    try:
        count = len(objects)
    except TypeError as error:
        raise InputError(f"images cannot be counted: {error}") from error
    if count == 0:
        raise InputError("no images: nothing was given")
    names = [b"%d" % i for i in range(count)]

    def own() -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
        known, class_names = dataset_labels(objects) if kind == "dataset" else (None, ())
        return np.array([-1] * count if known is None else known, dtype=np.int64), class_names

    values, class_names = _labels(labels, names, names, own)
    described = ({"kind": kind, "path": type(objects).__name__, "images": count},)
    return ImageList(names, values, class_names, described, None, objects)


def _labels(labels: Any, names: list[bytes], relative: list[bytes], own: Any) -> Any:
    if isinstance(labels, str) and labels == "folder":
        return own()
    if labels is None or (isinstance(labels, str) and labels == "none"):
        return np.full(len(names), -1, dtype=np.int64), ()
    if isinstance(labels, (str, bytes, os.PathLike)):
        return labels_from_file(labels, names, relative)
    if isinstance(labels, Iterable):
        return labels_from_sequence(labels, len(names))  # type: ignore[arg-type]
    raise InputError(f"labels cannot be taken from a {type(labels).__name__}")


def _one_source(path: bytes, several: bool = False) -> _Found:
    """List what one path stands for."""
    if path == b"-":
        return _list_file(path, sys.stdin.buffer.read(), b"")
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        return _not_there(path, error, several)
    if stat.S_ISDIR(mode):
        names = list_folder(path)
        prefix = len(os.path.join(path, b""))
        relative = [name[prefix:] for name in names]
        return _Found("folder", path, names, relative, [class_of(r) for r in relative])
    if not stat.S_ISREG(mode):
        raise InputError(f"{_shown(path)} is neither a file nor a folder")
    head = read_start(path, 512)
    if guess_format(head[:HEAD_BYTES]) is None and head:
        kind = archive_kind(head, path)
        if kind is not None:
            return _archive(path, kind)
        if os.path.splitext(path)[1].lower() in LIST_ENDINGS:
            return _list_of(path)
    return _Found("file", path, [path], [path], [None])


def _not_there(path: bytes, error: Exception, several: bool) -> _Found:
    """Make something of a path that is no file: a list, a pattern, or an image gone missing."""
    if path.startswith(b"@"):
        return _list_of(path[1:])
    if has_wildcard(path):
        names = list_glob(path)
        if not names:
            raise InputError(f"no images match {_shown(path)}")
        base = glob_base(path)
        prefix = len(os.path.join(base, b"")) if base else 0
        relative = [name[prefix:] for name in names]
        return _Found("glob", path, names, relative, [class_of(r) for r in relative])
    if several and has_image_ending(path):
        return _Found("file", path, [path], [path], [None])
    reason = error.strerror if isinstance(error, OSError) else str(error)
    raise InputError(f"{_shown(path)}: {reason}")


def _list_of(path: bytes) -> _Found:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"list file {_shown(path)} cannot be read: {error}") from error
    return _list_file(path, content, os.path.dirname(path))


def _list_file(path: bytes, content: bytes, folder: bytes) -> _Found:
    """Read a list of paths; one that holds a NUL is separated by NULs (as of ``find -print0``)."""
    if b"\0" in content:
        entries = content.split(b"\0")
    else:
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        entries = [line.removesuffix(b"\r") for line in lines]
    entries = [entry for entry in entries if entry.strip()]
    if not entries:
        raise InputError(f"list {_shown(path)} names no images")
    names = [os.path.join(folder, entry) for entry in entries]
    shared = len(common_folder(names))
    return _Found("list", path, names, entries, [class_of(name[shared:]) for name in names])


def _archive(path: bytes, kind: str) -> _Found:
    refs = []
    for member in list_members(path, kind):
        if is_hidden(member.name):
            continue
        head = b"" if has_image_ending(member.name) else read_head(path, kind, member, HEAD_BYTES)
        if has_image_ending(member.name) or guess_format(head) is not None:
            refs.append(ImageRef(member.name, path, kind, member))
    names = [ref.name for ref in refs]
    top = len(common_folder(names, depth=1))
    relative = [name[top:] for name in names]
    return _Found(kind, path, names, relative, [class_of(r) for r in relative], refs)


def _as_bytes(path: str | bytes | os.PathLike[Any]) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InputError(f"path {path!r} cannot be a file name here: {error.reason}") from error


def _shown(path: bytes) -> str:
    return repr(os.fsdecode(path))

"""The images of one path: a file, a folder, an archive, a list of files, or a pattern."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace

from decaf.errors import InputError
from decaf.images.listing.archives import Member, archive_kind
from decaf.images.listing.arrays import list_array
from decaf.images.listing.class_folders import PathImages, sort_into_classes
from decaf.images.listing.folders import (
    glob_base,
    has_image_ending,
    has_wildcard,
    list_glob,
    open_at_once,
    read_start,
)
from decaf.images.listing.image_ref import ImageRef
from decaf.images.listing.image_tables import images_of_table
from decaf.images.listing.names import below_shared, nearest_path, shortened, some_of
from decaf.images.listing.recognise import (
    LIST_ENDINGS,
    TABLE_ENDINGS,
    is_kind,
    not_wanted,
    recognise,
)
from decaf.images.listing.tables import as_utf8, is_utf16_unmarked, named_columns
from decaf.images.listing.trees import ArchiveTree, FolderTree, Tree, TreeImage
from decaf.runtime.names import name_text, slashed
from decaf.runtime.wording import counted

__all__ = [
    "find_images",
    "is_image_source",
]

# Kinds of files, as `recognise` calls them, that may be arrays of images.
_ARRAYS = {"array": "npy", "hdf5": "hdf5"}

# Those whose content is images, or may be meant to be; a zip of another program is an archive too.
_MEANT_AS_IMAGES = (
    *("image", "archive", "arrays", "torch", "torch-program", "array"),
    *("hdf5", "features", "pack"),
)

_SOURCE = "an image, a folder, an archive, a list, a table or an array of images"


def find_images(path: bytes, several: bool = False, layout: str = "auto") -> PathImages:
    """List the images that one path stands for.

    Parameters
    ----------
    path : bytes
        See `decaf.images.listing.sources.collect`.
    several : bool
        Whether it is one of several, so that a missing image keeps its place among them.
    layout : {"auto", "splits", "classes"}
        How folders called train, val or test are taken; see `decaf.images.listing.class_folders`.

    Raises
    ------
    InputError
        If there is no such thing, or it cannot be read.
    """
    if path == b"-":
        return _list_file(path, sys.stdin.buffer.read(), b"", layout)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        return _not_there(path, error, several, layout)
    if stat.S_ISDIR(mode):
        return sort_into_classes("folder", path, FolderTree(path), layout)
    if not stat.S_ISREG(mode):
        raise InputError(f"{shortened(path)} is neither a file nor a folder")
    given = recognise(path).name
    if given == "image":
        return PathImages("file", path, [path], [slashed(path)], [None])
    if given in _ARRAYS:
        return _array_of(path, _ARRAYS[given])
    kind = archive_kind(read_start(path, 512), path) if given == "archive" else None
    if kind is not None:
        return sort_into_classes(kind, path, ArchiveTree(path, kind), layout)
    if os.path.splitext(path)[1].lower() in LIST_ENDINGS:
        return _list_of(path, layout)
    if os.path.splitext(path)[1].lower() in TABLE_ENDINGS:
        return images_of_table(path, None, layout)
    # What may be meant as an image keeps its row, with what is wrong with it.
    meant = has_image_ending(path) or (several and given in ("text", "empty", "unknown"))
    if not meant:
        raise InputError(not_wanted(path, _SOURCE))
    return PathImages("file", path, [path], [slashed(path)], [None])


def _array_of(path: bytes, kind: str, dataset: str = "", given: bytes = b"") -> PathImages:
    names = list_array(path, kind, dataset)
    relative = [name[name.rindex(b"[") + 1 : -1] for name in names]
    refs = [
        ImageRef(name, path, kind, Member(name, row, 0, 0, 0, 0)) for row, name in enumerate(names)
    ]
    return PathImages(kind, given or path, names, relative, [None] * len(names), refs)


def is_image_source(path: bytes) -> bool:
    """Tell whether a file is, by what it holds, an image, an archive, a list, or a feature file.

    Parameters
    ----------
    path : bytes
        Path of a file that is there.
    """
    if not os.path.isfile(path):
        return False
    ending = os.path.splitext(path)[1].lower()
    return ending in LIST_ENDINGS | TABLE_ENDINGS or is_kind(path, *_MEANT_AS_IMAGES)


def _not_there(path: bytes, error: Exception, several: bool, layout: str) -> PathImages:
    """Make something of a path that is no file: a list, a pattern, or an image gone missing."""
    if path.startswith(b"@"):
        return _list_of(path[1:], layout)
    array, colon, dataset = path.rpartition(b":")
    if colon and os.path.isfile(array) and is_kind(array, "hdf5"):
        return _array_of(array, "hdf5", name_text(dataset), path)
    file, columns = named_columns(path)
    if columns is not None and os.path.isfile(file):
        if not is_kind(file, "table", "list", "text", "empty", "unknown"):
            raise InputError(not_wanted(file, _SOURCE))
        return images_of_table(file, columns, layout)
    if has_wildcard(path):
        names = list_glob(path)
        if not names:
            raise InputError(f"no images match {shortened(path)}")
        base = glob_base(path)
        prefix = len(os.path.join(base, b"")) if base else 0
        tree = Tree([TreeImage(name, slashed(name[prefix:])) for name in names])
        return replace(sort_into_classes("glob", path, tree, layout), layout="")
    if several and has_image_ending(path):
        return PathImages("file", path, [path], [slashed(path)], [None])
    reason = error.strerror if isinstance(error, OSError) else str(error)
    raise InputError(f"{shortened(path)}: {reason}{nearest_path(path)}")


def _list_of(path: bytes, layout: str) -> PathImages:
    try:
        with open_at_once(path) as file:
            content = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"list file {shortened(path)} cannot be read: {reason}") from error
    return _list_file(path, content, os.path.dirname(path), layout)


def _list_file(path: bytes, content: bytes, folder: bytes, layout: str) -> PathImages:
    """Read a list of paths; one that holds a NUL is separated by NULs (as of ``find -print0``)."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content, _ = as_utf8(content, f"list {shortened(path)}")
    elif is_utf16_unmarked(content):
        raise InputError(
            f"list {shortened(path)} begins as UTF-16 without a byte order mark; save it as UTF-8"
        )
    if b"\0" in content:
        entries = content.split(b"\0")
    else:
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        entries = [line.removesuffix(b"\r") for line in lines]
    entries = [entry for entry in entries if entry.strip()]
    if not entries:
        raise InputError(f"list {shortened(path)} names no images")
    names = [os.path.join(folder, entry) for entry in entries]
    if not any(os.path.lexists(name) for name in names):
        first = some_of(map(shortened, names), 3)
        base = "the working folder" if path == b"-" else "the list's own folder"
        raise InputError(
            f"list {shortened(path)}: none of its {counted(len(names), 'file')} exists: {first}; "
            "entries "
            f"are absolute or relative to {base} ({shortened(os.path.abspath(folder))}), one a line"
        )
    below = below_shared(names)
    tree = Tree([TreeImage(name, rest) for name, rest in zip(names, below, strict=True)])
    listed = sort_into_classes("list", path, tree, layout)
    return replace(listed, relative=[*map(slashed, entries)], layout="")

"""Data sets for classification as they lie on disk: which images, of which classes, in which split.

Three layouts are known, in a folder or in a tar or zip of it (a single top folder is passed over):
a folder a class, as torchvision's ImageFolder; the same within folders of splits (``train``,
``val``, ``test``); and Tiny-ImageNet's, where the classes of the validation images stand in
``val_annotations.txt``. Nothing is decoded, and a split that is not asked for is not listed.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from decaf.errors import ImageError, InputError
from decaf.images.decoding.limits import MAX_TEXT_BYTES
from decaf.images.listing.archives import Member, archive_kind, list_members, read_member
from decaf.images.listing.folders import (
    is_folder,
    is_hidden,
    list_folder,
    read_small_file,
    read_start,
)
from decaf.images.listing.labels import class_of
from decaf.images.listing.paths import find_in_archive
from decaf.images.listing.recognise import not_wanted
from decaf.images.listing.refs import ImageRef, RefList
from decaf.images.listing.sources import ImageList
from decaf.images.listing.split_folders import (
    ANNOTATIONS,
    annotated_classes,
    below,
    find_split_folders,
)

__all__ = ["LAYOUT_KINDS", "Layout", "find_layout"]

LAYOUT_KINDS = ("folders", "splits", "tiny-imagenet")

_IMAGES = b"images"
_SHOWN = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """A data set that was recognised, its images not yet listed; made by `find_layout`.

    Attributes
    ----------
    kind : str
        One of `LAYOUT_KINDS`.
    path : bytes
        As given.
    splits : tuple of str
        Those there are, of "train", "val" and "test"; empty where the data set has no splits.
    """

    kind: str
    path: bytes
    splits: tuple[str, ...]
    _tree: _Tree
    _folders: dict[str, bytes]

    def read(self, split: str | None = None) -> ImageList:
        """List the images of a split.

        Parameters
        ----------
        split : str, optional
            One of `splits`; None where there are none.

        Returns
        -------
        ImageList
            Sorted by path (of an archive: in its order). Its classes are known by the names of
            their folders, in ImageNet's data sets by the WordNet ids, and sorted; some may have no
            image in this split. Every image has one. ``titles`` are the texts of ``words.txt``
            where there is one.

        Raises
        ------
        InputError
            If there is no such split, it has no images, images lie in no class, or the lists that
            belong to the layout contradict them.
        """
        if split is None and self.splits:
            raise InputError(f"{self._shown}: has the splits {', '.join(self.splits)}; name one")
        if split is not None and split not in self.splits:
            there = f"has {', '.join(self.splits)}" if self.splits else "is not divided into splits"
            raise InputError(f"{self._shown}: no split {split!r}; it {there}")
        folder = b"" if split is None else self._folders[split]
        folders = self._tree.folders(folder)
        annotations = self._tree.text(below(folder, ANNOTATIONS))
        if annotations is None:
            return self._by_folders(folder, folders)
        # Who sorts the images into folders of classes often leaves the file where it was.
        classes = [name for name in folders if name != _IMAGES]
        if classes and not self._tree.images(below(folder, _IMAGES)):
            return self._by_folders(folder, classes)
        return self._by_annotations(folder, annotations)

    @property
    def _shown(self) -> str:
        return repr(os.fsdecode(self.path))

    def _by_folders(self, folder: bytes, folders: Sequence[bytes]) -> ImageList:
        found = self._tree.images(folder)
        where = repr(os.fsdecode(os.path.join(self.path, folder) if folder else self.path))
        if not found:
            raise InputError(f"{where}: no images in it")
        classes = [class_of(image.relative) for image in found]
        without = [image for image, name in zip(found, classes, strict=True) if name is None]
        told = f"{len(without)} of {len(found)} images lie in no class"
        names = _some(os.fsdecode(image.name) for image in without)
        if len(without) == len(found):
            raise InputError(
                f"{where}: {told} ({names}); expected a folder for each class, with its images"
            )
        if without:
            _logger.warning("%s: %s and are left out (%s)", where, told, names)
        labelled = [image for image, name in zip(found, classes, strict=True) if name]
        return self._labelled(labelled, [_text(name) for name in classes if name], folders)

    def _by_annotations(self, folder: bytes, annotations: bytes) -> ImageList:
        listed = below(folder, ANNOTATIONS)
        shown = repr(os.fsdecode(os.path.join(self.path, listed)))
        classes = annotated_classes(annotations, shown)
        images = below(folder, _IMAGES)
        found = {image.relative: image for image in self._tree.images(images)}
        if not found:
            raise InputError(f"{shown}: no images beside it, in {os.fsdecode(images)!r}")
        without = sorted(found.keys() - classes.keys())
        told = f"names no class for {len(without)} of {len(found)} images"
        if len(without) == len(found):
            raise InputError(f"{shown}: {told} ({_some(map(os.fsdecode, without))})")
        if without:
            _logger.warning(
                "%s: %s, which are left out (%s)", shown, told, _some(map(os.fsdecode, without))
            )
        found = {name: image for name, image in found.items() if name in classes}
        # An image that is listed and not there keeps its place, and is missing when it is loaded.
        names = list(found) if len(found) == len(classes) else sorted(classes)
        every = [found.get(name) or self._tree.absent(images, name) for name in names]
        return self._labelled(every, [_text(classes[image.relative]) for image in every], ())

    def _labelled(
        self, found: Sequence[_Found], classes: Sequence[str], folders: Iterable[bytes]
    ) -> ImageList:
        wnids = self._tree.text(b"wnids.txt") if self.kind == "tiny-imagenet" else None
        known = {_text(line.strip()) for line in (wnids or b"").split(b"\n") if line.strip()}
        if known:
            strangers = sorted(set(classes) - known)
            if strangers:
                raise InputError(
                    f"{self._shown}: {len(strangers)} classes are not in its wnids.txt "
                    f"({_some(strangers)})"
                )
        else:
            known = {*classes, *map(_text, folders)}
        ids = tuple(sorted(known))
        number = {name: label for label, name in enumerate(ids)}
        labels = np.array([number[name] for name in classes], np.int64)
        names = [image.name for image in found]
        members = {i: image.ref for i, image in enumerate(found) if image.ref is not None}
        source = {"kind": self.kind, "path": os.fsdecode(self.path), "images": len(names)}
        words = _words(self._tree.text(b"words.txt") or b"")
        return ImageList(
            names,
            labels,
            ids,
            (source,),
            RefList(names, members),
            titles=tuple(words.get(name, name) for name in ids),
        )


def find_layout(path: str | bytes | os.PathLike[str], layout: str = "auto") -> Layout:
    """Recognise how a data set is laid out.

    Parameters
    ----------
    path : path
        A folder, or a tar or zip archive.
    layout : {"auto", "splits", "classes"}
        How folders called train, val or test are taken; see
        `decaf.images.listing.split_folders.find_split_folders`.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        If there is no such folder or archive, or it holds no folders.
    """
    root = os.fsencode(path)
    tree = _tree_of(root)
    folders = tree.folders(b"")
    shown = repr(os.fsdecode(path))
    splits = find_split_folders(folders, tree.folders, layout=layout, shown=shown)
    if splits:
        annotated = {
            split
            for split, name in splits.items()
            if tree.text(below(name, ANNOTATIONS)) is not None
        }
        if not annotated:
            return Layout("splits", root, tuple(splits), tree, splits)
        # The test images of Tiny-ImageNet have no classes: their one folder is "images".
        usable = (
            split
            for split, name in splits.items()
            if split in annotated or tree.folders(name) != [_IMAGES]
        )
        return Layout("tiny-imagenet", root, tuple(usable), tree, splits)
    if tree.text(ANNOTATIONS) is not None:
        return Layout("tiny-imagenet", root, (), tree, {})
    if not folders:
        raise InputError(
            f"{shown}: no folders in it; expected one for each class, or train and val with those"
        )
    return Layout("folders", root, (), tree, {})


@dataclass(frozen=True)
class _Found:
    name: bytes
    relative: bytes
    ref: ImageRef | None = None


class _Tree(Protocol):
    """A folder, or what an archive would unpack to; names within it end in no slash."""

    def folders(self, folder: bytes) -> list[bytes]:
        """Name the folders directly within one, sorted."""

    def images(self, folder: bytes) -> list[_Found]:
        """List the images below a folder."""

    def text(self, name: bytes) -> bytes | None:
        """Read a file; None where there is none."""

    def absent(self, folder: bytes, relative: bytes) -> _Found:
        """Stand for an image that is not there."""


class _Folder:
    def __init__(self, root: bytes) -> None:
        self._root = root

    def folders(self, folder: bytes) -> list[bytes]:
        path = self._path(folder)
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if is_folder(e) and not is_hidden(e.name))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"folder {os.fsdecode(path)!r} cannot be read: {reason}") from error

    def images(self, folder: bytes) -> list[_Found]:
        path = self._path(folder)
        if not os.path.isdir(path):
            return []
        prefix = len(os.path.join(path, b""))
        return [_Found(name, name[prefix:]) for name in list_folder(path)]

    def text(self, name: bytes) -> bytes | None:
        return read_small_file(self._path(name))

    def absent(self, folder: bytes, relative: bytes) -> _Found:
        return _Found(os.path.join(self._path(folder), relative), relative)

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._root, name) if name else self._root


class _Archive:
    def __init__(self, path: bytes, kind: str) -> None:
        self._path, self._kind = path, kind
        members = list_members(path, kind)
        found = find_in_archive(path, kind, members)
        # The single top folder that the images share is no part of the layout.
        top = len(found.names[0]) - len(found.relative[0]) if found.names else 0
        prefix = found.names[0][:top] if found.names else b""
        self._images = [
            _Found(name, relative, ref)
            for name, relative, ref in zip(found.names, found.relative, found.members, strict=True)
        ]
        self._members: dict[bytes, Member] = {
            member.name[top:]: member for member in members if member.name.startswith(prefix)
        }

    def folders(self, folder: bytes) -> list[bytes]:
        prefix = folder + b"/" if folder else b""
        below = (image.relative for image in self._images if image.relative.startswith(prefix))
        return sorted({name for path in below if (name := class_of(path[len(prefix) :]))})

    def images(self, folder: bytes) -> list[_Found]:
        prefix = folder + b"/" if folder else b""
        return [
            _Found(image.name, image.relative[len(prefix) :], image.ref)
            for image in self._images
            if image.relative.startswith(prefix)
        ]

    def text(self, name: bytes) -> bytes | None:
        member = self._members.get(name)
        if member is None:
            return None
        shown = os.path.join(self._path, member.name)
        try:
            return read_member(self._path, self._kind, member, MAX_TEXT_BYTES)
        except ImageError as error:
            raise InputError(f"{os.fsdecode(shown)!r} cannot be read: {error}") from error

    def absent(self, folder: bytes, relative: bytes) -> _Found:
        raise InputError(
            f"{os.fsdecode(self._path)!r}: {os.fsdecode(below(folder, relative))!r} is listed in "
            "its annotations and not in the archive"
        )


def _tree_of(path: bytes) -> _Tree:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{os.fsdecode(path)!r}: {reason}") from error
    if stat.S_ISDIR(mode):
        return _Folder(path)
    head = read_start(path, 512) if stat.S_ISREG(mode) else b""
    kind = archive_kind(head, path) if head else None
    if kind is None:
        wanted = "a folder, nor a tar or zip archive, as a data set with classes is"
        raise InputError(not_wanted(path, wanted))
    return _Archive(path, kind)


def _words(content: bytes) -> dict[str, str]:
    pairs = (line.split(b"\t", 1) for line in content.split(b"\n") if b"\t" in line)
    words = ((name.strip(), text.replace(b"\0", b"").strip()) for name, text in pairs)
    return {_text(name): _text(text) for name, text in words if text}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more

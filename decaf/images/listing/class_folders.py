"""Folders of classes and of splits: which are which, and the images of a data set laid out in them.

Three layouts are known, in a folder or in a tar or zip of it (a single top folder is passed over):
a folder a class, as torchvision's ImageFolder; the same within folders of splits (``train``,
``val``, ``test``); and Tiny-ImageNet's, where the classes of the validation images stand in
``val_annotations.txt``. Everything that takes images asks here, so that one folder means the same
to every command. Nothing is decoded, and of a `Layout` a split that is not asked for is not listed.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.listing.image_list import ImageList, RefList
from decaf.images.listing.labels import class_of
from decaf.images.listing.trees import Tree, TreeImage, tree_of

__all__ = [
    "LAYOUTS",
    "LAYOUT_KINDS",
    "SPLITS",
    "Layout",
    "classes_and_splits",
    "find_layout",
    "find_split_folders",
    "split_called",
]

LAYOUT_KINDS = ("folders", "splits", "tiny-imagenet")

LAYOUTS = ("auto", "splits", "classes")
"""How folders called as splits are taken: by the whole layout, always as splits, or as classes."""

# What the folder of a split may be called, in any case of its letters.
SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
# Tiny-ImageNet's list of the classes of its validation images, and the folder that has these.
_ANNOTATIONS = b"val_annotations.txt"
_IMAGES = b"images"
_SHOWN = 5

_logger = logging.getLogger(__name__)


def find_split_folders(
    folders: Collection[bytes],
    subfolders: Callable[[bytes], Collection[bytes]],
    *,
    layout: str = "auto",
    shown: str = "",
) -> dict[str, bytes]:
    """Find the folder of each split.

    Folders called as splits are splits where nothing lies beside them: where there are several, or
    where one has folders in it. Beside other folders they are splits where train and another have
    folders of the same names in them, which the others have not; else they are classes, such as
    ``train`` beside ``boat`` and ``car``.

    Parameters
    ----------
    folders : collection of bytes
        Names of the folders at the top.
    subfolders : callable
        Returns the names of the folders in one of them.
    layout : {"auto", "splits", "classes"}
        "splits" takes every folder that is called as one for a split, "classes" none.
    shown : str
        How messages name the data set.

    Returns
    -------
    dict of str to bytes
        In the order of `SPLITS`; empty where the folders are classes.

    Raises
    ------
    SettingError
        For another `layout`.
    InputError
        If two folders are the same split.
    """
    if layout not in LAYOUTS:
        raise SettingError(f"`layout` {layout!r} is not one of {', '.join(LAYOUTS)}")
    if layout == "classes":
        return {}
    named: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for folder in sorted(folders):
        split = split_called(folder)
        if split is not None:
            named[split].append(folder)
    named_as = {split: each for split, each in named.items() if each}
    if not named_as or not (layout == "splits" or _are_splits(named_as, folders, subfolders)):
        if named_as:
            every = ", ".join(
                repr(os.fsdecode(each)) for some in named_as.values() for each in some
            )
            _logger.warning(
                "%s: taken for classes: %s, by what lies in them and beside them; "
                "`layout='splits'` takes such folders for splits",
                shown,
                every,
            )
        return {}
    for split, each in named_as.items():
        if len(each) > 1:
            raise InputError(
                f"{shown}: {' and '.join(repr(os.fsdecode(one)) for one in each)} are both the "
                f"split {split!r}; rename one, or `layout='classes'` takes them for classes"
            )
    return {split: each[0] for split, each in named_as.items()}


def split_called(name: bytes) -> str | None:
    """Return the split whose folder may have this name, None for any other name.

    Parameters
    ----------
    name : bytes
    """
    called = os.fsdecode(name).casefold()
    return next((split for split, names in SPLITS.items() if called in names), None)


def _are_splits(
    named_as: dict[str, list[bytes]],
    folders: Collection[bytes],
    subfolders: Callable[[bytes], Collection[bytes]],
) -> bool:
    named = {folder for each in named_as.values() for folder in each}
    others = set(folders) - named
    if not others:
        return len(named) > 1 or any(subfolders(folder) for folder in named)
    training = {name for folder in named_as.get("train", ()) for name in subfolders(folder)}
    tested = {
        name
        for split, each in named_as.items()
        if split != "train"
        for folder in each
        for name in subfolders(folder)
    }
    elsewhere = {name for folder in others for name in subfolders(folder)}
    return bool((training & tested) - elsewhere)


def classes_and_splits(
    relative: Sequence[bytes],
    *,
    layout: str = "auto",
    shown: str = "",
    text: Callable[[bytes], bytes | None] = lambda name: None,
) -> tuple[list[bytes | None], list[str]]:
    """Return the class and the split of images from their paths below a source.

    Parameters
    ----------
    relative : sequence of bytes
    layout : {"auto", "splits", "classes"}
        See `find_split_folders`.
    shown : str
        How messages name the source.
    text : callable
        Reads a file below the source; None where there is none.

    Returns
    -------
    classes : list of bytes or None
        The first folder, or that below the split's; None where there is none.
    splits : list of str
        One of `SPLITS`, empty texts where it is in none; an empty list where there are no splits.
    """
    children: dict[bytes, set[bytes]] = {}
    for path in relative:
        top = class_of(path)
        if top is not None:
            inside = class_of(path[path.index(top) + len(top) + 1 :])
            children.setdefault(top, set()).update(() if inside is None else (inside,))
    folder_of = find_split_folders(
        children, lambda name: children[name], layout=layout, shown=shown
    )
    if not folder_of:
        return [class_of(path) for path in relative], []
    split_of = {folder: split for split, folder in folder_of.items()}
    annotated: dict[bytes, dict[bytes, bytes]] = {}
    for folder in folder_of.values():
        listed = text(_below(folder, _ANNOTATIONS))
        if listed is not None:
            annotated[folder] = _annotated_classes(listed, f"{shown}: {os.fsdecode(folder)}")
    classes: list[bytes | None] = []
    splits = []
    for path in relative:
        top = class_of(path)
        splits.append("" if top is None else split_of.get(top, ""))
        if top is None or not splits[-1]:
            classes.append(None)
            continue
        rest = path[path.index(top) + len(top) + 1 :]
        name = class_of(rest)
        # The images that a list gives classes to, and the test images without any, lie in this.
        if name == _IMAGES and (annotated or children[top] == {_IMAGES}):
            name = annotated.get(top, {}).get(rest[len(_IMAGES) + 1 :])
        classes.append(name)
    counts = Counter(splits)
    _logger.info(
        "%s: folders taken for splits: %s; `layout='classes'` takes them for classes",
        shown,
        ", ".join(f"{os.fsdecode(folder_of[split])} {counts[split]}" for split in folder_of),
    )
    if counts[""]:
        _logger.warning(
            "%s: %d images lie outside of %s: they have no class and no split",
            shown,
            counts[""],
            " and ".join(os.fsdecode(folder) for folder in folder_of.values()),
        )
    return classes, splits


def _annotated_classes(content: bytes, shown: str) -> dict[bytes, bytes]:
    """Read the lines ``image, class, box`` of Tiny-ImageNet, with tabs between.

    Raises
    ------
    InputError
        For other lines, an image outside of the data set, and one with two classes.
    """
    classes: dict[bytes, bytes] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split(b"\t"))
        if not name or not rest or not rest[0]:
            raise InputError(f"{shown}: line {number} is not an image and its class with a tab")
        if name.startswith(b"/") or b".." in name.split(b"/"):
            raise InputError(f"{shown}: line {number} names an image outside of the data set")
        if classes.setdefault(name, rest[0]) != rest[0]:
            raise InputError(f"{shown}: names two classes for {os.fsdecode(name)!r}")
    return classes


def _below(folder: bytes, name: bytes) -> bytes:
    """Join a folder, perhaps none, and a name in it."""
    return folder + b"/" + name if folder else name


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
    _tree: Tree
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
        annotations = self._tree.text(_below(folder, _ANNOTATIONS))
        if annotations is None:
            return self._by_folders(folder, folders)
        # Who sorts the images into folders of classes often leaves the file where it was.
        classes = [name for name in folders if name != _IMAGES]
        if classes and not self._tree.images(_below(folder, _IMAGES)):
            return self._by_folders(folder, classes)
        return self._by_annotations(folder, annotations)

    @property
    def _shown(self) -> str:
        return repr(os.fsdecode(self.path))

    def _by_folders(self, folder: bytes, folders: Sequence[bytes]) -> ImageList:
        images = self._tree.images(folder)
        where = repr(os.fsdecode(os.path.join(self.path, folder) if folder else self.path))
        if not images:
            raise InputError(f"{where}: no images in it")
        classes = [class_of(image.relative) for image in images]
        without = [image for image, name in zip(images, classes, strict=True) if name is None]
        told = f"{len(without)} of {len(images)} images lie in no class"
        names = _some(os.fsdecode(image.name) for image in without)
        if len(without) == len(images):
            raise InputError(
                f"{where}: {told} ({names}); expected a folder for each class, with its images"
            )
        if without:
            _logger.warning("%s: %s and are left out (%s)", where, told, names)
        labelled = [image for image, name in zip(images, classes, strict=True) if name]
        return self._labelled(labelled, [_text(name) for name in classes if name], folders)

    def _by_annotations(self, folder: bytes, annotations: bytes) -> ImageList:
        listed = _below(folder, _ANNOTATIONS)
        shown = repr(os.fsdecode(os.path.join(self.path, listed)))
        classes = _annotated_classes(annotations, shown)
        images = _below(folder, _IMAGES)
        by_name = {image.relative: image for image in self._tree.images(images)}
        if not by_name:
            raise InputError(f"{shown}: no images beside it, in {os.fsdecode(images)!r}")
        without = sorted(by_name.keys() - classes.keys())
        told = f"names no class for {len(without)} of {len(by_name)} images"
        if len(without) == len(by_name):
            raise InputError(f"{shown}: {told} ({_some(map(os.fsdecode, without))})")
        if without:
            _logger.warning(
                "%s: %s, which are left out (%s)", shown, told, _some(map(os.fsdecode, without))
            )
        by_name = {name: image for name, image in by_name.items() if name in classes}
        # An image that is listed and not there keeps its place, and is missing when it is loaded.
        names = list(by_name) if len(by_name) == len(classes) else sorted(classes)
        every = [by_name.get(name) or self._tree.absent(images, name) for name in names]
        return self._labelled(every, [_text(classes[image.relative]) for image in every], ())

    def _labelled(
        self, images: Sequence[TreeImage], classes: Sequence[str], folders: Iterable[bytes]
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
        names = [image.name for image in images]
        members = {i: image.ref for i, image in enumerate(images) if image.ref is not None}
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
        `find_split_folders`.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        If there is no such folder or archive, or it holds no folders.
    """
    root = os.fsencode(path)
    tree = tree_of(root)
    folders = tree.folders(b"")
    shown = repr(os.fsdecode(path))
    splits = find_split_folders(folders, tree.folders, layout=layout, shown=shown)
    if splits:
        annotated = {
            split
            for split, name in splits.items()
            if tree.text(_below(name, _ANNOTATIONS)) is not None
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
    if tree.text(_ANNOTATIONS) is not None:
        return Layout("tiny-imagenet", root, (), tree, {})
    if not folders:
        raise InputError(
            f"{shown}: no folders in it; expected one for each class, or train and val with those"
        )
    return Layout("folders", root, (), tree, {})


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

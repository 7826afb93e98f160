"""Folders of classes and of splits: which are which, and the classes of the images in them.

Three layouts are known, in a folder or in a tar or zip of it (a single top folder is passed over,
of an archive always, of a folder where splits are in it):
a folder a class, as torchvision's ImageFolder; the same within folders of splits (``train``,
``val``, ``test``); and Tiny-ImageNet's, where the classes of the validation images stand in
``val_annotations.txt``. Everything that takes images asks here, so that one folder means the same
to every command. Nothing is decoded.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decaf.errors import InputError, SettingError
from decaf.images.listing.image_ref import ImageRef
from decaf.images.listing.labels import class_of
from decaf.images.listing.names import common_folder, path_text, shortened, some_of
from decaf.images.listing.trees import Tree, TreeImage
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted

__all__ = [
    "LAYOUTS",
    "LAYOUT_KINDS",
    "SPLITS",
    "PathImages",
    "find_split_folders",
    "sort_into_classes",
    "split_called",
    "warn_of_one_folder",
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

_logger = logging.getLogger(__name__)


def find_split_folders(
    inside: Mapping[bytes, Collection[bytes]], *, layout: str = "auto", shown: str = ""
) -> dict[str, bytes]:
    """Find the folder of each split.

    Folders called as splits are splits where nothing lies beside them: where there are several, or
    where one has folders in it. Beside other folders they are splits where train and another have
    folders of the same names in them, which the others have not; else they are classes, such as
    ``train`` beside ``boat`` and ``car``.

    Parameters
    ----------
    inside : mapping of bytes to collection of bytes
        The folders at the top, and the names of the folders in each.
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
    for folder in sorted(inside):
        split = split_called(folder)
        if split is not None:
            named[split].append(folder)
    named_as = {split: each for split, each in named.items() if each}
    if not named_as or not (layout == "splits" or _are_splits(named_as, inside)):
        if named_as:
            every = ", ".join(repr(name_text(each)) for some in named_as.values() for each in some)
            _logger.warning(
                "%s: not taken for splits: %s, by what lies in them and beside them; "
                "`layout='splits'` takes such folders for splits",
                shown,
                every,
            )
        return {}
    for split, each in named_as.items():
        if len(each) > 1:
            raise InputError(
                f"{shown}: {' and '.join(repr(name_text(one)) for one in each)} are both the "
                f"split {split!r}; rename one, or `layout='classes'` takes them for classes"
            )
    return {split: each[0] for split, each in named_as.items()}


def split_called(name: bytes) -> str | None:
    """Return the split whose folder may have this name, None for any other name.

    Parameters
    ----------
    name : bytes
    """
    called = name_text(name).casefold()
    return next((split for split, names in SPLITS.items() if called in names), None)


def _are_splits(
    named_as: Mapping[str, Sequence[bytes]], inside: Mapping[bytes, Collection[bytes]]
) -> bool:
    def subfolders(folders: Iterable[bytes]) -> set[bytes]:
        return {name for folder in folders for name in inside[folder]}

    named = {folder for each in named_as.values() for folder in each}
    others = inside.keys() - named
    if not others:
        return len(named) > 1 or bool(subfolders(named))
    training = set(named_as.get("train", ()))
    return bool(subfolders(training) & subfolders(named - training) - subfolders(others))


@dataclass
class PathImages:
    """The images of one path.

    Attributes
    ----------
    kind : str
        "file", "folder", "glob", "list", "table", or one of
        `decaf.images.listing.image_ref.CONTAINER_KINDS`.
    path : bytes
        As given.
    names : list of bytes
        Name that is stored as each image's path.
    relative : list of bytes
        The same below the source.
    classes : list of bytes or None
        The folder that is each image's class; of a table its label.
    members : list of ImageRef
        One for each image of an archive or array, else empty.
    splits : list of str
        "train", "val", "test" or an empty text for each image; empty where there are no splits.
    layout : str
        One of `LAYOUT_KINDS` of a folder or an archive, else empty.
    empty : tuple of (str, bytes)
        Split (an empty text where there are none) and class of each folder without an image; an
        empty name for the folder of a split.
    titles : dict of str to str
        Names of classes in ``words.txt``, where there is one.
    class_notes : tuple of str
        What is to be told where `classes` are the labels that are taken.
    """

    kind: str
    path: bytes
    names: list[bytes]
    relative: list[bytes]
    classes: list[bytes | None]
    members: list[ImageRef] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    layout: str = ""
    empty: tuple[tuple[str, bytes], ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    class_notes: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return what is recorded of the source, as JSON can hold it."""
        return {"kind": self.kind, "path": name_text(self.path), "images": len(self.names)}


def sort_into_classes(kind: str, path: bytes, tree: Tree, layout: str = "auto") -> PathImages:
    """List the images of a tree, with the class and the split that their folders stand for.

    Parameters
    ----------
    kind, path
        As `PathImages` has them.
    tree : Tree
    layout : {"auto", "splits", "classes"}
        See `find_split_folders`.

    Raises
    ------
    InputError
        If the lists that belong to the layout contradict the folders, or each other.
    """
    shown = shortened(path)
    tree = _below_single_folder(tree, layout)
    inside = _folders_inside(tree)
    split_folders = find_split_folders(inside, layout=layout, shown=shown)
    split_of = {folder: split for split, folder in split_folders.items()}
    folders = dict(split_of) or {b"": ""}  # that of the classes, where there are no splits
    annotated: dict[bytes, dict[bytes, bytes]] = {}
    images = [*tree.images]
    for folder in folders:
        content = tree.text(_below(folder, _ANNOTATIONS))
        if content is not None:
            listed = _annotated_classes(content, f"{shown}: {name_text(folder)}")
            # Who sorts the images into folders of classes often leaves the file where it was.
            unsorted = _IMAGES in (inside[folder] if folder else inside)
            annotated[folder] = listed if unsorted else {}
            images += _absent(tree, _below(folder, _IMAGES), annotated[folder])
    if len(images) > len(tree.images):
        images.sort(key=lambda image: image.name)
    classes: list[bytes | None] = []
    splits: list[str] = []
    for image in images:
        top, rest = _first_folder(image.relative) if split_of else (b"", image.relative)
        if top is None or top not in folders:
            classes.append(None)
            splits.append("")
            continue
        name = class_of(rest)
        # The images that a list gives classes to, and the test images without any, lie in this.
        alone = split_of and (annotated or inside[top] == {_IMAGES})
        if name == _IMAGES and (top in annotated or alone):
            name = annotated.get(top, {}).get(rest[len(_IMAGES) + 1 :])
        classes.append(name)
        splits.append(folders[top])
    if split_of:
        _tell_splits(shown, split_folders, splits)
    elif layout == "auto":
        _warn_of_splits(shown, inside)
    titles = _words(tree.text(b"words.txt") or b"")
    known = (tree.text(b"wnids.txt") or b"").split() if annotated else []
    strangers = sorted({name for name in classes if name} - set(known)) if known else []
    if strangers:
        raise InputError(
            f"{shown}: {counted(len(strangers), 'class', 'are')} not in its wnids.txt "
            f"({some_of(map(path_text, strangers))})"
        )
    return PathImages(
        kind,
        path,
        [image.name for image in images],
        [image.relative for image in images],
        classes,
        [image.ref for image in images if image.ref is not None],
        splits if split_of else [],
        "tiny-imagenet" if annotated else "splits" if split_of else "folders",
        _empty_folders(tree, folders, inside, known, set(zip(splits, classes, strict=True))),
        titles,
    )


def _empty_folders(
    tree: Tree,
    folders: Mapping[bytes, str],
    inside: Mapping[bytes, Collection[bytes]],
    known: Sequence[bytes],
    there: Collection[tuple[str, bytes | None]],
) -> tuple[tuple[str, bytes], ...]:
    """List split and class of the folders without an image, and of the classes of ``wnids.txt``."""
    empty: list[tuple[str, bytes]] = []
    for folder, split in folders.items():
        if known:
            empty += [(split, name) for name in known if (split, name) not in there]
            continue
        full = inside[folder] if folder else inside
        annotated = tree.text(_below(folder, _ANNOTATIONS)) is not None
        bare = (name for name in tree.folders(folder) if name not in full)
        empty += [(split, name) for name in bare if not (annotated and name == _IMAGES)]
    if b"" not in folders:
        called = {split_called(name) for name in tree.folders(b"") if name not in inside}
        empty += [(split, b"") for split in SPLITS if split in called - {*folders.values()}]
    return tuple(empty)


def _folders_inside(tree: Tree) -> dict[bytes, set[bytes]]:
    """List the folders at the top, with images in them, and the folders in each."""
    inside: dict[bytes, set[bytes]] = {}
    for image in tree.images:
        top, rest = _first_folder(image.relative)
        if top is not None:
            below = class_of(rest)
            inside.setdefault(top, set()).update(() if below is None else (below,))
    return inside


def _below_single_folder(tree: Tree, layout: str) -> Tree:
    """Pass over the one folder that holds all images where splits are in it, as of an archive."""
    top = common_folder([image.relative for image in tree.images], depth=1)[:-1]
    if not top or split_called(top) is not None or layout == "classes":
        return tree
    below = tree.within(top)
    inside = _folders_inside(below)
    named: dict[str, list[bytes]] = {}
    for folder in inside:
        if (split := split_called(folder)) is not None:
            named.setdefault(split, []).append(folder)
    return below if named and (layout == "splits" or _are_splits(named, inside)) else tree


def _first_folder(relative: bytes) -> tuple[bytes | None, bytes]:
    """Return the first folder of a path, None where it has none, and the path below it."""
    top = class_of(relative)
    return top, relative if top is None else relative[relative.index(top) + len(top) + 1 :]


def _absent(tree: Tree, folder: bytes, listed: Mapping[bytes, bytes]) -> list[TreeImage]:
    """Stand for the images that are listed and not there: they keep their places."""
    prefix = folder + b"/"
    there = {
        image.relative.removeprefix(prefix)
        for image in tree.images
        if image.relative.startswith(prefix)
    }
    return [tree.absent(prefix + name) for name in sorted(listed.keys() - there)]


def _tell_splits(shown: str, split_folders: Mapping[str, bytes], splits: Sequence[str]) -> None:
    counts = Counter(splits)
    _logger.info(
        "%s: folders taken for splits: %s; `layout='classes'` takes them for classes",
        shown,
        ", ".join(
            f"{name_text(folder)} {counts[split]}" for split, folder in split_folders.items()
        ),
    )
    if counts[""]:
        _logger.warning(
            "%s: %s outside of %s, without a class and a split",
            shown,
            counted(counts[""], "image", "lie"),
            " and ".join(map(name_text, split_folders.values())),
        )


def warn_of_one_folder(found: PathImages) -> None:
    """Warn of a folder whose one class may be a folder of classes.

    Parameters
    ----------
    found : PathImages
        Its images, whose classes are taken from the folders.
    """
    only = found.classes[0]
    if found.kind != "folder" or found.splits or only is None or {*found.classes} != {only}:
        return
    below = {class_of(_first_folder(relative)[1]) for relative in found.relative} - {None}
    if len(below) > 1:
        _logger.warning(
            "%s: all images lie in one folder, which is their class; name %s to take the %d "
            "folders in that for classes",
            shortened(found.path),
            shortened(os.path.join(found.path, only)),
            len(below),
        )


def _warn_of_splits(shown: str, inside: Mapping[bytes, Collection[bytes]]) -> None:
    """Tell of classes that may be splits of unknown names: all hold the same folders."""
    shared = set.intersection(*map(set, inside.values())) if len(inside) > 1 else set()
    if len(shared) < 2:
        return
    _logger.warning(
        "%s: not taken for splits: %s; but each holds the folders %s. If they are parts of a "
        "split, rename them train, val or test; if not, `layout='classes'` says so",
        shown,
        some_of(map(path_text, sorted(inside))),
        some_of(map(path_text, sorted(shared))),
    )


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
            raise InputError(f"{shown}: names two classes for {name_text(name)!r}")
    return classes


def _below(folder: bytes, name: bytes) -> bytes:
    """Join a folder, perhaps none, and a name in it."""
    return folder + b"/" + name if folder else name


def _words(content: bytes) -> dict[str, str]:
    pairs = (line.split(b"\t", 1) for line in content.split(b"\n") if b"\t" in line)
    words = ((name.strip(), text.replace(b"\0", b"").strip()) for name, text in pairs)
    return {path_text(name): path_text(text) for name, text in words if text}

"""Which folders of a data set are splits (train, val, test) and which are classes.

Everything that takes images asks here, so that one folder means the same to every command.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from decaf.errors import InputError, SettingError
from decaf.images.listing.labels import class_of

__all__ = [
    "ANNOTATIONS",
    "LAYOUTS",
    "SPLITS",
    "annotated_classes",
    "below",
    "classes_and_splits",
    "find_split_folders",
    "split_called",
]

LAYOUTS = ("auto", "splits", "classes")
"""How folders called as splits are taken: by the whole layout, always as splits, or as classes."""

# What the folder of a split may be called, in any case of its letters.
SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
# Tiny-ImageNet's list of the classes of its validation images, and the folder that has these.
ANNOTATIONS = b"val_annotations.txt"
_IMAGES = b"images"

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
    found = {split: each for split, each in named.items() if each}
    if not found or not (layout == "splits" or _are_splits(found, folders, subfolders)):
        if found:
            every = ", ".join(repr(os.fsdecode(each)) for some in found.values() for each in some)
            _logger.warning(
                "%s: taken for classes: %s, by what lies in them and beside them; "
                "`layout='splits'` takes such folders for splits",
                shown,
                every,
            )
        return {}
    for split, each in found.items():
        if len(each) > 1:
            raise InputError(
                f"{shown}: {' and '.join(repr(os.fsdecode(one)) for one in each)} are both the "
                f"split {split!r}; rename one, or `layout='classes'` takes them for classes"
            )
    return {split: each[0] for split, each in found.items()}


def split_called(name: bytes) -> str | None:
    """Return the split whose folder may have this name, None for any other name."""
    called = os.fsdecode(name).casefold()
    return next((split for split, names in SPLITS.items() if called in names), None)


def _are_splits(
    found: dict[str, list[bytes]],
    folders: Collection[bytes],
    subfolders: Callable[[bytes], Collection[bytes]],
) -> bool:
    named = {folder for each in found.values() for folder in each}
    others = set(folders) - named
    if not others:
        return len(named) > 1 or any(subfolders(folder) for folder in named)
    training = {name for folder in found.get("train", ()) for name in subfolders(folder)}
    tested = {
        name
        for split, each in found.items()
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
    found = find_split_folders(children, lambda name: children[name], layout=layout, shown=shown)
    if not found:
        return [class_of(path) for path in relative], []
    split_of = {folder: split for split, folder in found.items()}
    annotated: dict[bytes, dict[bytes, bytes]] = {}
    for folder in found.values():
        listed = text(below(folder, ANNOTATIONS))
        if listed is not None:
            annotated[folder] = annotated_classes(listed, f"{shown}: {os.fsdecode(folder)}")
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
        ", ".join(f"{os.fsdecode(found[split])} {counts[split]}" for split in found),
    )
    if counts[""]:
        _logger.warning(
            "%s: %d images lie outside of %s: they have no class and no split",
            shown,
            counts[""],
            " and ".join(os.fsdecode(folder) for folder in found.values()),
        )
    return classes, splits


def annotated_classes(content: bytes, shown: str) -> dict[bytes, bytes]:
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


def below(folder: bytes, name: bytes) -> bytes:
    """Join a folder, perhaps none, and a name in it."""
    return folder + b"/" + name if folder else name

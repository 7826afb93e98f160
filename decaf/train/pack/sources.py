"""The data set that goes into a pack: which images, of which classes, in which split."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images import ImageList, ListingSettings
from decaf.images.decoding.limits import MAX_NAME_BYTES
from decaf.images.listing.splits import draw_share
from decaf.storage import Entry
from decaf.storage.unfinished import describe_images
from decaf.train.pack import ilsvrc
from decaf.train.pack.labelled import (
    below_source,
    is_path,
    read_parts,
    read_val,
    shown_source,
    some_of,
)

__all__ = ["find_source", "pack_entries", "source_of"]

_logger = logging.getLogger(__name__)

Source = str | bytes | os.PathLike[str]


def find_source(
    source: Source | ImageList,
    listing: ListingSettings | None = None,
    *,
    val: Source | None = None,
    devkit: Source | None = None,
    split_val: float | None = None,
    seed: int = 0,
) -> ImageList:
    """List the images of a data set for training.

    Parameters
    ----------
    source : path
        A folder or archive in one of the layouts of `decaf.images.listing.class_folders`;
        ImageNet's tar of training images as given out for ILSVRC 2012; or a folder that holds this
        tar, and perhaps those of the validation images and the development kit, by their own
        names. With labels, or where it is a list, whatever `decaf.extract` takes as files.
    listing : ListingSettings, optional
        Images without a label are left out, with a word; `split_val` draws whole groups.
    val : path, optional
        Where the validation images are, if they are elsewhere.
    devkit : path, optional
        ImageNet's development kit, which has the classes of ImageNet's validation images.
    split_val : float, optional
        Take this share of each class's training images for validation instead; at least one image
        of a class stays on each side. Which ones is drawn by their names and `seed`.
    seed : int

    Returns
    -------
    ImageList
        The images of all splits, in this order: "train"; "val" where there is one; "test" where
        the data set has no "val" of its own. Its classes are sorted, its names are paths below the
        data set, and its ``layout`` is one of `decaf.images.listing.class_folders.LAYOUT_KINDS`,
        "ilsvrc" or "list".

    Raises
    ------
    InputError
        If the images cannot be listed, there are not two classes with images, or the classes of the
        splits are not the same.
    SettingError
        For a `split_val` that is not between 0 and 1, or together with another source of
        validation images; for `groups` without it.
    """
    listing = listing or ListingSettings()
    if split_val is not None and not 0 < split_val < 1:
        raise SettingError(f"`split_val` {split_val!r}: must be between 0 and 1")
    if listing.groups is not None and split_val is None:
        raise SettingError("`groups` are kept together where `split_val` draws images: give it too")
    shown = shown_source(source)
    kind, parts = _parts(*_located(source, val, devkit), listing)
    if split_val is not None and "val" in parts:
        _check_classes(shown, parts, False)
        raise SettingError(
            f"{shown}: has validation images; "
            "leave `split_val` out, or give the folder of its training images alone"
        )
    return source_of(
        shown, kind, parts, split_val=split_val, seed=seed, min_images=listing.min_images
    )


def source_of(
    shown: str,
    kind: str,
    parts: dict[str, ImageList],
    *,
    split_val: float | None = None,
    seed: int = 0,
    subset: bool = False,
    min_images: int | None = None,
) -> ImageList:
    """Make a data set for training of images that are listed.

    Parameters
    ----------
    shown : str
        How errors name it.
    kind : str
        The layout, for the record.
    parts : dict of str to ImageList
        "train", perhaps in groups, and other splits.
    split_val : float, optional
        Draw this share of each class of train as "val", which is then not among `parts`.
    seed : int
        Seed of that draw.
    subset : bool
        Whether classes of train may have no image in another split.
    min_images : int, optional
        The least training images of a class; by default 1, or 2 where some are drawn.

    Raises
    ------
    InputError
        As `find_source`.
    """
    needed = 1 if split_val is None else 2
    parts = _large_enough(shown, parts, max(1, needed if min_images is None else min_images))
    _check_classes(shown, parts, subset)
    train = parts["train"]
    lists = {
        split: below_source(part if split == "train" else _numbered(train, part))
        for split, part in parts.items()
    }
    if split_val is not None:
        images = lists.pop("train")
        drawn = draw_share(
            images.labels, images.names, split_val, salt=b"%d\0" % seed, groups=images.groups
        )
        if not drawn.any():
            raise InputError(
                f"{shown}: no class has two groups, so none can be divided into training and "
                "validation; give groups that are finer, or none"
            )
        if images.groups is not None:
            count = len(set(images.groups) - {""})
            _logger.info("%s: %d groups, none of them in train and val both", shown, count)
        chosen = {"train": np.flatnonzero(~drawn), "val": np.flatnonzero(drawn)}
        lists = {**{split: images.take(rows) for split, rows in chosen.items()}, **lists}
    titles = tuple(_storable(name) for name in train.class_titles)
    _refuse_unstorable(shown, train.class_names, titles, lists)
    every = ImageList.join(
        [replace(images, splits=(split,) * len(images)) for split, images in lists.items()]
    )
    return replace(every, titles=titles, layout=kind)


def pack_entries(images: ImageList) -> list[Entry]:
    """List what an unfinished pack remembers of its images; see `decaf.storage.unfinished`.

    Parameters
    ----------
    images : ImageList
        As `find_source` returns it.

    Returns
    -------
    list of Entry
        The split stands before the name.
    """
    named = zip(images.splits or (), describe_images(images), strict=True)
    return [[f"{split}: {entry[0]}", *entry[1:]] for split, entry in named]


def _located(
    source: Any, val: Source | None, devkit: Source | None
) -> tuple[Any, str | None, str | None]:
    """Find the tars of ImageNet in a folder that holds them."""
    path = os.fsdecode(source) if is_path(source) else ""
    val, devkit = (None if other is None else os.fsdecode(other) for other in (val, devkit))
    train = os.path.join(path, ilsvrc.TRAIN_NAME)
    if os.path.isfile(train):
        beside = [os.path.join(path, name) for name in (ilsvrc.VAL_NAME, ilsvrc.DEVKIT_NAME)]
        if val is None and os.path.exists(beside[0]):
            val = beside[0]
        if devkit is None and os.path.exists(beside[1]):
            devkit = beside[1]
        path = train
    return path or source, val, devkit


def _parts(
    path: Any, val: Any, devkit: str | None, listing: ListingSettings
) -> tuple[str, dict[str, ImageList]]:
    """Read the splits."""
    kit = None if devkit is None else ilsvrc.read_devkit(devkit)
    parts: dict[str, ImageList] = {}
    if isinstance(path, str) and ilsvrc.is_tar_of_tars(path):
        kind = "ilsvrc"
        parts["train"] = ilsvrc.read_train(path, {} if kit is None else kit.words)
    else:
        held_out = ("val", "test") if val is None else ()
        kind, parts = read_parts(path, listing, held_out=held_out)
        if kit is not None:
            train = parts["train"]
            words = zip(train.class_names, train.class_titles, strict=True)
            titles = tuple(kit.words.get(class_id, title) for class_id, title in words)
            parts["train"] = replace(train, titles=titles)
    if val is not None:
        parts["val"] = (
            _read_elsewhere(val, listing.layout)
            if kit is None
            else ilsvrc.read_val(val, kit, parts["train"].class_names)
        )
    return kind, parts


def _read_elsewhere(val: str, layout: str) -> ImageList:
    try:
        return read_val(val, layout=layout)
    except InputError as error:
        raise InputError(
            f"{error}; for ImageNet's own validation images give its development kit, "
            f"`devkit='{ilsvrc.DEVKIT_NAME}'`"
        ) from error


def _large_enough(shown: str, parts: dict[str, ImageList], least: int) -> dict[str, ImageList]:
    """Leave out the classes with fewer training images than are needed."""
    train = parts["train"]
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    small = {train.class_names[at]: int(counts[at]) for at in np.flatnonzero(counts < least)}
    if not small:
        return parts
    told = some_of([f"{name} {count}" for name, count in small.items()])
    if len(train.class_names) - len(small) < 2:
        raise InputError(
            f"{shown}: training takes two classes or more with {least} training images or more "
            f"each; with fewer: {told}"
        )
    _logger.warning(
        "%s: %d of %d classes have fewer than %d training images and are left out (%s)",
        shown,
        len(small),
        len(train.class_names),
        least,
        told,
    )
    return {split: _without(part, set(small)) for split, part in parts.items()}


def _without(part: ImageList, classes: set[str]) -> ImageList:
    """Leave out classes, and number the others anew."""
    stays = np.array([name not in classes for name in part.class_names], bool)
    images = part.take(np.flatnonzero(stays[part.labels]))
    number = np.cumsum(stays) - 1
    names, titles = (
        [name for name, keep in zip(each, stays, strict=True) if keep]
        for each in (part.class_names, part.class_titles)
    )
    return images.with_labels(number[images.labels], names, titles)


def _check_classes(shown: str, parts: dict[str, ImageList], subset: bool) -> None:
    train = parts["train"]
    if len(train.class_names) < 2:
        raise InputError(
            f"{shown}: has the class {train.class_names[0]!r} alone; "
            "training takes two classes or more, a folder each"
        )
    for split, part in parts.items():
        if split != "train":
            _check_same(shown, train, split, part, subset)


def _check_same(shown: str, train: ImageList, split: str, part: ImageList, subset: bool) -> None:
    """Refuse a split of other classes than train's."""
    there = set(part.class_names) - set(part.empty_classes)
    new, missing = there - set(train.class_names), set(train.class_names) - there
    if subset:
        missing = set()
    if new or missing:
        alone = [f"{len(new)} in {split} alone ({some_of(sorted(new))})"] if new else []
        alone += [f"{len(missing)} in train alone ({some_of(sorted(missing))})"] if missing else []
        raise InputError(f"{shown}: train and {split} have other classes: {'; '.join(alone)}")


def _numbered(train: ImageList, part: ImageList) -> ImageList:
    """Number the images of a split as train does, which has all their classes."""
    number = {name: label for label, name in enumerate(train.class_names)}
    moved = np.array([number.get(name, -1) for name in part.class_names])
    return part.with_labels(moved[part.labels], train.class_names, train.class_titles)


def _refuse_unstorable(
    shown: str, ids: Sequence[str], class_names: Sequence[str], lists: dict[str, ImageList]
) -> None:
    """Refuse what no pack can hold before the first image is decoded."""
    if list(ids) != sorted(set(ids)):
        wrong = next(b for a, b in pairwise(ids) if a >= b)
        raise InputError(f"{shown}: the class {wrong!r} is there twice, or not in its order")
    changed = next((name for name in ids if name != _storable(name)), None)
    if changed is not None:
        raise InputError(
            f"{shown}: the class {changed!r} has a name that cannot be kept; rename its folder"
        )
    texts = [name.encode() for name in (*ids, *class_names)]
    names = (name for images in lists.values() for name in images.names)
    for what, name in chain(
        (("a class", text) for text in texts), (("an image", name) for name in names)
    ):
        if len(name) > MAX_NAME_BYTES:
            raise InputError(
                f"{shown}: {what} has a name of {len(name)} bytes "
                f"({os.fsdecode(name[:40])!r}…); at most {MAX_NAME_BYTES} can be kept"
            )


def _storable(text: str) -> str:
    """Return a text as it comes back from a file; see `decaf.storage.hdf5.text_array`."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()

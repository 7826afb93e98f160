"""The data set that goes into a pack: which images, of which classes, in which split."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from decaf.errors import ImageError, InputError, SettingError
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.listing.draws import draw_share
from decaf.images.listing.groups import is_table
from decaf.images.listing.names import refuse_long, some_of
from decaf.runtime.names import name_text, slashed
from decaf.runtime.wording import counted
from decaf.storage import Entry
from decaf.storage.unfinished import describe_images
from decaf.train.pack import ilsvrc

__all__ = [
    "copies_together",
    "draw_validation",
    "find_source",
    "pack_entries",
    "read_parts",
    "source_of",
]

# Beyond, images are not searched for copies.
MOST_COMPARED = 50_000

_logger = logging.getLogger(__name__)

Source = str | bytes | os.PathLike[str]


def find_source(
    source: Source | ImageList,
    listing: ListingSettings | None = None,
    *,
    val: Source | ImageList | None = None,
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
    shown, kind, parts = read_parts(
        source, listing, val=val, devkit=devkit, held_out=("val", "test")
    )
    if split_val is not None and "val" in parts:
        _check_classes(shown, parts, False)
        raise SettingError(
            f"{shown}: has validation images; "
            "leave `split_val` out, or give the folder of its training images alone"
        )
    return source_of(
        shown, kind, parts, split_val=split_val, seed=seed, min_images=listing.min_images
    )


def read_parts(
    source: Any,
    listing: ListingSettings,
    *,
    val: Any = None,
    devkit: Source | None = None,
    held_out: Sequence[str] = ("val",),
) -> tuple[str, str, dict[str, ImageList]]:
    """List the training images of a data set, and those for validation.

    Parameters
    ----------
    source, val, devkit
        As in `find_source`.
    listing : ListingSettings
        Groups in a sequence are of the training images; others of those of `source` for validation
        too, and those of a table of `val`, where it knows any.
    held_out : sequence of str
        Splits of `source`, of which the first that is there is taken where there is no `val`.

    Returns
    -------
    shown : str
        How messages name the data set.
    kind : str
        How it is laid out.
    parts : dict of str to ImageList
        "train" first. Every image has a class.

    Raises
    ------
    InputError
        If there is no such data set, or none of its images is for training.
    """
    source, val, devkit = _located(source, val, devkit)
    shown = repr(source) if isinstance(source, str) else "the images"
    kit = None if devkit is None else ilsvrc.read_devkit(devkit)
    if isinstance(source, str) and ilsvrc.is_tar_of_tars(source):
        images = ilsvrc.read_train(source, {} if kit is None else kit.words)
        parts = {"train": images.in_groups(listing.groups)}
    else:
        # Boxes are grouped by their images, besides.
        groups = listing.groups if listing.crops_from is None else None
        images = collect(source, replace(listing, groups=None) if groups is not None else listing)
        if images.in_memory:
            raise InputError("images in memory have no files that could be packed; save them first")
        parts = _parts(images, shown, groups, held_out if val is None else ())
    if kit is not None:
        train = parts["train"]
        words = zip(train.class_names, train.class_titles, strict=True)
        titles = tuple(kit.words.get(class_id, title) for class_id, title in words)
        parts["train"] = replace(train, titles=titles)
    if val is not None:
        try:
            parts["val"] = (
                _read_val(val, listing)
                if kit is None
                else ilsvrc.read_val(val, kit, parts["train"].class_names)
            )
        except InputError as error:
            raise InputError(f"validation images: {error}") from error
    return shown, images.layout or "list", parts


def _parts(
    images: ImageList, shown: str, groups: Any, held_out: Sequence[str]
) -> dict[str, ImageList]:
    """Divide images as their folders say: into train, and the first split to be held out."""
    splits = images.splits or ()
    if splits and "train" not in splits:
        raise InputError(f"{shown}: no folder 'train' in it, nor images of this split otherwise")
    if isinstance(groups, (str, bytes, os.PathLike)):
        images, groups = images.in_groups(groups), None
    train = _with_classes(images.part("train" if splits else None), shown)
    parts = {"train": train if groups is None else train.in_groups(groups)}
    for split in held_out:
        if (split, "") in images.empty_folders:
            raise InputError(
                f"{shown}: no images in its folder for {split}; add some, or remove it"
            )
        if split in splits:
            part = images.part(split)
            # The test images of Tiny-ImageNet have no classes.
            if images.layout != "tiny-imagenet" or (part.labels >= 0).any():
                parts[split] = _with_classes(part, shown)
                break
    if "val" in held_out and "test" in splits and "test" not in parts:
        _logger.warning(
            "%s: its %s left alone: for the end, and nothing is chosen by them",
            shown,
            counted(images.split_counts["test"], "test image", "are"),
        )
    return parts


def _read_val(val: Any, listing: ListingSettings) -> ImageList:
    """List validation images that lie elsewhere; of a divided data set those of val, or test."""
    shown = repr(val) if isinstance(val, str) else "the images"
    images = collect(val, replace(listing, labels=listing.val_labels, groups=None, splits=None))
    if ilsvrc.are_validation_images(images):
        raise InputError(
            f"{shown}: ImageNet's own validation images have no classes; give its development "
            f"kit, `devkit='{ilsvrc.DEVKIT_NAME}'`"
        )
    split = next((name for name in ("val", "test") if name in (images.splits or ())), None)
    part = _with_classes(images.part(split), shown)
    # Paths below another source may be alike by chance; a table may know training images alone.
    if isinstance(listing.groups, (str, bytes, os.PathLike)) and is_table(listing.groups):
        with suppress(InputError):
            part = part.in_groups(listing.groups)
    return part


def _with_classes(images: ImageList, shown: str) -> ImageList:
    """Leave out the images without a class, and call classes that are bare numbers by texts."""
    without = np.flatnonzero(images.labels < 0).tolist()
    if without:
        names = some_of([repr(name_text(images.names[row])) for row in without])
        told = f"{len(without)} of {counted(len(images), 'image', 'have')} no class ({names})"
        if len(without) == len(images):
            raise InputError(f"{shown}: {told}; put each class into a folder, or give `labels`")
        _logger.warning("%s: %s and are left out", shown, told)
        images = images.take(np.flatnonzero(images.labels >= 0))
    if images.class_names:
        return images
    present, codes = np.unique(images.labels, return_inverse=True)
    # Sorted as texts in the order of the numbers.
    width = len(str(int(present.max())))
    ids = [f"{label:0{width}d}" for label in present.tolist()]
    return images.with_labels(codes, ids, [str(label) for label in present.tolist()])


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
        split: _below_source(part if split == "train" else part.with_classes(train.class_names))
        for split, part in parts.items()
    }
    if split_val is not None:
        images = lists.pop("train")
        drawn = draw_validation(shown, images, split_val, seed=seed)
        chosen = {"train": np.flatnonzero(~drawn), "val": np.flatnonzero(drawn)}
        lists = {**{split: images.take(rows) for split, rows in chosen.items()}, **lists}
    titles = tuple(map(_storable, train.class_titles))
    _refuse_unstorable(shown, train.class_names, titles, lists)
    every = ImageList.join(
        [replace(images, splits=(split,) * len(images)) for split, images in lists.items()]
    )
    return replace(every, titles=titles, layout=kind, for_training=True)


def draw_validation(shown: str, images: ImageList, share: float, *, seed: int) -> np.ndarray:
    """Draw a share of each class for validation; see `decaf.images.listing.draws.draw_share`.

    Parameters
    ----------
    shown : str
        How messages name the data set.
    images : ImageList
        Known by their names; those of a group stay together, and exact copies of a file do.
    share : float
    seed : int

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InputError
        If nothing can be drawn.
    """
    groups, salt = images.groups, b"%d\0" % seed
    together = copies_together(images)
    drawn = draw_share(images.labels, images.names, share, salt=salt, groups=together)
    if not drawn.any():  # images that are nothing but copies are no reason to end here
        drawn = draw_share(images.labels, images.names, share, salt=salt, groups=groups)
    if not drawn.any():
        units, remedy = "images", "add images"
        if groups is not None:
            units, remedy = "groups", "give groups that are finer, or none"
        raise InputError(
            f"{shown}: no class has two {units}, so none can be divided into training and "
            f"validation; {remedy}, or give validation images"
        )
    if groups is not None:
        count = len(set(groups) - {""})
        groups_drawn = counted(count, "group")
        _logger.info("%s: %s, none of them in train and val both", shown, groups_drawn)
    return drawn


def copies_together(images: ImageList) -> tuple[str, ...] | None:
    """Return the groups of images, of which those that hold copies of one file are one.

    Where their content is not known, files of the same size are read; of more than `MOST_COMPARED`
    images none is, as too many of them are of one size.

    Parameters
    ----------
    images : ImageList

    Returns
    -------
    tuple of str or None
        None where there are neither groups nor copies.
    """
    groups = images.groups
    by_content: dict[bytes, list[int]] = {}
    for row, digest in _digests(images):
        by_content.setdefault(digest, []).append(row)
    copies = [rows for rows in by_content.values() if len(rows) > 1]
    if not copies:
        return groups
    count = sum(len(rows) - 1 for rows in copies)
    _logger.warning(
        "%s of %s; copies are never in train and val both",
        "1 image is an exact copy" if count == 1 else f"{count} images are exact copies",
        "another" if count == 1 else "others",
    )
    named = list(groups or [""] * len(images))
    for number, rows in enumerate(copies):
        own = {named[row] for row in rows} - {""}
        name = min(own) if own else f"copies {number}"
        named = [name if group in own else group for group in named] if len(own) > 1 else named
        for row in rows:
            named[row] = name
    return tuple(named)


def _digests(images: ImageList) -> Iterator[tuple[int, bytes]]:
    """Yield the images that may be copies of others, with the hash of what they hold."""
    if images.content_sha256 is not None:
        yield from ((row, each.tobytes()) for row, each in enumerate(images.content_sha256)
                    if each.any())  # fmt: skip
    elif images.refs is not None and len(images) <= MOST_COMPARED:
        by_size: dict[int, list[int]] = {}
        for row, ref in enumerate(images.refs):
            by_size.setdefault(ref.stat()[0], []).append(row)
        alike = (rows for size, rows in by_size.items() if size > 0 and len(rows) > 1)
        for row in (row for rows in alike for row in rows):
            try:
                ref = images.refs[row]
                yield row, ref.digest(ref.load())
            except ImageError:
                continue  # it is told of when it is decoded


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


def _located(source: Any, val: Any, devkit: Source | None) -> tuple[Any, Any, str | None]:
    """Find the tars of ImageNet in a folder that holds them."""
    kit = None if devkit is None else name_text(devkit)
    if not _is_path(source):
        return source, val, kit
    path = name_text(source)
    train = os.path.join(path, ilsvrc.TRAIN_NAME)
    if os.path.isfile(train):
        beside = [os.path.join(path, name) for name in (ilsvrc.VAL_NAME, ilsvrc.DEVKIT_NAME)]
        if val is None and os.path.exists(beside[0]):
            val = beside[0]
        if kit is None and os.path.exists(beside[1]):
            kit = beside[1]
        path = train
    return path, name_text(val) if _is_path(val) else val, kit


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, bytes, os.PathLike))


def _large_enough(shown: str, parts: dict[str, ImageList], least: int) -> dict[str, ImageList]:
    """Leave out the classes with fewer training images than are needed."""
    train = parts["train"]
    counts = np.bincount(train.labels, minlength=len(train.class_names)).tolist()
    count_of = dict(zip(train.class_names, counts, strict=True))
    small = {name: count for name, count in count_of.items() if count < least}
    if not small:
        return parts
    told = some_of(f"{name} {count}" for name, count in small.items())
    if len(count_of) - len(small) < 2:
        raise InputError(
            f"{shown}: training takes two classes or more with {least} training images or more "
            f"each; with fewer: {told}"
        )
    _logger.warning(
        "%s: %d of %d classes have fewer than %d training images and are left out (%s)",
        shown,
        len(small),
        len(count_of),
        least,
        told,
    )
    return {
        split: part.with_classes(set(part.class_names) - small.keys())
        for split, part in parts.items()
    }


def _check_classes(shown: str, parts: dict[str, ImageList], subset: bool) -> None:
    """Refuse a single class, and a split of other classes than train's."""
    train = parts["train"]
    if len(train.class_names) < 2:
        raise InputError(
            f"{shown}: has the class {train.class_names[0]!r} alone; "
            "training takes two classes or more, a folder each"
        )
    for split, part in parts.items():
        there = {part.class_names[label] for label in np.unique(part.labels)}
        new, missing = there - set(train.class_names), set(train.class_names) - there
        if new or (missing and not subset):
            alone = [f"{len(new)} in {split} alone ({some_of(sorted(new))})"] if new else []
            if missing and not subset:
                alone.append(f"{len(missing)} in train alone ({some_of(sorted(missing))})")
            raise InputError(f"{shown}: train and {split} have other classes: {'; '.join(alone)}")


def _below_source(images: ImageList) -> ImageList:
    """Name images by their paths below the data set, so that it may lie elsewhere."""
    prefix = os.path.join(os.fsencode(images.sources[0]["path"]), b"")
    return replace(images, names=[slashed(name.removeprefix(prefix)) for name in images.names])


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
    refuse_long((name.encode() for name in (*ids, *class_names)), "class", f"{shown}: ")
    refuse_long((name for images in lists.values() for name in images.names), "image", f"{shown}: ")


def _storable(text: str) -> str:
    """Return a text as it comes back from a file; see `decaf.storage.hdf5.text_array`."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()

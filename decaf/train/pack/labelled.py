"""Labelled images for training, as a data set in folders or as a list with labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from decaf.errors import InputError
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.listing.class_folders import Layout, find_layout
from decaf.images.listing.groups import find_groups

__all__ = [
    "below_source",
    "is_path",
    "read_parts",
    "read_val",
    "shown_source",
    "some_of",
]

_SHOWN = 5
_LIST_ENDINGS = (".txt", ".lst", ".list", ".csv", ".tsv")

_logger = logging.getLogger(__name__)


def read_parts(
    source: Any, listing: ListingSettings, *, held_out: Sequence[str]
) -> tuple[str, dict[str, ImageList]]:
    """List the training images of a data set, and those that it holds out itself.

    Parameters
    ----------
    source : any
        As in `decaf.train.pack.sources.find_source`.
    listing : ListingSettings
        The groups are of the training images.
    held_out : sequence of str
        The splits to take beside train: the first of them that is there.

    Returns
    -------
    kind : str
        How the data set is laid out, or "list".
    parts : dict of str to ImageList
        "train" first.

    Raises
    ------
    InputError
        If there is no such data set, or it has splits but none for training.
    """
    data_set = _layout(source, listing.labels, listing.layout)
    if data_set is None:
        images = _listed(source, listing.labels, listing.layout, listing.groups)
        parts = _split_parts(images) if held_out else {"train": images}
        return "list", {name: part for name, part in parts.items() if name in ("train", *held_out)}
    if data_set.splits and "train" not in data_set.splits:
        raise InputError(f"{shown_source(source)}: no folder 'train' in it")
    train = data_set.read("train" if data_set.splits else None)
    parts = {"train": _in_groups(train, listing.groups)}
    other = next((split for split in held_out if split in data_set.splits), None)
    if other is not None:
        parts[other] = data_set.read(other)
    return data_set.kind, parts


def read_val(val: Any, labels: Any = "folder", layout: str = "auto") -> ImageList:
    """List validation images that lie elsewhere; of a data set with splits those of val, or test.

    Parameters
    ----------
    val : path or sequence
    labels : "folder", path, or sequence
        As in `decaf.extract`.
    layout : {"auto", "splits", "classes"}

    Raises
    ------
    InputError
        If they cannot be listed.
    """
    listed = _layout(val, labels, layout)
    if listed is None:
        return _listed(val, labels, layout, None)
    return listed.read(next((s for s in ("val", "test") if s in listed.splits), None))


def _in_groups(images: ImageList, groups: Any) -> ImageList:
    """Find the groups of images that a layout gave: `decaf.images.listing.groups.find_groups`.

    Parameters
    ----------
    images : ImageList
    groups : str or sequence, optional
    """
    group_names = find_groups(groups, images.names, below_source(images).names, images.refs)
    return replace(images, groups=group_names)


def shown_source(source: Any) -> str:
    """Return how errors name a data set.

    Parameters
    ----------
    source : object
    """
    return repr(os.fsdecode(source)) if is_path(source) else "the images"


def is_path(source: Any) -> bool:
    """Tell whether a data set is named by a path.

    Parameters
    ----------
    source : object
    """
    return isinstance(source, (str, bytes, os.PathLike))


def _layout(source: Any, labels: Any, layout: str) -> Layout | None:
    """Recognise a data set in folders; None for a list of images."""
    if not is_path(source) or not (isinstance(labels, str) and labels == "folder"):
        return None
    text = os.fsdecode(source)
    if not os.path.lexists(text) and (
        text == "-" or text.startswith("@") or any(sign in text for sign in "*?[:")
    ):
        return None
    if os.path.isfile(text) and text.lower().endswith(_LIST_ENDINGS):
        return None
    return find_layout(source, layout)


def _listed(source: Any, labels: Any, layout: str, groups: Any) -> ImageList:
    """Read a list of images with the labels that go with it."""
    images = collect(source, labels=labels, layout=layout, groups=groups)
    if images.in_memory:
        raise InputError("images in memory have no files that could be packed; save them first")
    without = images.labels < 0
    if without.any():
        names = [repr(os.fsdecode(images.names[row])) for row in np.flatnonzero(without)]
        told = f"{len(names)} of {len(images)} images have no class ({some_of(names)})"
        if without.all():
            raise InputError(
                f"{shown_source(source)}: {told}; put each class into a folder, or give labels"
            )
        _logger.warning("%s: %s and are left out", shown_source(source), told)
        images = images.take(np.flatnonzero(~without))
    present, codes = np.unique(images.labels, return_inverse=True)
    if images.class_names:
        return images.with_labels(codes, [images.class_names[label] for label in present])
    # Sorted as texts in the order of the numbers.
    width = len(str(int(present.max())))
    ids = [f"{label:0{width}d}" for label in present.tolist()]
    return images.with_labels(codes, ids, [str(label) for label in present.tolist()])


def _split_parts(images: ImageList) -> dict[str, ImageList]:
    """Divide a list of images by the splits that its paths tell.

    Those of a test are left out where there are some for validation, and so are those outside.

    Parameters
    ----------
    images : ImageList
    """
    splits = np.array(images.splits or [], object)
    if not set(splits.tolist()) & {"val", "test"}:
        return {"train": images}
    chosen = ("train", "val" if "val" in splits else "test")
    parts = {split: images.take(np.flatnonzero(splits == split)) for split in chosen}
    if not len(parts["train"]):
        raise InputError("the images are divided, and none of them is for training (train)")
    return parts


def below_source(images: ImageList) -> ImageList:
    """Name images by their paths below the data set, so that it may lie elsewhere.

    Parameters
    ----------
    images : ImageList
    """
    prefix = os.path.join(os.fsencode(images.sources[0]["path"]), b"")
    names = [name.removeprefix(prefix) for name in images.names]
    return replace(images, names=names)


def some_of(names: Sequence[str]) -> str:
    """Return the first few of many names, and how many more there are.

    Parameters
    ----------
    names : sequence of str
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

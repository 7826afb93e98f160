"""The images that networks are tested on, each with its class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.evaluate.class_names import ClassList, MatchSettings
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.decoding.formats import is_hdf5
from decaf.images.listing.recognise import is_kind
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.train import Pack

__all__ = ["opened_pack", "read_test_set"]

_logger = logging.getLogger(__name__)


def opened_pack(data: Any, labels: Any, stack: ExitStack) -> Any:
    """Open the training pack that a path names; return what is no such path as it is.

    Parameters
    ----------
    data, labels
        As in `read_test_set`. An HDF5 file is opened as a pack unless it is none and has labels.
    stack : ExitStack
        Closes the pack.
    """
    unlabelled = labels is None or (isinstance(labels, str) and labels == "folder")
    if is_hdf5(data) and (unlabelled or is_kind(data, "pack")):
        return stack.enter_context(Pack.open(data))
    return data


def read_test_set(
    data: Any,
    split: str | None = None,
    listing: ListingSettings | None = None,
    matching: MatchSettings | None = None,
) -> tuple[ImageList, ClassList]:
    """List the images to test on, with their classes.

    Parameters
    ----------
    data : path, Pack, ImageList, torch Dataset, or whatever `decaf.extract` takes
        A path is a data set in one of the layouts of `decaf.images.listing.class_folders`, unless
        labels are given. A training pack is an open `decaf.train.pack.reader.Pack`. Of a Dataset
        of (image, label) the labels are its ``targets`` or ``labels``, and the classes its
        ``classes``, unless they are given here.
    split : {"train", "val", "test"}, optional
        Split of a path or pack that has splits; by default "val", or "test" where there is no
        "val".
    listing : ListingSettings, optional
        Labels that are texts are ids or names of classes, integers number the classes of the
        networks. Images without a label are left out, with a word.
    matching : MatchSettings, optional
        Has the classes that the labels number, where `data` does not tell.

    Returns
    -------
    images : ImageList
        Every label is 0 or more. Where the data set has splits, all are of the one.
    classes : ClassList
        Classes that the labels number. Without ids, they number the units of the networks.

    Raises
    ------
    InputError
        If there are no images with a label, or fewer than two classes.
    SettingError
        If a split is asked for where there can be none.
    """
    listing, matching = listing or ListingSettings(), matching or MatchSettings()
    labels = listing.labels
    class_ids, class_names = matching.class_ids, matching.class_names
    if isinstance(labels, str) and labels == "folder":
        labels = None
    is_path = isinstance(data, (str, bytes, os.PathLike))
    if isinstance(data, Pack):
        if listing.splits is not None:
            raise SettingError(f"{data.path}: a pack has its own splits; leave `splits` out")
        if labels is not None or class_ids is not None:
            raise SettingError(f"{data.path}: a pack has its own labels; leave `labels` out")
        images, classes = _of_pack(data, split, class_names)
    elif split is not None and (labels is not None or not is_path) and listing.splits is None:
        raise SettingError(
            f"`split` {split!r}: only a data set's folder or archive, or a pack, has splits, or "
            "what `splits` names"
        )
    elif is_path and labels is None:
        owner = name_text(data)
        images = _of_split(collect(data, listing), split, owner)
        names = tuple(class_names or images.class_titles)
        classes = ClassList(owner, len(images.class_names), images.class_names, names)
    else:
        owner = "the data set" if isinstance(data, ImageList) else f"the {type(data).__name__}"
        images = _named(collect(data, listing), data)
        if listing.splits is not None:
            images = _of_split(images, split, owner)
        ids = tuple(class_ids or images.class_names)
        classes = ClassList(
            name_text(data) if is_path else owner,
            len(ids) or int(images.labels.max()) + 1,
            ids,
            tuple(class_names or images.titles),
            are_units=not ids and labels is not None,
        )
    images = _labelled(images, classes, labels)
    _check(images, classes)
    return images, classes


def _of_split(images: ImageList, split: str | None, owner: str) -> ImageList:
    if images.splits is not None:
        split = split or _default_split(images.splits, owner)
    return images.part(split)


def _of_pack(
    pack: Pack, split: str | None, class_names: Sequence[str] | None
) -> tuple[ImageList, ClassList]:
    split = split or _default_split(pack.splits, pack.path)
    if split not in pack.splits:
        raise InputError(f"{pack.path}: no split {split!r}; it has {', '.join(pack.splits)}")
    images = pack.images(split)
    names = tuple(class_names or pack.class_names)
    return images, ClassList(pack.path, len(pack.wnids), tuple(pack.wnids), names)


def _default_split(splits: Iterable[str], owner: str) -> str:
    for split in ("val", "test"):
        if split in splits:
            return split
    raise InputError(
        f"{owner}: has no val and no test images; `split='train'` evaluates on the training images"
    )


def _labelled(images: ImageList, classes: ClassList, labels: Any) -> ImageList:
    """Leave out the images without a label."""
    without = images.labels < 0
    if not without.any():
        return images
    first = name_text(images.names[int(without.argmax())])
    problem = (
        f"{int(without.sum())} of {counted(len(without), 'image', 'have')} no label (the first "
        f"is {first!r})"
    )
    if without.all():
        hint = "" if labels is not None else "; give `labels`"
        raise InputError(
            f"{classes.owner}: {problem}, so nothing tells which answers are right{hint}"
        )
    _logger.warning("%s: %s and are left out", classes.owner, problem)
    return images.take(np.flatnonzero(~without))


def _check(images: ImageList, classes: ClassList) -> None:
    if classes.ids and int(images.labels.max()) >= len(classes.ids):
        raise InputError(
            f"{classes.owner}: has the label {int(images.labels.max())}, and {len(classes.ids)} "
            "classes"
        )
    if classes.names and len(classes.names) != classes.count:
        raise InputError(
            f"{classes.owner}: {len(classes.names)} class names for {classes.count} classes"
        )
    labels = np.unique(images.labels)
    if len(labels) == 1:
        only = classes.ids[labels[0]] if classes.ids else str(labels[0])
        raise InputError(
            f"{classes.owner}: all {counted(len(images), 'image', 'are')} of one class "
            f"({only!r}); expected a "
            "folder for each of several classes"
        )


def _named(images: ImageList, data: Any) -> ImageList:
    """Name images where the data set has names for them, as a training pack's split has."""
    names = getattr(data, "names", None)
    if not images.in_memory or not isinstance(names, list) or len(names) != len(images):
        return images
    return replace(images, names=names) if all(isinstance(n, bytes) for n in names) else images

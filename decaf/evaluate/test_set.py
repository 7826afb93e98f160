"""The images that networks are tested on, each with its class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.evaluate.class_names import ClassList
from decaf.images.listing.layouts import LabelledImages, find_layout
from decaf.images.listing.sources import ImageList, collect

__all__ = ["TestSet", "read_test_set"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestSet:
    """Images with their classes.

    Attributes
    ----------
    images : ImageList
        Every label is 0 or more.
    classes : ClassList
        What the labels number. Without ids, they number the units of the networks.
    split : str or None
        Which split of the data set it is.
    """

    __test__ = False  # to pytest the name says otherwise

    images: ImageList
    classes: ClassList
    split: str | None = None

    def take(self, rows: npt.NDArray[np.integer]) -> TestSet:
        """Return the test set of some of the images, in the order given."""
        return TestSet(self.images.take(rows), self.classes, self.split)


def read_test_set(
    data: Any,
    *,
    split: str | None = None,
    labels: Any = "folder",
    layout: str = "auto",
    class_ids: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> TestSet:
    """List the images to test on, with their classes.

    Parameters
    ----------
    data : path, Pack, LabelledImages, torch Dataset, or whatever `decaf.extract` takes
        A path is a data set in one of the layouts of `decaf.images.listing.layouts`, unless
        `labels` are given. A training pack is an open `decaf.train.pack.reader.Pack`. Of a Dataset
        of (image, label) the labels are its ``targets`` or ``labels``, and the classes its
        ``classes``, unless they are given here.
    split : {"train", "val", "test"}, optional
        Of a path or pack that has splits; by default "val", or "test" where there is no "val".
    labels : "folder", path, or sequence of int or str
        As `decaf.extract` takes them. Texts are ids or names of classes, integers number the
        classes of the networks. Images without a label are left out, with a word.
    layout : {"auto", "splits", "classes"}
        As `decaf.extract` takes it.
    class_ids, class_names : sequence of str, optional
        What the labels number, where `data` does not tell.

    Returns
    -------
    TestSet

    Raises
    ------
    InputError
        If there are no images with a label, or fewer than two classes.
    SettingError
        If a split is asked for where there can be none.
    """
    if isinstance(labels, str) and labels == "folder":
        labels = None
    is_path = isinstance(data, (str, bytes, os.PathLike))
    if _is_pack(data):
        if labels is not None or class_ids is not None:
            raise SettingError(f"{data.path}: a pack has its own labels; give none")
        found = _of_pack(data, split, class_names)
    elif split is not None and (labels is not None or not is_path):
        raise SettingError(
            f"split {split!r}: only a data set's folder or archive, or a pack, has splits"
        )
    elif isinstance(data, LabelledImages) or (is_path and labels is None):
        owner = os.fsdecode(data) if is_path else "the data set"
        if is_path:
            found_layout = find_layout(data, layout)
            if found_layout.splits:
                split = split or _default_split(found_layout.splits, owner)
            data = found_layout.read(split)
        names = tuple(class_names or data.class_names)
        classes = ClassList(owner, len(data.class_ids), data.class_ids, names)
        found = TestSet(data.images, classes, split)
    else:
        owner = os.fsdecode(data) if is_path else f"the {type(data).__name__}"
        asked = "folder" if labels is None else labels
        images = _named(collect(data, labels=asked, layout=layout), data)
        ids = tuple(class_ids or images.class_names)
        classes = ClassList(
            owner,
            len(ids) or int(images.labels.max()) + 1,
            ids,
            tuple(class_names or ()),
            are_units=not ids and labels is not None,
        )
        found = TestSet(images, classes)
    found = _labelled(found, labels)
    _check(found)
    return found


def _is_pack(data: Any) -> bool:
    """Tell a training pack by what it has: its class lies in a room that this one cannot see."""
    return all(hasattr(data, name) for name in ("splits", "wnids", "class_names", "fingerprint"))


def _of_pack(pack: Any, split: str | None, class_names: Sequence[str] | None) -> TestSet:
    split = split or _default_split(pack.splits, pack.path)
    if split not in pack.splits:
        raise InputError(f"{pack.path}: no split {split!r}; it has {', '.join(pack.splits)}")
    images = collect(pack.splits[split])
    source = {
        "kind": "pack",
        "path": pack.path,
        "images": len(images),
        "fingerprint": pack.fingerprint,
        "size": pack.size,
        "resize": pack.resize,
        "encoding": pack.encoding,
    }
    images = replace(_named(images, pack.splits[split]), sources=(source,))
    names = tuple(class_names or pack.class_names)
    return TestSet(images, ClassList(pack.path, len(pack.wnids), tuple(pack.wnids), names), split)


def _default_split(splits: Iterable[str], owner: str) -> str:
    for split in ("val", "test"):
        if split in splits:
            return split
    raise InputError(
        f"{owner}: has no val and no test images; `split='train'` evaluates on the training images"
    )


def _labelled(found: TestSet, labels: Any) -> TestSet:
    """Leave out the images without a label."""
    without = found.images.labels < 0
    if not without.any():
        return found
    first = os.fsdecode(found.images.names[int(without.argmax())])
    told = f"{int(without.sum())} of {len(without)} images have no label (the first is {first!r})"
    if without.all():
        hint = "" if labels is not None else "; give labels"
        raise InputError(
            f"{found.classes.owner}: {told}, so nothing tells which answers are right{hint}"
        )
    _logger.warning("%s: %s and are left out", found.classes.owner, told)
    return found.take(np.flatnonzero(~without))


def _check(found: TestSet) -> None:
    images, classes = found.images, found.classes
    if classes.ids and int(images.labels.max()) >= len(classes.ids):
        raise InputError(
            f"{classes.owner}: has the label {int(images.labels.max())}, and {len(classes.ids)} "
            "classes"
        )
    if classes.names and len(classes.names) != classes.count:
        raise InputError(
            f"{classes.owner}: {len(classes.names)} class names for {classes.count} classes"
        )
    there = np.unique(images.labels)
    if len(there) == 1:
        only = classes.ids[there[0]] if classes.ids else str(there[0])
        raise InputError(
            f"{classes.owner}: all {len(images)} images are of one class ({only!r}); expected a "
            "folder for each of several classes"
        )


def _named(images: ImageList, data: Any) -> ImageList:
    """Name images where the data set has names for them, as a training pack's split has."""
    names = getattr(data, "names", None)
    if not images.in_memory or not isinstance(names, list) or len(names) != len(images):
        return images
    return replace(images, names=names) if all(isinstance(n, bytes) for n in names) else images

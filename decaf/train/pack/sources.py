"""The data set that goes into a pack: which images, of which classes, in which split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.layouts import LabelledImages, Layout, find_layout
from decaf.images.limits import MAX_NAME_BYTES
from decaf.images.refs import JoinedRefs, PickedRefs
from decaf.images.sources import ImageList
from decaf.train.pack import ilsvrc

__all__ = ["PackSource", "find_source", "source_of"]

_SHOWN = 5

Source = str | bytes | os.PathLike[str]


@dataclass(frozen=True)
class PackSource:
    """A data set for training, its images listed.

    Attributes
    ----------
    kind : str
        The layout: one of `decaf.images.layouts.LAYOUT_KINDS`, or "ilsvrc".
    wnids, class_names : tuple of str
        Identity of the classes, sorted, and what people call them.
    splits : dict of str to int
        How many images each has, in the order in which `images` has them: "train"; "val" where
        there is one; "test" where the data set has no "val" of its own.
    images : ImageList
        Those of all splits; names are paths below the data set.
    """

    kind: str
    wnids: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: dict[str, int]
    images: ImageList

    def entries(self) -> list[list[Any]]:
        """List what an unfinished pack remembers of its images; see `decaf.features.parts`."""
        from decaf.features.parts.inputs import describe

        entries: Any = describe(self.images)
        splits = [split for split, count in self.splits.items() for _ in range(count)]
        for entry, split in zip(entries, splits, strict=True):
            entry[0] = f"{split}: {entry[0]}"
        found: list[list[Any]] = entries
        return found


def find_source(
    source: Source,
    *,
    val: Source | None = None,
    devkit: Source | None = None,
    split_val: float | None = None,
    seed: int = 0,
) -> PackSource:
    """List the images of a data set for training.

    Parameters
    ----------
    source : path
        A folder or archive in one of the layouts of `decaf.images.layouts`; ImageNet's tar of
        training images as given out for ILSVRC 2012; or a folder that holds this tar, and perhaps
        those of the validation images and the development kit, by their own names.
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
    PackSource

    Raises
    ------
    InputError
        If the images cannot be listed, a class has none, there is only one class, or the classes
        of the splits are not the same.
    SettingError
        For a `split_val` that is not between 0 and 1, or together with another source of
        validation images.
    """
    if split_val is not None and not 0 < split_val < 1:
        raise SettingError(f"split_val {split_val!r}: must be between 0 and 1")
    shown = repr(os.fsdecode(source))
    kind, parts = _parts(*_located(source, val, devkit))
    if split_val is not None and "val" in parts:
        _check_classes(shown, parts, False)
        raise SettingError(
            f"{shown}: has validation images; "
            "leave --split-val out, or give the folder of its training images alone"
        )
    return source_of(shown, kind, parts, split_val=split_val, seed=seed)


def source_of(
    shown: str,
    kind: str,
    parts: dict[str, LabelledImages],
    *,
    split_val: float | None = None,
    seed: int = 0,
    subset: bool = False,
) -> PackSource:
    """Make a data set for training of images that are listed.

    Parameters
    ----------
    shown : str
        How errors name it.
    kind : str
        The layout, for the record.
    parts : dict of str to LabelledImages
        "train", and other splits.
    split_val : float, optional
        Draw this share of each class of train as "val", which is then not among `parts`.
    seed : int
        Of that draw.
    subset : bool
        Whether classes of train may have no image in another split.

    Raises
    ------
    InputError
        As `find_source`.
    """
    _check_classes(shown, parts, subset)
    lists = {split: _named(part.images) for split, part in parts.items()}
    if split_val is not None:
        lists = {**_divide(lists.pop("train"), split_val, seed), **lists}
    train = parts["train"]
    class_names = tuple(_storable(name) for name in train.class_names)
    _refuse_unstorable(shown, train.class_ids, class_names, lists)
    return PackSource(
        kind=kind,
        wnids=train.class_ids,
        class_names=class_names,
        splits={split: len(images) for split, images in lists.items()},
        images=_joined(list(lists.values())),
    )


def _located(
    source: Source, val: Source | None, devkit: Source | None
) -> tuple[str, str | None, str | None]:
    """Find the tars of ImageNet in a folder that holds them."""
    path = os.fsdecode(source)
    val, devkit = (None if other is None else os.fsdecode(other) for other in (val, devkit))
    train = os.path.join(path, ilsvrc.TRAIN_NAME)
    if os.path.isfile(train):
        beside = [os.path.join(path, name) for name in (ilsvrc.VAL_NAME, ilsvrc.DEVKIT_NAME)]
        if val is None and os.path.exists(beside[0]):
            val = beside[0]
        if devkit is None and os.path.exists(beside[1]):
            devkit = beside[1]
        path = train
    return path, val, devkit


def _parts(path: str, val: str | None, devkit: str | None) -> tuple[str, dict[str, LabelledImages]]:
    """Read the splits."""
    kit = None if devkit is None else ilsvrc.read_devkit(devkit)
    parts: dict[str, LabelledImages] = {}
    if ilsvrc.is_tar_of_tars(path):
        kind = "ilsvrc"
        parts["train"] = ilsvrc.read_train(path, {} if kit is None else kit.words)
    else:
        layout = find_layout(path)
        kind = layout.kind
        parts = _by_layout(layout, elsewhere=val is not None)
        if kit is not None:
            train = parts["train"]
            words = zip(train.class_ids, train.class_names, strict=True)
            named = tuple(kit.words.get(class_id, name) for class_id, name in words)
            parts["train"] = replace(train, class_names=named)
    if val is not None:
        parts["val"] = (
            _read_elsewhere(val)
            if kit is None
            else ilsvrc.read_val(val, kit, parts["train"].class_ids)
        )
    return kind, parts


def _by_layout(layout: Layout, *, elsewhere: bool) -> dict[str, LabelledImages]:
    if not layout.splits:
        return {"train": layout.read()}
    if "train" not in layout.splits:
        raise InputError(f"{os.fsdecode(layout.path)!r}: no folder 'train' in it")
    parts = {"train": layout.read("train")}
    other = next((split for split in ("val", "test") if split in layout.splits), None)
    if other is not None and not elsewhere:
        parts[other] = layout.read(other)
    return parts


def _read_elsewhere(val: str) -> LabelledImages:
    try:
        layout = find_layout(val)
    except InputError as error:
        raise InputError(
            f"{error}; for ImageNet's own validation images give its development kit, --devkit "
            f"{ilsvrc.DEVKIT_NAME}"
        ) from error
    return layout.read(next((s for s in ("val", "test") if s in layout.splits), None))


def _check_classes(shown: str, parts: dict[str, LabelledImages], subset: bool) -> None:
    train = parts["train"]
    if train.empty:
        raise InputError(
            f"{shown}: {len(train.empty)} of {len(train.class_ids)} classes have no training "
            f"images ({_some(train.empty)}); remove their folders, or fill them"
        )
    if len(train.class_ids) < 2:
        raise InputError(
            f"{shown}: has the class {train.class_ids[0]!r} alone; "
            "training takes two classes or more, a folder each"
        )
    for split, part in parts.items():
        if split != "train":
            _check_same(shown, train, split, part, subset)


def _check_same(
    shown: str, train: LabelledImages, split: str, part: LabelledImages, subset: bool
) -> None:
    """Refuse a split of other classes than train's, and number its images as train does."""
    there = set(part.class_ids) - set(part.empty)
    new, missing = there - set(train.class_ids), set(train.class_ids) - there
    if subset:
        missing = set()
    if new or missing:
        found = [f"{len(new)} in {split} alone ({_some(sorted(new))})"] if new else []
        found += [f"{len(missing)} in train alone ({_some(sorted(missing))})"] if missing else []
        raise InputError(f"{shown}: train and {split} have other classes: {'; '.join(found)}")
    if part.class_ids != train.class_ids:  # further ones, that are empty on both sides
        number = {name: label for label, name in enumerate(train.class_ids)}
        moved = np.array([number.get(name, -1) for name in part.class_ids])
        part.images.labels[...] = moved[part.images.labels]


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
    """Give a text as it comes back from a file; see `decaf.features.store.text.text_array`."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _named(images: ImageList) -> ImageList:
    """Name images by their paths below the data set, so that it may lie elsewhere."""
    prefix = os.path.join(os.fsencode(images.sources[0]["path"]), b"")
    names = [name.removeprefix(prefix) for name in images.names]
    return ImageList(names, images.labels, images.class_names, images.sources, images.refs)


def _divide(images: ImageList, share: float, seed: int) -> dict[str, ImageList]:
    """Draw validation images: of each class those whose name and seed have the lowest hashes.

    So that what is drawn rests on no generator of random numbers, and hardly changes where images
    are added.
    """
    drawn = np.zeros(len(images), bool)
    for label in range(int(images.labels.max()) + 1):
        rows = np.flatnonzero(images.labels == label)
        if len(rows) < 2:
            raise InputError(
                f"class {images.class_names[label]!r} has one image, which cannot be divided into "
                "training and validation; add images, or give validation images (--val)"
            )
        keys = [hashlib.sha256(b"%d\0%s" % (seed, images.names[row])).digest() for row in rows]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        drawn[[row for _, row in sorted(zip(keys, rows.tolist(), strict=True))[:count]]] = True
    return {"train": _picked(images, ~drawn), "val": _picked(images, drawn)}


def _picked(images: ImageList, chosen: np.ndarray) -> ImageList:
    assert images.refs is not None
    rows = np.flatnonzero(chosen)
    return ImageList(
        [images.names[row] for row in rows],
        images.labels[rows],
        images.class_names,
        images.sources,
        PickedRefs(images.refs, rows),
    )


def _joined(lists: Sequence[ImageList]) -> ImageList:
    return ImageList(
        [name for images in lists for name in images.names],
        np.concatenate([images.labels for images in lists]),
        lists[0].class_names,
        tuple(source for images in lists for source in images.sources),
        JoinedRefs([images.refs for images in lists if images.refs is not None]),
    )

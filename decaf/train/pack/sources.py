"""The data set that goes into a pack: which images, of which classes, in which split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.layouts import LabelledImages, find_layout
from decaf.images.refs import ImageRef
from decaf.images.sources import ImageList

__all__ = ["PackSource", "find_source"]

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
        How many images each has, in the order in which `images` has them.
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

        entries = [list(entry) for entry in describe(self.images)]
        splits = [split for split, count in self.splits.items() for _ in range(count)]
        for entry, split in zip(entries, splits, strict=True):
            entry[0] = f"{split}: {entry[0]}"
        return entries


def find_source(
    source: Source,
    *,
    val: Source | None = None,
    split_val: float | None = None,
    seed: int = 0,
) -> PackSource:
    """List the images of a data set for training.

    Parameters
    ----------
    source : path
        A folder or archive in one of the layouts of `decaf.images.layouts`.
    val : path, optional
        Where the validation images are, if they are elsewhere.
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
    layout = find_layout(source)
    parts: dict[str, LabelledImages] = {}
    if layout.splits:
        if "train" not in layout.splits:
            raise InputError(f"{os.fsdecode(source)!r}: no folder 'train' in it")
        for split in layout.splits:
            # Elsewhere, or drawn; and the test images of a benchmark are not for training.
            if split == "train" or (split == "val" and val is None):
                parts[split] = layout.read(split)
        if "test" in layout.splits and "val" not in layout.splits and val is None:
            parts["val"] = layout.read("test")
    else:
        parts["train"] = layout.read()
    if val is not None:
        elsewhere = find_layout(val)
        named = [split for split in ("val", "test") if split in elsewhere.splits]
        parts["val"] = elsewhere.read(named[0] if named else None)
    _check_classes(source, parts)
    lists = {split: _named(part.images) for split, part in parts.items()}
    if split_val is not None:
        if "val" in lists:
            raise SettingError(
                f"{os.fsdecode(source)!r}: has validation images; "
                "leave --split-val out, or give the folder of its training images alone"
            )
        lists = _divide(lists["train"], split_val, seed)
    train = parts["train"]
    return PackSource(
        kind=layout.kind,
        wnids=train.class_ids,
        class_names=train.class_names,
        splits={split: len(images) for split, images in lists.items()},
        images=_joined(list(lists.values())),
    )


def _check_classes(source: Source, parts: dict[str, LabelledImages]) -> None:
    shown = os.fsdecode(source)
    train = parts["train"]
    if train.empty:
        raise InputError(
            f"{shown!r}: {len(train.empty)} of {len(train.class_ids)} classes have no training "
            f"images ({_some(train.empty)}); remove their folders, or fill them"
        )
    if len(train.class_ids) < 2:
        raise InputError(
            f"{shown!r}: has the class {train.class_ids[0]!r} alone; "
            "training takes two classes or more, a folder each"
        )
    if "val" not in parts:
        return
    val = parts["val"]
    there = set(val.class_ids) - set(val.empty)
    new, missing = there - set(train.class_ids), set(train.class_ids) - there
    if new or missing:
        found = [f"{len(new)} in val alone ({_some(sorted(new))})"] if new else []
        found += [f"{len(missing)} in train alone ({_some(sorted(missing))})"] if missing else []
        raise InputError(f"{shown!r}: train and val have other classes: {'; '.join(found)}")
    if val.class_ids != train.class_ids:  # further ones, that are empty on both sides
        number = {name: label for label, name in enumerate(train.class_ids)}
        moved = np.array([number.get(name, -1) for name in val.class_ids])
        val.images.labels[...] = moved[val.images.labels]


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
                "training and validation; add images, or leave --split-val out"
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
        _PickedRefs(images.refs, rows),
    )


def _joined(lists: Sequence[ImageList]) -> ImageList:
    return ImageList(
        [name for images in lists for name in images.names],
        np.concatenate([images.labels for images in lists]),
        lists[0].class_names,
        tuple(source for images in lists for source in images.sources),
        _JoinedRefs([images.refs for images in lists if images.refs is not None]),
    )


class _LazyRefs(Sequence[ImageRef]):
    """References that are made when they are asked for: a million take memory otherwise."""

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRef]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | list[ImageRef]:
        if isinstance(index, slice):
            return [self._one(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._one(index % len(self))

    def _one(self, index: int) -> ImageRef:
        raise NotImplementedError


class _PickedRefs(_LazyRefs):
    def __init__(self, refs: Sequence[ImageRef], rows: np.ndarray) -> None:
        self._refs, self._rows = refs, rows

    def __len__(self) -> int:
        return len(self._rows)

    def _one(self, index: int) -> ImageRef:
        return self._refs[int(self._rows[index])]


class _JoinedRefs(_LazyRefs):
    def __init__(self, parts: Sequence[Sequence[ImageRef]]) -> None:
        self._parts = parts
        self._stops = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._stops[-1])

    def _one(self, index: int) -> ImageRef:
        part = int(np.searchsorted(self._stops, index, side="right"))
        return self._parts[part][index - int(self._stops[part]) + len(self._parts[part])]

"""The list of images that every command takes: labelled, divided, in groups."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.listing.class_folders import SPLITS
from decaf.images.listing.groups import find_groups
from decaf.images.listing.image_ref import ImageRef, JoinedRefs, PickedRefs
from decaf.images.listing.splits import find_splits
from decaf.runtime.names import name_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ImageList"]


@dataclass(frozen=True)
class ImageList:
    """Images to be processed, in order.

    Attributes
    ----------
    names : list of bytes
        Names that are stored as the images' paths: the path as given (of a folder: joined with the
        path below it), the member's name for an archive, ``FILE[NUMBER]`` for an array in a file,
        its number for an image in memory.
    labels : array of shape (N,), int64
        -1 where there is none.
    class_names : tuple of str
        Classes that the labels number, or empty where they are just numbers.
    sources : tuple of dict
        Sources of the images, for the record: ``kind``, ``path`` (as given) and ``images``
        (how many), in order.
    refs : sequence of ImageRef or None
        How each is loaded; None for images in memory.
    splits : tuple of str, or None
        "train", "val" or "test" of each image, an empty text where it is in none; None where the
        images do not come divided.
    groups : tuple of str, or None
        Which images belong together (see `decaf.images.listing.groups`), an empty text for one that
        belongs to none; None where nobody asked for groups.
    titles : tuple of str
        Names of the classes for people, where the data set says so (``words.txt``); else empty.
    layout : str
        How the data set is laid out: one of `decaf.images.listing.class_folders.LAYOUT_KINDS` for a
        folder or archive with the classes of its folders; an empty text for others, until a module
        of training has a word for them.
    relative : list of bytes, or None
        Paths of the images below their sources; None where they are the names.
    empty_folders : tuple of (str, str)
        Split (an empty text where there are none) and class of folders without an image; an empty
        class for the folder of a split.
    content_sha256 : array of uint8, shape (N, 32), or None
        SHA-256 of the content of each, zeros where it is not known; None where nobody has read it.
    crops : tuple of BoxCrop or None, or None
        The part of an image that each is, which its reference has too; None for all of it, and
        where none is a part.
    for_training : bool
        Whether `decaf.train.pack.sources` has divided them into splits, in this order, each with
        the same classes.
    """

    names: list[bytes]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]
    refs: Sequence[ImageRef] | None
    objects: Any = None
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    titles: tuple[str, ...] = ()
    layout: str = ""
    relative: list[bytes] | None = None
    empty_folders: tuple[tuple[str, str], ...] = ()
    content_sha256: npt.NDArray[np.uint8] | None = None
    for_training: bool = False
    crops: tuple[BoxCrop | None, ...] | None = None

    @property
    def paths(self) -> list[str]:
        """The names as text, as `os.fsdecode` gives it."""
        return [name_text(name) for name in self.names]

    @property
    def in_memory(self) -> bool:
        """Whether the images are objects of this process."""
        return self.refs is None

    @property
    def class_titles(self) -> tuple[str, ...]:
        """Names of the classes for people: `titles`, or else `class_names`."""
        return self.titles or self.class_names

    @property
    def split_counts(self) -> dict[str, int]:
        """How many images each split has, in the order of the images."""
        return dict(Counter(self.splits or ()))

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)

    def with_labels(
        self,
        labels: npt.NDArray[np.integer],
        class_names: Sequence[str],
        titles: Sequence[str] = (),
    ) -> ImageList:
        """Return the list of the same images with other labels.

        Parameters
        ----------
        labels : array of int, shape (N,)
        class_names, titles : sequence of str
            Classes that they number, and the names of these for people.
        """
        numbers = np.asarray(labels, np.int64)
        return replace(self, labels=numbers, class_names=tuple(class_names), titles=tuple(titles))

    def with_classes(self, names: Collection[str]) -> ImageList:
        """Return the images of some classes, which are numbered in order anew.

        Parameters
        ----------
        names : collection of str
            Classes, also such as no image is of. Images without a class stay.
        """
        titles = dict(zip(self.class_names, self.class_titles, strict=True))
        kept = sorted(names)
        number = {name: label for label, name in enumerate(kept)}
        numbers = np.array([*(number.get(name, -2) for name in self.class_names), -1])
        labels = numbers[self.labels]  # -1, no class, is the last of them
        rows = np.flatnonzero(labels > -2)
        images = self if len(rows) == len(self) else self.take(rows)
        return images.with_labels(
            labels[rows], kept, [titles.get(name, name) for name in kept] if self.titles else ()
        )

    def part(self, split: str | None) -> ImageList:
        """Return the images of a split, with its own classes: of images, or of empty folders.

        Parameters
        ----------
        split : str or None
            None for all images, which must not be divided.

        Raises
        ------
        InputError
            If there is no such split.
        """
        shown = self.sources[0]["path"]
        there = [name for name in SPLITS if name in (self.splits or ())]
        if split is None and there:
            raise InputError(f"{shown!r}: has the splits {', '.join(there)}; name one")
        if split is not None and split not in there:
            told = f"it has {', '.join(there)}" if there else "it is not divided into splits"
            raise InputError(f"{shown!r}: no split {split!r}; {told}")
        images = self
        if split is not None:
            images = self.take(np.flatnonzero([name == split for name in self.splits or ()]))
        if self.layout and len(self.sources) == 1:
            source = {**self.sources[0], "kind": self.layout, "images": len(images)}
            images = replace(images, sources=(source,))
        if not self.class_names:
            return images
        names = {self.class_names[label] for label in np.unique(images.labels) if label >= 0}
        names |= {name for of, name in self.empty_folders if of == (split or "") and name}
        return images.with_classes(names)

    def in_groups(self, groups: Any) -> ImageList:
        """Return the images with the groups that they are in.

        Parameters
        ----------
        groups : str, path or sequence, or None
            As `decaf.collect` takes them.
        """
        names = find_groups(groups, self.names, self.relative or self.names, self.refs)
        return replace(self, groups=names)

    def in_splits(self, splits: Any) -> ImageList:
        """Return the images with the splits that they are in.

        Parameters
        ----------
        splits : str, path or sequence
            As `decaf.collect` takes them.
        """
        return replace(self, splits=find_splits(splits, self.names, self.relative or self.names))

    @staticmethod
    def join(lists: Sequence[ImageList]) -> ImageList:
        """Return one list of the images of several, which have the same classes.

        Parameters
        ----------
        lists : sequence of ImageList
            All of them in memory, or none.
        """
        in_memory = any(images.in_memory for images in lists)
        splits = groups = crops = None
        if any(images.crops is not None for images in lists):
            crops = tuple(crop for each in lists for crop in each.crops or (None,) * len(each))
        if any(images.splits is not None for images in lists):
            splits = tuple(name for each in lists for name in each.splits or ("",) * len(each))
        if any(images.groups is not None for images in lists):
            groups = tuple(name for each in lists for name in each.groups or ("",) * len(each))
        return ImageList(
            [name for images in lists for name in images.names],
            np.concatenate([images.labels for images in lists]),
            lists[0].class_names,
            tuple(source for images in lists for source in images.sources),
            None if in_memory else JoinedRefs([each.refs for each in lists if each.refs]),
            objects=_Joined(lists) if in_memory else None,
            splits=splits,
            groups=groups,
            titles=lists[0].titles,
            crops=crops,
        )

    def take(self, rows: npt.NDArray[np.integer]) -> Self:
        """Return the list of some of the images, in the order given.

        Parameters
        ----------
        rows : array of int
            Places in this list.
        """
        return replace(
            self,
            names=[self.names[row] for row in rows],
            labels=self.labels[rows],
            refs=None if self.refs is None else PickedRefs(self.refs, rows),
            objects=_Picked(self, rows) if self.refs is None else None,
            splits=None if self.splits is None else tuple(self.splits[row] for row in rows),
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
            relative=None if self.relative is None else [self.relative[row] for row in rows],
            content_sha256=None if self.content_sha256 is None else self.content_sha256[rows],
            crops=None if self.crops is None else tuple(self.crops[row] for row in rows),
        )

    def source_of(self, index: int) -> ImageRef | Callable[[], Any]:
        """Return what an image is decoded from: where it lies, or what returns it from memory.

        Parameters
        ----------
        index : int
        """
        return functools.partial(self.get, index) if self.refs is None else self.refs[index]

    def get(self, index: int) -> Any:
        """Return an image in memory: a PIL image, an array or a tensor.

        An item ``(image, label)`` of a data set gives its image.

        Parameters
        ----------
        index : int

        Raises
        ------
        TypeError
            If the images are not in memory.
        """
        if self.refs is not None:
            raise TypeError("these images are not in memory; use refs")
        return _unwrapped(self.objects[index])

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """Return an image in memory that is an array, such as one of a training pack.

        Parameters
        ----------
        index : int
        """
        return np.asarray(self.get(index))


def _unwrapped(item: Any) -> Any:
    """Return the image of a data set's item, which may be (image, label, …) or a mapping.

    >>> _unwrapped(("image", 3))
    'image'
    """
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, dict):
        for key in ("image", "img", "pixel_values"):
            if key in item:
                return item[key]
        if len(item) == 1:
            return next(iter(item.values()))
    return item


class _Joined:
    """The images in memory of several lists, each still made when it is asked for."""

    def __init__(self, lists: Sequence[ImageList]) -> None:
        self._places = [(images, row) for images in lists for row in range(len(images))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        images, row = self._places[index]
        return images.get(row)


class _Picked:
    """Some of the images in memory, each still made when it is asked for."""

    def __init__(self, images: ImageList, rows: npt.NDArray[np.integer]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._images.get(int(self._rows[index]))

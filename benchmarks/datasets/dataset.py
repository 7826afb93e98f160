"""Labelled images of a data set, any folder of classes, and the count of what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.images import ImageList, ImageRef, collect
from decaf.images.listing.names import some_of
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Dataset",
    "Origin",
    "Split",
    "class_folders_of",
    "compare_counts",
    "images_of_classes",
    "make_dataset",
    "not_here",
    "read_class_folders",
]


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from.

    Attributes
    ----------
    name : str
        Such as ``"Caltech-101"``.
    reference : str
        The paper that introduced it.
    home : str
        Where to get it.
    layout : str
        Files expected on disk, as a clause.
    """

    name: str
    reference: str
    home: str
    layout: str


@dataclass(frozen=True, eq=False)
class Split:
    """One division of a data set into training and test images.

    Attributes
    ----------
    name : str
    train, test : array of int64
        Rows of the data set: of a class in the order of the draw, or of the official list.
    """

    name: str
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    def first(self, per_class: int, labels: npt.NDArray[np.int64]) -> Split:
        """Return the split with the first training images of each class only.

        A smaller training set is part of each larger one, and all are tested on the same images,
        so that the points of a curve can be compared.

        Parameters
        ----------
        per_class : int
        labels : array of int64, shape (N,)
            Of the data set.

        Raises
        ------
        SettingError
            If a class has fewer training images.
        """
        own = labels[self.train]
        kept = []
        for label in np.unique(own):
            rows = self.train[own == label]
            if len(rows) < per_class:
                raise SettingError(
                    f"split {self.name}: class {label} has {len(rows)} training images, "
                    f"{per_class} were asked for"
                )
            kept.append(rows[:per_class])
        return Split(self.name, np.concatenate(kept), self.test)

    def without(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return the split without some rows.

        Parameters
        ----------
        rows : array of int64

        Raises
        ------
        InputError
            If no training image is left, or no test image.
        """
        train, test = (part[~np.isin(part, rows)] for part in (self.train, self.test))
        if not (len(train) and len(test)):
            raise InputError(
                f"split {self.name}: without {len(rows)} images that could not be read, "
                f"{len(train)} training and {len(test)} test images are left"
            )
        return Split(self.name, train, test)


@dataclass(frozen=True, eq=False)
class Dataset(ImageList):
    """The labelled images of a data set.

    Its ``names`` are unique, ``class/file``, and the same wherever the data set lies, so that
    splits are too. Sorted.

    Attributes
    ----------
    name : str
        Such as ``"Caltech-101"``.
    root : str
        The folder that holds the class folders, absolute.
    official : tuple of Split
        The splits that come with the data set; empty where there are none.
    notes : tuple of str
        Remark for a reader of results, such as that it is an excerpt.
    origin : Origin or None
    """

    name: str = ""
    root: str = ""
    official: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def files(self) -> list[bytes]:
        """Where each image is, absolute."""
        return [ref.name for ref in self.refs or ()]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many images each class has: (K,) int64."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]], note: str = "") -> Self:
        """Return the data set of some of the images; classes left without an image are dropped.

        Parameters
        ----------
        rows : sequence of int
            Which images. They keep the order of the data set.
        note : str
            Remark for a reader of results.

        Returns
        -------
        Dataset
            Its official splits hold those of their rows that are left.

        Raises
        ------
        InputError
            If no image is left.
        """
        kept = np.unique(np.asarray(rows, np.int64))
        if not len(kept):
            raise InputError(f"{self.root}: no image is left of {self.name}")
        place = np.full(len(self), -1, np.int64)
        place[kept] = np.arange(len(kept))
        images = super().take(kept)
        classes, labels = np.unique(images.labels, return_inverse=True)
        official = tuple(
            Split(
                each.name,
                *(rows[rows >= 0] for rows in (place[each.train], place[each.test])),
            )
            for each in self.official
        )
        return replace(
            images,
            labels=labels.astype(np.int64),
            class_names=tuple(self.class_names[each] for each in classes),
            official=official,
            notes=(*self.notes, note) if note else self.notes,
        )


def make_dataset(
    name: str,
    root: bytes,
    images: Sequence[tuple[bytes, bytes, str]],
    *,
    notes: Sequence[str] = (),
    origin: Origin | None = None,
) -> Dataset:
    """Put a data set together.

    Parameters
    ----------
    name : str
    root : bytes
    images : sequence of (name, path, class name)
        In any order.
    notes : sequence of str
    origin : Origin, optional

    Raises
    ------
    InputError
        If there are no images, all are of one class, or two have one name.
    """
    shown = os.fsdecode(root)
    if not images:
        get = "" if origin is None else f"; expected {origin.layout}; get it from {origin.home}"
        raise InputError(f"{shown}: no images of {name}{get}")
    ordered = sorted(images)
    names = [each[0] for each in ordered]
    twice = [os.fsdecode(a) for a, b in pairwise(names) if a == b]
    if twice:
        raise InputError(f"{shown}: two images are called {twice[0]!r}; remove or rename one")
    class_names = tuple(sorted({each[2] for each in ordered}))
    if len(class_names) == 1:
        raise InputError(
            f"{shown}: all {counted(len(names), 'image', 'are')} of one class "
            f"({class_names[0]!r}); expected a folder for each of several classes"
        )
    place = {each: number for number, each in enumerate(class_names)}
    files = [os.path.abspath(each[1]) for each in ordered]
    return Dataset(
        names,
        np.array([place[each[2]] for each in ordered], np.int64),
        class_names,
        ({"kind": "data set", "path": shown, "images": len(names)},),
        [ImageRef(file) for file in files],
        name=name,
        root=os.path.abspath(shown),
        notes=tuple(notes),
        origin=origin,
    )


def read_class_folders(root: str | bytes | os.PathLike[str], *, name: str = "") -> Dataset:
    """List the images of a folder of class folders in their place.

    Parameters
    ----------
    root : path
    name : str
        Name of the data set; the folder's name when not given.

    Returns
    -------
    Dataset
        All images below the class folders, as `decaf.extract` lists them.

    Raises
    ------
    InputError
        If there are no images, images that lie in no class folder, or fewer than two classes.
    """
    top = os.fsencode(root)
    images = images_of_classes(top)
    loose = [os.fsdecode(relative) for relative, _, class_name in images if not class_name]
    if loose:
        raise InputError(
            f"{os.fsdecode(top)}: {counted(len(loose), 'image', 'lie')} in no class folder "
            f"(such as {loose[0]!r}); expected a folder for each class, with its images"
        )
    return make_dataset(name or os.path.basename(os.path.abspath(os.fsdecode(top))), top, images)


def images_of_classes(folder: bytes) -> list[tuple[bytes, bytes, str]]:
    """List the images below a folder of class folders.

    Parameters
    ----------
    folder : bytes

    Returns
    -------
    list of (bytes, bytes, str)
        Path below the folder, path, and class; an empty text for an image in no class folder.

    Raises
    ------
    InputError
        If there are none, or the folder cannot be read.
    """
    images = collect(folder, layout="classes")
    prefix = len(os.path.join(folder, b""))
    return [
        (path[prefix:], path, images.class_names[label] if label >= 0 else "")
        for path, label in zip(images.names, images.labels.tolist(), strict=True)
    ]


def class_folders_of(root: bytes) -> list[bytes]:
    """List the folders in a folder by name, hidden ones left out, sorted.

    Parameters
    ----------
    root : bytes

    Raises
    ------
    InputError
        If it is no folder, or cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(b"."))
    except OSError as error:
        raise InputError(f"{os.fsdecode(root)}: {error.strerror or error}") from error


def not_here(root: bytes, origin: Origin) -> InputError:
    """Return the error of a folder that does not hold a data set.

    Parameters
    ----------
    root : bytes
    origin : Origin
    """
    return InputError(
        f"{os.fsdecode(root)}: no {origin.name} here: expected {origin.layout}; "
        f"get it from {origin.home}"
    )


def compare_counts(
    origin: Origin,
    root: bytes,
    counts: Mapping[str, int],
    expected: Mapping[str, int],
    *,
    allow_partial: bool,
    parts: str = "classes",
) -> tuple[str, ...]:
    """Compare the number of images of each class with the published ones.

    Parameters
    ----------
    origin : Origin
    root : bytes
    counts, expected : mapping of class name to number of images
        Of all classes; a class of `expected` that is missing has none.
    allow_partial : bool
        Make what differs a note.
    parts : str
        What they are, where they are no classes.

    Returns
    -------
    tuple of str
        Notes: empty where the data set is complete.

    Raises
    ------
    InputError
        If a class is missing or has another number of images; names the class and where to get
        the data set.
    """
    missing = [each for each in expected if not counts.get(each)]
    other = [each for each in expected if counts.get(each) and counts[each] != expected[each]]
    if not missing and not other:
        return ()
    there, total = len(expected) - len(missing), sum(counts.get(each, 0) for each in expected)
    if allow_partial:
        images = f"{total:,} of {sum(expected.values()):,} images"
        return (f"an excerpt of {origin.name}: {there} of {len(expected)} {parts}, {images}",)
    wrong = []
    if missing:
        some = some_of((f"{each} ({expected[each]} images)" for each in missing), 3)
        wrong.append(f"{len(missing)} of {len(expected)} {parts} are missing: {some}")
    if other:
        told = (f"{each} has {counts[each]} images, expected {expected[each]}" for each in other)
        wrong.append(some_of(told, 3))
    raise InputError(
        f"{os.fsdecode(root)}: not the whole of {origin.name}: {'; '.join(wrong)}. "
        f"Get it anew from {origin.home}, or go on with what is there by --allow-partial"
    )

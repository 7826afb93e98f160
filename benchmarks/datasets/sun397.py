"""SUN-397 (Xiao et al. 2010) with its ten official partitions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset, Origin, Split, make_dataset, not_here
from decaf.errors import InputError
from decaf.images import collect

__all__ = ["CLASSES", "IMAGES", "PARTITIONS", "SUN397", "read_sun397"]

SUN397 = Origin(
    name="SUN-397",
    reference="J. Xiao, J. Hays, K. Ehinger, A. Oliva, A. Torralba: SUN database: large-scale "
    "scene recognition from abbey to zoo, CVPR 2010",
    home="https://vision.princeton.edu/projects/2010/SUN/ (SUN397.tar.gz and Partitions.zip)",
    layout="the folder SUN397 with ClassName.txt and folders such as a/abbey, and the files "
    "Training_01.txt to Testing_10.txt in it or in a folder Partitions in it or beside it",
)
CLASSES = 397
IMAGES = 108_754
PARTITIONS = 10

_CLASS_LIST = b"ClassName.txt"
_SHOWN = 3


def read_sun397(root: str | bytes | os.PathLike[str], *, allow_partial: bool = False) -> Dataset:
    """List the images of SUN-397 in their place, with the official partitions.

    Parameters
    ----------
    root : path
        The folder with ``ClassName.txt``, or one above it.
    allow_partial : bool
        Take an excerpt, and note that it is one: classes, images and partitions may be missing.

    Returns
    -------
    Dataset
        108,754 images of 397 classes where it is complete. `official` are the partitions: 50
        training and 50 test images of each class. Classes are called as in ``ClassName.txt``
        without the letter: ``abbey``, ``apartment_building/outdoor``.

    Raises
    ------
    InputError
        If there is no such folder, classes, images or partitions are missing, or a partition
        names an image that is not there.
    """
    top = _find(os.fsencode(root))
    shown = os.fsdecode(top)
    classes = {
        folder: _class_name(folder) for folder in _read_lines(os.path.join(top, _CLASS_LIST))
    }
    prefix = len(os.path.join(top, b""))
    images = [
        (path[prefix:], path, classes[os.path.dirname(path[prefix:])])
        for path in collect(top, labels="none", layout="classes").names
        if os.path.dirname(path[prefix:]) in classes
    ]
    counts = Counter(class_name for _, _, class_name in images)
    notes = _check(shown, list(classes.values()), counts, allow_partial)
    dataset = make_dataset(SUN397.name, top, images, notes=notes, origin=SUN397)
    return replace(dataset, official=_partitions(top, dataset, allow_partial))


def _find(root: bytes) -> bytes:
    for place in (root, os.path.join(root, b"SUN397")):
        # Beside the partitions there is a second ClassName.txt, without images.
        if os.path.isfile(os.path.join(place, _CLASS_LIST)) and os.path.isdir(
            os.path.join(place, b"a")
        ):
            return place
    raise not_here(root, SUN397)


def _check(
    shown: str, classes: list[str], counts: Mapping[str, int], allow_partial: bool
) -> tuple[str, ...]:
    total = sum(counts.values())
    empty = [each for each in classes if not counts[each]]
    if (len(classes), total) == (CLASSES, IMAGES) and not empty:
        return ()
    there = len(classes) - len(empty)
    if allow_partial:
        images = f"{total:,} of {IMAGES:,} images"
        return (f"an excerpt of SUN-397: {there} of {CLASSES} classes, {images}",)
    first = f" (without images: {', '.join(empty[:_SHOWN])})" if empty else ""
    raise InputError(
        f"{shown}: not the whole of SUN-397: {there} classes{first} and {total} images, "
        f"expected {CLASSES} and {IMAGES}. Get it anew from {SUN397.home}, or go on with "
        "what is there by --allow-partial"
    )


def _partitions(top: bytes, dataset: Dataset, allow_partial: bool) -> tuple[Split, ...]:
    places = [
        os.path.join(top, b"Partitions"),
        os.path.join(os.path.dirname(os.path.abspath(top)), b"Partitions"),
        top,
    ]
    place = next((p for p in places if os.path.isfile(os.path.join(p, b"Training_01.txt"))), None)
    if place is None:
        raise InputError(
            f"{os.fsdecode(top)}: the partitions are missing: expected Training_01.txt to "
            f"Testing_{PARTITIONS}.txt in {os.fsdecode(places[0])}; get them from {SUN397.home}"
        )
    row_of = {name: row for row, name in enumerate(dataset.names)}
    official = []
    for number in range(1, PARTITIONS + 1):
        files = [
            os.path.join(place, b"%s_%02d.txt" % (half, number))
            for half in (b"Training", b"Testing")
        ]
        if allow_partial and not all(map(os.path.isfile, files)):
            continue
        train, test = (_rows(file, row_of, allow_partial) for file in files)
        both = np.intersect1d(train, test)
        if len(both):
            raise InputError(
                f"{os.fsdecode(files[1])}: names {os.fsdecode(dataset.names[both[0]])!r}, which is "
                "a training image of the same partition; get the partitions anew"
            )
        official.append(Split(f"partition {number:02d}", train, test))
    return tuple(official)


def _rows(file: bytes, row_of: Mapping[bytes, int], allow_partial: bool) -> npt.NDArray[np.int64]:
    names = _read_lines(file)
    missing = [name for name in names if name not in row_of]
    if missing and not allow_partial:
        raise InputError(
            f"{os.fsdecode(file)}: {len(missing)} of its {len(names)} images are not there, the "
            f"first is {os.fsdecode(missing[0])!r}; get the data set anew from {SUN397.home}"
        )
    return np.array([row_of[name] for name in names if name in row_of], np.int64)


def _read_lines(file: bytes) -> list[bytes]:
    """Return the lines of a list without the slash that each begins with."""
    try:
        with open(file, "rb") as opened:
            lines = opened.read().split()
    except OSError as error:
        raise InputError(f"{os.fsdecode(file)}: {error.strerror or error}") from error
    return [line.lstrip(b"/") for line in lines]


def _class_name(folder: bytes) -> str:
    return os.fsdecode(folder).partition("/")[2] or os.fsdecode(folder)

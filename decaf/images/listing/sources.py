"""From what a user names to one list of images, in a fixed order, each exactly once per mention.

Nothing is decoded here, and of most files nothing is read: a folder of a million images is listed
by its names. What is wrong with one image shows when it is loaded, and then concerns its row alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.listing.arrays import check_images
from decaf.images.listing.class_folders import LAYOUTS, PathImages, split_called
from decaf.images.listing.image_list import ImageList
from decaf.images.listing.image_ref import ImageRef, RefList
from decaf.images.listing.labels import (
    Labels,
    labels_from_classes,
    labels_from_file,
    labels_from_sequence,
)
from decaf.images.listing.names import path_text, refuse_long
from decaf.images.listing.paths import find_images
from decaf.runtime.names import name_text

__all__ = ["MEMORY_KINDS", "collect"]

_IMAGE_TYPES = frozenset(
    (("PIL.Image", "Image"), ("numpy", "ndarray"), ("torch", "Tensor"), ("torch._tensor", "Tensor"))
)

# The kinds of source whose images are objects of this process.
MEMORY_KINDS = ("array", "dataset", "object", "objects")


def collect(
    images: Any, *, labels: Any = "folder", layout: str = "auto", groups: Any = None
) -> ImageList:
    """List the images that a user means.

    Parameters
    ----------
    images : path, str, bytes; list of these; list of images; array; data set
        A path is, in this order: an existing file, folder, tar or zip, or array of images (what it
        holds decides: ``.npy``, or HDF5, where ``FILE.h5:DATASET`` names one of several), a list
        file (ending .txt, .lst or .list, or ``@FILE``, or ``-`` for standard input), a table (.csv
        or .tsv), else a pattern with wildcards. Several give their images one after the other, and
        are splits where each is a folder or an archive called as another one (``data/train
        data/val``); what is named twice comes twice. In a list of paths a file that is missing
        keeps its place if it has an image's ending.

        Or PIL images, arrays or tensors in a list; one array ``(N, H, W, 3)`` uint8; or a torch
        Dataset, whose items are images or tuples that begin with one. An `ImageList` is returned as
        it is.
    labels : "folder", "none", path, or sequence of int or str
        ``"folder"``: the first folder below the source, as torchvision's ImageFolder; for an
        archive, a single top folder of all members is passed over; for a list file, the first
        folder below what all its entries share; images directly in the source have none. A data
        set's own labels. A path is a labels file (see
        `decaf.images.listing.labels.labels_from_file`).
    layout : {"auto", "splits", "classes"}
        How folders called train, val or test are taken; see `decaf.images.listing.class_folders`.
    groups : str, path or sequence, optional
        Which images belong together; see `decaf.images.listing.groups.find_groups`.

    Returns
    -------
    ImageList

    Raises
    ------
    InputError
        If there are no images, a path does not exist, a folder, archive or list cannot be read, or
        labels do not fit.
    """
    if isinstance(images, ImageList):
        return images
    if layout not in LAYOUTS:
        raise SettingError(f"`layout` {layout!r} is not one of {', '.join(LAYOUTS)}")
    if isinstance(images, np.ndarray) and images.dtype.kind in "USO":
        images = images.tolist()  # an array of paths
    if isinstance(images, (str, bytes, os.PathLike)):
        return _on_disk([find_images(_as_bytes(images), layout=layout)], labels, groups)
    if isinstance(images, np.ndarray):
        if images.ndim == 0 or len(images):
            check_images(images.shape, images.dtype, "array", channels=(1, 3, 4))
        return _objects(images, "array", labels, groups)
    if _is_image_object(images) and getattr(images, "ndim", 0) != 4:
        return _objects([images], "object", labels, groups)
    if not isinstance(images, (list, tuple)) and not _is_dataset(images):
        if not isinstance(images, Iterable):
            raise InputError(f"images cannot be taken from a {type(images).__name__}")
        images = list(images)
    if not isinstance(images, (list, tuple)) and not hasattr(images, "to_numpy"):
        return _objects(images, "dataset", labels, groups)
    items = list(images)
    if not items:
        raise InputError("no images: the list is empty")
    paths = [item for item in items if isinstance(item, (str, bytes, os.PathLike))]
    if len(paths) == len(items):
        several = len(items) > 1
        listed = [find_images(_as_bytes(path), several, layout) for path in paths]
        if not any(os.path.lexists(f.path) for f in listed if f.kind == "file") and all(
            f.kind == "file" for f in listed
        ):
            first = name_text(paths[0])
            raise InputError(f"none of the {len(items)} files exists, not {first!r}")
        return _on_disk(_divided(listed, layout), labels, groups)
    if paths:
        raise InputError(f"a list mixes {len(paths)} paths with {len(items) - len(paths)} images")
    return _objects(items, "objects", labels, groups)


def _on_disk(listed: list[PathImages], labels: Any, groups: Any) -> ImageList:
    """Join what the sources gave."""
    listed = _merged(listed)
    names = [name for f in listed for name in f.names]
    if not names:
        looked = ", ".join(repr(name_text(f.path)) for f in listed[:3])
        raise InputError(f"no images in {looked}")
    refuse_long(names, "image")
    members: dict[int, ImageRef] = {}
    start = 0
    for f in listed:
        members.update(enumerate(f.members, start))
        start += len(f.names)
    relative = [r for f in listed for r in f.relative]
    values, class_names = _labels(
        labels,
        names,
        relative,
        lambda: labels_from_classes([c for f in listed for c in f.classes]),
    )
    by_folders = isinstance(labels, str) and labels == "folder"
    titles = {name: title for f in listed for name, title in f.titles.items() if by_folders}
    splits = None
    if any(f.splits for f in listed):
        splits = tuple(s for f in listed for s in f.splits or [""] * len(f.names))
    images = ImageList(
        names,
        values,
        class_names,
        tuple(f.described() for f in listed),
        RefList(names, members),
        splits=splits,
        titles=tuple(titles.get(name, name) for name in class_names) if titles else (),
        layout=listed[0].layout if len(listed) == 1 and by_folders else "",
        relative=relative,
        empty_folders=tuple(
            (split, path_text(name)) for f in listed for split, name in f.empty if by_folders
        ),
    )
    return images if groups is None else images.in_groups(groups)


def _divided(listed: list[PathImages], layout: str) -> list[PathImages]:
    """Take several folders or archives for splits where each is called as another one."""
    called = [
        split_called(os.path.basename(os.path.normpath(f.path)).partition(b".")[0])
        for f in listed
        if f.kind not in ("file", "list", "table", "glob") and not f.splits
    ]
    splits = [split for split in called if split is not None]
    if layout == "classes" or not 1 < len(listed) == len(set(splits)):
        return listed
    return [
        replace(f, splits=[split] * len(f.names)) for f, split in zip(listed, splits, strict=True)
    ]


def _merged(listed: list[PathImages]) -> list[PathImages]:
    """Join runs of single files, so that a long list of them is one source."""
    merged: list[PathImages] = []
    for f in listed:
        last = merged[-1] if merged else None
        if f.kind == "file" and last is not None and last.kind in ("file", "files"):
            if last.kind == "file":
                last = merged[-1] = PathImages(
                    "files", b"", list(last.names), [*last.relative], [None]
                )
            last.names += f.names
            last.relative += f.relative
            last.classes += f.classes
        else:
            merged.append(f)
    return merged


def _objects(objects: Any, kind: str, labels: Any, groups: Any) -> ImageList:
    try:
        count = len(objects)
    except TypeError as error:
        raise InputError(f"images cannot be counted: {error}") from error
    if count == 0:
        raise InputError("no images: nothing was given")
    names = [b"%d" % i for i in range(count)]

    def own() -> Labels:
        known, class_names = _dataset_labels(objects) if kind == "dataset" else (None, ())
        return np.array([-1] * count if known is None else known, dtype=np.int64), class_names

    values, class_names = _labels(labels, names, names, own)
    described = ({"kind": kind, "path": type(objects).__name__, "images": count},)
    listed = ImageList(names, values, class_names, described, None, objects)
    return listed if groups is None else listed.in_groups(groups)


def _labels(
    labels: Any, names: list[bytes], relative: list[bytes], own: Callable[[], Labels]
) -> Labels:
    """Return the labels that are asked for, or those that the images have of their own."""
    if isinstance(labels, str) and labels == "folder":
        values, class_names = own()
    elif labels is None or (isinstance(labels, str) and labels == "none"):
        values, class_names = np.full(len(names), -1, dtype=np.int64), ()
    elif isinstance(labels, (str, bytes, os.PathLike)):
        values, class_names = labels_from_file(labels, names, relative)
    elif isinstance(labels, Iterable):
        values, class_names = labels_from_sequence(labels, len(names))
    else:
        raise InputError(f"`labels` cannot be taken from a {type(labels).__name__}")
    refuse_long((name.encode("utf-8", "backslashreplace") for name in class_names), "class")
    return values, class_names


def _as_bytes(path: str | bytes | os.PathLike[Any]) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InputError(f"path {path!r} cannot be a file name here: {error.reason}") from error


def _is_image_object(value: Any) -> bool:
    """Tell whether something is a PIL image, array or tensor, without importing PIL or torch."""
    return any((t.__module__, t.__name__) in _IMAGE_TYPES for t in type(value).__mro__)


def _is_dataset(value: Any) -> bool:
    """Tell whether something has a length and gives items, as a map-style torch Dataset does."""
    return (
        hasattr(type(value), "__len__")
        and hasattr(type(value), "__getitem__")
        and not isinstance(value, (str, bytes, bytearray, memoryview, dict))
    )


def _dataset_labels(dataset: Any) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the labels and class names that a data set can tell without making its images.

    Torchvision's data sets keep them in ``targets`` (or ``labels``) and ``classes``; a
    `torch.utils.data.Subset` is looked through.

    Returns
    -------
    labels : list of int or None
        One for each item, or None.
    class_names : tuple of str
    """
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:
        labels, class_names = _dataset_labels(inner)
        return (None if labels is None else [labels[i] for i in indices]), class_names
    class_names = _texts(getattr(dataset, "classes", None))
    for name in ("targets", "labels"):
        labels = _whole_numbers(getattr(dataset, name, None))
        if labels is not None and len(labels) == len(dataset):
            inside = all(-1 <= label < len(class_names) for label in labels)
            return labels, class_names if inside else ()
    return None, ()


def _whole_numbers(values: Any) -> list[int] | None:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        return None
    if not all(isinstance(v, (int, np.integer)) and v >= -1 for v in values):
        return None
    return [int(v) for v in values]


def _texts(values: Any) -> tuple[str, ...]:
    right = isinstance(values, (list, tuple)) and all(isinstance(v, str) for v in values)
    return tuple(values) if right else ()

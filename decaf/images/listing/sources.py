"""From what a user names to one list of images, in a fixed order, each exactly once per mention.

Nothing is decoded here, and of most files nothing is read: a folder of a million images is listed
by its names. What is wrong with one image shows when it is loaded, and then concerns its row alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from decaf.errors import InputError
from decaf.images.listing.arrays import channels_last, check_images
from decaf.images.listing.class_folders import PathImages, split_called, warn_of_one_folder
from decaf.images.listing.crops_from_boxes import cut_boxes
from decaf.images.listing.datasets import (
    described_dataset,
    is_dataset,
    split_datasets,
    stream_of,
)
from decaf.images.listing.image_list import ImageList
from decaf.images.listing.image_ref import ImageRef, RefList
from decaf.images.listing.image_tables import images_of_frame, is_frame, named_in_frame
from decaf.images.listing.labels import (
    Labels,
    labels_from_classes,
    labels_from_file,
    labels_from_sequence,
)
from decaf.images.listing.names import nearest_path, path_text, refuse_long, some_of
from decaf.images.listing.paths import find_images
from decaf.images.listing.settings import ListingSettings
from decaf.runtime.names import name_text
from decaf.runtime.settings import Part, settings_from
from decaf.runtime.wording import counted

__all__ = ["MEMORY_KINDS", "collect"]

_logger = logging.getLogger(__name__)

_IMAGE_TYPES = frozenset(
    (("PIL.Image", "Image"), ("numpy", "ndarray"), ("torch", "Tensor"), ("torch._tensor", "Tensor"))
)

# The kinds of source whose images are objects of this process.
MEMORY_KINDS = ("array", "dataset", "object", "objects")


def collect(images: Any, listing: ListingSettings | None = None, **named: Any) -> ImageList:
    """List the images that a user means, with their labels, splits and groups.

    Every function that takes images lists them so; what it returns may be given to each of them in
    place of the images.

    Parameters
    ----------
    images : path, str, bytes; list of these; list of images; array; data set; DataFrame
        A path is, in this order: an existing file, folder, tar or zip, or array of images (what it
        holds decides: ``.npy``, or HDF5, where ``FILE.h5:DATASET`` names one of several), a list
        file (ending .txt, .lst or .list, or ``@FILE``, or ``-`` for standard input), a table (.csv
        or .tsv), else a pattern with wildcards. Several give their images one after the other, and
        are splits where each is a folder or an archive called as another one (``data/train
        data/val``); what is named twice comes twice. In a list of paths a file that is missing
        keeps its place if it has an image's ending.

        Or PIL images, arrays or tensors in a list; one array ``(N, H, W, 3)``, ``(N, H, W)`` or
        ``(N, 3, H, W)`` of uint8; a torch Dataset, whose items are images or tuples that begin with
        one; a Dataset of Hugging Face, or several by their splits (a DatasetDict); a DataFrame with
        a column of paths (the one whose cells name files; of several one called path, file,
        filename or image), and perhaps of labels (called label, class, species, category or
        target, or of few columns the last), splits and groups (called split and group). An
        `ImageList` keeps its labels.
    listing : ListingSettings, optional
        Or its fields by their names:

        - labels : ``"folder"`` (default), the first folder below the source, as torchvision's
          ImageFolder; for an archive, a single top folder of all members is passed over; for a list
          file, the first folder below what all its entries share; images directly in the source
          have none. A data set's or a DataFrame's own labels. A path is a labels file: one label a
          line, in the order of the images, or a table (tabs, semicolons, commas or bars, with or
          without quotes and a header) with an image and its label in every row; ``FILE:PATH,LABEL``
          names its columns. An image is named by its path or the end of it, or by its file name
          where only one image has that; one that is not in the table, or whose cell is empty, has
          no label. Or one label for each image; or the name of a column of a DataFrame
          (``PATH,LABEL`` names that of the paths too) or Dataset.
        - layout : whether folders called train, val or test (in any case; training, valid,
          validation, testing) are ``"splits"``, with the classes in them, or ``"classes"``; by
          default, ``"auto"``, what lies in them and beside them decides.
        - groups : which images belong together: ``"FILE:COLUMN"`` of a table, whose rows are
          matched with the images as those of labels are; ``"path:REGEX"``, the first group of a
          regular expression that is searched for in the path below the source, or all that matches;
          ``"folder"``, the folder that an image lies in (``"folder:2"`` the one above, and so on);
          ``"time:60s"``, capture times (EXIF) that follow one another within 60 seconds; one text
          for each image; or the name of a column of a DataFrame.
        - splits : which are for training, validation and the test: ``"FILE:COLUMN"`` or
          ``"FILE:PATH,COLUMN"`` of a table, one text for each image, or the name of a column of a
          DataFrame. A split is called as its folder may be; an empty cell is none.
        - crops_from, margin, min_confidence, categories : boxes that are cut out of the images,
          each as an image, from any file or folder that `decaf.localise` takes as `boxes`.
    **named
        Fields of `listing` by their names.

    Returns
    -------
    ImageList

    Raises
    ------
    InputError
        If there are no images, a path does not exist, a folder, archive or list cannot be read, or
        labels do not fit.

    Examples
    --------
    >>> import decaf
    >>> photographs = decaf.collect("photos/", splits="table.csv:path,split")  # doctest: +SKIP
    >>> fitted = decaf.fit(photographs, out="photos.head")  # doctest: +SKIP
    """
    (asked,) = settings_from(collect, named, Part("listing", ListingSettings, listing))
    if is_frame(images):
        listed, asked = _of_frame(images, asked)
    else:
        listed = _listed(images, asked)
    if asked.groups is not None:
        listed = listed.in_groups(asked.groups)
    if asked.splits is not None:
        listed = listed.in_splits(asked.splits)
    if asked.boxes is None:
        return listed
    by_folder = isinstance(asked.labels, str) and asked.labels == "folder"
    return cut_boxes(listed, asked.boxes, labelled=by_folder)


def _listed(images: Any, listing: ListingSettings) -> ImageList:
    if isinstance(images, ImageList):
        return images
    labels, layout = listing.labels, listing.layout
    if isinstance(images, np.ndarray) and images.dtype.kind in "USO":
        images = images.tolist()  # an array of paths
    if isinstance(images, (str, bytes, os.PathLike)):
        return _on_disk([find_images(_as_bytes(images), layout=layout)], labels)
    if isinstance(images, np.ndarray):
        if images.ndim == 0 or len(images):
            check_images(images.shape, images.dtype, "array", channels=(1, 3, 4))
        return _objects(channels_last(images), "array", labels)
    if _is_image_object(images) and getattr(images, "ndim", 0) != 4:
        return _objects([images], "object", labels)
    if (splits := split_datasets(images)) is not None:
        return _joined(splits, listing)
    if (stream := stream_of(images)) is not None:
        raise InputError(
            f"a {stream} gives its images in passing, and rows need their number: give a Dataset "
            "with a length (of Hugging Face's by streaming=False), or a list of what it gives"
        )
    if not isinstance(images, (list, tuple)) and not is_dataset(images):
        if not isinstance(images, Iterable):
            raise InputError(f"images cannot be taken from a {type(images).__name__}")
        images = list(images)
    if not isinstance(images, (list, tuple)) and not hasattr(images, "to_numpy"):
        return _objects(images, "dataset", labels)
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
            near = nearest_path(os.fsencode(first))
            raise InputError(
                f"none of the {counted(len(items), 'file')} exists, not {first!r}{near}"
            )
        return _on_disk(_divided(listed, layout), labels)
    if paths:
        raise InputError(
            f"a list mixes {counted(len(paths), 'path')} with "
            f"{counted(len(items) - len(paths), 'image')}"
        )
    return _objects(items, "objects", labels)


def _of_frame(frame: Any, listing: ListingSettings) -> tuple[ImageList, ListingSettings]:
    """List the images of a DataFrame, and return what of the listing is none of its columns."""
    asked = {name: getattr(listing, name) for name in ("labels", "groups", "splits")}
    named = {name: value for name, value in asked.items() if named_in_frame(frame, value)}
    for name, value in asked.items():
        if name in named or not isinstance(value, str) or value in ("folder", "none"):
            continue
        if not (":" in value or os.path.exists(value)):
            raise InputError(
                f"`{name}` {value!r}: the DataFrame has no such column, and there is no such "
                f"file; its columns are {some_of((repr(str(each)) for each in frame.columns), 12)}"
            )
    found = images_of_frame(frame, named.get("labels", ""), listing.layout)
    labels = "folder" if "labels" in named else listing.labels
    if isinstance(labels, str) and labels == "folder":
        labels = "none" if found.labels is None else found.labels
        _tell_notes([found.images])
    images = _on_disk([found.images], labels)
    column_of = {str(column): column for column in frame.columns}
    groups, splits = (
        list(frame[column_of[named[name]]]) if name in named else asked[name]
        for name in ("groups", "splits")
    )
    groups = found.groups if groups is None else groups
    return images, replace(listing, groups=groups, splits=splits)


def _joined(splits: dict[str, Any], listing: ListingSettings) -> ImageList:
    """Return the images of several data sets, each of which is a split."""
    lists = [
        replace(_objects(part, "dataset", listing.labels), splits=(split,) * len(part))
        for split, part in splits.items()
        if len(part)
    ]
    if not lists:
        raise InputError("no images: the data sets are empty")
    if len({images.class_names for images in lists}) > 1:
        told = "; ".join(
            f"{(images.splits or ('',))[0]}: {some_of(images.class_names)}" for images in lists
        )
        raise InputError(f"the splits have other classes: {told}")
    joined = ImageList.join(lists)
    # Numbers of two splits would be the same.
    names = [
        f"{split}/".encode() + name
        for split, name in zip(joined.splits or (), joined.names, strict=True)
    ]
    return replace(joined, names=names)


def _on_disk(listed: list[PathImages], labels: Any) -> ImageList:
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
    if by_folders:
        _tell_notes(listed)
    if by_folders and len(listed) == 1:
        warn_of_one_folder(listed[0])
    titles = {name: title for f in listed for name, title in f.titles.items() if by_folders}
    splits = None
    if any(f.splits for f in listed):
        splits = tuple(s for f in listed for s in f.splits or [""] * len(f.names))
    return ImageList(
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


def _tell_notes(listed: Sequence[PathImages]) -> None:
    """Tell what concerns the labels that the sources have of their own."""
    for f in listed:
        for note in f.class_notes:
            _logger.warning("%s", note)


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


def _objects(objects: Any, kind: str, labels: Any) -> ImageList:
    try:
        count = len(objects)
    except TypeError as error:
        raise InputError(f"images cannot be counted: {error}") from error
    if count == 0:
        raise InputError("no images: nothing was given")
    names = [b"%d" % i for i in range(count)]
    known: Labels
    shown, known = type(objects).__name__, (np.full(count, -1, np.int64), ())
    if kind == "dataset":
        own = isinstance(labels, str) and labels == "folder"
        column = _column_named(objects, labels)
        dataset = described_dataset(objects, column, labelled=own or column is not None)
        names, shown, objects = dataset.names or names, dataset.shown, dataset.items
        labels = "folder" if column is not None else labels
        if dataset.labels is not None:
            values, texts = labels_from_sequence(dataset.labels, count)
            known = values, texts or dataset.class_names
    values, class_names = _labels(labels, names, names, lambda: known)
    described = ({"kind": kind, "path": shown, "images": count},)
    return ImageList(names, values, class_names, described, None, objects)


def _column_named(dataset: Any, labels: Any) -> str | None:
    """Return the column of a data set that the labels name, where they are no file."""
    if not hasattr(dataset, "column_names") or not isinstance(labels, str):
        return None
    there = labels in ("folder", "none") or os.path.exists(labels.rpartition(":")[0] or labels)
    return None if there and labels not in dataset.column_names else labels


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

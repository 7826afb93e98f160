"""Data sets in memory: torchvision's and other torch Datasets, and those of Hugging Face.

They are known by what they have, and nothing is imported for them. Images are made one at a time,
as they are asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from decaf.errors import InputError
from decaf.images.listing.class_folders import SPLITS, split_called
from decaf.images.listing.names import some_of
from decaf.images.listing.tables import LABEL_NAMES

__all__ = ["Dataset", "described_dataset", "is_dataset", "split_datasets", "stream_of"]

# What data sets of torchvision call the labels and the classes of their items, and where the files
# of these are.
_LABELS = ("targets", "labels", "y", "_labels")
_CLASSES = ("classes", "categories")
_FILES = ("samples", "imgs", "_image_files", "images")

# What columns of Hugging Face are called, by which their items are known elsewhere.
_IDS = ("image_id", "id", "file_name", "filename", "path", "key", "__key__")
_HF_LABELS = (*LABEL_NAMES, "labels", "fine_label")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A data set as it is listed.

    Attributes
    ----------
    items : sequence
        Its images, or tuples or mappings that begin with one; made when they are asked for.
    names : list of bytes, or None
        Names of the items; None where they are known by their numbers.
    labels : sequence of any, or None
        One for each item; None where it does not tell.
    class_names : tuple of str
        Classes that they number; empty where they are just numbers, or texts.
    shown : str
        How the record names it.
    """

    items: Any
    names: list[bytes] | None
    labels: Sequence[Any] | None
    class_names: tuple[str, ...]
    shown: str


def is_dataset(value: Any) -> bool:
    """Tell whether something has a length and gives items, as a map-style torch Dataset does.

    Parameters
    ----------
    value : any
    """
    return (
        hasattr(type(value), "__len__")
        and hasattr(type(value), "__getitem__")
        and not isinstance(value, (str, bytes, bytearray, memoryview, dict))
    )


def stream_of(value: Any) -> str | None:
    """Name what gives its images in passing alone, whose rows cannot be counted; None for others.

    Parameters
    ----------
    value : any
    """
    named = (t.__name__ for t in type(value).__mro__)
    return type(value).__name__ if "IterableDataset" in named and not is_dataset(value) else None


def split_datasets(value: Any) -> dict[str, Any] | None:
    """Return the data sets of a mapping by their splits, as a DatasetDict; None for anything else.

    Parameters
    ----------
    value : any

    Raises
    ------
    InputError
        Where one is called as no split.
    """
    if not isinstance(value, Mapping) or not value or not all(map(is_dataset, value.values())):
        return None
    splits = {name: split_called(str(name).encode()) for name in value}
    strange = [repr(name) for name, split in splits.items() if split is None]
    if strange or len(set(splits.values())) < len(splits):
        known = "; ".join(f"{split}: {', '.join(names)}" for split, names in SPLITS.items())
        raise InputError(
            f"a {type(value).__name__} of {some_of(map(repr, value))}: give one of them, or call "
            f"them as splits are called, each once ({known})"
        )
    return {str(splits[name]): each for name, each in value.items()}


def described_dataset(dataset: Any, columns: str | None, *, labelled: bool) -> Dataset:
    """List a data set.

    Parameters
    ----------
    dataset : torch Dataset, or datasets.Dataset
        With a length. The labels of the former are its ``targets`` (or ``labels``) and ``classes``,
        or those of its items ``(image, label)``, for which all are made once; a Subset and a
        ConcatDataset are looked through. Of the latter the column of an ``Image`` feature is the
        image, and one of a ``ClassLabel``, or that is called label, the label.
    columns : str or None
        Name of the column of labels, of several.
    labelled : bool
        Whether its labels are wanted.

    Raises
    ------
    InputError
        Where a column is not there, or several may be the image.
    """
    if hasattr(dataset, "features") and hasattr(dataset, "column_names"):
        return _of_hugging_face(dataset, columns, labelled)
    labels, class_names = _known_labels(dataset)
    if labels is None and labelled:
        labels = _item_labels(dataset)
    return Dataset(dataset, _files(dataset), labels, class_names, type(dataset).__name__)


def _of_hugging_face(dataset: Any, columns: str | None, labelled: bool) -> Dataset:
    features = dict(dataset.features or {})
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    shown = f"{type(dataset).__name__}{_origin(dataset)}"
    there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    if len(pictures) > 1:
        pictures = [name for name in ("image", "img") if name in pictures][:1]
    if not pictures:
        raise InputError(
            f"{shown}: its columns are {there}; expected one of the feature Image, as "
            "dataset.cast_column(NAME, datasets.Image()) makes it of paths or bytes"
        )
    (picture,) = pictures
    if columns is not None and columns not in kinds:
        raise InputError(f"{shown}: has no column {columns!r} for the labels; it has {there}")
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    called = [name for name in _HF_LABELS if name in kinds and name != picture]
    label = columns or next(iter(classes if len(classes) == 1 else called), None)
    if label is None and len(classes) > 1:
        _logger.warning(
            "%s: which column is the label, %s? Name it, as `labels=%r`; the images have none",
            shown, " or ".join(classes), classes[0],
        )  # fmt: skip
    feature = features[picture]
    if getattr(feature, "decode", True) is False:
        dataset = dataset.cast_column(picture, type(feature)(decode=True))
    labels = list(dataset[label]) if labelled and label is not None else None
    class_names = tuple(getattr(features.get(label), "names", None) or ()) if label else ()
    names = None
    for name in _IDS:
        if name in kinds and name not in (picture, label) and kinds[name] == "Value":
            ids = [str(value) for value in dataset[name]]
            if len(set(ids)) == len(ids):
                names = [os.fsencode(text) for text in ids]
                break
    return Dataset(dataset.select_columns([picture]), names, labels, class_names, shown)


def _origin(dataset: Any) -> str:
    """Say where a data set of Hugging Face is from, and the fingerprint of what was made of it."""
    info = getattr(dataset, "info", None)
    known = [getattr(info, "dataset_name", None), getattr(dataset, "split", None)]
    fingerprint = getattr(dataset, "_fingerprint", None)
    parts = [str(part) for part in known if part] + ([f"#{fingerprint}"] if fingerprint else [])
    return "".join(f" {part}" for part in parts)


def _known_labels(dataset: Any) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the labels and class names that a data set can tell without making its images."""
    parts = list(_parts(dataset))
    if parts:
        every: list[int] = []
        names: set[tuple[str, ...]] = set()
        for part, rows in parts:
            own, part_names = _known_labels(part)
            names.add(part_names)
            if own is None or len(names) > 1:
                return None, ()
            every += own if rows is None else [own[row] for row in rows]
        return every, names.pop()
    texts = (_texts(getattr(dataset, name, None)) for name in _CLASSES)
    class_names: tuple[str, ...] = next(filter(None, texts), ())
    for name in _LABELS:
        labels = _whole_numbers(getattr(dataset, name, None))
        if labels is not None and len(labels) == len(dataset):
            inside = all(-1 <= label < len(class_names) for label in labels)
            return labels, class_names if inside else ()
    return None, ()


def _parts(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the data sets that one is made of, and which items of each; nothing where of none."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:
        yield inner, list(indices)
    elif hasattr(dataset, "cumulative_sizes"):
        yield from ((part, None) for part in dataset.datasets)


def _files(dataset: Any) -> list[bytes] | None:
    """Return the files that the items of a data set are of, where it lists them."""
    parts = list(_parts(dataset))
    if parts:
        names: list[bytes] = []
        for part, rows in parts:
            files = _files(part)
            if files is None:
                return None
            names += files if rows is None else [files[row] for row in rows]
        return names
    for attribute in _FILES:
        listed = getattr(dataset, attribute, None)
        if not isinstance(listed, list) or len(listed) != len(dataset):
            continue
        paths = [each[0] if isinstance(each, tuple) and each else each for each in listed]
        if all(isinstance(path, (str, os.PathLike)) for path in paths):
            return [os.fsencode(path) for path in paths]
    return None


def _item_labels(dataset: Any) -> list[int] | None:
    """Return the labels of the items of a data set, where these are pairs of image and label."""
    labels: list[int] = []
    for row in range(len(dataset)):
        try:
            label = _label_of(dataset[row])
        except Exception:  # of the user's code, which is told when the image is made again
            label = -1
        if label is None:
            return None
        if not labels:
            _logger.info(
                "%s: tells its labels with its images alone, which are all made once for them; "
                "`labels='none'` does without",
                type(dataset).__name__,
            )
        labels.append(label)
    return labels


def _label_of(item: Any) -> int | None:
    value: Any
    if isinstance(item, Mapping):
        value = next((item[name] for name in _HF_LABELS if name in item), None)
    else:
        value = item[1] if isinstance(item, (tuple, list)) and len(item) > 1 else None
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return int(value) if whole and value >= -1 else None


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

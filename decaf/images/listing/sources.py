"""From what a user names to one list of images, in a fixed order, each exactly once per mention.

Nothing is decoded here, and of most files nothing is read: a folder of a million images is listed
by its names. What is wrong with one image shows when it is loaded, and then concerns its row alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.images.decoding.limits import MAX_NAME_BYTES
from decaf.images.listing.groups import find_groups
from decaf.images.listing.in_memory import (
    dataset_labels,
    is_dataset,
    is_image_object,
    split_array,
    unwrap,
)
from decaf.images.listing.labels import labels_from_classes, labels_from_file, labels_from_sequence
from decaf.images.listing.paths import Found, find_images
from decaf.images.listing.refs import ImageRef, JoinedRefs, PickedRefs, RefList, Wire
from decaf.images.listing.split_folders import LAYOUTS, split_called

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MEMORY_KINDS", "ImageList", "ImageRef", "Wire", "collect"]

# The kinds of source whose images are objects of this process.
MEMORY_KINDS = ("array", "dataset", "object", "objects")


@dataclass(frozen=True)
class ImageList:
    """Images to be processed, in order.

    Attributes
    ----------
    names : list of bytes
        What is stored as each image's path: the path as given (of a folder: joined with the path
        below it), the member's name for an archive, ``FILE[NUMBER]`` for an array in a file, its
        number for an image in memory.
    labels : array of shape (N,), int64
        -1 where there is none.
    class_names : tuple of str
        What the labels number, or empty where they are just numbers.
    sources : tuple of dict
        What the images came from, for the record: ``kind``, ``path`` (as given) and ``images``
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
        What people call the classes, where the data set says so (``words.txt``); else empty.
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

    @property
    def paths(self) -> list[str]:
        """The names as text, as `os.fsdecode` gives it."""
        return [os.fsdecode(name) for name in self.names]

    @property
    def in_memory(self) -> bool:
        """Whether the images are objects of this process."""
        return self.refs is None

    @property
    def class_titles(self) -> tuple[str, ...]:
        """What people call the classes: `titles`, or else `class_names`."""
        return self.titles or self.class_names

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes of `class_names` that have no image here."""
        there = set(np.unique(self.labels).tolist())
        return tuple(name for label, name in enumerate(self.class_names) if label not in there)

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
            What they number, and what people call these classes.
        """
        numbers = np.asarray(labels, np.int64)
        return replace(self, labels=numbers, class_names=tuple(class_names), titles=tuple(titles))

    @staticmethod
    def join(lists: Sequence[ImageList]) -> ImageList:
        """Return one list of the images of several, which have the same classes.

        Parameters
        ----------
        lists : sequence of ImageList
            None of them in memory.
        """
        splits = groups = None
        if any(images.splits is not None for images in lists):
            splits = tuple(name for each in lists for name in each.splits or ("",) * len(each))
        if any(images.groups is not None for images in lists):
            groups = tuple(name for each in lists for name in each.groups or ("",) * len(each))
        return ImageList(
            [name for images in lists for name in images.names],
            np.concatenate([images.labels for images in lists]),
            lists[0].class_names,
            tuple(source for images in lists for source in images.sources),
            JoinedRefs([images.refs for images in lists if images.refs is not None]),
            splits=splits,
            groups=groups,
            titles=lists[0].titles,
        )

    def take(self, rows: npt.NDArray[np.integer]) -> Self:
        """Return the list of some of the images, in the order given."""
        return replace(
            self,
            names=[self.names[row] for row in rows],
            labels=self.labels[rows],
            refs=None if self.refs is None else PickedRefs(self.refs, rows),
            objects=_Picked(self, rows) if self.refs is None else None,
            splits=None if self.splits is None else tuple(self.splits[row] for row in rows),
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )

    def get(self, index: int) -> Any:
        """Return an image in memory: a PIL image, an array or a tensor.

        An item ``(image, label)`` of a data set gives its image.

        Raises
        ------
        TypeError
            If the images are not in memory.
        """
        if self.refs is not None:
            raise TypeError("these images are not in memory; use refs")
        return unwrap(self.objects[index])


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
        How folders called train, val or test are taken; see `decaf.images.listing.split_folders`.
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
        return _objects(split_array(images), "array", labels, groups)
    if is_image_object(images) and getattr(images, "ndim", 0) != 4:
        return _objects([images], "object", labels, groups)
    if not isinstance(images, (list, tuple)) and not is_dataset(images):
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
        found = [find_images(_as_bytes(path), several, layout) for path in paths]
        if not any(os.path.lexists(f.path) for f in found if f.kind == "file") and all(
            f.kind == "file" for f in found
        ):
            first = os.fsdecode(paths[0])
            raise InputError(f"none of the {len(items)} files exists, not {first!r}")
        return _on_disk(_divided(found, layout), labels, groups)
    if paths:
        raise InputError(f"a list mixes {len(paths)} paths with {len(items) - len(paths)} images")
    return _objects(items, "objects", labels, groups)


def _on_disk(found: list[Found], labels: Any, groups: Any) -> ImageList:
    """Join what the sources gave."""
    found = _merged(found)
    names = [name for f in found for name in f.names]
    if not names:
        looked = ", ".join(repr(os.fsdecode(f.path)) for f in found[:3])
        raise InputError(f"no images in {looked}")
    _refuse_long(names, "image")
    members: dict[int, ImageRef] = {}
    start = 0
    for f in found:
        members.update(enumerate(f.members, start))
        start += len(f.names)
    relative = [r for f in found for r in f.relative]
    values, class_names = _labels(
        labels,
        names,
        relative,
        lambda: labels_from_classes([c for f in found for c in f.classes]),
    )
    described = tuple(f.described() for f in found)
    refs = RefList(names, members)
    splits = None
    if any(f.splits for f in found):
        splits = tuple(s for f in found for s in f.splits or [""] * len(f.names))
    return ImageList(
        names,
        values,
        class_names,
        described,
        refs,
        splits=splits,
        groups=find_groups(groups, names, relative, refs),
    )


def _divided(found: list[Found], layout: str) -> list[Found]:
    """Take several folders or archives for splits where each is called as another one."""
    called = [
        split_called(os.path.basename(os.path.normpath(f.path)).partition(b".")[0])
        for f in found
        if f.kind not in ("file", "list", "table", "glob") and not f.splits
    ]
    splits = [split for split in called if split is not None]
    if layout == "classes" or not 1 < len(found) == len(set(splits)):
        return found
    return [
        replace(f, splits=[split] * len(f.names)) for f, split in zip(found, splits, strict=True)
    ]


def _merged(found: list[Found]) -> list[Found]:
    """Join runs of single files, so that a long list of them is one source."""
    merged: list[Found] = []
    for f in found:
        last = merged[-1] if merged else None
        if f.kind == "file" and last is not None and last.kind in ("file", "files"):
            if last.kind == "file":
                last = merged[-1] = Found("files", b"", list(last.names), [*last.relative], [None])
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

    def own() -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
        known, class_names = dataset_labels(objects) if kind == "dataset" else (None, ())
        return np.array([-1] * count if known is None else known, dtype=np.int64), class_names

    values, class_names = _labels(labels, names, names, own)
    described = ({"kind": kind, "path": type(objects).__name__, "images": count},)
    found = find_groups(groups, names, names, None)
    return ImageList(names, values, class_names, described, None, objects, groups=found)


class _Picked:
    """Some of the images in memory, each still made when it is asked for."""

    def __init__(self, images: ImageList, rows: npt.NDArray[np.integer]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._images.get(int(self._rows[index]))


def _refuse_long(names: Sequence[bytes], what: str) -> None:
    """Refuse names that no feature file could hold before anything is computed."""
    for number, name in enumerate(names):
        if len(name) > MAX_NAME_BYTES:
            raise InputError(
                f"{what} {number} has a name of {len(name)} bytes ({os.fsdecode(name[:40])!r}…); "
                f"at most {MAX_NAME_BYTES} can be kept"
            )


def _labels(labels: Any, names: list[bytes], relative: list[bytes], own: Any) -> Any:
    values, class_names = _values_and_classes(labels, names, relative, own)
    _refuse_long([name.encode("utf-8", "backslashreplace") for name in class_names], "class")
    return values, class_names


def _values_and_classes(labels: Any, names: list[bytes], relative: list[bytes], own: Any) -> Any:
    if isinstance(labels, str) and labels == "folder":
        return own()
    if labels is None or (isinstance(labels, str) and labels == "none"):
        return np.full(len(names), -1, dtype=np.int64), ()
    if isinstance(labels, (str, bytes, os.PathLike)):
        return labels_from_file(labels, names, relative)
    if isinstance(labels, Iterable):
        return labels_from_sequence(labels, len(names))  # type: ignore[arg-type]
    raise InputError(f"labels cannot be taken from a {type(labels).__name__}")


def _as_bytes(path: str | bytes | os.PathLike[Any]) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InputError(f"path {path!r} cannot be a file name here: {error.reason}") from error

"""The list of images that every command takes, and one image that is to be read from disk."""

from __future__ import annotations

import errno
import os
import stat
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError
from decaf.images.decoding.limits import MAX_FILE_BYTES
from decaf.images.listing.archives import ARCHIVE_KINDS, Member, read_member
from decaf.images.listing.arrays import ARRAY_KINDS, read_array_image

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "CONTAINER_KINDS",
    "ImageList",
    "ImageRef",
    "JoinedRefs",
    "LazyRefs",
    "PickedRefs",
    "RefList",
    "Wire",
]

# Files that hold many images.
CONTAINER_KINDS = (*ARCHIVE_KINDS, *ARRAY_KINDS)

Wire = tuple[int | bytes | None, ...]

# Opening a pipe would wait for a writer for ever; not every system has the flags.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A file, a member of an archive, or an image of an array.

    Parameters
    ----------
    name : bytes
        Name that is stored as the image's path: the file's path as given, or the member's name.
    archive : bytes or None
        Path of the archive that `name` is a member of, or of the array's file.
    kind : str
        One of `CONTAINER_KINDS`, ``""`` for a file.
    member : Member or None
        Where it lies in the archive.
    """

    name: bytes
    archive: bytes | None = None
    kind: str = ""
    member: Member | None = None

    def load(self) -> bytes:
        """Read the image's bytes.

        Raises
        ------
        ImageError
            "missing", "unreadable", "too_large" (over `MAX_FILE_BYTES`), or "corrupt" for damage
            to an archive.
        """
        if self.archive is None or self.member is None:
            return _read_file(self.name)
        if self.kind in ARRAY_KINDS:
            return read_array_image(self.name, self.archive, self.kind)
        return read_member(self.archive, self.kind, self.member)

    def stat(self) -> tuple[int, int]:
        """Return size in bytes and time of change in nanoseconds, (-1, -1) where unknown.

        For a member that is its own size, and the archive's time.
        """
        try:
            status = os.stat(self.name if self.archive is None else self.archive)
        except (OSError, ValueError):
            return -1, -1
        return status.st_size if self.member is None else self.member.size, status.st_mtime_ns

    def to_wire(self) -> Wire:
        """Return a tuple of bytes, integers and None for another process; see `from_wire`."""
        if self.archive is None or self.member is None:
            return (self.name,)
        m = self.member
        kind = CONTAINER_KINDS.index(self.kind)
        return (self.name, self.archive, kind, m.offset, m.size, m.packed, m.method, m.crc)

    @classmethod
    def from_wire(cls, wire: Wire) -> ImageRef:
        """Make a reference from what `to_wire` gave.

        Parameters
        ----------
        wire : tuple

        >>> ImageRef.from_wire(ImageRef(b"a.jpg").to_wire()).name
        b'a.jpg'
        """
        name, *rest = wire
        if not isinstance(name, bytes):
            raise TypeError("a reference starts with the image's name")
        if not rest:
            return cls(name)
        archive, kind, *numbers = rest
        if not isinstance(archive, bytes) or not isinstance(kind, int):
            raise TypeError("a reference to a member names its archive and kind")
        member = Member(name, *[number for number in numbers if isinstance(number, int)])
        return cls(name, archive, CONTAINER_KINDS[kind], member)


class RefList(Sequence[ImageRef]):
    """References kept small: for most images the name says all, and the rest is made when asked.

    Parameters
    ----------
    names : list of bytes
        One for each image.
    members : dict of int to ImageRef
        The references that are not to a plain file, by position.
    """

    def __init__(self, names: list[bytes], members: dict[int, ImageRef]) -> None:
        self._names = names
        self._members = members

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRef]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | list[ImageRef]:
        """Return one reference, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self._names[index]
        return self._members.get(index % len(self)) or ImageRef(name)

    def __iter__(self) -> Iterator[ImageRef]:
        """Go through the references in order."""
        for i, name in enumerate(self._names):
            yield self._members.get(i) or ImageRef(name)


class LazyRefs(Sequence[ImageRef]):
    """References that are made when they are asked for, by `one` of a derived class."""

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRef]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | list[ImageRef]:
        """Return one reference, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self.one(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.one(index % len(self))

    @abstractmethod
    def one(self, index: int) -> ImageRef:
        """Make the reference of a place, which is in range.

        Parameters
        ----------
        index : int
        """


class PickedRefs(LazyRefs):
    """Some references of a sequence.

    Parameters
    ----------
    refs : sequence of ImageRef
    rows : ndarray of int
        Which, in order.
    """

    def __init__(self, refs: Sequence[ImageRef], rows: np.ndarray) -> None:
        self._refs, self._rows = refs, rows

    def __len__(self) -> int:
        """Count them."""
        return len(self._rows)

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place.

        Parameters
        ----------
        index : int
        """
        return self._refs[int(self._rows[index])]


class JoinedRefs(LazyRefs):
    """Several sequences of references as one.

    Parameters
    ----------
    parts : sequence of sequence of ImageRef
    """

    def __init__(self, parts: Sequence[Sequence[ImageRef]]) -> None:
        self._parts = parts
        self._stops = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        """Count them."""
        return int(self._stops[-1])

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place.

        Parameters
        ----------
        index : int
        """
        part = int(np.searchsorted(self._stops, index, side="right"))
        return self._parts[part][index - int(self._stops[part]) + len(self._parts[part])]


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
        How a data set for training (`decaf.train.pack.sources`) was laid out, such as "folders";
        else empty.
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
        """Names of the classes for people: `titles`, or else `class_names`."""
        return self.titles or self.class_names

    @property
    def split_counts(self) -> dict[str, int]:
        """How many images each split has, in the order of the images."""
        return dict(Counter(self.splits or ()))

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
            Classes that they number, and the names of these for people.
        """
        numbers = np.asarray(labels, np.int64)
        return replace(self, labels=numbers, class_names=tuple(class_names), titles=tuple(titles))

    @staticmethod
    def join(lists: Sequence[ImageList]) -> ImageList:
        """Return one list of the images of several, which have the same classes.

        Parameters
        ----------
        lists : sequence of ImageList
            All of them in memory, or none.
        """
        in_memory = any(images.in_memory for images in lists)
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
            None if in_memory else JoinedRefs([each.refs for each in lists if each.refs]),
            objects=_Joined(lists) if in_memory else None,
            splits=splits,
            groups=groups,
            titles=lists[0].titles,
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
        )

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


def _read_file(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing", "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError("unreadable", _reason(error)) from None
    try:
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("unreadable", "not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError(
                    "too_large", f"{status.st_size} bytes; {MAX_FILE_BYTES} bytes is the limit"
                )
            return file.read()
    except OSError as error:
        raise ImageError("unreadable", _reason(error)) from None
    except MemoryError:
        raise ImageError("too_large", "no memory to read it") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    return str(error)

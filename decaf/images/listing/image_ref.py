"""An image that is to be read from disk, and sequences of such that stay small."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from decaf.errors import ImageError
from decaf.images.decoding.limits import MAX_FILE_BYTES
from decaf.images.listing.archives import ARCHIVE_KINDS, Member, read_member
from decaf.images.listing.arrays import ARRAY_KINDS, read_array_image
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.listing.folders import READ_AT_ONCE

__all__ = [
    "CONTAINER_KINDS",
    "Box",
    "CutRefs",
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

# Left, top, right and bottom edge, exactly, in pixels of the upright image; or a box of an
# annotation, which is cut off at the image's edges.
Box = tuple[int, int, int, int] | BoxCrop


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A file, a member of an archive, or an image of an array; the whole of it or a part.

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
    box : (int, int, int, int), BoxCrop or None
        Left, top, right and bottom edge of the part that is meant, in pixels of the upright image;
        or a box of an annotation; None for all of it. `load` reads the whole, and `cut` takes the
        part out of its pixels.
    """

    name: bytes
    archive: bytes | None = None
    kind: str = ""
    member: Member | None = None
    box: Box | None = None

    def load(self) -> bytes:
        """Read the image's bytes.

        Raises
        ------
        ImageError
            "missing", "unreadable", "too_large" (over `MAX_FILE_BYTES`), or "corrupt" for damage
            to an archive.
        """
        if self.archive is not None and self.member is not None:
            if self.kind in ARRAY_KINDS:
                return read_array_image(self.name, self.archive, self.kind)
            return read_member(self.archive, self.kind, self.member)
        try:
            descriptor = os.open(self.name, READ_AT_ONCE)
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

    def digest(self, data: bytes) -> bytes:
        """Return the SHA-256 by which an image is known: of its bytes.

        Of a box of an annotation it is that of the bytes and of the box, since the boxes of an
        image are no copies of each other.

        Parameters
        ----------
        data : bytes
            As `load` returns them.
        """
        whole = hashlib.sha256(data).digest()
        if not isinstance(self.box, BoxCrop):
            return whole
        return hashlib.sha256(whole + self.box_text).digest()

    @property
    def box_text(self) -> bytes:
        """What determines the part that is meant; empty for all of the image."""
        if self.box is None:
            return b""
        if isinstance(self.box, BoxCrop):
            return self.box.text.encode()
        return b"%d,%d,%d,%d" % self.box

    def cut(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Take the part that is meant out of the pixels of the image.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (H, W, 3)

        Raises
        ------
        ImageError
            "wrong_size" or "bad_box" for a box that does not fit the image.
        """
        if self.box is None:
            return pixels
        height, width = pixels.shape[:2]
        if isinstance(self.box, BoxCrop):
            left, top, right, bottom = self.box.edges(width, height)
        else:
            left, top, right, bottom = self.box
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ImageError(
                "wrong_size",
                f"the box from {left}, {top} to {right}, {bottom} is empty or not within the "
                f"{width} x {height} pixels of the image",
            )
        return pixels[top:bottom, left:right]

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
        box = (self.box_text,) if isinstance(self.box, BoxCrop) else self.box or ()
        if self.archive is None or self.member is None:
            return (self.name, *box)
        m = self.member
        kind = CONTAINER_KINDS.index(self.kind)
        return (self.name, self.archive, kind, m.offset, m.size, m.packed, m.method, m.crc, *box)

    @classmethod
    def from_wire(cls, wire: Wire) -> ImageRef:
        """Make a reference from what `to_wire` gave.

        Parameters
        ----------
        wire : tuple

        Examples
        --------
        >>> ImageRef.from_wire(ImageRef(b"a.jpg").to_wire()).name
        b'a.jpg'
        """
        name, *rest = wire
        if not isinstance(name, bytes):
            raise TypeError("a reference starts with the image's name")
        box: Box | None = None
        if len(rest) % 7 == 4:  # a member takes seven more, edges four, the text of a box one
            left, top, right, bottom = map(_int, rest[-4:])
            box, rest = (left, top, right, bottom), rest[:-4]
        elif len(rest) % 7 == 1 and isinstance(rest[-1], bytes):
            box, rest = BoxCrop.from_text(rest[-1].decode()), rest[:-1]
        if not rest:
            return cls(name, box=box)
        archive, kind, *numbers = rest
        if not isinstance(archive, bytes) or not isinstance(kind, int):
            raise TypeError("a reference to a member names its archive and kind")
        member = Member(name, *[number for number in numbers if isinstance(number, int)])
        return cls(name, archive, CONTAINER_KINDS[kind], member, box)


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
        """Make the reference of a place.

        Parameters
        ----------
        index : int
            From 0 on, and in range.
        """


class RefList(LazyRefs):
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
        """Count them."""
        return len(self._names)

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place; see `LazyRefs.one`.

        Parameters
        ----------
        index : int
        """
        return self._members.get(index) or ImageRef(self._names[index])


class CutRefs(LazyRefs):
    """References to parts of images.

    Parameters
    ----------
    refs : sequence of ImageRef
    boxes : sequence of BoxCrop or None
        One for each; None for all of the image.
    """

    def __init__(self, refs: Sequence[ImageRef], boxes: Sequence[BoxCrop | None]) -> None:
        self._refs, self._boxes = refs, boxes

    def __len__(self) -> int:
        """Count them."""
        return len(self._boxes)

    def one(self, index: int) -> ImageRef:
        """Make the reference of a place; see `LazyRefs.one`.

        Parameters
        ----------
        index : int
        """
        return replace(self._refs[index], box=self._boxes[index])


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
        """Make the reference of a place; see `LazyRefs.one`.

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


def _int(value: int | bytes | None) -> int:
    if not isinstance(value, int):
        raise TypeError("the edges of a box are whole numbers")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    return str(error)

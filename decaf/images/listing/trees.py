"""A folder, an archive or a list of paths, as a tree of images: listed and read in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from decaf.errors import ImageError, InputError
from decaf.images.decoding.formats import HEAD_BYTES, guess_format
from decaf.images.decoding.limits import MAX_TEXT_BYTES
from decaf.images.listing.archives import Member, list_members, read_head, read_member
from decaf.images.listing.folders import (
    MAX_RECORD_BYTES,
    WORK_RECORDS,
    has_image_ending,
    is_folder,
    is_hidden,
    is_image_file,
    is_work_folder,
    read_small_file,
    warn_of_closed,
    work_of,
)
from decaf.images.listing.image_ref import ImageRef
from decaf.images.listing.names import common_folder
from decaf.runtime.names import name_text, slashed

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ArchiveTree", "FolderTree", "Tree", "TreeImage"]


class TreeImage(NamedTuple):
    """An image of a tree: its path, the same below the tree's root, and its reference.

    A file has no reference: its path says all.
    """

    name: bytes
    relative: bytes
    ref: ImageRef | None = None


class Tree:
    """Paths of images, with nothing else known of what lies beside them.

    Parameters
    ----------
    images : sequence of TreeImage
    """

    def __init__(self, images: Sequence[TreeImage]) -> None:
        self.images = images

    def folders(self, folder: bytes) -> list[bytes]:
        """Name the folders directly within one, sorted, where folders without images are known.

        Parameters
        ----------
        folder : bytes
            Below the root; empty for the root itself.
        """
        return []

    def text(self, name: bytes) -> bytes | None:
        """Read a file; None where there is none.

        Parameters
        ----------
        name : bytes
            Below the root.
        """
        return None

    def within(self, folder: bytes) -> Self:
        """Return the tree of a folder that all images lie in.

        Parameters
        ----------
        folder : bytes
            Below the root.
        """
        start = len(folder) + 1
        within = copy(self)
        within.images = [image._replace(relative=image.relative[start:]) for image in self.images]
        return within

    def absent(self, relative: bytes) -> TreeImage:
        """Stand for an image that is listed and not there, or refuse it.

        Parameters
        ----------
        relative : bytes
            Where it would be.
        """
        raise InputError(f"{name_text(relative)!r} is listed and not there")


class FolderTree(Tree):
    """A folder, its images sorted by the bytes of their paths.

    They are the files whose ending is an image's, and those of any other ending that begin as an
    image does. Links are followed, but not back into a folder that they lie in; hidden files and
    folders, folders that decaf works in, pipes, sockets and devices are passed over, and with a
    warning the folders below that cannot be read.

    Parameters
    ----------
    root : bytes

    Raises
    ------
    InputError
        If the folder itself cannot be read.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        paths: list[bytes] = []
        waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(root, frozenset())]
        while waiting:
            current, above = waiting.pop()
            try:
                status = os.stat(current)
                key = (status.st_dev, status.st_ino)
                if key in above or is_work_folder(current):
                    continue
                with os.scandir(current) as scanned:
                    entries = sorted(scanned, key=lambda e: e.name)
            except OSError as error:
                if not above:
                    shown, reason = repr(name_text(current)), error.strerror or error
                    raise InputError(f"folder {shown} cannot be read: {reason}") from error
                warn_of_closed(current, error)
                continue
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if is_folder(entry):
                    waiting.append((entry.path, above | {key}))
                elif is_image_file(entry):
                    paths.append(entry.path)
        prefix = len(os.path.join(root, b""))
        ordered = sorted(paths, key=slashed)
        super().__init__([TreeImage(name, slashed(name[prefix:])) for name in ordered])

    def folders(self, folder: bytes) -> list[bytes]:
        """Name the folders directly within one; see `Tree.folders`.

        Parameters
        ----------
        folder : bytes
        """
        path = self._path(folder)
        try:
            with os.scandir(path) as entries:
                return sorted(
                    e.name
                    for e in entries
                    if is_folder(e) and not is_hidden(e.name) and not is_work_folder(e.path)
                )
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"folder {name_text(path)!r} cannot be read: {reason}") from error

    def text(self, name: bytes) -> bytes | None:
        """Read a file; see `Tree.text`.

        Parameters
        ----------
        name : bytes
        """
        return read_small_file(self._path(name))

    def within(self, folder: bytes) -> Self:
        """Return the tree of a folder that all images lie in; see `Tree.within`.

        Parameters
        ----------
        folder : bytes
        """
        within = super().within(folder)
        within._root = self._path(folder)
        return within

    def absent(self, relative: bytes) -> TreeImage:
        """Stand for an image that is not there: it is missing when it is loaded.

        Parameters
        ----------
        relative : bytes
        """
        return TreeImage(self._path(relative), relative)

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._root, name) if name else self._root


class ArchiveTree(Tree):
    """An archive; the single top folder that its images share is passed over.

    Parameters
    ----------
    path : bytes
    kind : str
        Kind from `decaf.images.listing.archives.archive_kind`.

    Raises
    ------
    InputError
        If it is damaged or cannot be opened.
    """

    def __init__(self, path: bytes, kind: str) -> None:
        self._path, self._kind = path, kind
        members = list_members(path, kind)
        work = self._work_folders(members)
        images = [
            member
            for member in members
            if not is_hidden(member.name)
            and not any(member.name.startswith(folder) for folder in work)
            and (
                has_image_ending(member.name)
                or guess_format(read_head(path, kind, member, HEAD_BYTES)) is not None
            )
        ]
        top = common_folder([member.name for member in images], depth=1)
        super().__init__(
            [
                TreeImage(
                    member.name, member.name[len(top) :], ImageRef(member.name, path, kind, member)
                )
                for member in images
            ]
        )
        self._members = {
            member.name[len(top) :]: member for member in members if member.name.startswith(top)
        }

    def _work_folders(self, members: Sequence[Member]) -> list[bytes]:
        """List the folders that decaf works in, each with a slash at its end."""
        folders = []
        for member in members:
            folder, slash, name = member.name.rpartition(b"/")
            if name not in WORK_RECORDS:
                continue
            with suppress(ImageError):
                if work_of(read_member(self._path, self._kind, member, MAX_RECORD_BYTES)):
                    folders.append(folder + slash)
        return folders

    def within(self, folder: bytes) -> Self:
        """Return the tree of a folder that all images lie in; see `Tree.within`.

        Parameters
        ----------
        folder : bytes
        """
        within = super().within(folder)
        start = folder + b"/"
        within._members = {
            name[len(start) :]: member
            for name, member in self._members.items()
            if name.startswith(start)
        }
        return within

    def text(self, name: bytes) -> bytes | None:
        """Read a file; see `Tree.text`.

        Parameters
        ----------
        name : bytes
        """
        member = self._members.get(name)
        if member is None:
            return None
        shown = os.path.join(self._path, member.name)
        try:
            return read_member(self._path, self._kind, member, MAX_TEXT_BYTES)
        except ImageError as error:
            raise InputError(f"{name_text(shown)!r} cannot be read: {error}") from error

    def absent(self, relative: bytes) -> TreeImage:
        """Refuse an image that is listed and not there.

        Parameters
        ----------
        relative : bytes
        """
        raise InputError(
            f"{name_text(self._path)!r}: {name_text(relative)!r} is listed in its annotations "
            "and not in the archive"
        )

"""A folder, or an archive, as a tree of images: listed and read in place."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from decaf.errors import ImageError, InputError
from decaf.images.decoding.formats import HEAD_BYTES, guess_format
from decaf.images.decoding.limits import MAX_TEXT_BYTES
from decaf.images.listing.archives import (
    Member,
    archive_kind,
    list_members,
    read_head,
    read_member,
)
from decaf.images.listing.folders import (
    has_image_ending,
    is_folder,
    is_hidden,
    list_folder,
    read_small_file,
    read_start,
)
from decaf.images.listing.image_list import ImageRef
from decaf.images.listing.labels import class_of, common_folder
from decaf.images.listing.recognise import not_wanted

__all__ = ["ArchiveTree", "FolderTree", "Tree", "TreeImage", "tree_of"]


class TreeImage(NamedTuple):
    """An image of a tree: its path, the same below the folder that was listed, and its reference.

    A file has no reference: its path says all.
    """

    name: bytes
    relative: bytes
    ref: ImageRef | None = None


class FolderTree:
    """A folder.

    Parameters
    ----------
    root : bytes
    """

    def __init__(self, root: bytes) -> None:
        self._root = root

    def folders(self, folder: bytes) -> list[bytes]:
        """Name the folders directly within one, sorted.

        Parameters
        ----------
        folder : bytes
            Below the root; empty for the root itself.
        """
        path = self._path(folder)
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if is_folder(e) and not is_hidden(e.name))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"folder {os.fsdecode(path)!r} cannot be read: {reason}") from error

    def images(self, folder: bytes) -> list[TreeImage]:
        """List the images below a folder.

        Parameters
        ----------
        folder : bytes
        """
        path = self._path(folder)
        if not os.path.isdir(path):
            return []
        prefix = len(os.path.join(path, b""))
        return [TreeImage(name, name[prefix:]) for name in list_folder(path)]

    def text(self, name: bytes) -> bytes | None:
        """Read a file; None where there is none.

        Parameters
        ----------
        name : bytes
            Below the root.
        """
        return read_small_file(self._path(name))

    def absent(self, folder: bytes, relative: bytes) -> TreeImage:
        """Stand for an image that is not there.

        Parameters
        ----------
        folder, relative : bytes
            Where it would be.
        """
        return TreeImage(os.path.join(self._path(folder), relative), relative)

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._root, name) if name else self._root


class ArchiveTree:
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
        images = [
            member
            for member in members
            if not is_hidden(member.name)
            and (
                has_image_ending(member.name)
                or guess_format(read_head(path, kind, member, HEAD_BYTES)) is not None
            )
        ]
        top = common_folder([member.name for member in images], depth=1)
        self._images = [
            TreeImage(
                member.name, member.name[len(top) :], ImageRef(member.name, path, kind, member)
            )
            for member in images
        ]
        self._members: dict[bytes, Member] = {
            member.name[len(top) :]: member for member in members if member.name.startswith(top)
        }

    def folders(self, folder: bytes) -> list[bytes]:
        """Name the folders directly within one, sorted.

        Parameters
        ----------
        folder
            As in `FolderTree`.
        """
        prefix = folder + b"/" if folder else b""
        inside = (image.relative for image in self._images if image.relative.startswith(prefix))
        return sorted({name for path in inside if (name := class_of(path[len(prefix) :]))})

    def images(self, folder: bytes) -> list[TreeImage]:
        """List the images below a folder.

        Parameters
        ----------
        folder
            As in `FolderTree`.
        """
        prefix = folder + b"/" if folder else b""
        return [
            TreeImage(image.name, image.relative[len(prefix) :], image.ref)
            for image in self._images
            if image.relative.startswith(prefix)
        ]

    def text(self, name: bytes) -> bytes | None:
        """Read a file; None where there is none.

        Parameters
        ----------
        name
            As in `FolderTree`.
        """
        member = self._members.get(name)
        if member is None:
            return None
        shown = os.path.join(self._path, member.name)
        try:
            return read_member(self._path, self._kind, member, MAX_TEXT_BYTES)
        except ImageError as error:
            raise InputError(f"{os.fsdecode(shown)!r} cannot be read: {error}") from error

    def absent(self, folder: bytes, relative: bytes) -> TreeImage:
        """Refuse an image that is listed and not there.

        Parameters
        ----------
        folder, relative
            As in `FolderTree`.
        """
        name = os.fsdecode(os.path.join(folder, relative))
        raise InputError(
            f"{os.fsdecode(self._path)!r}: {name!r} is listed in its annotations and not in the "
            "archive"
        )


Tree = FolderTree | ArchiveTree


def tree_of(path: bytes) -> Tree:
    """Open a folder or an archive.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    InputError
        If it is neither, or not there.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{os.fsdecode(path)!r}: {reason}") from error
    if stat.S_ISDIR(mode):
        return FolderTree(path)
    head = read_start(path, 512) if stat.S_ISREG(mode) else b""
    kind = archive_kind(head, path) if head else None
    if kind is None:
        wanted = "a folder, nor a tar or zip archive, as a data set with classes is"
        raise InputError(not_wanted(path, wanted))
    return ArchiveTree(path, kind)

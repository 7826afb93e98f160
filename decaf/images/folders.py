"""Images in folders and under wildcards, in an order that is the same everywhere.

Paths are bytes throughout, because file names are.
"""

from __future__ import annotations

import glob
import os
import stat

from decaf.errors import InputError
from decaf.images.sniff import HEAD_BYTES, guess_format

__all__ = [
    "IMAGE_ENDINGS",
    "glob_base",
    "has_image_ending",
    "has_wildcard",
    "is_hidden",
    "list_folder",
    "list_glob",
    "read_start",
]

# A file with one of these is listed without being opened. The last line is of formats that are not
# read: such a photograph keeps its row and a status that says so, rather than being passed over.
IMAGE_ENDINGS = frozenset(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .tif .tiff .webp .avif"
    b" .ppm .pgm .pbm .pnm"
    b" .heic .heif .jxl .jp2 .j2k .psd .eps .tga".split()
)

# macOS's resource forks in archives.
_SKIPPED_FOLDERS = frozenset((b"__MACOSX",))


def has_image_ending(name: bytes) -> bool:
    """Tell whether a name ends as images' names do.

    >>> has_image_ending(b"cat.JPG")
    True
    """
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS


def is_hidden(relative: bytes) -> bool:
    """Tell whether a path below a source is passed over: a part of it is hidden or of macOS's own.

    >>> is_hidden(b"cats/.thumbnails/1.jpg")
    True
    """
    parts = [part for part in relative.split(b"/") if part not in (b"", b".", b"..")]
    return any(part.startswith(b".") or part in _SKIPPED_FOLDERS for part in parts)


def list_folder(folder: bytes) -> list[bytes]:
    """List the images below a folder.

    Parameters
    ----------
    folder : bytes
        As given.

    Returns
    -------
    list of bytes
        ``folder/relative``, sorted by bytes. Files whose ending is an image's, and files of any
        other ending that begin as an image does. Links are followed, but not back into a folder
        that they lie in; hidden files and folders, pipes, sockets and devices are passed over.

    Raises
    ------
    InputError
        If the folder or one below it cannot be read.
    """
    found: list[bytes] = []
    waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    while waiting:
        current, above = waiting.pop()
        try:
            status = os.stat(current)
            key = (status.st_dev, status.st_ino)
            if key in above:
                continue
            with os.scandir(current) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    if is_hidden(entry.name):
                        continue
                    if entry.is_dir():
                        waiting.append((entry.path, above | {key}))
                    elif _is_image_file(entry):
                        found.append(entry.path)
        except OSError as error:
            raise InputError(
                f"folder {os.fsdecode(current)!r} cannot be read: {error.strerror or error}"
            ) from error
    return sorted(found)


def has_wildcard(path: bytes) -> bool:
    """Tell whether a path holds a wildcard (``*``, ``?``, ``[``)."""
    return glob.has_magic(path)


def glob_base(pattern: bytes) -> bytes:
    """Give the leading part of a pattern that has no wildcard.

    >>> glob_base(b"data/train/*/*.jpg")
    b'data/train'
    """
    head = pattern
    while has_wildcard(head):
        head = os.path.dirname(head)
    return head


def list_glob(pattern: bytes) -> list[bytes]:
    """List the images that a pattern matches, sorted by bytes; ``**`` stands for any folders.

    Only regular files are listed (folders that match are not gone into), by the same rule as in
    `list_folder`.
    """
    # Wildcards leave hidden files out, as a shell's do; macOS's folder is not hidden in that sense.
    start = len(glob_base(pattern))
    return sorted(
        path
        for path in set(glob.glob(pattern, recursive=True))
        if not _SKIPPED_FOLDERS.intersection(path[start:].split(b"/"))
        and os.path.isfile(path)
        and _is_image_path(path)
    )


def read_start(path: bytes, count: int) -> bytes:
    """Read the first bytes of a regular file; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _is_image_file(entry: os.DirEntry[bytes]) -> bool:
    try:
        if not stat.S_ISREG(entry.stat().st_mode):
            return False  # a pipe must not even be opened: it would wait for a writer
    except OSError:
        # A link to nothing is an image that is missing, if its name says that it is one.
        return has_image_ending(entry.name)
    return _is_image_path(entry.path)


def _is_image_path(path: bytes) -> bool:
    return has_image_ending(path) or guess_format(read_start(path, HEAD_BYTES)) is not None

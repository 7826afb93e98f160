"""Images in folders and under wildcards, in an order that is the same everywhere.

Paths are bytes throughout, because file names are.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import IO

from decaf.errors import InputError
from decaf.images.decoding.formats import HEAD_BYTES, guess_format
from decaf.images.decoding.limits import MAX_TEXT_BYTES
from decaf.runtime.names import name_text, slashed

__all__ = [
    "IMAGE_ENDINGS",
    "MAX_RECORD_BYTES",
    "READ_AT_ONCE",
    "WORK_RECORDS",
    "glob_base",
    "has_image_ending",
    "has_wildcard",
    "is_folder",
    "is_hidden",
    "is_image_file",
    "is_work_folder",
    "list_glob",
    "open_at_once",
    "read_small_file",
    "read_start",
    "warn_of_closed",
    "work_of",
]

# A file with one of these is listed without being opened. The last line is of formats that are not
# read: such a photograph keeps its row and a status that says so, rather than being passed over.
IMAGE_ENDINGS = frozenset(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .tif .tiff .webp .avif"
    b" .ppm .pgm .pbm .pnm"
    b" .heic .heif .jxl .jp2 .j2k .psd .eps .tga".split()
)

_logger = logging.getLogger(__name__)

WORK_RECORDS = (b"run.json", b"finetune.json")
"""Names of the files in which a folder that decaf works in says what it is."""

_WORKS = {"decaf-train": "run", "decaf-finetune": "finetuning", "decaf-parts": "part-set"}

MAX_RECORD_BYTES = 1 << 20

READ_AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file with, without waiting for one who writes to it where it is a pipe."""

# macOS's resource forks in archives.
_SKIPPED_FOLDERS = frozenset((b"__MACOSX",))


def has_image_ending(name: bytes) -> bool:
    """Tell whether a name ends as images' names do.

    Parameters
    ----------
    name : bytes

    Examples
    --------
    >>> has_image_ending(b"cat.JPG")
    True
    """
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS


def is_hidden(relative: bytes) -> bool:
    """Tell whether a path below a source is passed over: a part of it is hidden or of macOS's own.

    Parameters
    ----------
    relative : bytes

    Examples
    --------
    >>> is_hidden(b"cats/.thumbnails/1.jpg")
    True
    """
    parts = [part for part in relative.split(b"/") if part not in (b"", b".", b"..")]
    return any(part.startswith(b".") or part in _SKIPPED_FOLDERS for part in parts)


def is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Tell whether an entry is a folder, or a link to one; a link to itself is none.

    Parameters
    ----------
    entry : os.DirEntry
    """
    try:
        return entry.is_dir()
    except OSError:
        return False


def work_of(record: bytes) -> str:
    """Tell what a folder is by its record: "run", "finetuning", "parts", or else an empty text.

    Parameters
    ----------
    record : bytes
        Content of a file that is called as one of `WORK_RECORDS`.

    Examples
    --------
    >>> work_of(b'{"format": "decaf-train", "schema": 2}'), work_of(b'{"speed": 10}')
    ('run', '')
    """
    try:
        body = json.loads(record)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(body, dict):
        return ""
    if "format" not in body and body.keys() >= {"run", "fingerprint", "decaf_version"}:
        return "parts"
    return _WORKS.get(str(body.get("format")), "")


def is_work_folder(folder: bytes) -> bool:
    """Tell whether decaf works in a folder, or did: what lies in it are no photographs.

    Parameters
    ----------
    folder : bytes
    """
    # Where a fine-tuning replaces another, its record may be that of the other alone.
    records = (*WORK_RECORDS, b"before/finetune.json")
    places = (os.path.join(folder, record) for record in records)
    return any(work_of(read_start(place, MAX_RECORD_BYTES)) for place in places)


def has_wildcard(path: bytes) -> bool:
    """Tell whether a path holds a wildcard (``*``, ``?``, ``[``).

    Parameters
    ----------
    path : bytes
    """
    return glob.has_magic(path)


def glob_base(pattern: bytes) -> bytes:
    """Return the leading part of a pattern that has no wildcard.

    Parameters
    ----------
    pattern : bytes

    Examples
    --------
    >>> glob_base(b"data/train/*/*.jpg")
    b'data/train'
    """
    head = pattern
    while has_wildcard(head):
        head = os.path.dirname(head)
    return head


def list_glob(pattern: bytes) -> list[bytes]:
    """List the images that a pattern matches, sorted by bytes; ``**`` stands for any folders.

    Folders that match are not gone into; files are listed by the same rule as in a
    `decaf.images.listing.trees.FolderTree`, links to nothing too; and so no path that goes through
    a link back into a folder above it. Folders that cannot be read are passed over with a warning.

    Parameters
    ----------
    pattern : bytes
    """
    base = glob_base(pattern)
    known: dict[bytes, tuple[int, int] | None] = {}
    work = cache(is_work_folder)
    closed: dict[bytes, OSError] = {}
    # Wildcards leave hidden files out, as a shell's do; macOS's folder is not hidden in that sense.
    found = (
        path
        for path in set(_matches(b"", slashed(pattern), closed))
        if not _SKIPPED_FOLDERS.intersection(slashed(path[len(base) :]).split(b"/"))
        and _is_image_path(path, os.stat)
        and not _goes_round(path, base, known)
        and not any(work(folder) for folder in _folders_above(path, base))
    )
    images = sorted(found, key=slashed)
    for folder in sorted(closed):
        warn_of_closed(folder, closed[folder])
    return images


def _matches(root: bytes, pattern: bytes, closed: dict[bytes, OSError]) -> Iterator[bytes]:
    """Yield what a pattern matches below `root`, and note the folders that cannot be read.

    `glob` itself follows links back up, and with several of them in a folder never ends.
    """
    parts = pattern.split(b"/")
    if b"**" not in parts:
        for at, part in enumerate(parts):
            _note_closed(root, b"/".join(parts[:at]) + b"/" * bool(at), has_wildcard(part), closed)
        for path in glob.glob(pattern, root_dir=root or None):
            yield os.path.join(root, path)
        return
    at = parts.index(b"**")
    head = b"/".join(parts[:at]) or (b"/" if at else b"")
    tail = b"/".join(parts[at + 1 :]) if at + 1 < len(parts) else b"*"
    if not tail:
        return  # a slash at the end asks for folders alone
    starts = _matches(root, head, closed) if has_wildcard(head) else [os.path.join(root, head)]
    for start in starts:
        for folder in _folders(start, closed):
            yield from _matches(folder, tail, closed)


def _note_closed(root: bytes, pattern: bytes, listed: bool, closed: dict[bytes, OSError]) -> None:
    """Note the folders among those of a pattern that cannot be read: `glob` says nothing.

    To list a folder takes another permission than to look for a name in it.
    """
    for name in glob.glob(pattern, root_dir=root or None) if pattern else [b""]:
        folder = os.path.join(root, name) or b"."
        try:
            os.stat(os.path.join(folder, b"."))
            if listed:
                os.scandir(os.path.join(folder, b"")).close()
        except (NotADirectoryError, FileNotFoundError):
            continue
        except OSError as error:
            closed[folder.rstrip(b"/") or folder] = error


def warn_of_closed(folder: bytes, error: OSError) -> None:
    """Warn of a folder that cannot be read.

    Parameters
    ----------
    folder : bytes
    error : OSError
    """
    _logger.warning(
        "folder %r cannot be read (%s): what is in it is left out",
        name_text(folder.rstrip(b"/") or folder),
        error.strerror or error,
    )


def _folders(start: bytes, closed: dict[bytes, OSError]) -> Iterator[bytes]:
    """Yield a folder and all below it but hidden ones, none within itself; note closed ones."""
    waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(start, frozenset())]
    while waiting:
        current, above = waiting.pop()
        key = _identity(current)
        if key in above:
            continue
        try:
            os.stat(os.path.join(current, b"."))
            with os.scandir(current or b".") as entries:
                names = [e.name for e in entries if not e.name.startswith(b".") and is_folder(e)]
        except (NotADirectoryError, FileNotFoundError):
            continue
        except OSError as error:
            closed[current.rstrip(b"/") or current] = error
            continue
        if key is None:  # it is gone meanwhile
            continue
        yield current
        waiting += [(os.path.join(current, name), above | {key}) for name in names]


def _folders_above(path: bytes, base: bytes) -> Iterator[bytes]:
    """Yield the folders on the way from `base`, which is one of them, to a file."""
    folder = os.path.dirname(path)
    while len(folder) >= len(base):
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _goes_round(path: bytes, base: bytes, known: dict[bytes, tuple[int, int] | None]) -> bool:
    """Tell whether a folder comes twice on the way from `base` to a file."""
    seen = set()
    for folder in _folders_above(path, base):
        if folder not in known:
            known[folder] = _identity(folder)
        if known[folder] in seen:
            return True
        seen.add(known[folder])
    return False


def _identity(folder: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(folder or b".")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_at_once(path: bytes) -> IO[bytes]:
    """Open a file, or a pipe that somebody writes to (as ``<(…)`` of a shell), for reading.

    A pipe without a writer, for which `open` would wait for ever, has nothing in it.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    OSError
    """

    def opened(name: str | bytes, flags: int) -> int:
        descriptor = os.open(name, flags | READ_AT_ONCE)
        if sys.platform != "win32":
            os.set_blocking(descriptor, True)
        return descriptor

    return open(path, "rb", opener=opened)


def read_start(path: bytes, count: int) -> bytes:
    """Read the first bytes of a regular file; empty where it is none, or cannot be read.

    Parameters
    ----------
    path : bytes
    count : int
        How many bytes.
    """
    try:
        with open_at_once(path) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return file.read(count) if regular else b""
    except OSError:
        return b""


def read_small_file(path: bytes) -> bytes | None:
    """Read a list that belongs to a data set; None where there is no such file.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    InputError
        If it cannot be read, or is larger than any list.
    """
    shown = repr(name_text(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except OSError:
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_TEXT_BYTES:
        raise InputError(f"{shown}: more than {MAX_TEXT_BYTES} bytes for a list")
    return content


def is_image_file(entry: os.DirEntry[bytes]) -> bool:
    """Tell whether an entry is an image by its ending or its first bytes.

    A link to nothing is an image that is missing, if its name ends as an image's does; pipes,
    sockets and devices are none.

    Parameters
    ----------
    entry : os.DirEntry
    """
    return _is_image_path(entry.path, lambda _: entry.stat())


def _is_image_path(path: bytes, status_of: Callable[[bytes], os.stat_result]) -> bool:
    try:
        if not stat.S_ISREG(status_of(path).st_mode):
            return False  # a pipe must not even be opened: it would wait for a writer
    except OSError:
        return has_image_ending(path)
    return has_image_ending(path) or guess_format(read_start(path, HEAD_BYTES)) is not None

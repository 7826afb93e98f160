"""Files under URLs: listed and read, on this machine or in an object store.

A store is reached through fsspec (``s3://``, ``gs://``, ``hf://``, ``https://``, …); a path, or a
``file://`` URL, is a file of this machine and takes no library.

Stores throttle and fail now and then. Each call is made again after a pause that doubles, with a
random part so that many workers do not come back at once; what no repetition mends (there is no
such file, no permission) is told at once.
"""

from __future__ import annotations

import glob
import hashlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from decaf.errors import DiskError, OutputError, SettingError
from decaf.storage.atomic import NO_SPACE

__all__ = [
    "FileFacts",
    "StoreError",
    "copy_file",
    "file_facts",
    "file_system",
    "is_remote",
    "list_folder",
    "list_pattern",
    "local_path",
    "patiently",
    "read_file",
]

# Times that a call to a store is made, and the seconds before the second; the pause before the last
# is about 16 s, and all of them half a minute. Throttling of S3 ends within seconds.
TRIES = 7
FIRST_PAUSE = 0.5

# Answers that no repetition changes.
_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ImportError,
    TypeError,
    MemoryError,
)
_COPY_BYTES = 4 << 20

# Tests put others in their place.
_sleep = time.sleep
_random = random.random

Value = TypeVar("Value")


class StoreError(OutputError):
    """A store that went on failing, or refuses."""


@dataclass(frozen=True)
class FileFacts:
    """What a store tells of a file without reading it.

    Attributes
    ----------
    size : int
        In bytes; -1 where the store does not say.
    version : str
        Changes when the file does: its ETag or generation, or else its time of change.
    """

    size: int
    version: str


def is_remote(url: str) -> bool:
    """Tell whether a name is a URL of a store, and not a path on this machine.

    Parameters
    ----------
    url : str

    Examples
    --------
    >>> is_remote("s3://bucket/a.tar"), is_remote("file:///a.tar"), is_remote("a.tar")
    (True, False, False)
    """
    scheme, separator, _ = url.partition("://")
    plain = scheme.replace("::", "").replace("+", "").isalnum()
    return bool(separator) and plain and scheme.lower() not in ("file", "local")


def local_path(url: str) -> str:
    """Return the path of a file of this machine, which may be given as a ``file://`` URL.

    Parameters
    ----------
    url : str
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("file", "local"):
        return url
    # Of Windows a URL is such as file:///C:/a.tar.
    return rest[1:] if os.name == "nt" and rest[:1] == "/" and rest[2:3] == ":" else rest


def patiently(what: str, call: Callable[[], Value]) -> Value:
    """Make a call to a store, again after a pause where it fails.

    Parameters
    ----------
    what : str
        The URL, for the error.
    call : callable
        Without arguments; what it did the first time, it may do again.

    Raises
    ------
    StoreError
        Where it failed to the last.
    FileNotFoundError, PermissionError, …
        As they are, at once.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except _FINAL:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise DiskError(f"{what}: {NO_SPACE[error.errno]} of this machine") from error
            if attempt == TRIES - 1:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                raise StoreError(f"{what}: failed {TRIES} times, at last with {reason}") from error
            _sleep(FIRST_PAUSE * 2**attempt * (0.5 + 0.5 * _random()))
    raise AssertionError("unreachable")


def file_facts(url: str) -> FileFacts | None:
    """Return size and version of a file; None where there is none.

    Parameters
    ----------
    url : str
    """
    if not is_remote(url):
        try:
            status = os.stat(local_path(url))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileFacts(status.st_size, str(status.st_mtime_ns))
    system, path = file_system(url)
    try:
        return _facts(patiently(url, lambda: system.info(path)))
    except FileNotFoundError:
        return None


def list_folder(url: str) -> dict[str, FileFacts]:
    """List the files directly in a folder of a store, by their names.

    Parameters
    ----------
    url : str

    Raises
    ------
    NotImplementedError
        Where the store cannot list, as most servers of HTTP.
    """
    system, path = file_system(url)
    system.invalidate_cache()
    try:
        entries = patiently(url, lambda: system.ls(path, detail=True))
    except FileNotFoundError:
        return {}
    return {
        entry["name"].rstrip("/").rpartition("/")[2]: _facts(entry)
        for entry in entries
        if entry.get("type") != "directory"
    }


def list_pattern(pattern: str) -> list[str]:
    """List the files that a pattern with wildcards means, sorted.

    Parameters
    ----------
    pattern : str
    """
    if not is_remote(pattern):
        return sorted(
            p for p in glob.glob(local_path(pattern), recursive=True) if os.path.isfile(p)
        )
    system, path = file_system(pattern)
    system.invalidate_cache()
    names = patiently(pattern, lambda: system.glob(path))
    scheme = pattern.partition("://")[0]
    return sorted(n if is_remote(n) else f"{scheme}://{n.lstrip('/')}" for n in names)


def read_file(url: str) -> bytes:
    """Read a file whole.

    Parameters
    ----------
    url : str
    """
    if not is_remote(url):
        return Path(local_path(url)).read_bytes()
    system, path = file_system(url)
    data: bytes = patiently(url, lambda: system.cat_file(path))
    return data


def copy_file(url: str, target: Path) -> str:
    """Copy a file to this machine, and return the SHA-256 of its bytes.

    Parameters
    ----------
    url : str
    target : Path
        Replaced where it is there.
    """
    if not is_remote(url):
        with open(local_path(url), "rb") as file, open(target, "wb") as copy:
            return _copy(file, copy)
    system, path = file_system(url)

    def once() -> str:
        with system.open(path, "rb", cache_type="readahead") as file, open(target, "wb") as copy:
            return _copy(file, copy)

    return patiently(url, once)


def _copy(file: Any, copy: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(_COPY_BYTES):
        digest.update(block)
        copy.write(block)
    return digest.hexdigest()


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL, and the path in it.

    Parameters
    ----------
    url : str

    Raises
    ------
    SettingError
        Where fsspec, or the library for the store, is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise SettingError(
            f"{url}: URLs are read through fsspec: pip install 'decaf-features[scale]', and the "
            "library for the store, such as s3fs"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SettingError(f"{url}: cannot be reached: {error}") from error
    return system, path


def _facts(entry: dict[str, Any]) -> FileFacts:
    size = entry.get("size")
    for name in ("ETag", "etag", "generation", "md5Hash", "mtime", "LastModified", "created"):
        value = entry.get(name)
        if value is not None:
            # Of one file a store may tell the time in one form or the other.
            value = value.timestamp() if hasattr(value, "timestamp") else value
            return FileFacts(-1 if size is None else int(size), str(value).strip('"'))
    return FileFacts(-1 if size is None else int(size), "")

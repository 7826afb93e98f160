"""Names of files and classes as texts: as files hold them, and as messages show them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

from decaf.errors import InputError
from decaf.images.decoding.limits import MAX_NAME_BYTES
from decaf.runtime.names import SYSTEM, name_bytes, name_text, slashed

__all__ = [
    "below_shared",
    "common_folder",
    "nearest_name",
    "nearest_path",
    "path_text",
    "refuse_long",
    "shortened",
    "some_of",
]

_SHOWN = 5


def path_text(path: bytes | str) -> str:
    """Return a path as a text that any file can hold: bytes that are no UTF-8 stand as ``\\xNN``.

    Parameters
    ----------
    path : bytes or str

    Examples
    --------
    >>> print(path_text(b"a\\xff.jpg"), path_text(name_text(b"a\\xff.jpg")))
    a\\xff.jpg a\\xff.jpg
    """
    name = path if isinstance(path, bytes) else name_bytes(path)
    return name.decode("utf-8", "backslashreplace")


def shortened(text: str | bytes) -> str:
    """Return a text, or a path, in quotes as messages hold it, however long it is.

    Parameters
    ----------
    text : str or bytes

    Examples
    --------
    >>> shortened("photo.jpg"), len(shortened("a" * 1000))
    ("'photo.jpg'", 121)
    """
    text = name_text(text)
    return repr(text if len(text) <= 120 else text[:118]) + ("…" if len(text) > 120 else "")


def some_of(names: Iterable[str], most: int = _SHOWN) -> str:
    """Return the first few of many names, and how many more there are.

    Parameters
    ----------
    names : iterable of str
    most : int
        How many are named.

    Examples
    --------
    >>> some_of("abc", 2)
    'a, b and 1 more'
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def common_folder(paths: Sequence[bytes], depth: int | None = None) -> bytes:
    """Return the leading folders that all paths share, at most `depth` of them, ending in a slash.

    Parameters
    ----------
    paths : sequence of bytes
    depth : int, optional

    Examples
    --------
    >>> common_folder([b"data/train/cat/1.jpg", b"data/train/dog/1.jpg"])
    b'data/train/'
    """
    if not paths:
        return b""
    # The shared start of the least and the greatest is shared by all that lie between.
    folders = [path.split(b"/")[:-1] for path in paths]
    low, high = min(folders), max(folders)
    shared = 0
    while shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    if depth is not None:
        shared = min(shared, depth)
    return b"".join(part + b"/" for part in low[:shared])


def below_shared(paths: Sequence[bytes], system: str = SYSTEM) -> list[bytes]:
    """Return what paths have below the folders that all of them share, with slashes.

    Parameters
    ----------
    paths : sequence of bytes
    system : {"posix", "windows"}
        System that they are from.

    Examples
    --------
    >>> below_shared([b"data\\\\cat\\\\1.jpg", b"data\\\\dog\\\\1.jpg"], "windows")
    [b'cat/1.jpg', b'dog/1.jpg']
    """
    names = [slashed(path, system) for path in paths]
    shared = len(common_folder(names))
    return [name[shared:] for name in names]


def nearest_name(path: str, names: Sequence[bytes]) -> str:
    """Say which of some images has the name that is most like a path, after a comma.

    Parameters
    ----------
    path : str
    names : sequence of bytes
        The first 5,000 of which are looked at.
    """
    shown = [name_text(name) for name in names[:5000]]
    close = difflib.get_close_matches(path[-200:], shown, n=1, cutoff=0.0)
    return f", the nearest image {close[0]!r}" if close else ""


def nearest_path(path: bytes) -> str:
    """Say what is called much like a path that is not there, after a comma; else nothing.

    Parameters
    ----------
    path : bytes

    Examples
    --------
    >>> nearest_path(os.fsencode(os.getcwd()))
    ''
    """
    folder, missing = os.path.abspath(path), b""
    while folder and not os.path.lexists(folder):
        folder, missing = os.path.split(folder)
    try:
        names = os.listdir(folder) if missing and os.path.isdir(folder) else []
    except OSError:
        names = []
    shown = sorted(map(name_text, names))[:5000]
    close = difflib.get_close_matches(name_text(missing), shown, n=1)
    if not close:
        return ""
    there = os.path.join(name_text(folder), close[0])
    near = there if os.path.isabs(path) else os.path.relpath(there)
    return f", the nearest there is {near!r}"


def refuse_long(names: Iterable[bytes], what: str, source: str = "") -> None:
    """Refuse names that no file of decaf could hold, before anything is computed.

    Parameters
    ----------
    names : iterable of bytes
    what : str
        The noun of what has them.
    source : str
        Begins the message.

    Raises
    ------
    InputError
    """
    for number, name in enumerate(names):
        if len(name) > MAX_NAME_BYTES:
            raise InputError(
                f"{source}{what} {number} has a name of {len(name)} bytes "
                f"({name_text(name[:40])!r}…); at most {MAX_NAME_BYTES} can be kept"
            )

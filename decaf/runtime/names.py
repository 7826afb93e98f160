"""Names of files: bytes as systems and files hold them, texts for people, and their folders.

Windows separates folders by backslashes, takes slashes as well, and holds its names as UTF-16, of
which halves may stand alone: as bytes they are UTF-8 with these. Elsewhere a name is any bytes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["SYSTEM", "SYSTEMS", "name_bytes", "name_text", "slashed"]

SYSTEMS = ("posix", "windows")
SYSTEM = SYSTEMS[sys.platform == "win32"]
"""The kind of names that this system has: how their folders are separated."""


def name_text(name: str | bytes | os.PathLike[Any]) -> str:
    """Return a name as text, from whatever system it is.

    Parameters
    ----------
    name : str, bytes or path

    Returns
    -------
    str
        From `os.fsdecode`. Bytes that are no name of this system, as a file of another one may
        hold them, stand as surrogates.

    Examples
    --------
    >>> name_text(b"a.jpg")
    'a.jpg'
    """
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # on Windows alone
        raw: Any = os.fspath(name)
        return str(raw, "utf-8", "surrogateescape")


def name_bytes(text: str) -> bytes:
    """Return the bytes of a name that `name_text` has given, to be shown or compared.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> name_bytes(name_text(b"a\\xff.jpg"))
    b'a\\xff.jpg'
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, as Windows may have it
        return os.fsencode(text)


def slashed(name: bytes, system: str = SYSTEM) -> bytes:
    """Return a name with slashes between its folders; it has as many bytes as before.

    Parameters
    ----------
    name : bytes
    system : {"posix", "windows"}
        System that the name is from; elsewhere than on Windows a backslash is a letter.

    Examples
    --------
    >>> slashed(b"cats\\\\1.jpg", "windows"), slashed(b"cats\\\\1.jpg", "posix")
    (b'cats/1.jpg', b'cats\\\\1.jpg')
    """
    return name.replace(b"\\", b"/") if system == "windows" else name

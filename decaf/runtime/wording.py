"""Names, numbers and sizes in words, as lines for people have them."""

from __future__ import annotations

import re

__all__ = ["byte_size", "counted", "printable"]

# A byte of a file name that is no UTF-8, as `os.fsdecode` gives it.
_BYTE = re.compile("[\udc80-\udcff]")


def printable(name: bytes | str) -> str:
    """Return a name on one line, with nothing in it that a terminal would obey.

    Parameters
    ----------
    name : bytes or str
        File names, as bytes or as `os.fsdecode` gives them; bytes that are not UTF-8 are escaped.

    Returns
    -------
    str
        With control characters, line breaks and undecodable bytes escaped.

    Examples
    --------
    >>> print(printable(b"a\\xff\\n.jpg"))
    a\\xff\\n.jpg
    >>> from decaf.runtime.names import name_text
    >>> print(printable(name_text(b"a\\xff.jpg")))
    a\\xff.jpg
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    # Other halves of characters, which no file system gives, are escaped below.
    text = _BYTE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


# Verbs whose singular is another word.
_OF_ONE = {"are": "is", "were": "was", "have": "has"}


def counted(count: float, what: str, verb: str = "") -> str:
    """Return a number of things in words.

    Parameters
    ----------
    count : float
    what : str
        The thing in the singular, whose plural ends in s, or in es after an s.
    verb : str
        What follows, as it is of several.

    Examples
    --------
    >>> counted(1, "image"), counted(12.5, "epoch"), counted(2, "class")
    ('1 image', '12.5 epochs', '2 classes')
    >>> counted(1, "row", "differ"), counted(1, "image", "have"), counted(2, "image", "have")
    ('1 row differs', '1 image has', '2 images have')
    """
    number = f"{count:.3g}" if isinstance(count, float) and count < 1000 else f"{count}"
    things = what if count == 1 else f"{what}es" if what.endswith("s") else f"{what}s"
    if verb and count == 1:
        verb = _OF_ONE.get(verb, f"{verb}s")
    return f"{number} {things} {verb}" if verb else f"{number} {things}"


def byte_size(count: int) -> str:
    """Return a number of bytes in three digits and a unit.

    Parameters
    ----------
    count : int

    Examples
    --------
    >>> byte_size(2_097_152)
    '2 MiB'
    """
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        # From 1000 on three digits would be an exponent.
        if size < (1024 if unit == "bytes" else 999.5):
            return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"

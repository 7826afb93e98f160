"""Putting names and numbers on a terminal."""

from __future__ import annotations

import re
import sys
from typing import TextIO

__all__ = ["byte_size", "counted", "in_flags", "printable", "show", "tell"]

# A byte of a file name that is no UTF-8, as `os.fsdecode` gives it.
_BYTE = re.compile("[\udc80-\udcff]")

# How what the library calls an argument is written on the command line.
_FLAGS = {
    "on_error='record'": "--on-error record",
    "overwrite=True": "--overwrite",
    "layout='classes'": "--layout classes",
    "layout='splits'": "--layout splits",
}
_FLAGS_FIRST = {
    "groups": "--groups",
    "min_images": "--min-images",
    "on_error": "--on-error",
    "val_fraction": "--val-fraction",
    "workers": "--workers",
}


def printable(name: bytes | str) -> str:
    """Show a name on one line, whatever it holds.

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
    >>> import os
    >>> print(printable(os.fsdecode(b"a\\xff.jpg")))
    a\\xff.jpg
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    # Other halves of characters, which no file system gives, are escaped below.
    text = _BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def show(text: str, stream: TextIO | None = None) -> None:
    """Print lines, by default on standard output; what a terminal would obey is escaped."""
    print("\n".join(map(printable, text.split("\n"))), file=stream)


def tell(text: str) -> None:
    """Print one line on standard error, as decaf's, whatever the text holds."""
    print(f"decaf: {printable(text)}", file=sys.stderr)


def in_flags(text: str) -> str:
    """Return an error of the library as the command line says it.

    Examples
    --------
    >>> in_flags("m.head: exists already; give another name, or overwrite=True")
    'm.head: exists already; give another name, or --overwrite'
    >>> in_flags("val_fraction 2: must be between 0 and 1")
    '--val-fraction 2: must be between 0 and 1'
    """
    first, space, rest = text.partition(" ")
    text = _FLAGS_FIRST.get(first, first) + space + rest
    for name, flag in _FLAGS.items():
        text = text.replace(name, flag)
    return text


def counted(count: float, what: str) -> str:
    """Show a number of things.

    Examples
    --------
    >>> counted(1, "image"), counted(12.5, "epoch")
    ('1 image', '12.5 epochs')
    """
    number = f"{count}" if isinstance(count, int) else f"{count:.3g}"
    return f"{number} {what}{'' if count == 1 else 's'}"


def byte_size(count: int) -> str:
    """Show a number of bytes in three digits and a unit.

    Examples
    --------
    >>> byte_size(2_097_152)
    '2 MiB'
    """
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"

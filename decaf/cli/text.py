"""Putting names and numbers on a terminal."""

from __future__ import annotations

__all__ = ["byte_size", "printable"]


def printable(name: bytes | str) -> str:
    """Show a name on one line, whatever it holds.

    Parameters
    ----------
    name : bytes or str
        File names are bytes; those that are not UTF-8 are escaped.

    Returns
    -------
    str
        With control characters, line breaks and undecodable bytes escaped.

    Examples
    --------
    >>> print(printable(b"a\\xff\\n.jpg"))
    a\\xff\\n.jpg
    """
    text = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


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

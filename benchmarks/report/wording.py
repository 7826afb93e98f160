"""Numbers, times and names as a reader sees them, the same on every page."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["MISSING", "memory", "number", "shown", "with_unit"]

MISSING = "–"


def number(mean: float | None, std: float | None = None, decimals: int = 1) -> str:
    """Return a number with its spread: ``84.3 ± 0.6``.

    Parameters
    ----------
    mean : float, optional
        None gives a dash.
    std : float, optional
    decimals : int
        Digits after the point, of both.

    Examples
    --------
    >>> number(84.312, 0.64), number(-0.01), number(None, 1.0)
    ('84.3 ± 0.6', '0.0', '–')
    """
    if mean is None:
        return MISSING
    texts = [_fixed(value, decimals) for value in (mean, std) if value is not None]
    return " ± ".join(texts)


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: there is no -0.0


def with_unit(text: str, unit: str) -> str:
    """Put a unit after a number; a dash has none."""
    return f"{text} {unit}" if unit and text != MISSING else text


def memory(size: int) -> str:
    """Return bytes as MiB or GiB.

    Examples
    --------
    >>> memory(700 * 2**20), memory(3 * 2**29)
    ('700 MiB', '1.5 GiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def shown(text: str) -> str:
    """Return text that can be printed anywhere, on one line.

    Bytes of a file name that are not UTF-8, control characters and marks that turn the direction
    of writing become escapes, so that a name can neither break a page nor pose as another.

    Examples
    --------
    >>> shown("caf\\u00e9 \\udcff\\n.jpg")
    'café \\\\xff\\\\n.jpg'
    """
    return "".join(_printable(text))


def _printable(text: str) -> Iterable[str]:
    for character in text:
        if "\udc80" <= character <= "\udcff":  # a byte, as os.fsdecode gives it
            yield f"\\x{ord(character) - 0xDC00:02x}"
        elif character.isprintable():
            yield character
        else:
            yield character.encode("unicode_escape").decode("ascii")

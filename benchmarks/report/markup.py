"""Elements of HTML and SVG, in which every text is escaped unless it is markup already."""

from __future__ import annotations

import html

from report.wording import shown

__all__ = ["Markup", "element", "escaped", "joined"]

# Elements that have no end tag in HTML; those of SVG that are always empty are closed at once.
_VOID = {"br", "hr", "img", "input", "meta"}
_EMPTY = {"circle", "line", "path", "polyline", "rect"}


class Markup(str):
    """Text that is markup: `element` takes it as it is."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Return text as markup that shows it, whatever it holds."""
    return text if isinstance(text, Markup) else Markup(html.escape(shown(text)))


def joined(*parts: str) -> Markup:
    """Put parts behind each other, those that are not markup escaped."""
    return Markup("".join(escaped(part) for part in parts))


def element(name: str, /, *children: str, **attributes: str | int | float | bool | None) -> Markup:
    """Return one element.

    Parameters
    ----------
    name : str
    *children : str
        Escaped, unless they are `Markup`.
    **attributes
        ``_`` in a name stands for ``-``; a ``_`` at the end is dropped (``class_``). None and
        False leave the attribute out, True gives it without a value. Values are escaped.

    Examples
    --------
    >>> element("td", "a < b", class_="best", colspan=2)
    '<td class="best" colspan="2">a &lt; b</td>'
    """
    text = f"<{name}"
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        text += f" {key.rstrip('_').replace('_', '-')}"
        if value is not True:
            text += f'="{html.escape(shown(_plain(value)))}"'
    if name in _VOID:
        return Markup(text + ">")
    if name in _EMPTY and not children:
        return Markup(text + "/>")
    return Markup(f"{text}>{joined(*children)}</{name}>")


def _plain(value: str | int | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

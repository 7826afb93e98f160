"""Scatter plots as SVG: panels of a page, or a file of its own."""

from __future__ import annotations

from report.axes import Scale, text_width
from report.markup import Markup, element
from report.sections import Panel, Points, Scatter
from report.style import CHART_STYLE, chart_colours
from report.wording import shown

__all__ = ["scatter_legend", "scatter_panel", "standalone_scatter"]

SIDE = 300
_MARGIN = 12
_GAP = 16
_FONT = 13

# Drawn from the place of a point on; a line of no length with round ends is a dot.
_MARKERS = ("h0", "m-3-3l6 6m0-6l-6 6", "m-3-3h6v6h-6z")


def scatter_panel(panel: Panel, scatter: Scatter) -> Markup:
    """Draw one panel. Its groups of points say their names when pointed at.

    Parameters
    ----------
    panel : Panel
    scatter : Scatter
        It is of.

    Returns
    -------
    Markup
        An ``svg`` element. It takes its colours from the page that it stands in.
    """
    count = sum(len(points.x) for points in panel.points)
    return element(
        "svg",
        *_panel(panel, scatter),
        class_="chart",
        viewBox=f"0 0 {SIDE} {SIDE}",
        role="img",
        aria_label=f"{panel.title}: {count} points, by {_described(scatter)}",
    )


def scatter_legend(scatter: Scatter) -> Markup:
    """Draw what the markers and colours stand for.

    Returns
    -------
    Markup
        An ``svg`` element, as wide as the page's figures at the most.
    """
    parts, height = _legend(scatter, 720, 0)
    return element("svg", *parts, class_="chart wide legend", viewBox=f"0 0 720 {height}")


def standalone_scatter(scatter: Scatter) -> str:
    """Draw all panels beside each other as an SVG file, light or dark as its reader's screen is.

    Parameters
    ----------
    scatter : Scatter

    Returns
    -------
    str
        The text of the file, UTF-8.
    """
    top = 66
    count = max(len(scatter.panels), 1)
    width = max(2 * _GAP + count * SIDE + (count - 1) * _GAP, 480)
    panels = [
        element(
            "g",
            element("text", panel.title, x=4, y=-8),
            *_panel(panel, scatter),
            transform=f"translate({_GAP + number * (SIDE + _GAP)} {top})",
        )
        for number, panel in enumerate(scatter.panels)
    ]
    legend, below = _legend(scatter, width, top + SIDE + 8)
    height = top + SIDE + 8 + below
    svg = element(
        "svg",
        element("title", f"{scatter.title}: by {_described(scatter)}"),
        element("style", Markup(f"{chart_colours()}{CHART_STYLE}")),
        element("rect", class_="paper", width=width, height=height, rx=8),
        element("text", scatter.title, class_="title", x=16, y=28),
        *panels,
        *legend,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
    )
    return f"{svg}\n"


def _described(scatter: Scatter) -> str:
    return f"{', '.join(scatter.markers)} and {', '.join(scatter.colours)}"


def _panel(panel: Panel, scatter: Scatter) -> list[Markup]:
    xs = [x for points in panel.points for x in points.x] or [0.0]
    ys = [y for points in panel.points for y in points.y] or [0.0]
    # One unit is as long on either axis.
    reach = max(max(xs) - min(xs), max(ys) - min(ys), 1e-9) / 2
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    across = Scale(middle[0] - reach, middle[0] + reach, _MARGIN, SIDE - _MARGIN)
    up = Scale(middle[1] - reach, middle[1] + reach, SIDE - _MARGIN, _MARGIN)
    frame = element("rect", class_="frame", x=0.5, y=0.5, width=SIDE - 1, height=SIDE - 1, rx=4)
    return [frame, *(_group(points, scatter, across, up) for points in panel.points)]


def _group(points: Points, scatter: Scatter, across: Scale, up: Scale) -> Markup:
    drawn = _MARKERS[points.marker]
    places = zip(points.x, points.y, strict=True)
    path = "".join(f"M{across(x):.1f} {up(y):.1f}{drawn}" for x, y in places)
    name = f"{scatter.colours[points.colour]}, {scatter.markers[points.marker]}"
    return element(
        "path",
        element("title", name),
        class_=f"points s{points.colour} m{points.marker}",
        d=path,
    )


def _legend(scatter: Scatter, width: int, top: int) -> tuple[list[Markup], int]:
    """Return the entries in lines as wide as fit, and their height."""
    looks = [("plain", number) for number in range(len(scatter.markers))]
    looks += [(f"s{number}", 0) for number in range(len(scatter.colours))]
    parts, x, y = [], 16.0, top + 14
    for name, (look, marker) in zip((*scatter.markers, *scatter.colours), looks, strict=True):
        wide = text_width(shown(name), _FONT) + 36
        if x + wide > width and x > 16:
            x, y = 16.0, y + 22
        at = f"M{x + 4:.1f} {y}{_MARKERS[marker]}"
        parts.append(element("path", class_=f"points {look} m{marker}", d=at))
        parts.append(element("text", name, x=x + 14, y=y + 4.5))
        x += wide
    return parts, y - top + 16

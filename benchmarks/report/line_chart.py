"""Curves with error bars as SVG: inside a page, or as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from report.axes import Scale, nice_ticks, text_width, thinned
from report.markup import Markup, element, joined
from report.sections import Lines, Series
from report.style import CHART_STYLE, chart_colours
from report.wording import number, shown, with_unit

__all__ = ["NARROW", "WIDE", "ChartSize", "curve_name", "line_chart", "standalone_chart"]

COLOURS = 8
MARKERS = 6
FONT = 13


@dataclass(frozen=True)
class ChartSize:
    """Width of a chart, and height of its plot, in pixels."""

    width: int
    plot_height: int


WIDE = ChartSize(720, 380)
NARROW = ChartSize(360, 280)


def curve_name(series: Series) -> str:
    """Return what the legend calls a curve: its name, and where it is from if not from here."""
    return f"{series.name}, published: {series.source}" if series.source else series.name


def line_chart(lines: Lines, size: ChartSize, *, class_: str = "chart") -> Markup:
    """Draw curves.

    The curves differ by marker and by colour, published ones are dashed as well; every point has
    an error bar of one standard deviation either way, and says its numbers when pointed at.

    Parameters
    ----------
    lines : Lines
    size : ChartSize
    class_ : str
        Of the svg element.

    Returns
    -------
    Markup
        An ``svg`` element. It takes its colours from the page that it stands in.
    """
    parts, height = _chart(lines, size)
    return element(
        "svg",
        *parts,
        class_=class_,
        viewBox=f"0 0 {size.width} {height}",
        role="img",
        aria_label=f"{lines.title}: {_described(lines)}",
    )


def standalone_chart(lines: Lines) -> str:
    """Draw curves as an SVG file, which is light or dark as its reader's screen is.

    Parameters
    ----------
    lines : Lines

    Returns
    -------
    str
        The text of the file, UTF-8.
    """
    parts, height = _chart(lines, WIDE)
    top = 34
    svg = element(
        "svg",
        element("title", f"{lines.title}: {_described(lines)}"),
        element("style", Markup(f"{chart_colours()}{CHART_STYLE}")),
        element("rect", class_="paper", width=WIDE.width, height=height + top, rx=8),
        element("text", lines.title, class_="title", x=16, y=28),
        element("g", *parts, transform=f"translate(0 {top})"),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        width=WIDE.width,
        height=height + top,
        viewBox=f"0 0 {WIDE.width} {height + top}",
    )
    return f"{svg}\n"


def _described(lines: Lines) -> str:
    return f"{lines.y_label or 'values'} over {lines.x_label or 'x'}, {len(lines.series)} curves"


def _chart(lines: Lines, size: ChartSize) -> tuple[list[Markup], int]:
    """Return the contents of the chart and their height."""
    values = [
        mean + sign * (spread or 0)
        for series in lines.series
        for mean, spread in zip(series.mean, series.std or (0,) * len(series.x), strict=True)
        if mean is not None
        for sign in (-1, 1)
    ]
    ticks = nice_ticks(min(values, default=0), max(values, default=1), size.plot_height // 56)
    xs = sorted({x for series in lines.series for x in series.x}) or [0.0, 1.0]
    labels = [_tick(value) for value in ticks]
    left = 30 + max(text_width(label, FONT) for label in labels)
    low, high = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)
    across = Scale(low, high, left + 12, size.width - 16, log=lines.log_x and low > 0)
    up = Scale(ticks[0], ticks[-1], size.plot_height, 14)
    legend, legend_height = _legend(lines.series, size, size.plot_height + 58)
    parts = [
        _grid(ticks, labels, up, left, size.width - 4),
        _x_axis(xs, across, size.plot_height),
        element(
            "text",
            lines.x_label,
            class_="label",
            x=(left + size.width) / 2,
            y=size.plot_height + 40,
            text_anchor="middle",
        ),
        element(
            "text",
            f"{lines.y_label} ({lines.unit})" if lines.unit else lines.y_label,
            class_="label",
            transform=f"translate(13 {size.plot_height / 2 + 7:.0f}) rotate(-90)",
            text_anchor="middle",
        ),
        *(_curve(i, series, across, up, lines) for i, series in enumerate(lines.series)),
        legend,
    ]
    return parts, size.plot_height + 58 + legend_height


def _tick(value: float) -> str:
    return f"{value:g}"


def _grid(
    ticks: Sequence[float], labels: Sequence[str], up: Scale, left: float, right: float
) -> Markup:
    rows = []
    for value, label in zip(ticks, labels, strict=True):
        y = up(value)
        rows.append(element("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
        rows.append(element("text", label, x=left - 6, y=y + 4.5, text_anchor="end"))
    return joined(*rows)


def _x_axis(xs: Sequence[float], across: Scale, bottom: int) -> Markup:
    marks = xs if len(xs) <= 12 else nice_ticks(xs[0], xs[-1])
    marks = [x for x in marks if xs[0] <= x <= xs[-1]]
    widest = max(text_width(_tick(x), FONT) for x in marks)
    parts = []
    for x in marks:
        at = across(x)
        parts.append(element("line", class_="axis", x1=at, x2=at, y1=bottom, y2=bottom + 5))
    for x in thinned(marks, across, widest + 6):
        label = element("text", _tick(x), x=across(x), y=bottom + 20, text_anchor="middle")
        parts.append(label)
    return joined(*parts)


def _curve(index: int, series: Series, across: Scale, up: Scale, lines: Lines) -> Markup:
    spreads = series.std or (None,) * len(series.x)
    points = [
        (x, mean, spread)
        for x, mean, spread in zip(series.x, series.mean, spreads, strict=True)
        if mean is not None
    ]
    points.sort(key=lambda point: point[0])
    path = " ".join(f"{across(x):g},{up(mean):g}" for x, mean, _ in points)
    bars = "".join(
        f"M{across(x):g} {up(mean - spread):g}V{up(mean + spread):g}"
        for x, mean, spread in points
        if spread
    )
    unit = lines.x_label or "x"
    marks = [
        element(
            "g",
            element(
                "title",
                f"{curve_name(series)}; {unit} {x:g}: "
                + with_unit(number(mean, spread, lines.decimals), lines.unit),
            ),
            _marker(index, across(x), up(mean)),
        )
        for x, mean, spread in points
    ]
    return element(
        "g",
        element("path", class_="spread", d=bars) if bars else Markup(),
        element("polyline", points=path) if len(points) > 1 else Markup(),
        *marks,
        class_=_look(index, series),
    )


def _look(index: int, series: Series) -> str:
    return f"s{index % COLOURS}{' published' if series.source else ''}"


def _marker(index: int, x: float, y: float) -> Markup:
    """Return the curve's marker: circle, square, triangle, diamond, cross or triangle downwards."""
    shape = index % MARKERS
    if shape == 0:
        return element("circle", class_="mark", cx=x, cy=y, r=4)
    outline = {
        1: "M-3.6-3.6h7.2v7.2h-7.2z",
        2: "M0-4.8l4.6 8h-9.2z",
        3: "M0-5l5 5l-5 5l-5-5z",
        4: "M-4.2-1.5h2.7v-2.7h3v2.7h2.7v3h-2.7v2.7h-3v-2.7h-2.7z",
        5: "M0 4.8l4.6-8h-9.2z",
    }[shape]
    return element("path", class_="mark", d=outline, transform=f"translate({x:g} {y:g})")


def _legend(series: Sequence[Series], size: ChartSize, top: int) -> tuple[Markup, int]:
    """Return the legend in as many columns as fit, and its height."""
    if not series:
        return Markup(), 0
    names = [shown(curve_name(one)) for one in series]
    room = size.width - 76
    widest = min(max(text_width(name, FONT) for name in names), room)
    columns = max(1, min(len(series), int((size.width - 16) // (widest + 46))))
    rows = -(-len(series) // columns)
    step = (size.width - 16) / columns
    entries = []
    for i, (one, name) in enumerate(zip(series, names, strict=True)):
        column, row = divmod(i, rows)
        x, y = 12 + column * step, top + 8 + row * 22
        fits = int(len(name) * min(1.0, room / max(text_width(name, FONT), 1)))
        short = name if fits >= len(name) else f"{name[: fits - 1]}…"
        entries.append(
            element(
                "g",
                element("polyline", points=f"{x:g},{y} {x + 26:g},{y}"),
                _marker(i, x + 13, y),
                element("text", short, x=x + 34, y=y + 4.5),
                class_=_look(i, one),
            )
        )
    return element("g", *entries, class_="legend"), rows * 22 + 8

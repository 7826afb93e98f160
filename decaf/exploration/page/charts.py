"""Curves and scatter plots as SVG, drawn by matplotlib in the colours of the page they stand in."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from decaf.exploration.page.rendering import STYLE_SHEETS
from decaf.exploration.page.sections import Lines, Panel, Scatter, Series
from decaf.exploration.page.wording import number, with_unit
from decaf.runtime.wording import printable

__all__ = [
    "NARROW",
    "WIDE",
    "ChartSize",
    "chart_file",
    "line_chart",
    "scatter_legend",
    "scatter_panel",
]

FONT, TITLE = 13, 16
PANEL = 300
CURVE_MARKERS = "os^DPv"
POINT_MARKERS = "oxs"

# The colours of chart.css, which is light or dark as the reader's screen is. matplotlib does not
# know them by name: it draws with what stands for them here.
_COLOURS = ("ink", "soft", "rule", "paper", *(f"c{k}" for k in range(8)))
_STAND_INS = {name: f"#0000{k:02x}" for k, name in enumerate(_COLOURS, 1)}
INK, SOFT, RULE, PAPER, *HUES = _STAND_INS.values()

_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "figure.dpi": 72,  # a point is a pixel
    "font.size": FONT,
    "grid.color": RULE,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters, not outlines
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class ChartSize:
    """Width of a chart, and height of its plot, in pixels."""

    width: int
    plot_height: int


WIDE = ChartSize(720, 400)
NARROW = ChartSize(360, 300)


def chart_file(chart: Lines | Scatter) -> str:
    """Draw curves, or all panels of a scatter plot, as a file of its own with title and colours.

    Parameters
    ----------
    chart : Lines or Scatter

    Returns
    -------
    str
        The text of the file, UTF-8; it is light or dark as its reader's screen is.
    """
    if isinstance(chart, Lines):
        return f"{line_chart(chart, WIDE, alone=True)}\n"
    count = max(len(chart.panels), 1)
    width = max(PANEL * count, 480)
    with _drawing("") as titles:
        figure = _figure(width, chart.title)
        for axes, panel in zip(
            figure.subplots(1, count, squeeze=False)[0], chart.panels, strict=False
        ):
            axes.set_title(printable(panel.title), loc="left", fontsize=FONT)
            _points(axes, panel, chart, titles)
        height = PANEL + 60 + _scatter_legend(figure, chart, width)
        label = f"{chart.title}: by {_kinds(chart)}"
        return f"{_svg(figure, height, label, titles, alone=True)}\n"


def line_chart(lines: Lines, size: ChartSize, name: str = "", *, alone: bool = False) -> str:
    """Draw curves.

    The curves differ by marker and by colour, published ones are dashed as well; every point has
    an error bar of one standard deviation either way, and says its numbers when pointed at.

    Parameters
    ----------
    lines : Lines
    size : ChartSize
    name : str
        One of a kind on the page.
    alone : bool
        Draw the title as well, and let the chart have its colours in it.

    Returns
    -------
    str
        An ``svg`` element. Unless it stands alone, it takes its colours from its page.
    """
    what = f"{lines.y_label or 'values'} over {lines.x_label or 'x'}, {len(lines.series)} curves"
    with _drawing(name) as titles:
        figure = _figure(size.width, lines.title if alone else "")
        axes = figure.subplots()
        axes.spines[["left", "top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel(printable(lines.x_label))
        axes.set_ylabel(
            printable(f"{lines.y_label} ({lines.unit})" if lines.unit else lines.y_label)
        )
        handles = [_curve(axes, k, one, lines, titles) for k, one in enumerate(lines.series)]
        _mark_x(axes, lines, size.width - 80)
        names = [_curve_name(one) for one in lines.series]
        height = size.plot_height + _legend(figure, handles, names, size.width)
        return _svg(figure, height, f"{lines.title}: {what}", titles, alone=alone)


def _curve_name(series: Series) -> str:
    """Return what the legend calls a curve: its name, and where it is from if not from here."""
    return f"{series.name}, published: {series.source}" if series.source else series.name


def _curve(axes: Axes, index: int, series: Series, lines: Lines, titles: dict[str, str]) -> Line2D:
    """Draw a curve, note the title of each of its points, and return its sample for the legend."""
    colour = HUES[index % len(HUES)]
    look: dict[str, Any] = {
        "color": colour,
        "linewidth": 2,
        "linestyle": "--" if series.source else "-",
        "clip_on": False,
    }
    mark: dict[str, Any] = {
        "marker": CURVE_MARKERS[index % len(CURVE_MARKERS)],
        "markersize": 8,
        "markerfacecolor": PAPER if series.source else colour,
        "markeredgecolor": colour if series.source else PAPER,
    }
    points = sorted(
        (x, mean, spread or 0.0)
        for x, mean, spread in zip(
            series.x, series.mean, series.std or (None,) * len(series.x), strict=True
        )
        if mean is not None
    )
    axes.plot([x for x, _, _ in points], [mean for _, mean, _ in points], **look)
    for x, mean, spread in points:
        if spread:
            ends = [mean - spread, mean + spread]
            axes.plot([x, x], ends, color=colour, alpha=0.75, linewidth=1.5, clip_on=False)
        value = with_unit(number(mean, spread or None, lines.decimals), lines.unit)
        place = f"{lines.x_label or 'x'} {x:g}"
        name = _named(titles, f"{_curve_name(series)}; {place}: {value}")
        axes.plot([x], [mean], linestyle="", clip_on=False, gid=name, **mark)
    return Line2D([], [], **look, **mark)


def _mark_x(axes: Axes, lines: Lines, width: float) -> None:
    """Mark every x of few, and label those that have room, from the last one down."""
    xs = sorted({x for series in lines.series for x in series.x})
    if xs and lines.log_x:
        axes.set_xscale("log")
        # matplotlib would write powers of ten as mathematics, which the page shows as it is.
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter("")
    if not 1 <= len(xs) <= 12:
        return
    places = np.log(xs) if lines.log_x else np.array(xs)
    places = width * (places - places[0]) / ((places[-1] - places[0]) or 1)
    room = 8 + 0.6 * FONT * max(len(f"{x:g}") for x in xs)
    labels, taken = [], np.inf
    for x, place in zip(xs[::-1], places[::-1], strict=True):
        fits = taken - place >= room
        labels.append(f"{x:g}" if fits else "")
        taken = place if fits else taken
    axes.set_xticks(xs, labels[::-1])
    axes.set_xticks([], minor=True)


def scatter_panel(panel: Panel, scatter: Scatter, name: str = "") -> str:
    """Draw one panel. Its groups of points say their names when pointed at.

    Parameters
    ----------
    panel : Panel
    scatter : Scatter
        The section that it is in.
    name : str
        One of a kind on the page.

    Returns
    -------
    str
        An ``svg`` element, which takes its colours from its page.
    """
    with _drawing(name) as titles:
        figure = _figure(PANEL)
        _points(figure.subplots(), panel, scatter, titles)
        count = sum(len(points.x) for points in panel.points)
        return _svg(figure, PANEL, f"{panel.title}: {count} points, by {_kinds(scatter)}", titles)


def scatter_legend(scatter: Scatter, size: ChartSize, name: str = "") -> str:
    """Draw what the markers and colours stand for.

    Parameters
    ----------
    scatter : Scatter
    size : ChartSize
    name : str
        One of a kind on the page.

    Returns
    -------
    str
        An ``svg`` element, which takes its colours from its page.
    """
    with _drawing(name) as titles:
        figure = _figure(size.width)
        height = _scatter_legend(figure, scatter, size.width)
        return _svg(figure, height, f"Legend: {_kinds(scatter)}", titles)


def _kinds(scatter: Scatter) -> str:
    return f"{', '.join(scatter.markers)} and {', '.join(scatter.colours)}"


def _points(axes: Axes, panel: Panel, scatter: Scatter, titles: dict[str, str]) -> None:
    axes.set_aspect("equal", "datalim")  # one unit is as long on either axis
    axes.set_xticks([])
    axes.set_yticks([])
    for points in panel.points:
        kind = f"{scatter.colours[points.colour]}, {scatter.markers[points.marker]}"
        look = _point_look(points.marker, HUES[points.colour])
        axes.plot(points.x, points.y, gid=_named(titles, kind), clip_on=False, **look)


def _point_look(marker: int, colour: str) -> dict[str, Any]:
    """Return how points are drawn: dots, crosses and open squares."""
    return {
        "linestyle": "",
        "marker": POINT_MARKERS[marker],
        "markersize": 5 if marker == 0 else 6,
        "markeredgecolor": colour,
        "markeredgewidth": 0 if marker == 0 else 1.5,
        "markerfacecolor": colour if marker == 0 else "none",
        "alpha": 0.8,
    }


def _scatter_legend(figure: Figure, scatter: Scatter, width: int) -> float:
    looks = [_point_look(k, SOFT) for k in range(len(scatter.markers))]
    looks += [_point_look(0, HUES[k]) for k in range(len(scatter.colours))]
    handles = [Line2D([], [], **look) for look in looks]
    return _legend(figure, handles, (*scatter.markers, *scatter.colours), width)


@contextmanager
def _drawing(name: str) -> Iterator[dict[str, str]]:
    """Set matplotlib up for one chart, and yield a dictionary for titles of what is drawn."""
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's fonts have the letters that those of matplotlib lack.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield {}


def _named(titles: dict[str, str], title: str) -> str:
    """Note a title, and return a name for the element that is to have it."""
    name = f"titled-{len(titles)}"
    titles[name] = title
    return name


def _figure(width: int, title: str = "") -> Figure:
    figure = Figure(figsize=(width / 72, 1), layout="constrained")
    if title:
        lines = textwrap.fill(printable(title), width // 9)
        figure.suptitle(lines, x=0.02, horizontalalignment="left", fontsize=TITLE, weight="bold")
    return figure


def _legend(figure: Figure, handles: Sequence[Line2D], names: Sequence[str], width: int) -> float:
    """Put a legend below, in as many columns as there is room for, and return its height."""
    for columns in range(min(len(names), 8), 0, -1):
        # Names are set afterwards: a legend leaves those out that begin with an underscore.
        legend = figure.legend(handles, [" "] * len(names), loc="outside lower left", ncols=columns)
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set_text(textwrap.fill(printable(name), width // 9))
        extent = legend.get_window_extent()
        if extent.width <= width or columns == 1:
            return float(extent.height) + 8
        legend.remove()
    return 0.0


def _svg(
    figure: Figure, height: float, label: str, titles: Mapping[str, str], *, alone: bool = False
) -> str:
    """Return a figure as an element, with titles, with the colours of the style sheet."""
    figure.set_figheight(height / 72)
    drawn = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(drawn.getvalue())
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        for key in [key for key in part.attrib if key.startswith("{")]:
            part.set(key.rpartition("}")[2], part.attrib.pop(key))
        if (look := part.get("style")) is not None:
            part.set("style", _with_names(look, is_text=part.tag == "text"))
        name = part.get("id", "")
        if part.tag == "g":
            part.attrib.pop("id", None)  # as that of every other chart on the page
        if name in titles:
            title = ElementTree.Element("title")
            title.text = printable(titles[name])
            part.insert(0, title)
        part.text, part.tail = (part.text or "").strip(), ""
    root.remove(root[0])  # a style sheet, which would be the whole page's
    width = root.get("viewBox", "").split()[2]
    root.attrib = {"class": "chart", "viewBox": f"0 0 {width} {height:g}", "role": "img"}
    root.set("aria-label", printable(label))
    if alone:
        root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "width": width}
        root.set("height", f"{height:g}")
        style = ElementTree.Element("style")
        style.text = (STYLE_SHEETS / "chart.css").read_text(encoding="utf-8")
        paper = {"width": "100%", "height": "100%", "rx": "8", "class": "paper"}
        root[:0] = [style, ElementTree.Element("rect", paper)]
    return ElementTree.tostring(root, encoding="unicode")


def _with_names(look: str, *, is_text: bool) -> str:
    """Replace what stands for colours by their names, and leave the font to the style sheet."""
    for name, stand_in in _STAND_INS.items():
        look = look.replace(stand_in, f"var(--{name})")
    kept = (part.strip() for part in look.split(";"))
    return ";".join(part for part in kept if not (is_text and part.startswith("font-family")))

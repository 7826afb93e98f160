"""A report as a page of HTML that needs nothing else, as Markdown, and as text for a terminal.

The page has no script, no file and no network; it is one of decaf's (`decaf.exploration.page`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from decaf.errors import ImageError
from decaf.exploration.page import page_environment, picture_uri
from decaf.exploration.page import thumbnail as thumbnail_of
from decaf.images import ImageRef
from decaf.runtime.progress import duration
from decaf.runtime.wording import printable
from report.benchmark import BenchmarkReport
from report.charts import NARROW, WIDE, line_chart, scatter_legend, scatter_panel
from report.confusion_picture import (
    TABLE_CLASSES,
    confusion_picture,
    mistakes_of,
    root_shares,
)
from report.sections import Bar, Bars, Cell, HeatMap, Section, Table
from report.wording import curve_table, memory, number, table_marks, with_unit

__all__ = [
    "Pictures",
    "report_markdown",
    "report_page",
    "report_text",
    "table_text",
    "thumbnail",
]

Pictures = Path | Mapping[str, npt.NDArray[np.uint8]]

# Strongest colour behind a number that must stay readable.
BEHIND_TEXT = 0.55


def report_page(report: BenchmarkReport, images: Pictures | None = None) -> str:
    """Return a report as HTML.

    Parameters
    ----------
    report : BenchmarkReport
    images : Path or mapping of str to array, optional
        The folder that the paths of images are below, or the images by their names, each
        (H, W, 3) uint8, RGB. Without it there are names in place of thumbnails.

    Returns
    -------
    str
        A page that opens from disk.
    """
    template = _templates().get_template("page.html")
    return template.render(report=report, images=images)


def report_markdown(report: BenchmarkReport, chart_files: Mapping[int, str] | None = None) -> str:
    """Return a report as Markdown, as GitHub and a terminal show it.

    Parameters
    ----------
    report : BenchmarkReport
    chart_files : mapping, optional
        Index of a section that is drawn → file of its drawing, beside the Markdown file.

    Returns
    -------
    str
    """
    template = _templates(_markdown_text).get_template("report.md")
    text = template.render(report=report, chart_files=chart_files or {})
    # Spaces and empty lines that stand for nothing are left out.
    return re.sub(r"(?: *\n){3,}", "\n\n", re.sub(r" +\n\n", "\n\n", text)).strip() + "\n"


def report_text(report: BenchmarkReport) -> str:
    """Return the tables of results, the headline and the notes of a report as plain text.

    Parameters
    ----------
    report : BenchmarkReport
    """
    tables = [part for part in report.sections if isinstance(part, Table) and not part.collapsed]
    notes = [f"note: {note}" for note in report.notes]
    return "\n\n".join([*map(table_text, tables), "\n".join([report.headline, *notes])])


def table_text(table: Table) -> str:
    """Return a table as aligned lines, published columns marked with their source.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
        Without a newline at the end.
    """
    sources = table_marks(table).sources
    marks = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    names = [f"{column.name} {marks.get(column.source, '')}".strip() for column in table.columns]
    lines = [[table.row_header, *names]]
    for row in table.rows:
        lines.append([row.name, *(_plain_cell(cell, table.decimals) for cell in row.cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [table.title]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [each.rjust(width) for each, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, *(f"{mark} published: {source}" for source, mark in marks.items())])


def _plain_cell(cell: Cell | str, decimals: int) -> str:
    if isinstance(cell, str):
        return cell
    return number(cell.mean, cell.std, decimals) + (" *" if cell.note else "")


@functools.cache
def _templates(finalize: Callable[[Any], str] | None = None) -> jinja2.Environment:
    environment = page_environment(Path(__file__).parent / "templates", finalize=finalize)
    environment.filters |= {
        "circumstances": _circumstances,
        "durations": _durations,
        "fence": _fence,
        "headed": _headed,
        "kind": _kind,
        "letter": _letter,
        "memory": _memory,
        "one_line": printable,
        "paragraphs": _paragraphs,
        "with_unit": with_unit,
    }
    environment.globals |= {
        "BEHIND_TEXT": BEHIND_TEXT,
        "NARROW": NARROW,
        "TABLE_CLASSES": TABLE_CLASSES,
        "WIDE": WIDE,
        "bars_from_lowest": _bars_from_lowest,
        "confusion_picture": confusion_picture,
        "curve_table": curve_table,
        "heat_cells": _heat_cells,
        "line_chart": line_chart,
        "mistakes_of": mistakes_of,
        "number": number,
        "root_shares": root_shares,
        "scatter_legend": scatter_legend,
        "scatter_panel": scatter_panel,
        "table_marks": table_marks,
        "thumbnail": thumbnail,
    }
    return environment


def _markdown_text(value: Any) -> str:
    """Return text that Markdown shows as it is: nothing in it is a mark, a link or an element."""
    if isinstance(value, Markup):
        return value
    escaped = re.sub(r"([\\`*_{}\[\]<>|~])", r"\\\1", printable(str(value)))
    escaped = re.sub(r"&(?=[#\w]+;)", r"\\&", escaped)
    return Markup(re.sub(r"^(\s*)([#+=-]|\d+(?=[.)](?:\s|$)))", r"\1\\\2", escaped))


def _kind(part: Section) -> str:
    return type(part).__name__


def _circumstances(report: BenchmarkReport) -> dict[str, str]:
    return {"Date": report.date, "Machine": report.machine, **report.settings}


def _durations(timing: Mapping[str, float]) -> dict[str, str]:
    return {stage: duration(seconds) for stage, seconds in timing.items()}


def _memory(size: int | None) -> str:
    return "" if size is None else memory(size)


def _fence(command: str) -> Markup:
    """Return a mark for code that the command cannot end."""
    return Markup("```" + "`" * len(max(re.findall("`+", command), default="", key=len)))


def _headed(header: str, unit: str) -> str:
    return f"{header} ({unit})".strip() if unit else header


def _letter(index: int) -> str:
    """Count in letters: a … z, aa …"""
    text = ""
    while index >= 0:
        text = chr(ord("a") + index % 26) + text
        index = index // 26 - 1
    return text


def _paragraphs(text: str) -> list[str]:
    return [each for each in text.split("\n\n") if each.strip()]


def _heat_cells(chart: HeatMap) -> list[list[tuple[str, float, str]]]:
    """Return of each number its kind, how strong its colour is, and how it is shown.

    Where some are below 0 they are gains and losses, which have a hue each, a sign, and colour by
    how far they are from 0; other numbers are coloured from the least to the greatest.
    """
    known = [value for row in chart.values for value in row if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    signed = low < 0
    if signed:
        low, high = 0.0, max(high, -low)

    def cell(value: float | None) -> tuple[str, float, str]:
        text = number(value, None, chart.decimals)
        if value is None:
            return "zero", 0.0, text
        size = abs(value) if signed else value
        share = 0.0 if high == low else (size - low) / (high - low)
        if signed:
            text = f"+{text}" if float(text) > 0 else text.replace("-", "−")
        return "miss" if value < 0 else "hit", 0.05 + 0.95 * share, text

    return [[cell(value) for value in row] for row in chart.values]


def _bars_from_lowest(bars: Bars) -> list[tuple[Bar, int, float]]:
    """Return bars with the place of each by name, and how long it is in percent of the scale."""
    by_name = sorted(range(len(bars.bars)), key=lambda k: bars.bars[k].name.casefold())
    place = {k: number for number, k in enumerate(by_name)}
    top = 100.0 if bars.unit == "%" else max((bar.mean or 0.0 for bar in bars.bars), default=0.0)
    rows = [
        (bar, place[k], min(max(100 * (bar.mean or 0.0) / top if top > 0 else 0.0, 0.0), 100.0))
        for k, bar in enumerate(bars.bars)
    ]
    return sorted(rows, key=lambda row: (row[0].mean is None, row[0].mean or 0.0, row[0].name))


def thumbnail(images: Pictures | None, name: str) -> str | None:
    """Return a small copy of an image as a ``data:`` address.

    Parameters
    ----------
    images : Path, mapping or None
        As `report_page` takes them.
    name : str
        Path of the image below the folder, as `os.fsdecode` returns it; or its name.

    Returns
    -------
    str or None
        JPEG, at most 160 pixels high; None if the image lies elsewhere or cannot be read.
    """
    if images is not None and not isinstance(images, Path):
        pixels = images.get(name)
        return None if pixels is None else picture_uri(pixels)
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair that is no byte
        return None
    if images is None or os.path.isabs(raw) or b".." in raw.split(b"/") or b"\0" in raw:
        return None
    try:
        return thumbnail_of(ImageRef(os.path.join(os.fsencode(images), raw)))
    except ImageError:
        return None

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
from decaf.exploration.page import (
    Cell,
    Table,
    memory,
    number,
    picture_uri,
    section_environment,
    table_marks,
)
from decaf.exploration.page import thumbnail as thumbnail_of
from decaf.images import ImageRef
from decaf.runtime.progress import duration
from decaf.runtime.wording import printable
from report.benchmark import BenchmarkReport

__all__ = ["Pictures", "report_markdown", "report_page", "report_text", "table_text", "thumbnail"]

Pictures = Path | Mapping[str, npt.NDArray[np.uint8]]


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
    folder = Path(__file__).parent / "templates"
    environment = section_environment(folder, finalize=finalize, thumbnail=thumbnail)
    environment.filters |= {
        "circumstances": _circumstances,
        "durations": _durations,
        "fence": _fence,
        "memory": _memory,
        "one_line": printable,
    }
    return environment


def _markdown_text(value: Any) -> str:
    """Return text that Markdown shows as it is: nothing in it is a mark, a link or an element."""
    if isinstance(value, Markup):
        return value
    escaped = re.sub(r"([\\`*_{}\[\]<>|~])", r"\\\1", printable(str(value)))
    escaped = re.sub(r"&(?=[#\w]+;)", r"\\&", escaped)
    return Markup(re.sub(r"^(\s*)([#+=-]|\d+(?=[.)](?:\s|$)))", r"\1\\\2", escaped))


def _circumstances(report: BenchmarkReport) -> dict[str, str]:
    return {"Date": report.date, "Machine": report.machine, **report.settings}


def _durations(timing: Mapping[str, float]) -> dict[str, str]:
    return {stage: duration(seconds) for stage, seconds in timing.items()}


def _memory(size: int | None) -> str:
    return "" if size is None else memory(size)


def _fence(command: str) -> Markup:
    """Return a mark for code that the command cannot end."""
    return Markup("```" + "`" * len(max(re.findall("`+", command), default="", key=len)))


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

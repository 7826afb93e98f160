"""The templates of sections: what ``sections.html`` needs to show tables, curves and matrices."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from decaf.exploration.page.confusion_picture import (
    TABLE_CLASSES,
    confusion_picture,
    mistakes_of,
    root_shares,
)
from decaf.exploration.page.rendering import page_environment
from decaf.exploration.page.sections import Bar, Bars, HeatMap, Lines, Panel, Scatter
from decaf.exploration.page.wording import curve_table, number, table_marks, with_unit

__all__ = ["BEHIND_TEXT", "charts_are_drawn", "section_environment"]

BEHIND_TEXT = 0.55
"""Strongest colour behind a number that must stay readable."""


def charts_are_drawn() -> bool:
    """Tell whether matplotlib is there, which draws the charts; without it their numbers stand."""
    return importlib.util.find_spec("matplotlib") is not None


def section_environment(
    *folders: Path,
    thumbnail: Callable[[Any, str], str | None],
    finalize: Callable[[Any], str] | None = None,
) -> jinja2.Environment:
    """Return Jinja2 set up for pages of sections, whose macros are in ``sections.html``.

    Parameters
    ----------
    *folders : Path
        Where templates are, before the shared ones.
    thumbnail : callable
        Returns the ``data:`` address of an image from what the page was given as images, and its
        name; None where there is none.
    finalize : callable, optional
        As `page_environment` takes it.

    Returns
    -------
    jinja2.Environment
    """
    environment = page_environment(*folders, finalize=finalize)
    environment.filters |= {
        "headed": _headed,
        "kind": lambda part: type(part).__name__,
        "letter": _letter,
        "paragraphs": _paragraphs,
        "with_unit": with_unit,
    }
    environment.globals |= {
        "BEHIND_TEXT": BEHIND_TEXT,
        "TABLE_CLASSES": TABLE_CLASSES,
        "bars_from_lowest": _bars_from_lowest,
        "charts_are_drawn": charts_are_drawn,
        "confusion_picture": confusion_picture,
        "curve_table": curve_table,
        "heat_cells": _heat_cells,
        "line_chart": _line_chart,
        "mistakes_of": mistakes_of,
        "number": number,
        "root_shares": root_shares,
        "scatter_legend": _scatter_legend,
        "scatter_panel": _scatter_panel,
        "table_marks": table_marks,
        "thumbnail": thumbnail,
    }
    return environment


def _line_chart(lines: Lines, name: str, *, narrow: bool = False) -> str:
    from decaf.exploration.page.charts import NARROW, WIDE, line_chart

    return line_chart(lines, NARROW if narrow else WIDE, name)


def _scatter_panel(panel: Panel, scatter: Scatter, name: str) -> str:
    from decaf.exploration.page.charts import scatter_panel

    return scatter_panel(panel, scatter, name)


def _scatter_legend(scatter: Scatter, name: str, *, narrow: bool = False) -> str:
    from decaf.exploration.page.charts import NARROW, WIDE, scatter_legend

    return scatter_legend(scatter, NARROW if narrow else WIDE, name)


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

"""Confusion matrices and heat maps on a report's page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from report.markup import Markup, element, joined
from report.page_tables import caption, folded
from report.sections import ConfusionMatrix, HeatMap
from report.wording import number

__all__ = ["TABLE_CLASSES", "confusion_matrix", "heat_map", "mistakes_of"]

# Up to so many classes the matrix is a table of counts, above it a picture.
TABLE_CLASSES = 20

# Strongest colour behind a number that must stay readable.
_BEHIND_TEXT = 0.55
_LEVELS = 10
_NAMED_CELLS = 300
_NAMED_ROWS = 40


def confusion_matrix(matrix: ConfusionMatrix) -> Markup:
    """Return a confusion matrix: a table of counts, or a picture of more than 20 classes.

    Colour is the share of the row, by its square root, so that rare mistakes are seen.

    Parameters
    ----------
    matrix : ConfusionMatrix

    Returns
    -------
    Markup
    """
    few = len(matrix.class_names) <= TABLE_CLASSES
    return joined(
        _key(), _count_table(matrix) if few else _picture(matrix), caption(matrix.caption)
    )


def _key() -> Markup:
    return element(
        "p",
        "Rows are the true classes, columns the predicted ones.",
        element("span", class_="swatch hit"),
        "right",
        element("span", class_="swatch miss"),
        "mistaken; the stronger, the larger the share of the row.",
        class_="key",
    )


def _shares(row: Sequence[int]) -> list[float]:
    total = sum(row)
    return [math.sqrt(count / total) if total else 0.0 for count in row]


def _count_table(matrix: ConfusionMatrix) -> Markup:
    names = matrix.class_names
    heads = [element("th", name, class_="column", scope="col") for name in names]
    rows = [element("tr", element("th"), *heads, element("th", "right, %", class_="column"))]
    for i, (name, row) in enumerate(zip(names, matrix.counts, strict=True)):
        cells = []
        for j, (count, share) in enumerate(zip(row, _shares(row), strict=True)):
            kind = "zero" if not count else "hit" if i == j else "miss"
            style = f"--a:{share * _BEHIND_TEXT:.2f}" if count else None
            cells.append(
                element(
                    "td",
                    str(count) if count else "·",
                    class_=kind,
                    style=style,
                    title=f"{name} taken for {names[j]}: {count}" if count else None,
                )
            )
        total = sum(row)
        right = element("td", number(100 * row[i] / total if total else None))
        rows.append(element("tr", element("th", name, scope="row"), *cells, right))
    table = element("table", element("thead", rows[0]), element("tbody", *rows[1:]), class_="grid")
    return element("div", table, class_="scroll")


def _picture(matrix: ConfusionMatrix) -> Markup:
    size = len(matrix.class_names)
    levels: dict[tuple[str, int], list[str]] = {}
    for i, row in enumerate(matrix.counts):
        for j, share in enumerate(_shares(row)):
            if share:
                kind = "hit" if i == j else "miss"
                # One mistake in a hundred must be seen in a cell of three pixels.
                level = round((share if i == j else 0.25 + 0.75 * share) * _LEVELS)
                levels.setdefault((kind, max(level, 1)), []).append(f"M{j} {i}h1v1h-1z")
    paths = [
        element("path", class_=kind, fill_opacity=level / _LEVELS, d="".join(cells))
        for (kind, level), cells in sorted(levels.items())
    ]
    picture = element(
        "svg",
        *paths,
        *_pointed_at(matrix),
        class_="matrix",
        viewBox=f"0 0 {size} {size}",
        role="img",
        aria_label=f"confusion matrix of {size} classes; its rows are listed below",
    )
    step = -(-size // _NAMED_ROWS)
    ticks = [
        element("span", name, style=f"top:{100 * (i + 0.5) / size:.2f}%")
        for i, name in enumerate(matrix.class_names)
        if i % step == 0
    ]
    first, last = matrix.class_names[0], matrix.class_names[-1]
    columns = [
        element("span", f"↓ {first}", class_="end"),
        element("span", "predicted class, in the order of the rows"),
        element("span", f"{last} ↓", class_="end"),
    ]
    frame = element(
        "div",
        element("div", *columns, class_="columns"),
        element("div", *ticks, class_="ticks", aria_hidden="true"),
        picture,
        class_="matrix-frame",
    )
    return joined(frame, folded("Row by row: what each class was taken for", _row_by_row(matrix)))


def _pointed_at(matrix: ConfusionMatrix) -> list[Markup]:
    """Lay an area over the most frequent mistakes that says their names when pointed at."""
    found = [
        (count, i, j)
        for i, row in enumerate(matrix.counts)
        for j, count in enumerate(row)
        if count and i != j
    ]
    found.sort(key=lambda place: (-place[0], place[1:]))
    names = matrix.class_names
    return [
        element(
            "rect",
            element("title", f"{names[i]} taken for {names[j]}: {count}"),
            x=j,
            y=i,
            width=1,
            height=1,
        )
        for count, i, j in found[:_NAMED_CELLS]
    ]


def mistakes_of(matrix: ConfusionMatrix, i: int, most: int = 3) -> list[tuple[str, int]]:
    """Return what a class was taken for most often, and how often, itself left out.

    Parameters
    ----------
    matrix : ConfusionMatrix
    i : int
        The class.
    most : int
        How many to give.

    Returns
    -------
    list of (str, int)
    """
    row = matrix.counts[i]
    others = sorted((-count, j) for j, count in enumerate(row) if count and j != i)
    return [(matrix.class_names[j], -negative) for negative, j in others[:most]]


def _row_by_row(matrix: ConfusionMatrix) -> Markup:
    rows = []
    for i, name in enumerate(matrix.class_names):
        total = sum(matrix.counts[i])
        right = f"{matrix.counts[i][i]} of {total}"
        taken = ", ".join(f"{other} {count}" for other, count in mistakes_of(matrix, i))
        rows.append(
            element(
                "tr",
                element("th", name, scope="row"),
                element("td", right),
                element("td", taken or "–", class_="wrap"),
            )
        )
    heads = [
        element("th", text, scope="col") for text in ("Class", "right", "most often taken for")
    ]
    return element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="rows",
    )


def heat_map(chart: HeatMap) -> Markup:
    """Return a matrix of numbers as a table with coloured cells.

    Where some are below 0 they are gains and losses, which have a hue each, a sign, and colour by
    how far they are from 0; other numbers are coloured from the least to the greatest.

    Parameters
    ----------
    chart : HeatMap

    Returns
    -------
    Markup
    """
    known = [value for row in chart.values for value in row if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    signed = low < 0
    if signed:
        low, high = 0.0, max(high, -low)
    corner = " \\ ".join(filter(None, (chart.row_label, chart.column_label)))
    heads = [element("th", name, scope="col") for name in chart.column_names]
    rows = []
    for name, values in zip(chart.row_names, chart.values, strict=True):
        cells = []
        for value in values:
            if value is None:
                cells.append(element("td", number(None), class_="zero"))
                continue
            size = abs(value) if signed else value
            share = 0.0 if high == low else (size - low) / (high - low)
            alpha = _BEHIND_TEXT * (0.05 + 0.95 * share)
            text = number(value, None, chart.decimals)
            if signed:
                text = f"+{text}" if float(text) > 0 else text.replace("-", "−")
            cells.append(
                element("td", text, class_="miss" if value < 0 else "hit", style=f"--a:{alpha:.2f}")
            )
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    unit = f"{corner} ({chart.unit})" if chart.unit else corner
    table = element(
        "table",
        element("thead", element("tr", element("th", unit.strip()), *heads)),
        element("tbody", *rows),
        class_="grid",
    )
    key = Markup()
    if signed:
        swatches = element("span", class_="swatch hit"), element("span", class_="swatch miss")
        key = element("p", swatches[0], "+ gain", swatches[1], "− loss", class_="key")
    return joined(element("div", table, class_="scroll"), key, caption(chart.caption))

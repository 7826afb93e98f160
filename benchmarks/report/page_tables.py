"""Tables and lists of bars on a report's page."""

from __future__ import annotations

from collections.abc import Sequence

from report.markup import Markup, element, joined
from report.sections import Bar, Bars, Cell, Table
from report.table_marks import (
    TableMarks,
    column_groups,
    spread_key,
    table_marks,
)
from report.wording import number, with_unit

__all__ = ["bar_list", "caption", "folded", "result_table"]

# A telephone shows a row as a block; so many numbers stand side by side in it.
MOST_ACROSS = 3

# A list of more bars than this is folded, and so many stay in sight.
FEW_BARS = 24
LOWEST_BARS = 12


def caption(text: str) -> Markup:
    """Return a caption, if there is one."""
    return element("p", text, class_="caption") if text else Markup()


def folded(summary: str, *content: str) -> Markup:
    """Return content that unfolds when its summary is touched."""
    return element("details", element("summary", summary), *content)


def result_table(table: Table) -> Markup:
    """Return a table: measured and published columns apart, the best of each marked.

    On a narrow screen each row is a block of labelled numbers.

    Parameters
    ----------
    table : Table

    Returns
    -------
    Markup
    """
    marks = table_marks(table)
    groups = column_groups(table)
    widest = max((len(group.columns) for group in groups), default=1)
    across = _across(widest if widest > 1 else len(groups))
    body = element("tbody", *(_row(table, marks, i) for i in range(len(table.rows))))
    shown = element(
        "table",
        _head(table),
        body,
        class_="results" if widest > 1 else "results flat",
        style=f"--across:{across}",
    )
    content = joined(
        element("div", shown, class_="scroll"), _key(table, marks), caption(table.caption)
    )
    return folded("Show the table", content) if table.collapsed else content


def _across(columns: int) -> int:
    """Return how many numbers stand side by side, so that the lines are equally full."""
    return 2 if columns == 4 else min(columns, MOST_ACROSS)


def _head(table: Table) -> Markup:
    groups = column_groups(table)
    unit = f" ({table.unit})" if table.unit else ""
    first = element("th", f"{table.row_header}{unit}".strip(), scope="col")
    names = [
        element(
            "th",
            table.columns[j].name,
            scope="col",
            class_=_column_class(group.citation, j == group.columns[0]),
        )
        for group in groups
        for j in group.columns
    ]
    rows = [element("tr", first, *names)]
    if any(group.source for group in groups):
        tops = [
            element(
                "th",
                f"published [{group.citation}]" if group.source else "measured here",
                colspan=len(group.columns),
                scope="colgroup",
                class_="group published" if group.source else "group",
            )
            for group in groups
        ]
        rows.insert(0, element("tr", element("td"), *tops))
    return element("thead", *rows)


def _column_class(citation: int, first: bool) -> str | None:
    return " ".join(["published"] * bool(citation) + ["first"] * first) or None


def _row(table: Table, marks: TableMarks, i: int) -> Markup:
    row = table.rows[i]
    # A number needs to be told what it is where the head of the table is not shown.
    header = table.row_header if row.name.replace(".", "").isdigit() else None
    cells = [element("th", row.name, scope="row", data_label=header)]
    for group in column_groups(table):
        for j in group.columns:
            cell = row.cells[j]
            classes = [_column_class(group.citation, j == group.columns[0]) or ""]
            classes.append("number" if isinstance(cell, Cell) else "text")
            classes += ["best"] * ((i, j) in marks.best)
            text = number(cell.mean, cell.std, table.decimals) if isinstance(cell, Cell) else cell
            remark = marks.remark_of.get((i, j))
            name = table.columns[j].name
            label = f"{name}, published [{group.citation}]" if group.citation else name
            cells.append(
                element(
                    "td",
                    text,
                    Markup() if remark is None else element("sup", _letter(remark)),
                    class_=" ".join(filter(None, classes)),
                    data_label=label,
                )
            )
    return element("tr", *cells)


def _letter(index: int) -> str:
    """Count in letters: a … z, aa …"""
    text = ""
    while index >= 0:
        text = chr(ord("a") + index % 26) + text
        index = index // 26 - 1
    return text


def _key(table: Table, marks: TableMarks) -> Markup:
    """Say below the table what its signs mean."""
    parts: list[str] = []
    if text := spread_key(table):
        parts.append(f"{text} ")
    if marks.best:
        parts += [element("span", "★", class_="star"), " best of its column. "]
    lines = [element("p", *parts, class_="key")] if parts else []
    lines += [
        element(
            "p",
            element("span", "published", class_="published-key"),
            f" [{k}] {source}",
            class_="key",
        )
        for k, source in enumerate(marks.sources, 1)
    ]
    lines += [
        element("p", element("sup", _letter(k)), f" {remark}", class_="key")
        for k, remark in enumerate(marks.remarks)
    ]
    return joined(*lines)


def bar_list(bars: Bars, name: str) -> Markup:
    """Return bars, from the lowest up.

    Of a long list the lowest are shown, and all of it unfolds; a switch sorts it by name without
    a script.

    Parameters
    ----------
    bars : Bars
    name : str
        Of the switch, one of a kind on the page.

    Returns
    -------
    Markup
    """
    worst = sorted(bars.bars, key=lambda bar: (bar.mean is None, bar.mean or 0.0, bar.name))
    by_name = {
        id(bar): k for k, bar in enumerate(sorted(bars.bars, key=lambda bar: bar.name.casefold()))
    }
    top = 100.0 if bars.unit == "%" else max((bar.mean or 0.0 for bar in worst), default=0.0)
    items = [_bar(bar, bars, top, k, by_name[id(bar)]) for k, bar in enumerate(worst)]
    if len(items) <= FEW_BARS:
        return joined(_listed(items, 1), caption(bars.caption))
    switch = [
        element("input", type="radio", name=name, id=f"{name}-w", class_="by-worst", checked=True),
        element("label", "lowest first", for_=f"{name}-w"),
        element("input", type="radio", name=name, id=f"{name}-n", class_="by-name"),
        element("label", "by name", for_=f"{name}-n"),
    ]
    return joined(
        element("p", f"The {LOWEST_BARS} lowest of {len(items)}:", class_="key"),
        _listed(items[:LOWEST_BARS], 2),
        folded(f"All {len(items)}", element("div", *switch, _listed(items, 2), class_="sort")),
        caption(bars.caption),
    )


def _listed(items: Sequence[Markup], columns: int) -> Markup:
    return element("ol", *items, class_="bars", style=f"--rows:{-(-len(items) // columns)}")


def _bar(bar: Bar, bars: Bars, top: float, worst: int, by_name: int) -> Markup:
    share = 100 * (bar.mean or 0.0) / top if top > 0 else 0.0
    value = number(bar.mean, bar.std, bars.decimals)
    full = f"{bar.name}: {with_unit(value, bars.unit)}"
    if bar.n is not None:
        full += f", {bar.n} {bars.n_label}".rstrip()
    fill = element("span", class_="fill", style=f"--share:{min(max(share, 0), 100):.1f}")
    return element(
        "li",
        element("span", bar.name, class_="name"),
        element("span", fill, class_="track"),
        element("span", value, class_="value"),
        style=f"--worst:{worst};--name:{by_name}",
        title=full,
    )

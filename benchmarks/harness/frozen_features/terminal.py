"""Tables of a report as plain text, for a terminal."""

from __future__ import annotations

import math

from report import BenchmarkReport, Cell, Table

__all__ = ["report_text", "table_text"]


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
    sources = list(dict.fromkeys(column.source for column in table.columns if column.source))
    marks = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    head = [
        f"{column.name} {marks[column.source]}" if column.source else column.name
        for column in table.columns
    ]
    lines = [[table.row_header, *head]]
    for row in table.rows:
        lines.append([row.name, *(_cell(cell, table.decimals) for cell in row.cells)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    text = [table.title]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [each.rjust(width) for each, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    text += [f"{mark} published: {source}" for source, mark in marks.items()]
    return "\n".join(text)


def report_text(report: BenchmarkReport) -> str:
    """Return the tables of results, the headline and the notes of a report as plain text."""
    shown = [part for part in report.sections if isinstance(part, Table) and not part.collapsed]
    blocks = [table_text(table) for table in shown]
    blocks.append("\n".join([report.headline, *(f"note: {note}" for note in report.notes)]))
    return "\n\n".join(blocks)


def _cell(cell: Cell | str, decimals: int) -> str:
    if isinstance(cell, str):
        return cell
    if cell.mean is None or math.isnan(cell.mean):
        return "–"
    text = f"{cell.mean:.{decimals}f}"
    text += "" if cell.std is None else f" ± {cell.std:.{decimals}f}"
    return f"{text} *" if cell.note else text

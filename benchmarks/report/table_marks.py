"""What a table says beside its numbers: which are best, where others are from, and remarks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from report.sections import Cell, Table

__all__ = ["ColumnGroup", "TableMarks", "column_groups", "spread_key", "table_marks"]


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns of one source; `citation` counts from 1, 0 for what is measured here."""

    source: str
    citation: int
    columns: range


@dataclass(frozen=True)
class TableMarks:
    """Marks of a table.

    Attributes
    ----------
    best : frozenset of (int, int)
        Row and column of the best number of each column that has two or more.
    sources : tuple of str
        Publications, in the order of their first column; citation 1 is the first.
    remarks : tuple of str
        The notes of cells, each once.
    remark_of : dict
        (row, column) → index in `remarks`.
    """

    best: frozenset[tuple[int, int]]
    sources: tuple[str, ...]
    remarks: tuple[str, ...]
    remark_of: dict[tuple[int, int], int]


def table_marks(table: Table) -> TableMarks:
    """Find the marks of a table.

    Parameters
    ----------
    table : Table

    Returns
    -------
    TableMarks
    """
    remarks: dict[str, int] = {}
    remark_of = {}
    for i, row in enumerate(table.rows):
        for j, cell in enumerate(row.cells):
            if isinstance(cell, Cell) and cell.note:
                remark_of[i, j] = remarks.setdefault(cell.note, len(remarks))
    sources = tuple(dict.fromkeys(column.source for column in table.columns if column.source))
    best = frozenset(place for j in range(len(table.columns)) for place in _best_of(table, j))
    return TableMarks(best, sources, tuple(remarks), remark_of)


def _best_of(table: Table, column: int) -> list[tuple[int, int]]:
    """Return the places of the best number, equal as it is shown, if there is something to beat."""
    means = {
        (i, column): round(cell.mean, table.decimals)
        for i, row in enumerate(table.rows)
        if isinstance(cell := row.cells[column], Cell) and cell.mean is not None
    }
    if table.best == "none" or len(set(means.values())) < 2:
        return []
    best = max(means.values()) if table.best == "highest" else min(means.values())
    return [place for place, mean in means.items() if mean == best]


def column_groups(table: Table) -> list[ColumnGroup]:
    """Return the runs of columns of one source, from left to right.

    Parameters
    ----------
    table : Table

    Returns
    -------
    list of ColumnGroup
    """
    sources = table_marks(table).sources
    groups = []
    for source, run in groupby(range(len(table.columns)), lambda j: table.columns[j].source):
        columns = list(run)
        citation = sources.index(source) + 1 if source else 0
        groups.append(ColumnGroup(source, citation, range(columns[0], columns[-1] + 1)))
    return groups


def spread_key(table: Table) -> str:
    """Say what stands behind ±, if it stands in a column that was measured here."""
    cells = [
        cell
        for row in table.rows
        for cell, column in zip(row.cells, table.columns, strict=True)
        if isinstance(cell, Cell) and cell.std is not None and not column.source
    ]
    if not cells:
        return ""
    counts = {cell.n for cell in cells}
    over = f" over {counts.pop()} runs" if len(counts) == 1 and None not in counts else ""
    return f"Mean ± standard deviation{over}."

"""Numbers, times, names and tables as a reader sees them, the same on every page."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from decaf.exploration.page.sections import Cell, Column, Lines, Row, Table

__all__ = [
    "MISSING",
    "ColumnGroup",
    "TableMarks",
    "curve_table",
    "memory",
    "number",
    "table_marks",
    "with_unit",
]

MISSING = "–"
MOST_ACROSS = 3


def number(mean: float | None, std: float | None = None, decimals: int = 1) -> str:
    """Return a number with its spread: ``84.3 ± 0.6``.

    Parameters
    ----------
    mean : float, optional
        None is shown as a dash.
    std : float, optional
    decimals : int
        Digits after the point, of both.

    Examples
    --------
    >>> number(84.312, 0.64), number(-0.01), number(None, 1.0)
    ('84.3 ± 0.6', '0.0', '–')
    """
    if mean is None:
        return MISSING
    # + 0.0: there is no -0.0
    texts = [
        f"{round(value, decimals) + 0.0:.{decimals}f}" for value in (mean, std) if value is not None
    ]
    return " ± ".join(texts)


def with_unit(text: str, unit: str) -> str:
    """Put a unit after a number; a dash has none.

    Parameters
    ----------
    text : str
        A number, as `number` returns it.
    unit : str
        It may be empty.
    """
    return f"{text} {unit}" if unit and text != MISSING else text


def memory(size: int) -> str:
    """Return bytes as MiB or GiB.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> memory(700 * 2**20), memory(3 * 2**29)
    ('700 MiB', '1.5 GiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns of one source; `citation` counts from 1, 0 for what is measured here."""

    citation: int
    columns: range


@dataclass(frozen=True)
class TableMarks:
    """The marks and notes of a table: the best numbers, the sources of others, and remarks.

    Attributes
    ----------
    groups : tuple of ColumnGroup
        The runs of columns of one source, from left to right.
    best : frozenset of (int, int)
        Row and column of the best number of each column that has two or more.
    sources : tuple of str
        Publications, in the order of their first column; citation 1 is the first.
    remarks : tuple of str
        The notes of cells, each once.
    remark_of : dict
        (row, column) → index in `remarks`.
    spread : str
        Spread behind ±, if it stands in a column that was measured here.
    across : int
        How many numbers of a row stand side by side on a telephone, so that lines are equally full.
    """

    groups: tuple[ColumnGroup, ...]
    best: frozenset[tuple[int, int]]
    sources: tuple[str, ...]
    remarks: tuple[str, ...]
    remark_of: dict[tuple[int, int], int]
    spread: str
    across: int

    @property
    def flat(self) -> bool:
        """Whether there is one column of each source at most."""
        return all(len(group.columns) == 1 for group in self.groups)


def table_marks(table: Table) -> TableMarks:
    """Return the marks of a table.

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
    groups, start = [], 0
    for source, run in groupby(column.source for column in table.columns):
        end = start + len(list(run))
        groups.append(ColumnGroup(sources.index(source) + 1 if source else 0, range(start, end)))
        start = end
    best = frozenset(place for j in range(len(table.columns)) for place in _best_of(table, j))
    widest = max((len(group.columns) for group in groups), default=1)
    columns = widest if widest > 1 else len(groups)
    return TableMarks(
        groups=tuple(groups),
        best=best,
        sources=sources,
        remarks=tuple(remarks),
        remark_of=remark_of,
        spread=_spread_of(table),
        across=2 if columns == 4 else min(columns, MOST_ACROSS),
    )


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


def _spread_of(table: Table) -> str:
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


def curve_table(lines: Lines) -> Table:
    """Return the numbers of curves as a table: a row for each x, a column for each curve.

    Parameters
    ----------
    lines : Lines

    Returns
    -------
    Table
    """
    xs = sorted({x for series in lines.series for x in series.x})
    cells = [
        {
            x: Cell(mean, series.std[k] if series.std else None)
            for k, (x, mean) in enumerate(zip(series.x, series.mean, strict=True))
        }
        for series in lines.series
    ]
    return Table(
        lines.title,
        tuple(Column(series.name, series.source) for series in lines.series),
        tuple(Row(f"{x:g}", tuple(of.get(x, Cell()) for of in cells)) for x in xs),
        row_header=lines.x_label,
        unit=lines.unit,
        decimals=lines.decimals,
        best="none",
    )

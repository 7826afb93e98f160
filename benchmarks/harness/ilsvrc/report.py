"""The tables of the report: errors beside the published ones, differences and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from decaf.exploration.page import MISSING, Cell, Column, Table
from decaf.exploration.page import Row as TableRow
from decaf.heads.metrics import wilson_interval
from harness.ilsvrc.errors import Errors, Row, paired_difference
from harness.ilsvrc.published import CHALLENGE, CHALLENGE_TABLE, PAPER, TABLE_1, TABLE_2
from harness.protocol.outcomes import mean_and_std

__all__ = [
    "challenge_table",
    "difference_table",
    "headline",
    "interval_table",
    "table_of_2010",
    "table_of_2012",
]

Measured = Mapping[tuple[tuple[str, ...], str], Errors]

_SHOWN = {"ten": "ten-crop", "center": "centre crop"}


def _cell(row: Row, errors: Measured, crops: str, top: int) -> Cell:
    """Return the error of a row in percent; of several networks the mean and the spread."""
    each = [100 * float(wrong.mean()) for wrong in row.wrong(errors, crops, top)]
    if not each:
        return Cell()
    return Cell(*mean_and_std(each), n=len(each) if len(each) > 1 else None)


def headline(rows: Sequence[Row], errors: Measured) -> str:
    """Return the errors of each row, ten-crop, in a line.

    Parameters
    ----------
    rows : sequence of Row
    errors : mapping of (networks, crops) to Errors
    """
    told = []
    for row in rows:
        values = [_cell(row, errors, "ten", top).mean for top in (1, 5)]
        shown = " / ".join(f"{value:.1f}" for value in values if value is not None)
        told.append(f"{row.title} {shown} %")
    return f"top-1 / top-5 error, ten-crop: {', '.join(told)}"


def table_of_2012(rows: Sequence[Row], errors: Measured, split: str) -> Table:
    """Return the paper's second table, with what was measured here.

    Parameters
    ----------
    rows : sequence of Row
    errors : mapping of (networks, crops) to Errors
    split : str
        Split that was measured on.
    """
    source = f"{PAPER}, table 2, ten-crop"
    columns = [Column(f"top-{top}, {_SHOWN[crops]}") for crops in _SHOWN for top in (1, 5)]
    columns += [Column(name, source) for name in ("val top-1", "val top-5", "test top-5")]
    made = []
    for row in rows:
        cells = [_cell(row, errors, crops, top) for crops in _SHOWN for top in (1, 5)]
        title = row.title if row.title == row.published else f"{row.title} ({row.published})"
        made.append(TableRow(title, (*cells, *map(Cell, TABLE_2[row.published]))))
    named = {row.published for row in rows}
    for title, values in TABLE_2.items():
        if title not in named:
            made.append(TableRow(title, (*[Cell()] * 4, *map(Cell, values))))
    return Table(
        "ILSVRC-2012",
        tuple(columns),
        tuple(made),
        row_header="Error",
        best="none",
        caption=f"Measured on the {split} images. 1 CNN and 1 CNN* are the mean and the standard "
        "deviation over networks that differ in their seeds; the others are one average of "
        "predictions. In brackets: the paper's row, where it has other numbers of networks.",
    )


def table_of_2010(rows: Sequence[Row], errors: Measured, split: str) -> Table:
    """Return the paper's first table, with what one network has here.

    Parameters
    ----------
    rows, errors, split
        As `table_of_2012` takes them.
    """
    source = f"{PAPER}, table 1 and the footnote of section 6.1"
    measured = {"CNN": "ten", "CNN, centre crop alone": "center"}
    made = []
    for title, values in TABLE_1.items():
        cells = [Cell(), Cell()]
        if title in measured:
            cells = [_cell(rows[0], errors, measured[title], top) for top in (1, 5)]
        made.append(TableRow(title, (*cells, *map(Cell, values))))
    return Table(
        "ILSVRC-2010",
        (
            *(Column(name) for name in ("top-1", "top-5")),
            *(Column(name, source) for name in ("test top-1", "test top-5")),
        ),
        tuple(made),
        row_header="Error",
        best="none",
        caption=f"Measured on the {split} images of the same pack: the row 1 CNN of the table "
        "above.",
    )


def challenge_table(rows: Sequence[Row], errors: Measured, split: str) -> Table:
    """Return the entries of the challenge, with the averages of here that stand beside.

    Parameters
    ----------
    rows, errors, split
        As `table_of_2012` takes them.
    """
    ours = {row.published: row for row in rows}
    made = []
    for team, value, published in CHALLENGE_TABLE:
        cell = _cell(ours[published], errors, "ten", 5) if published in ours else Cell()
        title = f"{team} ({published})" if published else team
        made.append(TableRow(title, (cell, Cell(value))))
    return Table(
        "The challenge of 2012",
        (Column("top-5, ten-crop"), Column("test top-5", CHALLENGE)),
        tuple(made),
        row_header="Error",
        decimals=3,
        best="none",
        caption=f"Measured on the {split} images; published on the challenge's test images.",
    )


def difference_table(rows: Sequence[Row], errors: Measured) -> Table:
    """Return what averaging, more data and ten crops change, image by image.

    Parameters
    ----------
    rows, errors
        As `table_of_2012` takes them.
    """
    by_name = {row.published: row for row in rows}
    pairs = [("1 CNN", "5 CNNs"), ("1 CNN", "1 CNN*"), ("5 CNNs", "7 CNNs*")]
    made = []
    for one, other in pairs:
        if one in by_name and other in by_name:
            first, second = by_name[one], by_name[other]
            made.append(_difference(f"{second.title} less {first.title}, ten-crop", errors,
                                    (first, "ten"), (second, "ten")))  # fmt: skip
    for row in rows:
        made.append(_difference(f"ten-crop less centre crop, {row.title}", errors,
                                (row, "center"), (row, "ten")))  # fmt: skip
    return Table(
        "Differences, image by image",
        (Column("top-1"), Column("top-5")),
        tuple(made),
        row_header="Difference of errors",
        unit="points",
        best="none",
        caption="Below 0 the first is better. In brackets the 95 % interval, paired over the "
        "images (Bonett & Price 2012): how far it might be off by the choice of test images, for "
        "these networks. Of 1 CNN an image's error is the mean over the networks.",
    )


def _difference(
    title: str, errors: Measured, one: tuple[Row, str], other: tuple[Row, str]
) -> TableRow:
    def wrong(of: tuple[Row, str], top: int) -> npt.NDArray[np.float64] | None:
        row, crops = of
        each = row.wrong(errors, crops, top)
        return np.mean(each, axis=0) if each else None

    cells = []
    for top in (1, 5):
        first, second = wrong(one, top), wrong(other, top)
        if first is None or second is None:
            cells.append(MISSING)
            continue
        gain, low, high = paired_difference(first, second)
        cells.append(f"{gain:+.1f} ({low:+.1f} to {high:+.1f})")
    return TableRow(title, tuple(cells))


def interval_table(rows: Sequence[Row], errors: Measured) -> Table:
    """Return the interval of each error by the number of test images.

    Parameters
    ----------
    rows, errors
        As `table_of_2012` takes them.
    """
    made = []
    for row in rows:
        cells = []
        for crops in _SHOWN:
            for top in (1, 5):
                each = row.wrong(errors, crops, top)
                if not each:
                    cells.append(MISSING)
                    continue
                mean = np.mean(each, axis=0)
                low, high = wilson_interval(float(mean.sum()), len(mean))
                cells.append(f"{100 * low:.1f} to {100 * high:.1f}")
        made.append(TableRow(row.title, tuple(cells)))
    return Table(
        "95 % intervals",
        tuple(Column(f"top-{top}, {_SHOWN[crops]}") for crops in _SHOWN for top in (1, 5)),
        tuple(made),
        row_header="Error",
        best="none",
        caption="Wilson's, by the number of test images; of 1 CNN that of the mean error of its "
        "networks. What other seeds would change is the spread of the first table.",
    )

"""The parts of a benchmark report: tables, curves, matrices, lists and pictures, as plain data.

Everything here is frozen, holds numbers and text only, and goes to JSON and back unchanged. How a
section looks is decided where the pages are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from decaf.errors import SettingError
from decaf.exploration.page.record import Record

__all__ = [
    "Bar",
    "Bars",
    "Cell",
    "Column",
    "Confusion",
    "ConfusionMatrix",
    "Confusions",
    "HeatMap",
    "Lines",
    "NearestImages",
    "Neighbour",
    "Neighbours",
    "Panel",
    "Points",
    "Row",
    "Scatter",
    "Section",
    "Series",
    "Table",
    "Text",
]


@dataclass(frozen=True)
class Cell(Record):
    """One number of a table, with its spread.

    Parameters
    ----------
    mean : float, optional
        In the table's unit. None, or NaN, where there is none; it is shown as a dash.
    std : float, optional
        Standard deviation over splits or seeds.
    n : int, optional
        Over how many.
    note : str
        Remark on this number, in a few words: "2 of 5 fits did not converge".
    """

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Column(Record):
    """A column of a table.

    Parameters
    ----------
    name : str
    source : str
        Empty for what was measured here; otherwise the publication, as it is to be cited:
        "Donahue et al. 2014, table 1". Columns of one source stand together.
    """

    name: str
    source: str = ""


@dataclass(frozen=True)
class Row(Record):
    """A row of a table: one cell, or a text, for each column.

    Parameters
    ----------
    name : str
    cells : sequence of Cell or str
    """

    name: str
    cells: tuple[Cell | str, ...]


@dataclass(frozen=True)
class Table(Record):
    """A table of results.

    Parameters
    ----------
    title : str
    columns : sequence of Column
    rows : sequence of Row
    row_header : str
        Heading of the rows: "Head".
    unit : str
        Unit of all numbers; "%" or empty.
    decimals : int
    best : {"highest", "lowest", "none"}
        Which number of each column is marked.
    caption : str
        A sentence or two below it.
    collapsed : bool
        A page shows it folded up.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    row_header: str = ""
    unit: str = "%"
    decimals: int = 1
    best: str = "highest"
    caption: str = ""
    collapsed: bool = False

    def _check(self) -> None:
        if self.best not in ("highest", "lowest", "none"):
            raise SettingError(f"best: {self.best!r}; expected highest, lowest or none")
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise SettingError(
                    f"table {self.title!r}: row {row.name!r} has {len(row.cells)} cells, "
                    f"and there are {len(self.columns)} columns"
                )


@dataclass(frozen=True)
class Series(Record):
    """One curve.

    Parameters
    ----------
    name : str
    x : sequence of float
    mean : sequence of float
        NaN or None where there is no point.
    std : sequence of float, optional
        Empty for none.
    source : str
        As in `Column`: empty for what was measured here.
    """

    name: str
    x: tuple[float, ...]
    mean: tuple[float | None, ...]
    std: tuple[float | None, ...] = ()
    source: str = ""

    def _check(self) -> None:
        if len(self.mean) != len(self.x) or len(self.std) not in (0, len(self.x)):
            raise SettingError(
                f"curve {self.name!r}: {len(self.x)} x, {len(self.mean)} means and "
                f"{len(self.std)} standard deviations; expected as many of each"
            )


@dataclass(frozen=True)
class Lines(Record):
    """Curves over one axis.

    Parameters
    ----------
    title, x_label, y_label : str
    series : sequence of Series
    unit : str
        Unit of the values.
    decimals : int
    caption : str
    log_x : bool
        Equal ratios of x are equally far apart; every x is above 0.
    """

    title: str
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    unit: str = "%"
    decimals: int = 1
    caption: str = ""
    log_x: bool = False

    def _check(self) -> None:
        if self.log_x and any(x <= 0 for series in self.series for x in series.x):
            raise SettingError(f"curves {self.title!r}: log_x, and an x that is not above 0")


@dataclass(frozen=True)
class ConfusionMatrix(Record):
    """How often each class was taken for each other.

    Parameters
    ----------
    title : str
    class_names : sequence of str
    counts : sequence of sequences of int, or array (K, K)
        Rows are the true classes, columns the predicted ones.
    caption : str
    """

    title: str
    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    caption: str = ""

    def _check(self) -> None:
        _check_grid(self.title, self.counts, len(self.class_names), len(self.class_names))
        if any(count < 0 for row in self.counts for count in row):
            raise SettingError(f"matrix {self.title!r}: has counts below 0")


@dataclass(frozen=True)
class HeatMap(Record):
    """A matrix of numbers, shown as a coloured table.

    Parameters
    ----------
    title : str
    row_names, column_names : sequence of str
    values : sequence of sequences of float, or array
        NaN or None where there is none.
    row_label, column_label : str
        Headings of the rows and the columns: "Source", "Target".
    unit, decimals, caption
        As in `Table`.
    """

    title: str
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    row_label: str = ""
    column_label: str = ""
    unit: str = "%"
    decimals: int = 1
    caption: str = ""

    def _check(self) -> None:
        _check_grid(self.title, self.values, len(self.row_names), len(self.column_names))


@dataclass(frozen=True)
class Bar(Record):
    """One bar: a class and its accuracy, say.

    Parameters
    ----------
    name : str
    mean, std : float, optional
        As in `Cell`.
    n : int, optional
        How many images it is over.
    """

    name: str
    mean: float | None
    std: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Bars(Record):
    """Numbers by name, shown from the lowest to the highest: accuracy class by class.

    Parameters
    ----------
    title : str
    bars : sequence of Bar
        In any order; the record keeps it.
    n_label : str
        Noun for what `Bar.n` counts: "test images".
    unit, decimals, caption
        As in `Table`. The bars are drawn on a scale from 0 to 100 if the unit is "%".
    """

    title: str
    bars: tuple[Bar, ...]
    n_label: str = ""
    unit: str = "%"
    decimals: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Confusion(Record):
    """Two classes of which one is taken for the other.

    Parameters
    ----------
    true, predicted : str
    count : int
        How many images of `true` were taken for `predicted`.
    of : int, optional
        How many images of `true` there are.
    images : sequence of str
        Some of these images, as paths below the folder of the data. Names that are not UTF-8 as
        `os.fsdecode` returns them.
    examples : sequence of str
        Some images that are of the class `predicted`, to compare them with.
    """

    true: str
    predicted: str
    count: int
    of: int | None = None
    images: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Confusions(Record):
    """The pairs of classes that are confused most, with images.

    Parameters
    ----------
    title : str
    pairs : sequence of Confusion
        Hardest first.
    caption : str
    """

    title: str
    pairs: tuple[Confusion, ...]
    caption: str = ""


@dataclass(frozen=True)
class Neighbour(Record):
    """An image that is near to another one.

    Parameters
    ----------
    name : str
        Its name among the pictures of the report, as in `Confusion.images`.
    class_name : str
    distance : float
    """

    name: str
    class_name: str
    distance: float


@dataclass(frozen=True)
class Neighbours(Record):
    """An image and those that are nearest to it.

    Parameters
    ----------
    name, class_name : str
        As in `Neighbour`.
    nearest : sequence of Neighbour
        The nearest first.
    """

    name: str
    class_name: str
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True)
class NearestImages(Record):
    """Images, each in a row with those that are nearest to it.

    Parameters
    ----------
    title : str
    rows : sequence of Neighbours
    caption : str
    """

    title: str
    rows: tuple[Neighbours, ...]
    caption: str = ""


@dataclass(frozen=True)
class Points(Record):
    """Points of one kind in a scatter plot.

    Parameters
    ----------
    x, y : sequence of float
    colour : int
        Index in `Scatter.colours`.
    marker : int
        Index in `Scatter.markers`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: int
    marker: int

    def _check(self) -> None:
        if len(self.x) != len(self.y):
            raise SettingError(f"points: {len(self.x)} x and {len(self.y)} y; expected as many")


@dataclass(frozen=True)
class Panel(Record):
    """One plot of a scatter section; its axes have no scale.

    Parameters
    ----------
    title : str
    points : sequence of Points
    """

    title: str
    points: tuple[Points, ...]


@dataclass(frozen=True)
class Scatter(Record):
    """Scatter plots beside each other: images in two dimensions, by class and domain.

    Parameters
    ----------
    title : str
    panels : sequence of Panel
    colours, markers : sequence of str
        Meanings of the colours, eight at the most, and the markers, three at the most.
    caption : str
    """

    title: str
    panels: tuple[Panel, ...]
    colours: tuple[str, ...]
    markers: tuple[str, ...]
    caption: str = ""

    def _check(self) -> None:
        most = min(len(self.colours), 8), min(len(self.markers), 3)
        for points in (each for panel in self.panels for each in panel.points):
            if not (0 <= points.colour < most[0] and 0 <= points.marker < most[1]):
                raise SettingError(
                    f"scatter {self.title!r}: points of colour {points.colour} and marker "
                    f"{points.marker}, and there are {most[0]} and {most[1]}"
                )


@dataclass(frozen=True)
class Text(Record):
    """Paragraphs, separated by empty lines. Plain text: nothing in it is markup.

    Parameters
    ----------
    title : str
    text : str
    commands : str
        Lines for a shell, shown below.
    """

    title: str
    text: str
    commands: str = ""


Section: TypeAlias = (
    Table | Lines | ConfusionMatrix | HeatMap | Bars | Confusions | NearestImages | Scatter | Text
)


def _check_grid(title: str, rows: Sequence[Sequence[Any]], height: int, width: int) -> None:
    if len(rows) != height or any(len(row) != width for row in rows):
        widths = sorted({len(row) for row in rows})
        raise SettingError(
            f"matrix {title!r}: {len(rows)} rows of {widths} numbers; expected {height} of {width}"
        )

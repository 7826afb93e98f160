"""Tables that people keep of their images: a path and a label a row, and often much else.

They come from spreadsheets, R, pandas and editors: separated by tabs, semicolons, commas
or bars, with and without quotes and a header, in UTF-8, UTF-16 or Windows-1252. What a table means
is told by its match with the images, and what was made of it by `Table.described`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from decaf.errors import InputError
from decaf.images.listing.folders import open_at_once
from decaf.images.listing.names import nearest_path, shortened
from decaf.images.listing.recognise import is_kind
from decaf.runtime.names import name_text, slashed
from decaf.runtime.wording import counted

__all__ = [
    "Reading",
    "Table",
    "as_utf8",
    "decoded",
    "find_reading",
    "is_no_label",
    "is_utf16_unmarked",
    "named_columns",
    "read_table_file",
    "read_tables",
    "told_no_labels",
    "uneven_row",
]

# The likelier first: of two that fit equally well the first is taken.
SEPARATORS = {b"\t": "tabs", b";": "semicolons", b",": "commas", b"|": "bars"}

# What the column of labels is called, in lower case, where the user does not name it.
LABEL_NAMES = ("label", "class", "species", "category", "target", "class_name", "y")

# With more columns than these the last is not taken for the label unless it is called so.
FEW_COLUMNS = 3

# A row of a table of features is some ten thousand bytes long.
MAX_LINE_BYTES = 1 << 20

# What people, spreadsheets, R and pandas write where there is no label, in lower case.
NO_LABELS = frozenset(
    ("#n/a", "n/a", "na", "<na>", "nan", "null", "-", "?", "#ref!", "#value!", "#name?", "#div/0!")
)

# Names Excel the separator, and is no row.
_SEPARATOR_LINE = re.compile(rb'\A"?sep=[\t;,|]"?[\t;,| ]*[\r\n]', re.IGNORECASE)

_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True)
class Table:
    """A file taken as a table with one separator.

    Attributes
    ----------
    separator : bytes
    encoding : str
        As it is called in messages.
    rows : list of list of bytes
        Cells in UTF-8, or as they were where they are not; a header is the first row. All rows have
        the same length, of two or more.
    """

    separator: bytes
    encoding: str
    rows: list[list[bytes]]

    @property
    def header(self) -> list[str]:
        """The cells of the first row, as they are shown."""
        return [decoded(cell) for cell in self.rows[0]]

    def described(self) -> str:
        """Say how the file was read."""
        columns = ", ".join(shortened(name) for name in self.header[:12])
        more = ", …" if len(self.header) > 12 else ""
        return (
            f"{counted(len(self.rows), 'row')} of {counted(len(self.rows[0]), 'column')} separated "
            f"by {SEPARATORS[self.separator]}, {self.encoding}; the first row is {columns}{more}"
        )

    def column(self, name: str) -> int | None:
        """Find a column by its name in the header, whatever its case; None if there is none.

        Parameters
        ----------
        name : str

        Raises
        ------
        InputError
            Where two have the name.
        """
        names = [each.strip() for each in self.header]
        if names.count(name.strip()) != 1:  # of "Label" and "label" the one that is spelt so
            names = [each.casefold() for each in names]
            name = name.casefold()
        if names.count(name.strip()) > 1:
            raise InputError(f"two columns are called {name!r}; read as {self.described()}")
        return names.index(name.strip()) if name.strip() in names else None


@dataclass(frozen=True)
class Reading:
    """Which columns of a table are the path and the label.

    Attributes
    ----------
    table : Table
    path, label : int
        `label` is -1 where there is none.
    is_guess : bool
        Whether other columns might as well be the label, and none is called so.
    """

    table: Table
    path: int
    label: int
    is_guess: bool = False

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Return path and label of each row; an empty label where there is none."""
        for row in self.table.rows:
            text = row[self.label].strip() if self.label >= 0 else b""
            yield row[self.path].strip(), b"" if is_no_label(text) else text

    def told_guess(self) -> str:
        """Say which column was taken for the label."""
        return (
            f"takes the last column, {shortened(self.table.header[self.label])}, for the label; "
            "FILE:LABEL or FILE:PATH,LABEL names another"
        )

    def no_labels(self) -> Counter[str]:
        """Count the words of the label's column that stand for none."""
        cells = (row[self.label].strip() for row in self.table.rows if self.label >= 0)
        return Counter(decoded(cell) for cell in cells if is_no_label(cell))


def named_columns(path: bytes) -> tuple[bytes, tuple[str, ...] | None]:
    """Split ``FILE:PATH,LABEL`` or ``FILE:PATH`` into the file and the names of its columns.

    Parameters
    ----------
    path : bytes

    Examples
    --------
    >>> named_columns(b"no/such/table.csv:path,species")
    (b'no/such/table.csv', ('path', 'species'))
    >>> named_columns(b"table.csv")
    (b'table.csv', None)
    """
    file, colon, columns = path.rpartition(b":")
    if not colon or os.path.exists(path) or columns.count(b",") > 1 or b"/" in slashed(columns):
        return path, None
    return file, tuple(name_text(columns).split(","))


def read_table_file(path: bytes, name: str) -> bytes:
    """Read a file that may be a table.

    Parameters
    ----------
    path : bytes
    name : str
        How errors name it.

    Raises
    ------
    InputError
        If it is a spreadsheet, or cannot be read.
    """
    if is_kind(path, "spreadsheet"):
        raise InputError(f"{name}: is a spreadsheet; save it as CSV")
    try:
        with open_at_once(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        reason = f"{getattr(error, 'strerror', None) or error}{nearest_path(path)}"
        raise InputError(f"{name} cannot be read: {reason}") from error


def read_tables(content: bytes, name: str) -> list[Table]:
    """Take a file for a table with each separator that fits.

    Parameters
    ----------
    content : bytes
        Content of the file.
    name : str
        How errors name it.

    Returns
    -------
    list of Table
        The likelier first; empty where it has one column.

    Raises
    ------
    InputError
        For a file of zero bytes that is no UTF-16, and a line that is no row.
    """
    text, encoding = as_utf8(content, name)
    text = _SEPARATOR_LINE.sub(b"", text, count=1)
    longest = max(len(line) for line in text.split(b"\n"))
    if longest > MAX_LINE_BYTES:
        raise InputError(
            f"{name}: has a line of {longest} bytes; {MAX_LINE_BYTES} bytes is the limit"
        )
    tables = []
    for separator in SEPARATORS:
        if separator not in text:
            continue
        rows = _csv_rows(text, separator) or _plain_rows(text, separator)
        if rows and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows):
            tables.append(Table(separator, encoding, rows))
        # Names may hold separators that nobody quoted: then the last one counts.
        lines = [line for line in text.split(b"\n") if line.strip()]
        if lines and all(separator in line for line in lines):
            pairs = [[part.strip() for part in line.rsplit(separator, 1)] for line in lines]
            if not rows or pairs != rows:
                tables.append(Table(separator, encoding, pairs))
    return tables


def uneven_row(content: bytes, name: str) -> str | None:
    """Say which row keeps a file from being a table, having more or fewer cells than most.

    Parameters
    ----------
    content : bytes
        Content of the file.
    name : str
        How errors name it.

    Returns
    -------
    str or None
        None where a separator gives all rows as many cells, or none gives most of them several.

    Examples
    --------
    >>> uneven_row(b"a.jpg;may;fox\\nb.jpg;june\\nc.jpg;june;owl\\n", "t.csv")
    'separated by semicolons, most rows have 3 cells, but row 2 has 2'
    """
    text = _SEPARATOR_LINE.sub(b"", as_utf8(content, name)[0], count=1)
    told = None
    for separator, called in SEPARATORS.items():
        rows = _csv_rows(text, separator) or _plain_rows(text, separator)
        widths = [len(row) for row in rows]
        usual, count = Counter(widths).most_common(1)[0] if widths else (1, 0)
        if usual > 1 and count == len(widths):
            return None
        if usual > 1 and count > len(widths) / 2 and told is None:
            row = next(i for i, width in enumerate(widths) if width != usual)
            told = (
                f"separated by {called}, most rows have {counted(usual, 'cell')}, but row "
                f"{row + 1} has "
                f"{widths[row]}"
            )
    return told


def find_reading(
    table: Table,
    columns: tuple[str | None, ...] | None,
    known: Callable[[bytes], bool],
    name: str,
    *,
    label_needed: bool = True,
) -> Reading | None:
    """Find the columns of path and label.

    Parameters
    ----------
    table : Table
    columns : tuple of str or None
        Their names, or numbers from 1 on, where the user gives them: of the path (None for the one
        whose cells name images), and perhaps of the label. One alone is that of the label where
        `label_needed`, else of the path.
    known : callable
        Whether a cell names an image.
    name : str
        How errors name the file.
    label_needed : bool
        Whether it is an error where no column is the label, or more than one may be.

    Returns
    -------
    Reading or None
        None where no column names an image.

    Raises
    ------
    InputError
        If a column that is named is not there, or it is not clear which one is the label.
    """
    width = len(table.rows[0])
    counts = [sum(known(row[i].strip()) for row in table.rows) for i in range(width)]
    path = counts.index(max(counts))
    if columns is not None:
        places = []
        for each in columns:
            place = path if each is None else _column(table, each, name)
            if place is None:
                raise InputError(f"{name}: no column {each!r}; read as {table.described()}")
            places.append(place)
        if len(places) == 1 and label_needed:
            if counts[path] and places[0] == path:
                raise InputError(
                    f"{name}: the column {columns[0]!r} names the images; name the label's column "
                    "too, as FILE:PATH,LABEL"
                )
            return Reading(table, path, places[0])
        return Reading(table, places[0], places[1] if len(places) > 1 else -1)
    if counts[path] == 0:
        return None
    headed = not known(table.rows[0][path].strip())
    named = [_column(table, each, name) for each in LABEL_NAMES] if headed else []
    called = [place for place in named if place is not None and place != path]
    if called:
        label = called[0]
        differing = [place for place in called if not _says_the_same(table, label, place)]
        if differing and not label_needed:
            return Reading(table, path, -1)
        if differing:
            every = " or ".join(shortened(table.header[place]) for place in (label, *differing))
            raise InputError(
                f"{name}: which column is the label, {every}? Name it, as FILE:LABEL; read as "
                f"{table.described()}"
            )
    else:
        others = [i for i in range(width) if i != path]
        if headed and not label_needed:
            own = {_column(table, each, name) for each in ("split", "group")}
            others = [i for i in others if i not in own]
        if not others:
            return Reading(table, path, -1)
        if width > FEW_COLUMNS and not label_needed:
            return Reading(table, path, -1)
        if width > FEW_COLUMNS:
            raise InputError(
                f"{name}: which column is the label? {'Name it' if headed else 'Give its number'}, "
                f"as FILE:LABEL; read as {table.described()}"
            )
        label = others[-1]
        # A column without a name is the one of row numbers that R and pandas write.
        named_others = [i for i in others if not headed or table.rows[0][i].strip()]
        return Reading(table, path, label, len(named_others) > 1)
    return Reading(table, path, label)


def _says_the_same(table: Table, one: int, other: int) -> bool:
    """Tell whether two columns divide the rows alike, as the number and the name of a class do."""
    pairs = {(row[one], row[other]) for row in table.rows[1:]}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _column(table: Table, column: str, name: str) -> int | None:
    """Find a column by its name, or in a table that has none of that name by its number."""
    try:
        place = table.column(column)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    number = int(column) if column.strip().isdecimal() else 0
    return number - 1 if place is None and 0 < number <= len(table.rows[0]) else place


def is_no_label(cell: bytes) -> bool:
    """Tell whether a cell holds a word by which programs say that there is no label.

    Parameters
    ----------
    cell : bytes

    Examples
    --------
    >>> is_no_label(b"#N/A"), is_no_label(b"nan"), is_no_label(b"none"), is_no_label(b"")
    (True, True, False, False)
    """
    return len(cell) < 8 and decoded(cell).strip().lower() in NO_LABELS


def told_no_labels(words: Counter[str]) -> str:
    """Say how many cells hold which words that stand for no label.

    Parameters
    ----------
    words : Counter of str

    Examples
    --------
    >>> told_no_labels(Counter({"NaN": 2, "#N/A": 1}))
    "3 cells say 'NaN' or '#N/A', which is no label"
    """
    return (
        f"{counted(words.total(), 'cell', 'say')} {' or '.join(map(repr, words))}, which is no "
        "label"
    )


def as_utf8(content: bytes, name: str) -> tuple[bytes, str]:
    """Return a text in UTF-8, or as it is where it is not, with what it was.

    Parameters
    ----------
    content : bytes
    name : str
        How errors name the file.

    Raises
    ------
    InputError
        For zero bytes in what is no UTF-16.
    """
    encoding = _UTF16.get(content[:2])
    if encoding is not None:
        try:
            text = content[2:].decode(encoding)
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: is no UTF-16 text: {error.reason}") from error
        return text.replace("\r\n", "\n").encode(), "UTF-16"
    if is_utf16_unmarked(content):
        raise InputError(f"{name} begins as UTF-16 without a byte order mark; save it as UTF-8")
    if b"\0" in content:
        raise InputError(f"{name}: holds zero bytes, so it is no text in UTF-8")
    text_bytes = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    try:
        text_bytes.decode()
    except UnicodeDecodeError:
        return text_bytes, "Windows-1252"
    return text_bytes, "UTF-8"


def is_utf16_unmarked(content: bytes) -> bool:
    """Tell whether a text begins as UTF-16 does that has no mark of its byte order.

    Parameters
    ----------
    content : bytes

    Examples
    --------
    >>> is_utf16_unmarked("path;species".encode("utf-16-le")), is_utf16_unmarked(b"path;species")
    (True, False)
    """
    return len(content) > 8 and not (any(content[:64:2]) and any(content[1:64:2]))


def decoded(cell: bytes) -> str:
    """Return a cell as text: UTF-8, or else Windows-1252, which spreadsheets write.

    Parameters
    ----------
    cell : bytes
    """
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("cp1252", "backslashreplace")


def _csv_rows(content: bytes, separator: bytes) -> list[list[bytes]] | None:
    """Split a text by CSV's rules (RFC 4180); None where its quotes do not fit them."""
    # Latin-1 takes any bytes there and back: names need not be UTF-8.
    text = io.StringIO(content.decode("latin-1"), newline="")
    reader = csv.reader(
        text, delimiter=separator.decode(), strict=True, skipinitialspace=separator != b"\t"
    )
    try:
        rows = [[field.encode("latin-1") for field in row] for row in reader]
    except csv.Error:
        return None
    return [row for row in rows if any(field.strip() for field in row)]


def _plain_rows(content: bytes, separator: bytes) -> list[list[bytes]]:
    """Split a text at every separator; names may hold quotes that are no CSV."""
    return [line.split(separator) for line in content.split(b"\n") if line.strip()]

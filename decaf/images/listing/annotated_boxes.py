"""Boxes of objects in images, as data sets annotate them: `read_boxes`.

========================  ========================================================================
ILSVRC, PASCAL VOC        a folder of ``.xml``, one an image
Tiny-ImageNet             ``WNID_boxes.txt`` of each class, or ``val_annotations.txt``
WSOL metadata             a folder of ``localization.txt`` and ``image_sizes.txt``
a table                   columns of the path and the four sides, perhaps width, height and class
COCO                      ``.json`` with images, annotations and categories
MegaDetector              ``.json`` with images that have detections
========================  ========================================================================

All but the last two number pixels from 0 and count both ends in: a box of one pixel has equal
sides. Here boxes are edges instead: 1 is added to the right and the bottom side, so that areas are
products. The last two have left, top, width and height, MegaDetector as shares of the image.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.images.listing.boxes_json import BoxRow, read_json_boxes
from decaf.images.listing.folders import open_at_once
from decaf.images.listing.names import common_folder, nearest_path
from decaf.images.listing.recognise import is_kind
from decaf.images.listing.tables import as_utf8, decoded, read_tables
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted

__all__ = ["BoxAnnotations", "ImageBoxes", "read_box_rows", "read_boxes"]

_logger = logging.getLogger(__name__)

MAX_XML_BYTES = 1 << 20

# What columns of a table are called, in lower case.
_PATH_NAMES = ("path", "image", "file", "filename", "image_id", "imageid", "name")
_SIDE_NAMES = (
    ("x0", "xmin", "left", "x_min"),
    ("y0", "ymin", "top", "y_min"),
    ("x1", "xmax", "right", "x_max"),
    ("y1", "ymax", "bottom", "y_max"),
)
_LABEL_NAMES = ("label", "class", "wnid", "species", "category")


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """The boxes of one image.

    Attributes
    ----------
    boxes : array of float64, shape (B, 4)
        Left, top, right and bottom edge, in pixels of an image of `size`, or as its shares.
    size : (int, int) or None
        Width and height of the image that they were drawn on, where the annotation tells.
    labels : tuple of str
        Class of each, empty where the annotation does not tell.
    shares : bool
        Whether the edges are shares of the image's sides.
    """

    boxes: npt.NDArray[np.float64]
    size: tuple[int, int] | None
    labels: tuple[str, ...]
    shares: bool = False

    def of_class(self, name: str) -> ImageBoxes:
        """Return the boxes of one class; all of them where it has none, or classes are not told.

        Parameters
        ----------
        name : str
        """
        rows = [row for row, label in enumerate(self.labels) if label == name]
        if not rows:
            return self
        return replace(self, boxes=self.boxes[rows], labels=(name,) * len(rows))

    def relative(self, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return the boxes as shares of width and height.

        Parameters
        ----------
        size : (int, int)
            Width and height of the image as it was read, for annotations that do not tell theirs.
            An image that was resized after it was annotated, each axis by a factor of its own, has
            the same shares.

        Returns
        -------
        array of float64, shape (B, 4)
            Without the boxes of which nothing lies in the image; the others are cut off at its
            edges.
        """
        width, height = (1, 1) if self.shares else self.size or size
        scaled = self.boxes / np.array([width, height, width, height], np.float64)
        inside = np.clip(scaled, 0, 1)
        return inside[(inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])]


class BoxAnnotations:
    """The boxes of many images, found by the images' names.

    Parameters
    ----------
    source : str
        How messages name it.
    boxes : dict of str to ImageBoxes
        By path without the ending, with ``/`` between folders.
    """

    def __init__(self, source: str, boxes: dict[str, ImageBoxes]) -> None:
        self.source = source
        self._boxes = boxes
        # A path of another folder names no image by its file name alone; but the folder that all of
        # them share may be called otherwise where the images are.
        shared = common_folder([os.fsencode(name) for name in boxes]).count(b"/")
        self._below = {name.split("/", shared)[-1]: each for name, each in boxes.items()}

    def __len__(self) -> int:
        """Return the number of annotated images."""
        return len(self._boxes)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the annotated images, without endings."""
        return iter(self._boxes)

    def find(self, path: str) -> ImageBoxes | None:
        """Find the boxes of an image by the end of its path.

        The folder that all annotations share is not looked at where the whole is not found.

        Parameters
        ----------
        path : str

        Returns
        -------
        ImageBoxes or None
            None for an image without annotation.
        """
        parts = _stem(path.replace(os.sep, "/")).split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        found = (boxes[end] for boxes in (self._boxes, self._below) for end in ends if end in boxes)
        return next(found, None)


def read_boxes(source: str | os.PathLike[str]) -> BoxAnnotations:
    """Read the boxes of a data set.

    Parameters
    ----------
    source : path
        A file or folder in one of the forms above; a folder is searched to its depth.

    Returns
    -------
    BoxAnnotations

    Raises
    ------
    InputError
        If there are no boxes, or a file does not have the form that its name promises. What can be
        understood and not used (boxes with nothing inside, or outside their image) is left out with
        a word.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> table = pathlib.Path(tempfile.mkdtemp(), "boxes.csv")
    >>> _ = table.write_text("path,xmin,ymin,xmax,ymax\\nants/a.jpg,10,20,29,59\\n")
    >>> ants = read_boxes(table).find("photographs/ants/a.jpg")
    >>> ants.boxes.tolist() if ants else "no boxes"
    [[10.0, 20.0, 30.0, 60.0]]
    """
    rows, _ = read_box_rows(source)
    return BoxAnnotations(os.fspath(source), _grouped(os.fspath(source), rows))


def read_box_rows(source: str | os.PathLike[str]) -> tuple[list[BoxRow], bool]:
    """Read the boxes of a data set one by one, those with nothing inside too.

    Parameters
    ----------
    source : path
        As `read_boxes` takes it.

    Returns
    -------
    rows : list of BoxRow
        In the order of the file.
    are_classes : bool
        Whether their labels are classes that somebody has given them; a detector's are not.

    Raises
    ------
    InputError
        As `read_boxes`.
    """
    path = Path(source)
    try:
        files = _files(path)
        if is_kind(path, "spreadsheet"):
            raise InputError(f"{path}: is a spreadsheet; save it as CSV")
        if not path.is_dir() and _is_json(content := _bytes_of(path)):
            return read_json_boxes(content, str(path))
        rows = [row for file in files for row in _read(file)]
    except OSError as error:
        name = name_text(error.filename or path)
        near = nearest_path(os.fsencode(name))
        raise InputError(f"{name}: cannot be read: {error.strerror}{near}") from None
    if not rows:
        raise InputError(
            f"{path}: no boxes are there; expected ILSVRC's .xml, Tiny-ImageNet's _boxes.txt or "
            "val_annotations.txt, localization.txt, a table of paths and sides, or the .json of "
            "COCO or MegaDetector"
        )
    return rows, True


def _is_json(content: bytes) -> bool:
    return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _with_ends(
    name: str,
    sides: tuple[float, float, float, float],
    size: tuple[int, int] | None = None,
    label: str | None = None,
) -> BoxRow:
    """Make the row of a box whose sides are counted in at both ends."""
    left, top, right, bottom = sides
    return BoxRow(name, (left, top, right + 1, bottom + 1), size, label)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / "localization.txt").is_file():
        return [path / "localization.txt"]
    listed = sorted(file for file in path.rglob("*") if _is_annotation(file.name))
    texts = [file for file in listed if file.suffix == ".txt"]
    # A data set has one form; XML that lies beside tables is something else's.
    return texts or listed


def _is_annotation(name: str) -> bool:
    return name.endswith((".xml", "_boxes.txt")) or name == "val_annotations.txt"


def _bytes_of(file: Path) -> bytes:
    with open_at_once(os.fsencode(file)) as stream:
        return stream.read()


def _read(file: Path) -> Iterable[BoxRow]:
    if file.suffix == ".xml":
        return _read_xml(file)
    content, _ = as_utf8(_bytes_of(file), str(file))
    if file.name == "localization.txt":
        return _read_wsol(file, content)
    if file.name.endswith("_boxes.txt") or file.name == "val_annotations.txt":
        return _read_tiny(file, content)
    return _read_table(file, content)


def _read_xml(file: Path) -> Iterator[BoxRow]:
    content = _bytes_of(file)
    if len(content) > MAX_XML_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{file}: is no annotation of an image (too long, or with a DOCTYPE)")
    try:
        root = ElementTree.fromstring(content)
        size = root.find("size")
        width, height = (
            (0, 0)
            if size is None
            else (int(size.findtext("width", "0")), int(size.findtext("height", "0")))
        )
        for item in root.iter("object"):
            box = item.find("bndbox")
            if box is None:
                raise ValueError("an object has no bndbox")
            left, top, right, bottom = (
                float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            yield _with_ends(
                file.stem,
                (left, top, right, bottom),
                (width, height) if width > 0 and height > 0 else None,
                item.findtext("name"),
            )
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{file}: no annotation in the form of PASCAL VOC: {error}") from None


def _read_tiny(file: Path, content: bytes) -> Iterator[BoxRow]:
    wnid = None if file.name == "val_annotations.txt" else file.name[: -len("_boxes.txt")]
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        cells = decoded(line).split("\t")
        if len(cells) != (6 if wnid is None else 5):
            raise InputError(
                f"{file}, line {number}: {counted(len(cells), 'column')}, not Tiny-ImageNet's"
            )
        sides = _numbers(cells[-4:], f"{file}, line {number}")
        # Its images have 64 pixels a side.
        yield _with_ends(_stem(cells[0]), sides, (64, 64), cells[1] if wnid is None else wnid)


def _read_wsol(file: Path, content: bytes) -> Iterator[BoxRow]:
    sizes: dict[str, tuple[int, int]] = {}
    other = file.with_name("image_sizes.txt")
    if other.is_file():
        for cells, where in _comma_lines(other, as_utf8(_bytes_of(other), str(other))[0], 3):
            width, height, *_ = _numbers([*cells[1:], "0", "0"], where)
            sizes[cells[0]] = int(width), int(height)
    for cells, where in _comma_lines(file, content, 5):
        yield _with_ends(_stem(cells[0]), _numbers(cells[1:], where), sizes.get(cells[0]))


def _comma_lines(file: Path, content: bytes, columns: int) -> Iterator[tuple[list[str], str]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        cells = decoded(line).rsplit(",", columns - 1)
        if len(cells) != columns:
            raise InputError(f"{file}, line {number}: expected {columns} columns")
        yield cells, f"{file}, line {number}"


def _read_table(file: Path, content: bytes) -> Iterator[BoxRow]:
    for table in read_tables(content, str(file)):
        names = [_first(table.column, each) for each in (_PATH_NAMES, *_SIDE_NAMES)]
        if None in names:
            continue
        path, *sides = (column for column in names if column is not None)
        width, height = table.column("width"), table.column("height")
        label = _first(table.column, _LABEL_NAMES)
        for number, row in enumerate(table.rows[1:], 2):
            where = f"{file}, row {number}"
            numbers = _numbers([decoded(row[each]) for each in sides], where)
            size = None
            if width is not None and height is not None:
                w, h, *_ = _numbers([decoded(row[width]), decoded(row[height]), "0", "0"], where)
                size = int(w), int(h)
            text = None if label is None else decoded(row[label]).strip() or None
            yield _with_ends(decoded(row[path]).strip().replace("\\", "/"), numbers, size, text)
        return
    wanted = ", ".join(names[0] for names in (_PATH_NAMES, *_SIDE_NAMES))
    raise InputError(
        f"{file}: no table of boxes; its first row must name the columns {wanted}, and may have "
        "width, height and label"
    )


def _first(column: Any, names: Iterable[str]) -> int | None:
    return next((index for name in names if (index := column(name)) is not None), None)


def _numbers(cells: Iterable[str], where: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(cell) for cell in cells)
    except ValueError:
        raise InputError(f"{where}: the sides of a box must be four numbers") from None
    if not np.isfinite([left, top, right, bottom]).all():
        raise InputError(f"{where}: a side of a box is not finite")
    return left, top, right, bottom


def _stem(path: str) -> str:
    folder, slash, name = path.replace("\\", "/").rpartition("/")
    return f"{folder}{slash}{os.path.splitext(name)[0]}"


def _grouped(source: str, rows: list[BoxRow]) -> dict[str, ImageBoxes]:
    """Collect the boxes of each image; leave out those with nothing inside."""
    by_name: dict[str, list[BoxRow]] = {}
    empty = []
    for row in rows:
        left, top, right, bottom = row.edges
        width, height = (1, 1) if row.shares else row.size or (np.inf, np.inf)
        if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
            empty.append(row)
        else:
            by_name.setdefault(_stem(row.name), []).append(row)
    if empty:
        _logger.warning(
            "%s: %d of %d boxes are empty or outside their image, and are left out; the first is "
            "of %s",
            source, len(empty), len(rows), empty[0].name,
        )  # fmt: skip
    boxes = {}
    for name, own in by_name.items():
        sizes = {row.size for row in own}
        if len(sizes) > 1:
            told = ", ".join(f"{size[0]} x {size[1]}" if size else "none" for size in sizes)
            raise InputError(f"{source}: the annotations of {name} disagree on its size: {told}")
        edges = np.array([row.edges for row in own], np.float64)
        labels = [row.label for row in own if row.label is not None]
        classes = tuple(labels) if len(labels) == len(own) else ()
        boxes[name] = ImageBoxes(edges, own[0].size, classes, own[0].shares)
    if not boxes:
        raise InputError(f"{source}: none of {len(rows)} boxes has anything inside")
    return boxes

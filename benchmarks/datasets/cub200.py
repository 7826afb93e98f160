"""CUB-200-2011 (Wah et al. 2011) in its official layout: boxes, parts and the official split.

Excerpts of it that come as images cut to their boxes have the same lists without
``bounding_boxes.txt``, and perhaps commas in them: these are read too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset, Origin, Split, class_folders_of, make_dataset, not_here
from decaf.errors import ImageError, InputError
from decaf.images import ImageRef
from decaf.images.decoding.formats import sniff

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CUB200", "IMAGES", "BirdSet", "read_cub200"]

CUB200 = Origin(
    name="CUB-200-2011",
    reference="C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie: The Caltech-UCSD "
    "Birds-200-2011 dataset, technical report CNS-TR-2011-001, California Institute of Technology, "
    "2011",
    home="https://data.caltech.edu/records/65de6-vp158",
    layout="the folder CUB_200_2011 with images.txt, image_class_labels.txt, "
    "train_test_split.txt, bounding_boxes.txt, parts/ and images/",
)
IMAGES = 11_788

Floats = npt.NDArray[np.float64]

_SHOWN = 3
_DEPTH = 4
# Annotations in pixels from 0 or from 1, and rounding: so far beyond its image a box may reach.
_SLACK = 1.0


@dataclass(frozen=True, eq=False)
class BirdSet(Dataset):
    """Labelled images with one annotated object each.

    Attributes
    ----------
    boxes : array of float64, shape (N, 4), or None
        Left, top, right and bottom edge of the object, in pixels, within the image; None where the
        images are cut to it already.
    sizes : array of float64, shape (N, 2), or None
        Width and height of each image by its header, zeros where that cannot be read; with `boxes`.
    parts : array of float64, shape (N, P, 2), or None
        Where its parts are, x and y in pixels; NaN for those that are not visible.
    part_names : tuple of str
    """

    boxes: Floats | None = None
    sizes: Floats | None = None
    parts: Floats | None = None
    part_names: tuple[str, ...] = ()

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]], note: str = "") -> Self:
        """Return some of the images with what is annotated in them; see `Dataset.take`.

        Parameters
        ----------
        rows : sequence of int
        note : str
        """
        kept = np.unique(np.asarray(rows, np.int64))
        boxes, sizes, parts = (
            None if values is None else values[kept]
            for values in (self.boxes, self.sizes, self.parts)
        )
        return replace(super().take(rows, note), boxes=boxes, sizes=sizes, parts=parts)


def read_cub200(
    root: str | bytes | os.PathLike[str],
    *,
    images: str | bytes | os.PathLike[str] | None = None,
    training: int = 1,
    allow_partial: bool = False,
) -> BirdSet:
    """List the images of CUB-200-2011 in their place, with annotations and the official split.

    Parameters
    ----------
    root : path
        The folder with ``images.txt``, or the one above it.
    images : path, optional
        Where the class folders of the images are, up to four folders down; beside the annotations
        when not given.
    training : {0, 1}
        What ``train_test_split.txt`` has for a training image: officially 1; there are excerpts
        in which it is 0.
    allow_partial : bool
        Go on where images that are listed are missing, and note how many.

    Returns
    -------
    BirdSet
        11,788 images of 200 classes with 15 parts where it is complete. Classes are called as their
        folders: ``001.Black_footed_Albatross``.

    Raises
    ------
    InputError
        If there are no such lists, they do not list the same images, a line cannot be understood,
        a label and the folder of an image disagree, images are missing, a box is empty, or more
        than half of it lies outside its image.
    """
    top = _find(os.fsencode(root))
    paths = {number: name for number, (name,) in _table(top, b"images.txt", 2).items()}
    labels = _same_images(top, b"image_class_labels.txt", 2, paths)
    sides = _same_images(top, b"train_test_split.txt", 2, paths)
    boxes: dict[int, list[float]] | None = None
    parts: dict[int, Floats] | None = None
    part_names: tuple[str, ...] = ()
    if os.path.exists(os.path.join(top, b"bounding_boxes.txt")):
        boxes = _boxes(top, paths)
        if os.path.exists(os.path.join(top, b"parts", b"part_locs.txt")):
            parts, part_names = _parts(top, paths)
    _check_classes(top, paths, labels)
    folder = _images_folder(top, None if images is None else os.fsencode(images), paths)
    there = {n: p for n, p in paths.items() if os.path.isfile(os.path.join(folder, p))}
    notes = _missing(folder, paths, there, allow_partial)
    dataset = make_dataset(
        CUB200.name,
        folder,
        [(p, os.path.join(folder, p), os.fsdecode(os.path.dirname(p))) for p in there.values()],
        origin=CUB200,
    )
    number_of = {path: number for number, path in there.items()}
    numbers = [number_of[name] for name in dataset.names]
    birds = BirdSet(**vars(dataset), part_names=part_names)
    if boxes is None:
        note = "no bounding_boxes.txt: the images are taken for cut to their boxes already"
        notes = (*notes, note)
    else:
        sizes = _sizes(dataset.files)
        cut, told = _within(top, dataset.names, np.array([boxes[n] for n in numbers]), sizes)
        birds, notes = replace(birds, boxes=cut, sizes=sizes), (*notes, *told)
        if parts is not None:
            inside, told = _visible(np.stack([parts[n] for n in numbers]), sizes)
            birds, notes = replace(birds, parts=inside), (*notes, *told)
    return replace(birds, official=_official(top, sides, numbers, training), notes=notes)


def _find(root: bytes) -> bytes:
    for place in (root, os.path.join(root, b"CUB_200_2011")):
        if os.path.isfile(os.path.join(place, b"images.txt")):
            return place
    raise not_here(root, CUB200)


def _lines(file: bytes, columns: int) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the cells of each line, and how messages name it; between cells are spaces or commas.

    The last cell is the rest of the line: names may have spaces in them.
    """
    shown = os.fsdecode(file)
    try:
        with open(file, "rb") as opened:
            content = opened.read()
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        cells = re.split(rb"\s*[,\s]\s*", line.strip(), maxsplit=columns - 1)
        where = f"{shown}, line {number}"
        if len(cells) != columns or not cells[0].isdigit():
            raise InputError(
                f"{where}: expected a number and {columns - 1} more, got {os.fsdecode(line[:80])!r}"
            )
        yield where, cells


def _table(top: bytes, name: bytes, columns: int) -> dict[int, list[bytes]]:
    """Read a list of one line an image: its number → the other cells."""
    rows: dict[int, list[bytes]] = {}
    for where, (number, *cells) in _lines(os.path.join(top, name), columns):
        if int(number) in rows:
            raise InputError(f"{where}: image {int(number)} is listed twice")
        rows[int(number)] = cells
    return rows


def _same_images(
    top: bytes, name: bytes, columns: int, paths: Mapping[int, bytes]
) -> dict[int, list[bytes]]:
    rows = _table(top, name, columns)
    _check_images(os.fsdecode(os.path.join(top, name)), rows.keys(), paths)
    return rows


def _check_images(shown: str, numbers: Iterable[int], paths: Mapping[int, bytes]) -> None:
    listed = set(numbers)
    differing = sorted(listed.symmetric_difference(paths))
    if differing:
        raise InputError(
            f"{shown}: lists {len(listed)} images, and images.txt beside it {len(paths)}: both "
            f"must list the same; the first that only one of them has is image {differing[0]}"
        )


def _floats(where: str, cells: Sequence[bytes]) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = [np.nan]
    if not np.isfinite(values).all():
        shown = os.fsdecode(b" ".join(cells))
        raise InputError(f"{where}: expected {len(cells)} finite numbers, got {shown!r}")
    return values


def _boxes(top: bytes, paths: Mapping[int, bytes]) -> dict[int, list[float]]:
    """Read the boxes, x, y, width and height, as edges."""
    shown = os.fsdecode(os.path.join(top, b"bounding_boxes.txt"))
    boxes, empty = {}, []
    for number, cells in _same_images(top, b"bounding_boxes.txt", 5, paths).items():
        x, y, width, height = _floats(f"{shown}, image {number}", cells)
        boxes[number] = [x, y, x + width, y + height]
        if width <= 0 or height <= 0:
            empty.append(number)
    if empty:
        raise InputError(
            f"{shown}: {len(empty)} of {len(boxes)} boxes are empty, the first is that of image "
            f"{empty[0]}, {os.fsdecode(paths[empty[0]])}"
        )
    return boxes


def _parts(top: bytes, paths: Mapping[int, bytes]) -> tuple[dict[int, Floats], tuple[str, ...]]:
    """Read the parts of each image, NaN for those that are not visible, and their names."""
    named = _table(top, os.path.join(b"parts", b"parts.txt"), 2)
    place = {number: column for column, number in enumerate(named)}
    file = os.path.join(top, b"parts", b"part_locs.txt")
    parts: dict[int, Floats] = {}
    seen = set()
    for where, (number, *cells) in _lines(file, 5):
        image = int(number)
        part, x, y, visible = _floats(where, cells)
        if part not in place or visible not in (0, 1):
            raise InputError(
                f"{where}: expected a part of parts.txt and a last number of 0 or 1, got part "
                f"{part:g} and {visible:g}"
            )
        if (image, part) in seen:
            raise InputError(f"{where}: part {part:g} of image {image} is listed twice")
        seen.add((image, part))
        of_image = parts.setdefault(image, np.full((len(place), 2), np.nan))
        if visible:
            of_image[place[int(part)]] = x, y
    shown = os.fsdecode(file)
    _check_images(shown, parts, paths)
    if len(seen) != len(parts) * len(place):
        raise InputError(
            f"{shown}: {len(seen)} lines, expected one for each of {len(parts)} images and "
            f"{len(place)} parts of parts.txt"
        )
    return parts, tuple(os.fsdecode(cells[0]) for cells in named.values())


def _check_classes(
    top: bytes, paths: Mapping[int, bytes], labels: Mapping[int, Sequence[bytes]]
) -> None:
    """Check that the folders of the images and their labels are the same classes."""
    shown = os.fsdecode(os.path.join(top, b"image_class_labels.txt"))
    folder_of: dict[bytes, bytes] = {}
    label_of: dict[bytes, bytes] = {}
    for number, path in paths.items():
        folder, (label,) = os.path.dirname(path), labels[number]
        if not folder:
            raise InputError(
                f"{os.fsdecode(os.path.join(top, b'images.txt'))}: image {number}, "
                f"{os.fsdecode(path)}, is in no class folder; expected CLASS/FILE"
            )
        if folder_of.setdefault(label, folder) != folder or (
            label_of.setdefault(folder, label) != label
        ):
            raise InputError(
                f"{shown}: image {number}, {os.fsdecode(path)}, has the class "
                f"{os.fsdecode(label)}, and its folder is another class by the images before it"
            )


def _images_folder(top: bytes, images: bytes | None, paths: Mapping[int, bytes]) -> bytes:
    """Find the folder that the listed paths are below."""
    classes = {os.path.dirname(path) for path in paths.values()}
    level = [os.path.join(top, b"images") if images is None else images]
    for _ in range(_DEPTH + 1):
        for place in level:
            if any(os.path.isdir(os.path.join(place, each)) for each in classes):
                return place
        level = [
            os.path.join(place, each)
            for place in level
            if os.path.isdir(place)
            for each in class_folders_of(place)
        ]
    where = os.fsdecode(os.path.join(top, b"images") if images is None else images)
    raise InputError(
        f"{where}: none of the {len(classes)} class folders of images.txt is here, such as "
        f"{os.fsdecode(min(classes))!r}; get the images from {CUB200.home}, or name their folder"
    )


def _missing(
    folder: bytes, paths: Mapping[int, bytes], there: Mapping[int, bytes], allow_partial: bool
) -> tuple[str, ...]:
    missing = sorted(paths[number] for number in paths.keys() - there.keys())
    if not missing:
        return ()
    some = ", ".join(os.fsdecode(path) for path in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    if allow_partial:
        count = f"{len(there):,} of {len(paths):,} images are there"
        return (f"an excerpt of {CUB200.name}: {count}; missing are {some}{more}",)
    raise InputError(
        f"{os.fsdecode(folder)}: {len(missing):,} of the {len(paths):,} images of images.txt are "
        f"missing: {some}{more}. Get them from {CUB200.home}, or go on with what is there by "
        "--allow-partial"
    )


def _sizes(files: Sequence[bytes]) -> Floats:
    """Read width and height of images from their headers, as they are shown; 0 for bad images."""
    sizes = np.zeros((len(files), 2))
    for row, file in enumerate(files):
        try:
            header = sniff(ImageRef(file).load())
        except ImageError:
            continue  # its features tell what is wrong with it
        turned = header.orientation > 4
        sizes[row] = (header.width, header.height)[:: -1 if turned else 1]
    return sizes


def _within(
    top: bytes, names: Sequence[bytes], boxes: Floats, sizes: Floats
) -> tuple[Floats, tuple[str, ...]]:
    """Cut boxes off at the edges of their images; refuse those of which most lies outside."""
    known = np.asarray(sizes.all(1), bool)
    inside = np.where(known[:, None], np.clip(boxes, 0, np.tile(sizes, 2)), boxes)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (inside, boxes)]
    outside = np.flatnonzero(areas[0] < areas[1] / 2)
    if len(outside):
        row = outside[0]
        sides, (width, height) = ", ".join(f"{side:g}" for side in boxes[row]), sizes[row]
        raise InputError(
            f"{os.fsdecode(os.path.join(top, b'bounding_boxes.txt'))}: {len(outside)} of "
            f"{len(boxes)} boxes lie outside their images by more than half, the first is that of "
            f"{os.fsdecode(names[row])}: edges {sides} in {width:g} x {height:g} pixels; are the "
            "annotations of images of another size?"
        )
    beyond = int((np.abs(inside - boxes).max(1) > _SLACK).sum())
    if not beyond:
        return inside, ()
    return inside, (f"{beyond} of {len(boxes)} boxes reach beyond their images: cut off there",)


def _visible(parts: Floats, sizes: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Take parts outside their images for not visible."""
    low, high = -_SLACK, sizes[:, None] + _SLACK
    known = np.asarray(sizes.all(1), bool)
    outside = ((parts < low) | (parts > high)).any(2) & known[:, None]
    if not outside.any():
        return parts, ()
    told = f"{int(outside.sum())} visible parts lie outside their images: taken for not visible"
    return np.where(outside[:, :, None], np.nan, parts), (told,)


def _official(
    top: bytes, sides: Mapping[int, Sequence[bytes]], numbers: Sequence[int], training: int
) -> tuple[Split]:
    shown = os.fsdecode(os.path.join(top, b"train_test_split.txt"))
    wrong = [number for number, (side,) in sides.items() if side not in (b"0", b"1")]
    if wrong:
        raise InputError(f"{shown}: image {wrong[0]} has neither 0 nor 1")
    is_train = np.array([sides[number][0] == b"%d" % training for number in numbers])
    if is_train.all() or not is_train.any():
        raise InputError(f"{shown}: of the images that are there, all are on one side of the split")
    return (Split("official split", np.flatnonzero(is_train), np.flatnonzero(~is_train)),)

"""Submissions to ILSVRC's classification with localisation (task 2): guesses in a file.

A submission is a text file: a line for each image, in the order of their names, and on it five
whole numbers for each guess: the class (ILSVRC2012_ID, as the development kit numbers them), and
the left, top, right and bottom pixel of the box, counted from 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.evaluate.class_names import MatchSettings
from decaf.evaluate.localisation_rule import GUESSES, Guesses, guess_errors, own_boxes, percent
from decaf.evaluate.test_set import read_test_set
from decaf.images import ImageList, ListingSettings
from decaf.images.listing.annotated_boxes import BoxAnnotations, read_boxes
from decaf.runtime.wording import counted
from decaf.storage import disk_errors, write_atomically

__all__ = [
    "class_numbers",
    "in_order_of_names",
    "read_submission",
    "score_submission",
    "write_submission",
]


def score_submission(
    submission: str | os.PathLike[str],
    data: Any,
    boxes: str | os.PathLike[str] | BoxAnnotations,
    *,
    split: str | None = None,
    devkit: str | os.PathLike[str] | None = None,
    labels: Any = "folder",
    layout: str = "auto",
) -> dict[str, float]:
    """Measure guesses that are in a file in the form of the challenge.

    Parameters
    ----------
    submission : path
        A line for each image of `data`, in the order of their names.
    data : as for `decaf.evaluate_network`
    boxes : path or BoxAnnotations
        The true boxes, as for `decaf.localise`, with the sizes of the images.
    split : {"train", "val", "test"}, optional
        By default "val" where there are splits.
    devkit : path, optional
        The development kit of ILSVRC2012, which numbers the classes. Without it they are numbered
        from 1 in the order of the classes of `data`.
    labels, layout
        As in `decaf.extract`.

    Returns
    -------
    dict
        ``images``, those that have a box; and in percent of them ``class_error`` and ``error``, of
        all guesses, and ``error_of_first``.

    Raises
    ------
    InputError
        If the file is not in that form, has other images or classes, or no image has a box.
    """
    listing = ListingSettings(labels=labels, layout=layout)
    images, classes = read_test_set(data, split, listing, MatchSettings())
    images = images.take(in_order_of_names(images))
    annotations = boxes if isinstance(boxes, BoxAnnotations) else read_boxes(boxes)
    sizes = _sizes(images, annotations)
    numbers = class_numbers(classes.ids or tuple(map(str, range(classes.count))), devkit)
    answers = read_submission(submission, sizes, int(numbers.max()))
    own = [
        own_boxes(annotations.find(path), classes.ids[label] if classes.ids else "", tuple(size))
        for path, label, size in zip(images.paths, images.labels.tolist(), sizes.tolist(),
                                     strict=True)
    ]  # fmt: skip
    rows = np.flatnonzero([len(each) > 0 for each in own])
    if not len(rows):
        raise InputError(f"{annotations.source}: none of {counted(len(images), 'image')} has a box")
    true, labels = [own[row] for row in rows], numbers[images.labels[rows]]
    class_missed, missed = guess_errors(
        Guesses(answers.classes[rows], answers.boxes[rows]), labels, true
    )
    first = Guesses(answers.classes[rows, :1], answers.boxes[rows, :1])
    return {
        "images": len(rows),
        "class_error": percent(class_missed),
        "error": percent(missed),
        "error_of_first": percent(guess_errors(first, labels, true)[1]),
    }


def in_order_of_names(images: ImageList) -> npt.NDArray[np.int64]:
    """Return the rows of images in the order of a submission."""
    return np.array(sorted(range(len(images)), key=lambda row: images.names[row]), np.int64)


def _sizes(images: ImageList, annotations: BoxAnnotations) -> npt.NDArray[np.int64]:
    """Return width and height that the annotations tell; 1 for images without boxes."""
    sizes = np.ones((len(images), 2), np.int64)
    for row, path in enumerate(images.paths):
        boxes = annotations.find(path)
        if boxes is not None:
            if boxes.size is None:
                raise InputError(
                    f"{annotations.source}: does not tell the size of {path}, which the pixels of "
                    "a submission are of; give width and height"
                )
            sizes[row] = boxes.size
    return sizes


def class_numbers(classes: Sequence[str], devkit: Any) -> npt.NDArray[np.int64]:
    """Return the number of each class in submissions."""
    if devkit is None:
        return np.arange(1, len(classes) + 1)
    from decaf.train.pack.ilsvrc import read_devkit

    number_of = {wnid: number for number, wnid in read_devkit(os.fspath(devkit)).wnids.items()}
    unknown = [name for name in classes if name not in number_of]
    if unknown:
        raise InputError(f"{os.fspath(devkit)}: has no number for the class {unknown[0]!r}")
    return np.array([number_of[name] for name in classes], np.int64)


def write_submission(
    path: str | os.PathLike[str], guesses: Guesses, sizes: npt.NDArray[np.int64]
) -> None:
    """Write guesses in the form of the challenge: a line an image, five numbers a guess.

    Parameters
    ----------
    path : path
        A text that is there is replaced; the file is complete or not written.
    guesses : Guesses
        Boxes relative to the images' sides; classes as the file numbers them.
    sizes : array of int, shape (N, 2)
        Width and height of the images.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    lines = []
    for classes, boxes, (width, height) in zip(
        guesses.classes, guesses.boxes, sizes.tolist(), strict=True
    ):
        cells = []
        for code, box in zip(classes.tolist(), boxes, strict=True):
            if code >= 0:
                left, top, right, bottom = box * [width, height, width, height]
                # Pixels from 0, both ends counted in, of which there is at least one.
                left, top = min(round(left), width - 1), min(round(top), height - 1)
                right, bottom = max(round(right) - 1, left), max(round(bottom) - 1, top)
                cells += [code, left, top, right, bottom]
        lines.append(" ".join(map(str, cells)) + "\n")
    with disk_errors(Path(path), "nothing was written"):
        write_atomically(Path(path), "".join(lines).encode())


def read_submission(
    path: str | os.PathLike[str], sizes: npt.NDArray[np.int64], classes: int
) -> Guesses:
    """Read guesses in the form of the challenge.

    Parameters
    ----------
    path : path
    sizes : array of int, shape (N, 2)
        Width and height of the images that the lines are about, in order.
    classes : int
        How many there are, numbered from 1.

    Returns
    -------
    Guesses
        Boxes relative to the images' sides; classes as the file numbers them.

    Raises
    ------
    InputError
        If the lines are not as many as the images, one holds none or more than five guesses, or
        something else than whole numbers of classes and sides.
    """
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not plain text"
        raise InputError(f"{os.fspath(path)}: cannot be read: {reason}") from None
    if len(lines) != len(sizes):
        raise InputError(
            f"{os.fspath(path)}: has {counted(len(lines), 'line')}, one for each of "
            f"{counted(len(sizes), 'image')} is "
            "expected"
        )
    codes = np.full((len(lines), GUESSES), -1, np.int64)
    boxes = np.zeros((len(lines), GUESSES, 4))
    for row, line in enumerate(lines):
        where = f"{os.fspath(path)}, line {row + 1}"
        numbers = _whole_numbers(line, where)
        count, rest = divmod(len(numbers), 5)
        if rest or not 1 <= count <= GUESSES:
            raise InputError(
                f"{where}: has {counted(len(numbers), 'number')}; 1 to {GUESSES} guesses of a "
                "class and four "
                "sides are expected"
            )
        table = np.array(numbers).reshape(count, 5)
        if table[:, 0].min() < 1 or table[:, 0].max() > classes:
            raise InputError(f"{where}: names a class that is not one of 1 to {classes}")
        codes[row, :count] = table[:, 0]
        edges = table[:, 1:] + [0, 0, 1, 1]
        boxes[row, :count] = edges / np.tile(sizes[row], 2)
    return Guesses(codes, boxes)


def _whole_numbers(line: str, where: str) -> list[int]:
    try:
        return [int(cell) for cell in line.split()]
    except ValueError:
        raise InputError(f"{where}: holds something else than whole numbers") from None

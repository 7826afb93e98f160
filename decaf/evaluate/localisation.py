"""Boxes measured as ILSVRC's classification with localisation measures them (task 2).

An answer is up to five guesses, each a class and a box. It is right if one of them names the class
of the image and its box overlaps a box of that class by half or more (Russakovsky et al. 2015,
section 4.2).

A submission to the challenge is a text file: a line for each image, in the order of their names,
and on it five whole numbers for each guess: the class (ILSVRC2012_ID, as the development kit
numbers them), and the left, top, right and bottom pixel of the box, counted from 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.evaluate.class_names import MatchSettings
from decaf.evaluate.test_set import read_test_set
from decaf.images import ListingSettings
from decaf.images.boxes import OVERLAP, best_overlaps, box_overlaps
from decaf.images.listing.boxes import BoxAnnotations, ImageBoxes, read_boxes
from decaf.runtime.settings import ComputeSettings, one_of, refuse
from decaf.storage import disk_errors, write_atomically

if TYPE_CHECKING:
    from decaf.evaluate.class_names import Alignment
    from decaf.images import ImageList

__all__ = [
    "GUESSES",
    "Guesses",
    "Localisation",
    "LocalisationSettings",
    "guess_errors",
    "measure_boxes",
    "read_submission",
    "score_submission",
    "write_submission",
]

GUESSES = 5
Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocalisationSettings:
    """What is needed to measure boxes besides classes; all None where they are not measured.

    Parameters
    ----------
    boxes : path or BoxAnnotations, optional
        The true boxes, as for `decaf.images.listing.boxes.read_boxes`.
    localiser : path or Localiser, optional
        What predicts boxes, as `decaf.localise` makes it, for one of the networks.
    box_crops : {"center", "ten"}
        With "ten" the boxes of ten crops are merged.
    submission : path, optional
        File to which the guesses are written in the form of the challenge.
    devkit : path, optional
        The development kit of ILSVRC2012, which numbers the classes of a submission. Without it
        they are numbered from 1 in the order of the networks' classes.

    Raises
    ------
    SettingError
        If only one of `boxes` and `localiser` is given.
    """

    boxes: Any = None
    localiser: Any = None
    box_crops: str = "center"
    submission: Any = None
    devkit: Any = None

    def __post_init__(self) -> None:
        wrong = one_of("box_crops", self.box_crops, ("center", "ten"))
        if (self.boxes is None) != (self.localiser is None):
            wrong.append("`boxes` and `localiser` belong together: give both, or none")
        if self.submission is not None and self.localiser is None:
            wrong.append("`submission` needs `boxes` and `localiser`")
        if self.devkit is not None and self.submission is None:
            wrong.append("`devkit` numbers the classes of a `submission`: give both, or none")
        refuse(wrong)


@dataclass(frozen=True)
class Localisation:
    """How well the objects in images were found.

    Attributes
    ----------
    images : int
        How many were counted: those that could be read and have a box of their class.
    without_boxes : int
        Images that could be read and have none.
    class_error : float
        Percentage of images whose class is none of the five guesses.
    error : float
        Percentage of images of which no guess has the class and half of a box.
    error_of_first : float
        The same for the first guess alone.
    error_given_class : float
        Percentage of images of which the box that is predicted for the true class does not overlap
        a true one by half.
    median_overlap : float
        Of that box and the nearest true one.
    blind_errors : dict of str to float
        `error_given_class` of answers that do not look at the image: the whole image, the mean box
        of the images that the localiser learnt from, and the best box around the centre.
    settings : dict
        ``boxes``, ``localiser`` and ``box_crops``.
    """

    images: int
    without_boxes: int
    class_error: float
    error: float
    error_of_first: float
    error_given_class: float
    median_overlap: float
    blind_errors: dict[str, float]
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Guesses:
    """Up to five guesses for each of N images, the surest first.

    Attributes
    ----------
    classes : array of int64, shape (N, 5)
        -1 where there are fewer.
    boxes : array of float64, shape (N, 5, 4)
        Edges, in the units of the true boxes.
    """

    classes: npt.NDArray[np.int64]
    boxes: Boxes


def guess_errors(
    guesses: Guesses, labels: npt.NDArray[np.int64], true: Sequence[Boxes]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say of each image whether its class, and its class with a box, were missed by all guesses.

    Parameters
    ----------
    guesses : Guesses
    labels : array of int64, shape (N,)
    true : sequence of N arrays, shape (B, 4)
        The boxes of the class of each image.

    Returns
    -------
    class_missed, box_missed : array of bool, shape (N,)
    """
    named = guesses.classes == np.asarray(labels)[:, None]
    hit = np.zeros_like(named)
    for row, own in enumerate(true):
        hit[row] = box_overlaps(guesses.boxes[row], own).max(1, initial=0.0) >= OVERLAP
    return ~named.any(1), ~(named & hit).any(1)


def measure_boxes(
    settings: LocalisationSettings,
    images: ImageList,
    guesses: npt.NDArray[np.int64],
    alignment: Alignment,
    networks: Sequence[Any],
    compute: ComputeSettings,
) -> Localisation:
    """Predict the boxes of guesses, and measure them.

    Parameters
    ----------
    settings : LocalisationSettings
    images : ImageList
    guesses : array of int64, shape (N, 5)
        Classes of `alignment`, the likeliest first; -1 where there are fewer, or the image is bad.
    alignment : Alignment
    networks : sequence of str, path, Weights or Backbone
        The one that the localiser belongs to is among them.
    compute : ComputeSettings

    Raises
    ------
    HeadError
        If the localiser belongs to none of the networks.
    InputError
        If no image has a box, or a submission is asked for and an image could not be read.
    """
    from decaf.train.localiser import Localiser, load_localiser

    localiser = settings.localiser
    if not isinstance(localiser, Localiser):
        localiser = load_localiser(localiser)
    annotations = settings.boxes
    if not isinstance(annotations, BoxAnnotations):
        annotations = read_boxes(annotations)
    counted = guesses[:, 0] >= 0
    if settings.submission is not None and not counted.all():
        unread = images.paths[int(np.flatnonzero(~counted)[0])]
        raise InputError(
            f"`submission` has a guess for each image, and {int((~counted).sum())} cannot be read "
            f"(the first is {unread!r}): mend or remove them, or leave it out"
        )
    located = localiser.predict(
        images,
        weights=localiser.network_among(networks),
        crops=settings.box_crops,
        compute=compute,
    )
    labels = alignment.labels[images.labels]
    own = [
        _own_boxes(annotations.find(path), alignment.classes[label], tuple(size))
        for path, label, size in zip(
            images.paths, labels.tolist(), located.sizes.tolist(), strict=True
        )
    ]
    unit_of = {name: unit for unit, name in enumerate(located.class_names)}
    units = np.array([unit_of.get(name, -1) for name in alignment.classes], np.int64)
    boxes = _boxes_of(located.relative, units, guesses)
    if settings.submission is not None:
        numbers = _class_numbers(alignment.classes, settings.devkit)
        in_order = _by_name(images)
        listed = Guesses(np.where(guesses >= 0, numbers[guesses], -1)[in_order], boxes[in_order])
        write_submission(settings.submission, listed, located.sizes[in_order])
    # Only images that both passes could read are counted.
    readable = counted & located.ok
    there = np.array([len(each) > 0 for each in own]) & readable
    if not there.any():
        raise InputError(f"{annotations.source}: none of {len(images)} images has a box")
    rows = np.flatnonzero(there)
    true = [own[row] for row in rows]
    class_missed, missed = guess_errors(Guesses(guesses[rows], boxes[rows]), labels[rows], true)
    first = Guesses(guesses[rows, :1], boxes[rows, :1])
    given = _boxes_of(located.relative, units, labels[:, None])[rows, 0]
    overlaps = best_overlaps(given, true)
    blind = localiser.report["blind_boxes"]
    return Localisation(
        images=len(rows),
        without_boxes=int((readable & ~there).sum()),
        class_error=_percent(class_missed),
        error=_percent(missed),
        error_of_first=_percent(guess_errors(first, labels[rows], true)[1]),
        error_given_class=_percent(overlaps < OVERLAP),
        median_overlap=float(np.median(overlaps)),
        blind_errors={
            name: _percent(
                best_overlaps(np.broadcast_to(np.array(box), (len(rows), 4)), true) < OVERLAP
            )
            for name, box in blind.items()
        },
        settings={
            "boxes": annotations.source,
            "localiser": localiser.identity.to_dict(),
            "box_crops": settings.box_crops,
        },
    )


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
    images = images.take(_by_name(images))
    annotations = boxes if isinstance(boxes, BoxAnnotations) else read_boxes(boxes)
    sizes = _sizes(images, annotations)
    numbers = _class_numbers(classes.ids or tuple(map(str, range(classes.count))), devkit)
    answers = read_submission(submission, sizes, int(numbers.max()))
    own = [
        _own_boxes(annotations.find(path), classes.ids[label] if classes.ids else "", tuple(size))
        for path, label, size in zip(images.paths, images.labels.tolist(), sizes.tolist(),
                                     strict=True)
    ]  # fmt: skip
    rows = np.flatnonzero([len(each) > 0 for each in own])
    if not len(rows):
        raise InputError(f"{annotations.source}: none of {len(images)} images has a box")
    true, labels = [own[row] for row in rows], numbers[images.labels[rows]]
    class_missed, missed = guess_errors(
        Guesses(answers.classes[rows], answers.boxes[rows]), labels, true
    )
    first = Guesses(answers.classes[rows, :1], answers.boxes[rows, :1])
    return {
        "images": len(rows),
        "class_error": _percent(class_missed),
        "error": _percent(missed),
        "error_of_first": _percent(guess_errors(first, labels, true)[1]),
    }


def _by_name(images: ImageList) -> npt.NDArray[np.int64]:
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


def _class_numbers(classes: Sequence[str], devkit: Any) -> npt.NDArray[np.int64]:
    """Return the number of each class in submissions."""
    if devkit is None:
        return np.arange(1, len(classes) + 1)
    from decaf.train.pack.ilsvrc import read_devkit

    number_of = {wnid: number for number, wnid in read_devkit(os.fspath(devkit)).wnids.items()}
    unknown = [name for name in classes if name not in number_of]
    if unknown:
        raise InputError(f"{os.fspath(devkit)}: has no number for the class {unknown[0]!r}")
    return np.array([number_of[name] for name in classes], np.int64)


def _own_boxes(
    boxes: ImageBoxes | None, class_id: str, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the boxes of the class of an image; all of them where they do not tell classes."""
    if boxes is None or min(size) < 1:
        return np.zeros((0, 4))
    return boxes.of_class(class_id).relative(size)


def _boxes_of(
    relative: npt.NDArray[np.float64],
    units: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the box of each of some classes (N, G): of a class without one the mean of all."""
    count, every = relative.shape[:2]
    if every == 1:
        return np.repeat(np.nan_to_num(relative), codes.shape[1], axis=1)
    mean = relative.mean(axis=1)
    unit = np.where(codes >= 0, units[codes], -1)
    picked = relative[np.arange(count)[:, None], np.maximum(unit, 0)]
    boxes: npt.NDArray[np.float64] = np.where(unit[..., None] >= 0, picked, mean[:, None])
    return np.nan_to_num(boxes)


def _percent(missed: npt.NDArray[np.bool_]) -> float:
    return 100 * float(np.mean(missed))


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
            f"{os.fspath(path)}: has {len(lines)} lines, one for each of {len(sizes)} images is "
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
                f"{where}: has {len(numbers)} numbers; 1 to {GUESSES} guesses of a class and four "
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

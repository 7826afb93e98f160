"""Boxes measured as ILSVRC's classification with localisation measures them (task 2).

The rule is that of `decaf.evaluate.localisation_rule`; beside its errors stand those of answers
that do not look at the image, and some boxes to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.evaluate.localisation_rule import Guesses, guess_errors, own_boxes, percent
from decaf.evaluate.submission import class_numbers, in_order_of_names, write_submission
from decaf.images.box_overlap import OVERLAP, best_overlaps
from decaf.images.listing.annotated_boxes import BoxAnnotations, read_boxes
from decaf.runtime.settings import ComputeSettings, one_of, refuse
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.evaluate.class_names import Alignment
    from decaf.images import ImageList

__all__ = ["BoxExample", "Localisation", "LocalisationSettings", "measure_boxes"]

# Boxes of each kind, right and wrong, that are kept to be looked at.
_EXAMPLES = 24


@dataclass(frozen=True, eq=False)
class LocalisationSettings:
    """What is needed to measure boxes besides classes; all None where they are not measured.

    Parameters
    ----------
    boxes : path or BoxAnnotations, optional
        The true boxes, as `decaf.localise` takes them.
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
class BoxExample:
    """The box that is predicted for the true class of an image, to be looked at.

    Attributes
    ----------
    path : str
    class_name : str
        Class of the image.
    box : tuple of float
        Left, top, right and bottom edge, relative to the sides of the image.
    true : tuple of tuple of float
        Boxes of the class, likewise.
    overlap : float
        Of the box with the nearest true one, 0 to 1.
    """

    path: str
    class_name: str
    box: tuple[float, ...]
    true: tuple[tuple[float, ...], ...]
    overlap: float

    @property
    def right(self) -> bool:
        """Whether it overlaps by half or more."""
        return self.overlap >= OVERLAP


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
    examples : tuple of BoxExample
        Up to 24 boxes that are right and as many that are wrong, drawn evenly from all images.
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
    examples: tuple[BoxExample, ...] = ()


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
    answered = guesses[:, 0] >= 0
    if settings.submission is not None and not answered.all():
        unread = images.paths[int(np.flatnonzero(~answered)[0])]
        raise InputError(
            f"`submission` has a guess for each image, and {int((~answered).sum())} cannot be read "
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
        own_boxes(annotations.find(path), alignment.classes[label], tuple(size))
        for path, label, size in zip(
            images.paths, labels.tolist(), located.sizes.tolist(), strict=True
        )
    ]
    unit_of = {name: unit for unit, name in enumerate(located.class_names)}
    units = np.array([unit_of.get(name, -1) for name in alignment.classes], np.int64)
    boxes = _boxes_of(located.relative, units, guesses)
    if settings.submission is not None:
        numbers = class_numbers(alignment.classes, settings.devkit)
        in_order = in_order_of_names(images)
        listed = Guesses(np.where(guesses >= 0, numbers[guesses], -1)[in_order], boxes[in_order])
        write_submission(settings.submission, listed, located.sizes[in_order])
    # Only images that both passes could read are counted.
    readable = answered & located.ok
    there = np.array([len(each) > 0 for each in own]) & readable
    if not there.any():
        raise InputError(f"{annotations.source}: none of {counted(len(images), 'image')} has a box")
    rows = np.flatnonzero(there)
    true = [own[row] for row in rows]
    class_missed, missed = guess_errors(Guesses(guesses[rows], boxes[rows]), labels[rows], true)
    first = Guesses(guesses[rows, :1], boxes[rows, :1])
    given = _boxes_of(located.relative, units, labels[:, None])[rows, 0]
    overlaps = best_overlaps(given, true)
    blind = localiser.report["blind_boxes"]
    examples = tuple(
        BoxExample(
            path=images.paths[rows[place]],
            class_name=alignment.names[labels[rows[place]]],
            box=tuple(given[place].tolist()),
            true=tuple(map(tuple, true[place].tolist())),
            overlap=float(overlaps[place]),
        )
        for place in _examples(overlaps)
    )
    return Localisation(
        images=len(rows),
        without_boxes=int((readable & ~there).sum()),
        class_error=percent(class_missed),
        error=percent(missed),
        error_of_first=percent(guess_errors(first, labels[rows], true)[1]),
        error_given_class=percent(overlaps < OVERLAP),
        median_overlap=float(np.median(overlaps)),
        blind_errors={
            name: percent(
                best_overlaps(np.broadcast_to(np.array(box), (len(rows), 4)), true) < OVERLAP
            )
            for name, box in blind.items()
        },
        settings={
            "boxes": annotations.source,
            "localiser": localiser.identity.to_dict(),
            "box_crops": settings.box_crops,
        },
        examples=examples,
    )


def _examples(overlaps: npt.NDArray[np.float64]) -> list[int]:
    """Return places drawn evenly from the right boxes and from the wrong ones, in order."""
    places: list[int] = []
    for of_kind in (overlaps >= OVERLAP, overlaps < OVERLAP):
        rows = np.flatnonzero(of_kind)
        picked = np.linspace(0, len(rows) - 1, min(len(rows), _EXAMPLES)).round().astype(int)
        places += rows[picked].tolist()
    return sorted(places)


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

"""What `decaf.fit` tells of a classifier: what was chosen, and how good it is on unseen images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.held_out import independent_images, wilson_interval
from decaf.heads.metrics import mean_per_class_accuracy
from decaf.images.listing.folders import path_text
from decaf.images.status import BadImage

__all__ = [
    "Candidate",
    "Choice",
    "Conflict",
    "Estimate",
    "FitReport",
    "GroupReport",
    "Mistake",
    "estimate_of",
]

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """A layer, the C that is best for it, and how good that is in cross-validation.

    Attributes
    ----------
    layer : str
    C : float
    accuracy, std : float
        Share of the rows held out that were classified rightly, 0 to 1, and its standard deviation
        over the folds.
    at_border : bool
        C is the smallest or largest of several tried, with accuracy still rising towards it.
    converged : bool
        The fits at this C did.
    """

    layer: str
    C: float
    accuracy: float
    std: float
    at_border: bool
    converged: bool


@dataclass(frozen=True)
class Choice:
    """What was chosen among layers and values of C, on some of the images.

    Attributes
    ----------
    images : int
        How many it was chosen and fitted on.
    layer : str
    C : float
    candidates : tuple of Candidate
        One a layer.
    chosen_on : int
        How many other images it was chosen on, where the images came with some for validation; 0
        for cross-validation.
    """

    images: int
    layer: str
    C: float
    candidates: tuple[Candidate, ...]
    chosen_on: int = 0


@dataclass(frozen=True)
class Mistake:
    """An image of the test that was given a wrong class.

    Attributes
    ----------
    path : str
    truth, answer : str
        Its class, and the one that it was given.
    probability : float
        Of the answer.
    """

    path: str
    truth: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Conflict:
    """The same image in several classes.

    Attributes
    ----------
    paths : tuple of str
    classes : tuple of str
        Of each path.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Estimate:
    """How good the classifier is on images that it was neither chosen nor fitted on.

    Attributes
    ----------
    method : {"held-out", "cross-validation", "split"}
        One share of the images is kept for the test; or all images are tested in turn, each by a
        classifier that was chosen and fitted without its fold; or the images came divided.
    folds : int
        1 where a share was held out.
    images, right : int
        Tested images, and how many of them were given their class.
    accuracy : float
        0 to 1.
    interval : tuple of float
        95 % interval of the accuracy (Wilson); that of the cross-validation is approximate. Where
        images are in groups it is that of as many independent images as say as much.
    mean_per_class_accuracy : float
        0 to 1: the mean over the classes that were tested.
    baseline : float
        The accuracy of always naming the class that has most images.
    baseline_class : str
    confusion : array of int64, shape (classes, classes)
        How many images of a class (row) were given which class (column).
    untested : tuple of str
        Classes with no image in the test.
    mistakes : tuple of Mistake
        The most confident first.
    choices : tuple of Choice
        What was chosen for the test: one, or one a fold.
    """

    method: str
    folds: int
    images: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    mean_per_class_accuracy: float
    baseline: float
    baseline_class: str
    confusion: Codes
    untested: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True, eq=False)
class GroupReport:
    """What groups did to the test.

    Attributes
    ----------
    source : str
        Where they are from: as it was asked for, or the feature file.
    count : int
        How many there are; an image without one is one of its own.
    single : tuple of str
        Classes of one group, which are not tested.
    ungrouped : Estimate or None
        What a test would have claimed whose split takes no notice of groups.
    shared : int
        How many are in train and in val or test too, where the images came divided.
    """

    source: str
    count: int
    single: tuple[str, ...]
    ungrouped: Estimate | None
    shared: int


@dataclass(frozen=True, eq=False)
class FitReport:
    """All that is to be told of a fit.

    Attributes
    ----------
    source : str
        What was given.
    images : int
        Fitted to.
    class_names : tuple of str
    class_counts : tuple of int
        Images of each class fitted to.
    choice : Choice
        Layer and C of the classifier, chosen on all images.
    estimate : Estimate or None
        None where no test was asked for.
    bad : tuple of BadImage
        Those that could not be read, in order.
    unlabelled, copies : int
        Images without a class, and exact copies of others in their class: left out.
    left_out : dict of str to int
        Classes that are too small, and their numbers of images.
    conflicts : tuple of Conflict
        Fitted to, not tested on.
    notes : tuple of str
        What else should be known: fits that did not converge, a C at the border of its grid.
    settings : dict
        As `decaf.fit` was asked.
    features : dict
        ``weights``, ``preprocess``, ``crops`` and ``precision``; and ``weights_file``, where the
        weights are, None where they are known by name or not known to be in a file.
    seconds : dict of str to float
        By stage.
    versions : dict of str to str
    split : dict of str to int, or None
        How many images of "train", "val" and "test" were used, where the images came divided: the
        classifier is fitted to those of train.
    outside, seen : int
        Left out: images that are in no split where there are splits, and copies of training images
        among those to test on.
    groups : GroupReport or None
        Where the images are in groups.
    """

    source: str
    images: int
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    choice: Choice
    estimate: Estimate | None
    bad: tuple[BadImage, ...]
    unlabelled: int
    copies: int
    left_out: dict[str, int]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]
    settings: dict[str, Any]
    features: dict[str, Any]
    seconds: dict[str, float]
    versions: dict[str, str]
    split: dict[str, int] | None = None
    outside: int = 0
    seen: int = 0
    groups: GroupReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        estimate, groups = None, None
        if self.estimate is not None:
            estimate = {
                **asdict(self.estimate),
                "interval": list(self.estimate.interval),
                "confusion": self.estimate.confusion.tolist(),
                "mistakes": [
                    {**asdict(each), "path": path_text(each.path)}
                    for each in self.estimate.mistakes
                ],
            }
        if self.groups is not None:
            claimed = self.groups.ungrouped
            told = ("method", "folds", "images", "right", "accuracy", "interval")
            groups = {
                "source": self.groups.source,
                "count": self.groups.count,
                "single": list(self.groups.single),
                "shared": self.groups.shared,
                "ungrouped": claimed and {name: getattr(claimed, name) for name in told},
            }
        return {
            "format": "decaf-fit",
            "source": self.source,
            "images": self.images,
            "classes": dict(zip(self.class_names, self.class_counts, strict=True)),
            "choice": asdict(self.choice),
            "estimate": estimate,
            "bad": [{**asdict(each), "name": path_text(each.name)} for each in self.bad],
            "unlabelled": self.unlabelled,
            "copies": self.copies,
            "left_out": self.left_out,
            "split": self.split,
            "outside": self.outside,
            "seen": self.seen,
            "groups": groups,
            "conflicts": [
                {"paths": [path_text(path) for path in each.paths], "classes": list(each.classes)}
                for each in self.conflicts
            ],
            "notes": list(self.notes),
            "settings": self.settings,
            "features": self.features,
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
            "versions": self.versions,
        }

    def summary(self) -> dict[str, Any]:
        """Return what is kept in the classifier's file: no word of single images."""
        full = self.to_dict()
        if full["estimate"] is not None:
            del full["estimate"]["mistakes"]
        full["bad"] = len(full["bad"])
        full["conflicts"] = len(full["conflicts"])
        return full


def estimate_of(
    truth: Codes,
    answers: Codes,
    confidence: npt.NDArray[np.floating],
    *,
    class_names: tuple[str, ...],
    largest: int,
    paths: list[str],
    folds: int,
    choices: tuple[Choice, ...],
    divided: bool = False,
    groups: Sequence[str] | None = None,
) -> Estimate:
    """Sum up the answers to the tested images.

    Parameters
    ----------
    truth, answers : array of int64, shape (n,)
        Places in `class_names`.
    confidence : array of float, shape (n,)
        Probability of each answer.
    class_names : tuple of str
    largest : int
        The class with most images to fit to.
    paths : list of str
        Of the tested images.
    folds : int
        1 where a share was held out.
    choices : tuple of Choice
    divided : bool
        Whether the images came divided.
    groups : sequence of str, optional
        The group of each tested image.

    Returns
    -------
    Estimate
    """
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    tested = confusion.sum(axis=1)
    right = int(confusion.trace())
    independent = (
        float(len(truth)) if groups is None else independent_images(truth == answers, groups)
    )
    wrong = np.flatnonzero(truth != answers)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return Estimate(
        method="split" if divided else "held-out" if folds == 1 else "cross-validation",
        folds=folds,
        images=len(truth),
        right=right,
        accuracy=right / len(truth),
        interval=wilson_interval(right / len(truth) * independent, independent),
        mean_per_class_accuracy=mean_per_class_accuracy(confusion.diagonal(), tested),
        baseline=float((truth == largest).mean()),
        baseline_class=class_names[largest],
        confusion=confusion,
        untested=tuple(class_names[code] for code in np.flatnonzero(tested == 0).tolist()),
        mistakes=tuple(
            Mistake(
                paths[place],
                class_names[truth[place]],
                class_names[answers[place]],
                float(confidence[place]),
            )
            for place in wrong.tolist()
        ),
        choices=choices,
    )

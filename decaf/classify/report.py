"""The report of `decaf.fit`: what was chosen, and how good it is on unseen images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.backbone.weights import is_random
from decaf.classify.estimate import Estimate, estimate_of
from decaf.classify.given_features import GivenFeatures
from decaf.classify.held_out import Codes, Plan, Task, Usable
from decaf.classify.layer_choice import Choice, Trial, best_trial, choice_of
from decaf.classify.locate_weights import margins_of
from decaf.classify.near_copies import near_copies_note
from decaf.features.image_finder import ImageFinder
from decaf.features.store.feature_file import FeatureFile
from decaf.images import ImageRef
from decaf.images.listing.class_folders import SPLITS
from decaf.images.listing.draws import groups_of_classes
from decaf.images.listing.names import path_text
from decaf.images.status import BadImage
from decaf.version import __version__

__all__ = ["Conflict", "FitReport", "GroupReport", "TestedImages", "report_of", "tested_images"]

Trials = Mapping[Task, Sequence[Trial]]

# A page shows no more mistakes.
MOST_SHOWN = 240

NO_TEST = "not tested: too few images to fit to some and test on others; add some to each class"
NO_TEST_OF_GROUPS = (
    "not tested: too few groups to fit to some and test on others; add groups to each class"
)


@dataclass(frozen=True)
class Conflict:
    """The same image in several classes.

    Attributes
    ----------
    paths : tuple of str
    classes : tuple of str
        Classes of each path.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class GroupReport:
    """The groups and their part in the test.

    Attributes
    ----------
    source : str
        Where they are from: as it was asked for, or the feature file.
    count : int
        How many there are; an image without one is one of its own.
    single : tuple of str
        Classes of one group, which are not tested.
    ungrouped : Estimate or None
        Estimate of a test whose split takes no notice of groups.
    shared : int
        How many are in several of train, val and test, where the images came divided.
    """

    source: str
    count: int
    single: tuple[str, ...]
    ungrouped: Estimate | None
    shared: int


@dataclass(frozen=True, eq=False)
class TestedImages:
    """The images of the test, and what was said of each.

    Attributes
    ----------
    paths : tuple of str
    truth : array of int64, shape (n,)
        The class of each, a place in the report's ``class_names``.
    probabilities : array of float64, shape (n, classes)
        By a head that was neither chosen nor fitted on the image.
    refs : dict of int to ImageRef
        Where the images are that were given a wrong class, by their places here, the most confident
        mistakes first; as many as a page shows.
    content_sha256 : array of uint8, shape (n, 32)
    """

    paths: tuple[str, ...]
    truth: Codes
    probabilities: npt.NDArray[np.float64]
    refs: dict[int, ImageRef]
    content_sha256: npt.NDArray[np.uint8]

    @property
    def answers(self) -> Codes:
        """The most probable class of each."""
        most: Codes = self.probabilities.argmax(axis=1)
        return most

    @property
    def mistakes(self) -> Codes:
        """Places of the images that were given a wrong class, the most confident first."""
        wrong = np.flatnonzero(self.answers != self.truth)
        confidence = self.probabilities[wrong].max(axis=1)
        return wrong[np.argsort(-confidence, kind="stable")]


@dataclass(frozen=True, eq=False)
class FitReport:
    """All that is to be told of a fit.

    Attributes
    ----------
    source : str
        Name of the source.
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
        Other facts: fits that did not converge, a C at the border of its grid.
    settings : dict
        As `decaf.fit` was asked.
    features : dict
        ``weights``, ``preprocess``, ``crops`` and ``precision``; and ``weights_file``, where the
        weights are, None where they are known by name or not known to be in a file. Of features
        that were given ``weights`` has the name of their file, and no SHA-256.
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


def report_of(
    source: str,
    features: FeatureFile | GivenFeatures,
    usable: Usable,
    plan: Plan,
    trials: Trials,
    *,
    groups: str,
    settings: dict[str, Any],
    weights_file: str | None,
    seconds: dict[str, float],
) -> FitReport:
    """Sum up the fits of a classifier.

    Parameters
    ----------
    source : str
        Name of the source, for people.
    features : FeatureFile or GivenFeatures
    usable : Usable
    plan : Plan
    trials : mapping of Task to sequence of Trial
        Results of `decaf.classify.layer_choice.try_layers` for the tasks of the plan.
    groups : str
        Where the groups are from, for people.
    settings : dict
        As `decaf.fit` was asked.
    weights_file : str or None
        Where the weights are.
    seconds : dict of str to float

    Returns
    -------
    FitReport
    """
    names, labels, known = features.paths, features.labels, features.class_names
    splits = None
    if usable.images.splits is not None:
        counts = Counter(usable.images.splits)
        splits = {name: counts[name] for name in SPLITS if counts[name]}
    return FitReport(
        source=source,
        images=len(usable.fitted),
        class_names=usable.images.class_names,
        class_counts=tuple(usable.counts.tolist()),
        choice=choice_of(plan.final, trials),
        estimate=_estimate(names, usable, plan.tests, trials, usable.images.groups),
        bad=tuple(
            BadImage(
                names[row], features.status_names[features.status[row]], features.messages[row]
            )
            for row in np.flatnonzero(~features.ok).tolist()
        ),
        unlabelled=usable.unlabelled,
        copies=usable.copies,
        left_out=usable.left_out,
        split=splits,
        outside=usable.outside,
        seen=usable.seen,
        groups=_groups(groups, names, usable, plan, trials),
        conflicts=tuple(
            Conflict(
                tuple(names[row] for row in rows),
                tuple(known[labels[row]] if known else str(labels[row]) for row in rows),
            )
            for rows in usable.conflicts
        ),
        notes=(
            *_untested(usable, plan, settings["held_out"]),
            *_near_copies(features, usable, [best_trial(trials[task]) for task in plan.tests]),
            *_notes([plan.final, *plan.tests], trials),
        ),
        settings=settings,
        features={
            **{
                name: features.run[name] for name in ("weights", "preprocess", "crops", "precision")
            },
            "weights_file": weights_file,
            "margins": margins_of(features.crops if isinstance(features, FeatureFile) else None),
        },
        seconds=seconds,
        versions={"decaf": __version__, **features.run["versions"]},
    )


def tested_images(
    features: FeatureFile | GivenFeatures, usable: Usable, plan: Plan, trials: Trials
) -> TestedImages | None:
    """Return what was said of each image of the test; None where nothing was tested.

    Parameters
    ----------
    features, usable, plan, trials
        As `report_of` takes them.
    """
    if not plan.tests:
        return None
    tested = np.concatenate([task.test for task in plan.tests])
    rows = usable.rows[tested]
    images = usable.images.take(tested)
    digests = images.content_sha256
    made = TestedImages(
        paths=tuple(features.paths[row] for row in rows.tolist()),
        truth=images.labels,
        probabilities=np.concatenate([best_trial(trials[task]).scores for task in plan.tests]),
        refs={},
        content_sha256=np.zeros((len(rows), 32), np.uint8) if digests is None else digests,
    )
    find = _finder(features)
    found = {at: find(int(rows[at])) for at in made.mistakes[:MOST_SHOWN].tolist()}
    return replace(made, refs={at: ref for at, ref in found.items() if ref is not None})


def _finder(features: FeatureFile | GivenFeatures) -> Callable[[int], ImageRef | None]:
    if isinstance(features, GivenFeatures):
        refs = features.listed.refs
        return lambda row: None if refs is None else refs[row]
    finder, names = ImageFinder(features), features.path_bytes
    return lambda row: finder.find(row, names[row])


def _estimate(
    names: np.ndarray,
    usable: Usable,
    tasks: Sequence[Task],
    trials: Trials,
    groups: Sequence[str] | None,
) -> Estimate | None:
    if not tasks:
        return None
    tested = np.concatenate([task.test for task in tasks])
    scores = np.concatenate([best_trial(trials[task]).scores for task in tasks])
    return estimate_of(
        usable.images.labels[tested],
        scores.argmax(axis=1),
        scores.max(axis=1),
        class_names=usable.images.class_names,
        largest=int(usable.counts.argmax()),
        paths=[names[row] for row in usable.rows[tested].tolist()],
        folds=len(tasks),
        choices=tuple(choice_of(task, trials) for task in tasks),
        divided=usable.images.splits is not None,
        groups=None if groups is None else [groups[at] for at in tested.tolist()],
    )


def _groups(
    source: str, names: np.ndarray, usable: Usable, plan: Plan, trials: Trials
) -> GroupReport | None:
    images = usable.images
    if images.groups is None:
        return None
    units = groups_of_classes(images.labels, images.groups)
    sides: dict[str, set[str]] = {}
    for group, split in zip(images.groups, images.splits or (), strict=images.splits is not None):
        sides.setdefault(group, set()).update([split] if split else [])
    return GroupReport(
        source=source,
        count=len(set(images.groups) - {""}),
        single=tuple(
            name
            for name, count in zip(images.class_names, units.tolist(), strict=True)
            if count == 1
        ),
        ungrouped=_estimate(names, usable, plan.ungrouped, trials, None),
        shared=sum(len(each) > 1 for group, each in sides.items() if group),
    )


def _untested(usable: Usable, plan: Plan, held_out: float) -> tuple[str, ...]:
    if plan.tests or not held_out:
        return ()
    return (NO_TEST if usable.images.groups is None else NO_TEST_OF_GROUPS,)


def _near_copies(
    features: FeatureFile | GivenFeatures, usable: Usable, tests: Sequence[Trial]
) -> tuple[str, ...]:
    # The features of untrained networks are all alike.
    untrained = is_random(str(features.run["weights"]["name"]))
    if usable.images.groups is not None or untrained:
        return ()
    near, compared = sum(trial.near for trial in tests), sum(trial.compared for trial in tests)
    note = near_copies_note(near, compared)
    return (note,) if note else ()


def _notes(tasks: Sequence[Task], trials: Trials) -> tuple[str, ...]:
    """Return the warnings of what was chosen; those of candidates that were not do not matter."""
    notes = []
    for task in dict.fromkeys(tasks):
        best = best_trial(trials[task])
        notes += [f"{task.name}, {best.candidate.layer}: {note}" for note in best.notes]
    return tuple(notes)

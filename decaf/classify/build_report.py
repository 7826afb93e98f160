"""From the fits of a classifier to the report on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from decaf.classify.held_out import Usable
from decaf.classify.layer_choice import Task, Trial, best_trial, choice_of
from decaf.classify.plan import Plan
from decaf.classify.report import (
    Conflict,
    Estimate,
    FitReport,
    GroupReport,
    estimate_of,
)
from decaf.features.store.file import FeatureFile
from decaf.images.listing.split_folders import SPLITS
from decaf.images.listing.splits import groups_of_classes
from decaf.images.status import BadImage
from decaf.version import __version__

__all__ = ["report_of"]

NO_TEST = "not tested: too few images to fit to some and test on others; add some to each class"
NO_TEST_OF_GROUPS = (
    "not tested: too few groups to fit to some and test on others; add groups to each class"
)
# Near copies in the test are told of from this share of it on.
LEAST_NEAR = 0.05


def report_of(
    source: str,
    features: FeatureFile,
    usable: Usable,
    plan: Plan,
    tried: dict[int, list[Trial]],
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
        What was given, for people.
    features : FeatureFile
    usable : Usable
    plan : Plan
    tried : dict of int to list of Trial
        Of each task of the plan, by its `id`.
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
    if usable.splits is not None:
        counts = Counter(usable.splits)
        splits = {name: counts[name] for name in SPLITS if counts[name]}
    return FitReport(
        source=source,
        images=len(usable.fitted),
        class_names=usable.class_names,
        class_counts=tuple(usable.counts.tolist()),
        choice=choice_of(plan.final, tried[id(plan.final)]),
        estimate=_estimate(names, usable, plan.tests, tried, usable.groups),
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
        groups=_groups(groups, names, usable, plan, tried),
        conflicts=tuple(
            Conflict(
                tuple(names[row] for row in rows),
                tuple(known[labels[row]] if known else str(labels[row]) for row in rows),
            )
            for rows in usable.conflicts
        ),
        notes=(
            *_untested(usable, plan, settings["held_out"]),
            *_near_copies(features, usable, plan, tried),
            *_notes([plan.final, *plan.tests], tried),
        ),
        settings=settings,
        features={
            **{
                name: features.run[name] for name in ("weights", "preprocess", "crops", "precision")
            },
            "weights_file": weights_file,
        },
        seconds=seconds,
        versions={"decaf": __version__, **features.run["versions"]},
    )


def _estimate(
    names: np.ndarray,
    usable: Usable,
    tasks: Sequence[Task],
    tried: dict[int, list[Trial]],
    groups: Sequence[str] | None,
) -> Estimate | None:
    if not tasks:
        return None
    tested = np.concatenate([task.test for task in tasks])
    found = [tried[id(task)] for task in tasks]
    scores = np.concatenate([best_trial(trials).scores for trials in found])
    return estimate_of(
        usable.codes[tested],
        scores.argmax(axis=1),
        scores.max(axis=1),
        class_names=usable.class_names,
        largest=int(usable.counts.argmax()),
        paths=[names[row] for row in usable.rows[tested].tolist()],
        folds=len(tasks),
        choices=tuple(choice_of(task, each) for task, each in zip(tasks, found, strict=True)),
        divided=usable.splits is not None,
        groups=None if groups is None else [groups[at] for at in tested.tolist()],
    )


def _groups(
    source: str, names: np.ndarray, usable: Usable, plan: Plan, tried: dict[int, list[Trial]]
) -> GroupReport | None:
    if usable.groups is None:
        return None
    units = groups_of_classes(usable.codes, usable.groups)
    sides: dict[str, set[bool]] = {}
    for group, split in zip(usable.groups, usable.splits or (), strict=usable.splits is not None):
        sides.setdefault(group, set()).add(split == "train")
    return GroupReport(
        source=source,
        count=len(set(usable.groups) - {""}),
        single=tuple(
            name
            for name, count in zip(usable.class_names, units.tolist(), strict=True)
            if count == 1
        ),
        ungrouped=_estimate(names, usable, plan.ungrouped, tried, None),
        shared=sum(len(each) > 1 for group, each in sides.items() if group),
    )


def _untested(usable: Usable, plan: Plan, held_out: float) -> tuple[str, ...]:
    if plan.tests or not held_out:
        return ()
    return (NO_TEST if usable.groups is None else NO_TEST_OF_GROUPS,)


def _near_copies(
    features: FeatureFile, usable: Usable, plan: Plan, tried: dict[int, list[Trial]]
) -> tuple[str, ...]:
    """Tell of tested images that are nearly the same as training images, where nobody said so."""
    # The features of untrained networks are all alike.
    untrained = str(features.run["weights"]["name"]).startswith("random:")
    if usable.groups is not None or untrained:
        return ()
    best = [best_trial(tried[id(task)]) for task in plan.tests]
    near, compared = sum(trial.near for trial in best), sum(trial.compared for trial in best)
    if near < max(2, LEAST_NEAR * compared):
        return ()
    told = (
        f"{near} of {compared} tested images are nearly the same as an image that was learnt from: "
        "if they are of one burst, animal or site, the accuracy is flattered; say which images "
        "belong together (groups: FILE:COLUMN, path:REGEX, folder, time:60s)"
    )
    return (told,)


def _notes(tasks: Sequence[Task], tried: dict[int, list[Trial]]) -> tuple[str, ...]:
    """Return the warnings of what was chosen; those of candidates that were not do not matter."""
    notes = []
    for task in {id(task): task for task in tasks}.values():
        best = best_trial(tried[id(task)])
        notes += [f"{task.name}, {best.candidate.layer}: {note}" for note in best.notes]
    return tuple(notes)

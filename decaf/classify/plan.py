"""What is fitted to which images, and tested on which: drawn, in turn, or as the images came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decaf.classify.held_out import Usable, deal_folds, draw_held_out
from decaf.classify.layer_choice import Task
from decaf.errors import InputError
from decaf.images.listing.splits import groups_of_classes

__all__ = ["Plan", "plan_of"]

# Below either number one share of the images says too little (or of the groups, where there are
# some: the images of one say much the same), and all are tested in turn, where there are no more
# images than the third: of many that takes long, and a share is enough.
LEAST_TESTED = 20
LEAST_OF_A_CLASS = 5
MOST_TESTED_IN_TURN = 2000
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Plan:
    """The fits of one classifier.

    Attributes
    ----------
    final : Task
        The one whose head is kept.
    tests : tuple of Task
        Whose answers are the estimate; `final` itself where the images came divided, none where
        nothing is tested.
    ungrouped : tuple of Task
        The same with no notice taken of groups, where there are any.
    """

    final: Task
    tests: tuple[Task, ...]
    ungrouped: tuple[Task, ...] = ()

    @property
    def tasks(self) -> list[Task]:
        """All of them, each once, the final one first."""
        tests = () if self.tests == (self.final,) else self.tests
        return [self.final, *tests, *self.ungrouped]


def plan_of(usable: Usable, held_out: float, seed: int) -> Plan:
    """Plan the fits.

    Parameters
    ----------
    usable : Usable
    held_out : float
        The share to test on, 0 for no test.
    seed : int

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If no class has several groups.
    """
    if groups_of_classes(usable.codes, usable.groups).max() < 2:
        raise InputError(
            "every class is of one group alone, so nothing can be chosen or tested on others; "
            "give groups that are finer, or none"
        )
    if usable.splits is not None:
        return _as_divided(usable, held_out)
    everything = np.arange(len(usable.rows))
    final = _task(usable, "choosing on all images", everything, everything[:0])
    if held_out == 0:
        return Plan(final, ())
    tests = _tests(usable, held_out, seed, grouped=True)
    if usable.groups is None or not tests:
        return Plan(final, tests)
    return Plan(final, tests, _tests(usable, held_out, seed, grouped=False))


def _task(
    usable: Usable, name: str, train: np.ndarray, test: np.ndarray, *, grouped: bool = True
) -> Task:
    groups = usable.groups if grouped else None
    own = None if groups is None else [groups[at] for at in train.tolist()]
    return Task(name, train, test, groups=own)


def _as_divided(usable: Usable, held_out: float) -> Plan:
    """Fit to train, and test on test; val is to choose on, or to test on where there is no test."""
    train, val, test = (usable.places(split) for split in ("train", "val", "test"))
    if not len(test):
        val, test = test, val
    task = _task(usable, "choosing on val" if len(val) else "choosing on train", train, test)
    if len(val):
        task = Task(task.name, train, test, val=val)
    if held_out == 0:
        return Plan(Task(task.name, train, test[:0], task.val, task.groups), ())
    return Plan(task, (task,))


def _tests(usable: Usable, share: float, seed: int, *, grouped: bool) -> tuple[Task, ...]:
    everything = np.arange(len(usable.rows))
    groups = usable.groups if grouped else None
    units = groups_of_classes(usable.codes, groups)
    what = "for the test" if grouped else "for a test without groups"
    held = draw_held_out(usable, share, seed, grouped=grouped)
    tested = len({(groups and groups[at]) or at for at in everything[held].tolist()})
    few = tested < LEAST_TESTED or int(units.min()) < LEAST_OF_A_CLASS
    if not (few and len(everything) <= MOST_TESTED_IN_TURN):
        # Of classes with two images each none is held out.
        if not held.any():
            return ()
        return (_task(usable, what, everything[~held], everything[held], grouped=grouped),)
    folds = min(FOLDS, int(units.max()))
    fold = deal_folds(usable, folds, seed, grouped=grouped) if folds > 1 else np.full(len(held), -1)
    tasks = []
    for number in range(folds):
        test_rows = everything[fold == number]
        if len(test_rows):
            name = f"{what}, fold {number + 1} of {folds}"
            rest = everything[fold != number]
            tasks.append(_task(usable, name, rest, test_rows, grouped=grouped))
    # Without one of its folds, too, some class must have two images: C is chosen on them.
    for task in tasks:
        if groups_of_classes(usable.codes[task.train], task.groups).max() < 2:
            return ()
    return tuple(tasks)

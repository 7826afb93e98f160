"""Which images a classifier is fitted to and which it is tested on: drawn, in turn, or divided.

An image is known by the SHA-256 of its content: what `decaf.images.listing.draws` draws by it is
the same whatever the image is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.images import ImageList
from decaf.images.listing import draws
from decaf.images.listing.class_folders import SPLITS
from decaf.images.listing.draws import groups_of_classes
from decaf.images.listing.names import some_of
from decaf.runtime.wording import counted

__all__ = [
    "MIN_IMAGES",
    "Plan",
    "Task",
    "Usable",
    "deal_folds",
    "draw_held_out",
    "plan_of",
    "usable_images",
]

# Classes with fewer are left out where nothing else is said: one image is fitted to or tested on.
MIN_IMAGES = 2

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Below either number one share of the images says too little (or of the groups, where there are
# some: the images of one say much the same), and all are tested in turn, where there are no more
# images than the third: of many that takes long, and a share is enough.
LEAST_TESTED = 20
LEAST_OF_A_CLASS = 5
MOST_TESTED_IN_TURN = 2000
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Usable:
    """The images that a classifier can learn from, and why others were left out.

    Attributes
    ----------
    images : ImageList
        With the classes that have images here, in splits where they came divided.
    rows : array of int64, shape (n,)
        Their places among all images, ascending. Of exact copies in one class only the first.
    testable : array of bool, shape (n,)
        False for images that are in several classes at once: what the right answer would be is not
        known.
    keys : list of bytes
        Text that each image is known by.
    unreadable, unlabelled : int
        How many images were left out as they could not be read, or have no class.
    copies : int
        How many were left out as exact copies of another image of their class.
    conflicts : tuple of tuple of int
        Places among all images of those with the same content in several classes.
    left_out : dict of str to int
        Classes that were left out as too small, and the number of their images (for training, where
        the images are divided).
    outside : int
        How many were left out as they are in no split, where there are splits.
    seen : int
        How many for validation or the test were left out as exact copies of training images.
    """

    images: ImageList
    rows: Codes
    testable: Mask
    keys: list[bytes]
    unreadable: int
    unlabelled: int
    copies: int
    conflicts: tuple[tuple[int, ...], ...]
    left_out: dict[str, int]
    outside: int = 0
    seen: int = 0

    def places(self, split: str) -> Codes:
        """Return the places among `rows` of the images of a split.

        Parameters
        ----------
        split : {"train", "val", "test"}
        """
        return np.flatnonzero([name == split for name in self.images.splits or ()])

    @property
    def fitted(self) -> Codes:
        """The places among `rows` of the images to fit to in the end: all, or those of train."""
        return np.arange(len(self.rows)) if self.images.splits is None else self.places("train")

    @property
    def counts(self) -> Codes:
        """How many images each class has to fit to: (classes,) int64."""
        return np.bincount(self.images.labels[self.fitted], minlength=len(self.images.class_names))


def usable_images(
    images: ImageList, ok: Mask | None = None, *, min_images: int = MIN_IMAGES, source: str = ""
) -> Usable:
    """Find the images that a classifier can learn from.

    Parameters
    ----------
    images : ImageList
        Images of unknown content are told apart by their names. Of copies that are in several
        splits, that in train counts.
    ok : array of bool, shape (N,), optional
        Which images could be read; all of them by default.
    min_images : int
        Leave out classes with fewer different images (for training, where they are divided).
    source : str
        Begins the messages.

    Returns
    -------
    Usable

    Raises
    ------
    InputError
        If there are not two classes with images enough, or there are classes to test that there is
        nothing to learn from.
    """
    if isinstance(min_images, bool) or min_images < MIN_IMAGES:
        raise SettingError(f"`min_images` {min_images!r}: must be a whole number from 2 on")
    prefix = f"{source}: " if source else ""
    labels, splits = images.labels, images.splits
    ok = np.ones(len(images), bool) if ok is None else ok
    labelled = labels >= 0
    if not labelled.any():
        raise InputError(
            f"{prefix}no image has a class; put the images of each class into a folder of its own, "
            "or give a file of `labels`"
        )
    readable = np.flatnonzero(ok & labelled)
    if not len(readable):
        raise InputError(f"{prefix}none of the {int(labelled.sum())} labelled images can be read")
    order, outside = list(SPLITS), 0
    if splits is not None:
        # A copy of a training image is no image to test on.
        placed = np.array([splits[row] in order for row in readable.tolist()], bool)
        outside, readable = int((~placed).sum()), readable[placed]
        rank = [order.index(splits[row]) for row in readable.tolist()]
        readable = readable[np.argsort(rank, kind="stable")]
    key_of, conflicts = _different_images(readable, images)
    rows = np.array(sorted(key_of), dtype=np.int64)
    own = None if splits is None else np.array([splits[row] for row in rows.tolist()], object)
    training = np.ones(len(rows), bool) if own is None else own == "train"
    # Also classes of which no image could be read are counted: with none.
    present = np.unique(labels[labelled])
    counts = np.array([int((labels[rows[training]] == code).sum()) for code in present.tolist()])
    names = images.class_names
    shown = [names[code] if names else str(code) for code in present.tolist()]
    if own is not None:
        _refuse_untaught(prefix, own, labels[rows], dict(zip(present.tolist(), shown, strict=True)))
    kept = counts >= min_images
    left_out = {shown[i]: int(counts[i]) for i in np.flatnonzero(~kept).tolist()}
    copies = len(readable) - len(rows)
    if kept.sum() < 2:
        _refuse_few(
            prefix, [shown[i] for i in np.flatnonzero(kept).tolist()], left_out, min_images, copies
        )
    rows = rows[np.isin(labels[rows], present[kept])]
    seen = 0
    if splits is not None:
        taken = {(key_of[row], labels[row]): splits[row] for row in rows.tolist()}
        every = _keys(readable, images)
        seen = sum(
            splits[row] != "train" and taken.get((key, labels[row])) == "train"
            for row, key in zip(readable.tolist(), every, strict=True)
        )
        if {"val", "test"} & set(splits) and all(splits[row] == "train" for row in rows.tolist()):
            raise InputError(f"{prefix}{_nothing_to_test(images, ok, seen)}")
    doubtful = {row for group in conflicts for row in group}
    return Usable(
        images=images.take(rows).with_labels(
            np.searchsorted(present[kept], labels[rows]),
            [shown[i] for i in np.flatnonzero(kept).tolist()],
        ),
        rows=rows,
        testable=np.array([row not in doubtful for row in rows.tolist()], dtype=bool),
        keys=[key_of[row] for row in rows.tolist()],
        unreadable=int((~ok).sum()),
        unlabelled=int((ok & ~labelled).sum()),
        copies=copies - seen,
        conflicts=conflicts,
        left_out=left_out,
        outside=outside,
        seen=seen,
    )


def draw_held_out(usable: Usable, share: float, seed: int, *, grouped: bool = True) -> Mask:
    """Choose the images that are kept for the test; see `decaf.images.listing.draws.draw_share`.

    A class keeps at least two for the fit.

    Parameters
    ----------
    usable : Usable
    share : float
        0 to 1, both excluded.
    seed : int
    grouped : bool
        Whether to keep the groups together.

    Returns
    -------
    array of bool, shape (n,)
        True for images of the test.
    """
    return draws.draw_share(
        usable.images.labels,
        usable.keys,
        share,
        salt=b"%d:" % seed,
        keep=2,
        groups=usable.images.groups if grouped else None,
        testable=usable.testable,
    )


def deal_folds(usable: Usable, folds: int, seed: int, *, grouped: bool = True) -> Codes:
    """Deal the images onto folds; see `decaf.images.listing.draws.deal_folds`.

    Parameters
    ----------
    usable : Usable
    folds : int
        At least 2.
    seed : int
    grouped : bool
        Whether to keep the groups together.

    Returns
    -------
    array of int64, shape (n,)
        The fold that an image is tested in; -1 for those that are not testable.
    """
    return draws.deal_folds(
        usable.images.labels,
        usable.keys,
        folds,
        salt=b"%d:" % seed,
        groups=usable.images.groups if grouped else None,
        testable=usable.testable,
    )


def _keys(rows: Codes, images: ImageList) -> list[bytes]:
    """Return what images are known by: their content, or else their names."""
    # Where nothing is known of the content, nothing says that it is like another one.
    content = images.content_sha256
    return [
        b"?" + images.names[row]
        if content is None or not content[row].any()
        else content[row].tobytes()
        for row in rows.tolist()
    ]


def _different_images(
    readable: Codes, images: ImageList
) -> tuple[dict[int, bytes], tuple[tuple[int, ...], ...]]:
    """Return the images that are not copies, with what each is known by, and those in conflict."""
    first: dict[tuple[bytes, int], int] = {}
    by_content: dict[bytes, list[int]] = {}
    keys = _keys(readable, images)
    for row, key in zip(readable.tolist(), keys, strict=True):
        if first.setdefault((key, int(images.labels[row])), row) == row:
            by_content.setdefault(key, []).append(row)
    conflicts = tuple(tuple(rows) for rows in by_content.values() if len(rows) > 1)
    return {row: key for (key, _), row in first.items()}, conflicts


def _nothing_to_test(images: ImageList, ok: Mask, seen: int) -> str:
    """Say why no image of val or test is left."""
    tests = np.array([name in ("val", "test") for name in images.splits or ()])
    reasons = {
        "cannot be read": int((tests & ~ok).sum()),
        "have no class": int((tests & ok & (images.labels < 0)).sum()),
        "are copies of training images": seen,
    }
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    return (
        f"nothing is left to test on: of {counted(int(tests.sum()), 'image')} for validation or "
        "the test "
        f"{told or 'none is of a class that is learnt'}; mend them, or `layout='classes'` takes "
        "the folders for classes"
    )


def _refuse_untaught(
    prefix: str, splits: npt.NDArray[np.object_], labels: Codes, shown: dict[int, str]
) -> None:
    """Refuse classes to test that have no training image."""
    known = set(labels[splits == "train"].tolist())
    if not known:
        raise InputError(
            f"{prefix}has images for validation or the test and none for training (train); "
            "`layout='classes'` takes such folders for classes"
        )
    new = sorted({shown[code] for code in set(labels.tolist()) - known})
    if new:
        raise InputError(
            f"{prefix}{_listed(new)} in val or test, and no training image of it; add some to "
            "train, or `layout='classes'` takes such folders for classes"
        )


def _refuse_few(
    prefix: str, kept: list[str], left_out: dict[str, int], min_images: int, copies: int
) -> NoReturn:
    if not left_out:
        raise InputError(
            f"{prefix}there is only one class, {kept[0]!r}; a classifier needs two or more: the "
            "first folder below the one given names the class"
        )
    classes = f"only one class, {kept[0]!r}, has" if kept else "no class has"
    once = " (exact copies count once)" if copies else ""
    raise InputError(
        f"{prefix}{classes} images enough: {_listed(left_out)} with fewer than {min_images} "
        f"different ones{once}; a classifier needs two classes, ten images or more of each are "
        "advisable"
    )


def _listed(names: Iterable[str]) -> str:
    each = [repr(name) for name in names]
    return f"{'class' if len(each) == 1 else 'classes'} {some_of(each)}"


@dataclass(frozen=True, eq=False)
class Task:
    """Images to choose and fit on, and images to test on.

    Attributes
    ----------
    name : str
        For messages.
    train, test : array of int64
        Places among the usable images. `test` may be empty.
    val : array of int64, optional
        Likewise: layer and C are chosen on these, where there are any, and by cross-validation on
        `train` where there are none.
    groups : sequence of str, optional
        Groups of the images of `train`: none is on both sides of a fold.
    """

    name: str
    train: Codes
    test: Codes
    val: Codes | None = None
    groups: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """The fits of one classifier.

    Attributes
    ----------
    final : Task
        Task whose head is kept.
    tests : tuple of Task
        Tasks whose answers are the estimate; `final` itself where the images came divided, none
        where nothing is tested.
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
    if groups_of_classes(usable.images.labels, usable.images.groups).max() < 2:
        raise InputError(
            "every class is of one group alone, so nothing can be chosen or tested on others; "
            "give groups that are finer, or none"
        )
    if usable.images.splits is not None:
        return _as_divided(usable, held_out)
    everything = np.arange(len(usable.rows))
    final = _task(usable, "choosing on all images", everything, everything[:0])
    if held_out == 0:
        return Plan(final, ())
    tests = _tests(usable, held_out, seed, grouped=True)
    if usable.images.groups is None or not tests:
        return Plan(final, tests)
    return Plan(final, tests, _tests(usable, held_out, seed, grouped=False))


def _task(
    usable: Usable, name: str, train: np.ndarray, test: np.ndarray, *, grouped: bool = True
) -> Task:
    groups = usable.images.groups if grouped else None
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
    groups = usable.images.groups if grouped else None
    units = groups_of_classes(usable.images.labels, groups)
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
        if groups_of_classes(usable.images.labels[task.train], task.groups).max() < 2:
            return ()
    return tuple(tasks)

"""Every split that decaf draws: a share or a number held out, and folds, by hashes of the images.

A hash of a salt (the seed) and of an image's key (its content or its name) decides: the
same image falls on the same side wherever it stands in the list, and hardly any moves when others
are added. Images of one group (an animal, a burst, a subject, a site) are always on the same side.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["deal_folds", "draw_order", "draw_share", "groups_of_classes"]

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def draw_share(
    codes: Codes,
    keys: Sequence[bytes],
    share: float,
    *,
    salt: bytes,
    keep: int = 1,
    groups: Sequence[str] | None = None,
    testable: Mask | None = None,
) -> Mask:
    """Choose the images that are held out: the same share of each class.

    A class gives the rounded share of its images, at least one, and keeps at least `keep`. With
    groups it gives whole groups, as many as come nearest to that, and at least one of two or more;
    the only group of a class is never held out.

    Parameters
    ----------
    codes : array of int64, shape (n,)
        Classes, 0 to K - 1.
    keys : sequence of bytes
        Text that each image is known by.
    share : float
        0 to 1, both excluded.
    salt : bytes
        Says which of all draws it is, such as the seed.
    keep : int
        How many images a class keeps at least.
    groups : sequence of str, optional
        The group of each image; an empty text where it is in none.
    testable : array of bool, shape (n,), optional
        False for images that must not be held out, nor any of their groups.

    Returns
    -------
    array of bool, shape (n,)
        True for images that are held out.
    """
    held = np.zeros(len(codes), bool)
    counts = np.bincount(codes)
    wanted = np.minimum(np.maximum(1, np.floor(share * counts + 0.5)), counts - keep)
    if groups is not None:
        for unit in _drawn_units(_units(codes, keys, groups, testable, salt), wanted):
            held[unit.rows] = True
        return held
    for order, count in zip(
        draw_order(codes, keys, salt=salt, testable=testable), wanted, strict=True
    ):
        held[order[: max(0, int(count))]] = True
    return held


def deal_folds(
    codes: Codes,
    keys: Sequence[bytes],
    folds: int,
    *,
    salt: bytes,
    groups: Sequence[str] | None = None,
    testable: Mask | None = None,
) -> Codes:
    """Deal the images onto folds, those of each class as evenly as can be.

    Parameters
    ----------
    codes, keys, salt, groups, testable
        As in `draw_share`.
    folds : int
        At least 2.

    Returns
    -------
    array of int64, shape (n,)
        The fold that an image is held out in; -1 for those that never are: they must not be, or are
        of a group without which a class would have no image left. The images of a class are never
        all in one fold.
    """
    fold = np.full(len(codes), -1, np.int64)
    if groups is not None:
        for unit, number in _dealt_units(_units(codes, keys, groups, testable, salt), folds):
            fold[unit.rows] = number
        return fold
    dealt = 0
    for order in draw_order(codes, keys, salt=salt, testable=testable):
        fold[order] = (dealt + np.arange(len(order))) % folds
        dealt += len(order)
    return fold


def draw_order(
    codes: Codes, keys: Sequence[bytes], *, salt: bytes, testable: Mask | None = None
) -> list[Codes]:
    """Put the images of each class in an order by chance: the first so many are a draw of them.

    Parameters
    ----------
    codes, keys, salt, testable
        As in `draw_share`. Images that must not be held out are left out.

    Returns
    -------
    list of array of int64
        The rows of each class.
    """
    tickets = [_ticket(salt, key) for key in keys]
    orders = []
    for code in range(int(codes.max(initial=-1)) + 1):
        allowed = codes == code if testable is None else (codes == code) & testable
        rows = np.flatnonzero(allowed).tolist()
        orders.append(np.array(sorted(rows, key=tickets.__getitem__), np.int64))
    return orders


def groups_of_classes(codes: Codes, groups: Sequence[str] | None) -> Codes:
    """Count the groups that each class has images in; an image without a group is one of its own.

    Parameters
    ----------
    codes : array of int64, shape (n,)
    groups : sequence of str, optional
        Without them the images are counted.

    Returns
    -------
    array of int64, shape (K,)
    """
    if groups is None:
        return np.bincount(codes)
    pairs = {
        (code, group or row)
        for row, (code, group) in enumerate(zip(codes.tolist(), groups, strict=True))
    }
    return np.bincount([code for code, _ in pairs], minlength=int(codes.max(initial=-1)) + 1)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Images that are held out together or not at all: how many of which classes."""

    rows: Codes
    classes: Codes
    counts: Codes
    free: bool


def _ticket(salt: bytes, key: bytes) -> bytes:
    return hashlib.sha256(salt + key).digest()


def _units(
    codes: Codes,
    keys: Sequence[bytes],
    groups: Sequence[str],
    testable: Mask | None,
    salt: bytes,
) -> list[_Unit]:
    """List the groups in an order by chance, each image without one as a group of its own."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        # No group is called as an image: the one begins with a letter, the other with another.
        rows_of[b"g" + group.encode() if group else b"i" + keys[row]].append(row)
    units = []
    for key in sorted(rows_of, key=lambda key: _ticket(salt, key)):
        rows = np.array(rows_of[key], np.int64)
        classes, counts = np.unique(codes[rows], return_counts=True)
        free = testable is None or bool(testable[rows].all())
        units.append(_Unit(rows, classes, counts, free))
    return units


def _drawn_units(units: Sequence[_Unit], wanted: npt.NDArray[np.float64]) -> list[_Unit]:
    """Draw whole groups until each class has given about what is wanted of it."""
    left = np.zeros(len(wanted), np.int64)  # groups of each class that are not held out
    for unit in units:
        left[unit.classes] += 1
    given = np.zeros(len(wanted))
    drawn: list[_Unit] = []

    def draw(unit: _Unit) -> None:
        given[unit.classes] += unit.counts
        left[unit.classes] -= 1
        drawn.append(unit)

    def can_go(unit: _Unit) -> bool:
        return unit.free and bool((left[unit.classes] > 1).all())

    rest = []
    for unit in units:
        missing = wanted[unit.classes] - given[unit.classes]
        nearer = np.abs(missing - unit.counts).sum() < np.abs(missing).sum()
        if nearer and can_go(unit):
            draw(unit)
        else:
            rest.append(unit)
    # A class whose groups are all too large gives its smallest, rather than none.
    for unit in sorted(rest, key=lambda unit: len(unit.rows)):
        lacking = (given[unit.classes] == 0) & (wanted[unit.classes] > 0)
        if lacking.any() and can_go(unit):
            draw(unit)
    return drawn


def _dealt_units(units: Sequence[_Unit], folds: int) -> list[tuple[_Unit, int]]:
    """Deal groups onto folds, the largest first, each where it unbalances the classes least."""
    classes = 1 + max((int(unit.classes.max()) for unit in units), default=-1)
    total, left = np.zeros(classes), np.zeros(classes, np.int64)
    for unit in units:
        total[unit.classes] += unit.counts
        left[unit.classes] += 1
    # What stays out of all folds is there to learn from in each.
    only = [unit for unit in units if not unit.free or bool((left[unit.classes] == 1).any())]
    stays = np.zeros(classes, bool)
    for unit in only:
        stays[unit.classes] = True
        left[unit.classes] -= 1
    held = np.zeros((folds, classes))
    dealt = []
    kept = {id(unit) for unit in only}
    for unit in sorted(units, key=lambda unit: -len(unit.rows)):
        if id(unit) in kept:
            continue
        own, counts = unit.classes, unit.counts
        # The sum of squares of the classes' shares in a fold grows by this.
        cost = ((2 * held[:, own] * counts + counts**2) / total[own] ** 2).sum(axis=1)
        size = held.sum(axis=1)
        # The last group of a class does not follow all others of it into their one fold.
        last = own[(left[own] == 1) & ~stays[own]]
        spread = (held[:, last] > 0).sum(axis=0)
        full = ((held[:, last] > 0) & (spread <= 1)).any(axis=1)
        left[own] -= 1
        if full.all():
            stays[own] = True
            continue
        order = np.lexsort((np.arange(folds), size, cost, full))
        number = int(order[0])
        held[number, own] += counts
        dealt.append((unit, number))
    return dealt

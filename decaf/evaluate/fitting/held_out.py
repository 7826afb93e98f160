"""Which images a classifier is fitted to and which it is tested on.

An image is known by the SHA-256 of its content. Where its place is decided by chance, that chance
is a hash of the seed and the content: the same image falls on the same side whatever it is called,
wherever it stands in the list, and whatever other images there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError

__all__ = ["Usable", "deal_folds", "draw_held_out", "usable_images", "wilson_interval"]

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Usable:
    """The images that a classifier can learn from.

    Attributes
    ----------
    rows : array of int64, shape (n,)
        Their places among all images, ascending. Of exact copies in one class only the first.
    codes : array of int64, shape (n,)
        Their classes, places in `class_names`.
    class_names : tuple of str
        Of the classes that have images here.
    testable : array of bool, shape (n,)
        False for images that are in several classes at once: what the right answer would be is not
        known.
    keys : list of bytes
        What each image is known by.
    unreadable, unlabelled : int
        How many images were left out as they could not be read, or have no class.
    copies : int
        How many were left out as exact copies of another image of their class.
    conflicts : tuple of tuple of int
        Places among all images of those with the same content in several classes.
    left_out : dict of str to int
        Classes that were left out as too small, and the number of their images.
    """

    rows: Codes
    codes: Codes
    class_names: tuple[str, ...]
    testable: Mask
    keys: list[bytes]
    unreadable: int
    unlabelled: int
    copies: int
    conflicts: tuple[tuple[int, ...], ...]
    left_out: dict[str, int]

    @property
    def counts(self) -> Codes:
        """How many images each class has: (classes,) int64."""
        return np.bincount(self.codes, minlength=len(self.class_names))


def usable_images(
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    ok: Mask,
    content_sha256: npt.NDArray[np.uint8],
    *,
    names: Sequence[bytes] = (),
    min_images: int | None = None,
    source: str = "",
) -> Usable:
    """Find the images that a classifier can learn from.

    Parameters
    ----------
    labels : array of int64, shape (N,)
        Class of each image, -1 where there is none.
    class_names : sequence of str
        What the labels number; empty where they are bare numbers.
    ok : array of bool, shape (N,)
        Which images could be read.
    content_sha256 : array of uint8, shape (N, 32)
        Of their content; zeros where it is not known.
    names : sequence of bytes, optional
        What images of unknown content are told apart by; by default they are numbered.
    min_images : int, optional
        Leave out classes with fewer different images. By default a class with a single one is
        refused.
    source : str
        Begins the messages.

    Returns
    -------
    Usable

    Raises
    ------
    InputError
        If there are not two classes, or one of them has a single image.
    """
    if min_images is not None and (isinstance(min_images, bool) or min_images < 2):
        raise SettingError(f"min_images {min_images!r}: must be a whole number from 2 on")
    prefix = f"{source}: " if source else ""
    labelled = labels >= 0
    if not labelled.any():
        raise InputError(
            f"{prefix}no image has a class; put the images of each class into a folder of its own, "
            "or give a file of labels (--labels FILE)"
        )
    readable = np.flatnonzero(ok & labelled)
    if not len(readable):
        raise InputError(f"{prefix}none of the {int(labelled.sum())} labelled images can be read")
    key_of, conflicts = _different_images(readable, labels, content_sha256, names)
    rows = np.array(sorted(key_of), dtype=np.int64)
    copies = len(readable) - len(rows)
    # Also classes of which no image could be read are counted: with none.
    present = np.unique(labels[labelled])
    counts = np.array([int((labels[rows] == code).sum()) for code in present.tolist()])
    shown = [class_names[code] if len(class_names) else str(code) for code in present.tolist()]
    kept = counts >= (min_images or 1)
    left_out = {shown[i]: int(counts[i]) for i in np.flatnonzero(~kept).tolist()}
    if kept.sum() < 2:
        _refuse_few(prefix, [shown[i] for i in np.flatnonzero(kept).tolist()], left_out)
    if min_images is None and (counts == 1).any():
        _refuse_single(prefix, [shown[i] for i in np.flatnonzero(counts == 1).tolist()], copies)
    rows = rows[np.isin(labels[rows], present[kept])]
    doubtful = {row for group in conflicts for row in group}
    return Usable(
        rows=rows,
        codes=np.searchsorted(present[kept], labels[rows]).astype(np.int64),
        class_names=tuple(shown[i] for i in np.flatnonzero(kept).tolist()),
        testable=np.array([row not in doubtful for row in rows.tolist()], dtype=bool),
        keys=[key_of[row] for row in rows.tolist()],
        unreadable=int((~ok).sum()),
        unlabelled=int((ok & ~labelled).sum()),
        copies=copies,
        conflicts=conflicts,
        left_out=left_out,
    )


def draw_held_out(usable: Usable, share: float, seed: int) -> Mask:
    """Choose the images that are kept for the test: the same share of each class.

    A class gives the rounded share of its images, at least one of three or more, and keeps at least
    two for the fit.

    Parameters
    ----------
    usable : Usable
    share : float
        0 to 1, both excluded.
    seed : int

    Returns
    -------
    array of bool, shape (n,)
        True for images of the test.
    """
    held = np.zeros(len(usable.codes), bool)
    for code, count in enumerate(usable.counts.tolist()):
        order = _shuffled(usable, code, seed)
        wanted = min(max(1, math.floor(share * count + 0.5)), count - 2, len(order))
        held[order[: max(0, wanted)]] = True
    return held


def deal_folds(usable: Usable, folds: int, seed: int) -> Codes:
    """Deal the images onto folds, those of each class as evenly as can be.

    Parameters
    ----------
    usable : Usable
    folds : int
        At least 2.
    seed : int

    Returns
    -------
    array of int64, shape (n,)
        The fold that an image is tested in; -1 for those that are not testable. The images of a
        class are never all in one fold.
    """
    fold = np.full(len(usable.codes), -1, np.int64)
    dealt = 0
    for code in range(len(usable.class_names)):
        order = _shuffled(usable, code, seed)
        fold[order] = (dealt + np.arange(len(order))) % folds
        dealt += len(order)
    return fold


def wilson_interval(right: int, tested: int) -> tuple[float, float]:
    """Give the 95 % interval of a share, by Wilson's score method.

    Unlike the usual ± 1.96 standard errors it stays within 0 and 1 and is sensible for few images
    and for shares near the ends.

    Parameters
    ----------
    right, tested : int
        ``right`` of ``tested`` images.

    Returns
    -------
    tuple of float
        Lower and upper end, 0 to 1.

    References
    ----------
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).

    Examples
    --------
    >>> [round(end, 3) for end in wilson_interval(29, 35)]
    [0.673, 0.919]
    """
    if not 0 <= right <= tested or tested < 1:
        raise SettingError(f"{right} of {tested} is no share")
    # The shares p that lie within z standard errors of what was found, (p̂ - p)² = z² p (1 - p) / n,
    # are those between the roots of a quadratic in p.
    z = 1.959963984540054
    share = right / tested
    scale = 1 + z * z / tested
    middle = (share + z * z / (2 * tested)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / tested + z * z / (4 * tested * tested))
    return max(0.0, middle - half), min(1.0, middle + half)


def _shuffled(usable: Usable, code: int, seed: int) -> Codes:
    """Give the places of a class's testable images, in an order by chance."""
    places = np.flatnonzero((usable.codes == code) & usable.testable).tolist()
    salt = b"%d:" % seed
    places.sort(key=lambda place: hashlib.sha256(salt + usable.keys[place]).digest())
    return np.array(places, dtype=np.int64)


def _different_images(
    readable: Codes,
    labels: Codes,
    content_sha256: npt.NDArray[np.uint8],
    names: Sequence[bytes],
) -> tuple[dict[int, bytes], tuple[tuple[int, ...], ...]]:
    """Give the images that are not copies, with what each is known by, and those in conflict."""
    first: dict[tuple[bytes, int], int] = {}
    by_content: dict[bytes, list[int]] = {}
    for row in readable.tolist():
        key = content_sha256[row].tobytes()
        if not any(key):  # nothing says that it is like another one
            key = b"?" + (names[row] if len(names) else b"%d" % row)
        if first.setdefault((key, int(labels[row])), row) == row:
            by_content.setdefault(key, []).append(row)
    conflicts = tuple(tuple(rows) for rows in by_content.values() if len(rows) > 1)
    return {row: key for (key, _), row in first.items()}, conflicts


def _refuse_few(prefix: str, kept: list[str], left_out: dict[str, int]) -> NoReturn:
    found = f"only one class, {kept[0]!r}," if kept else "no class"
    if left_out:
        raise InputError(
            f"{prefix}{found} has images enough ({_listed(left_out)} too few); a classifier needs "
            "two classes"
        )
    raise InputError(
        f"{prefix}there is only one class, {kept[0]!r}; a classifier needs two or more: the first "
        "folder below the one given names the class"
    )


def _refuse_single(prefix: str, single: list[str], copies: int) -> NoReturn:
    verb = "has a single image" if len(single) == 1 else "have a single image each"
    once = " (exact copies count once)" if copies else ""
    raise InputError(
        f"{prefix}{_listed(single)} {verb}{once}; two are the least, ten or more are advisable: "
        "add images, or leave such classes out with --min-images 2"
    )


def _listed(names: Iterable[str]) -> str:
    each = [repr(name) for name in names]
    more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return f"{'class' if len(each) == 1 else 'classes'} {', '.join(each[:_SHOWN])}{more}"

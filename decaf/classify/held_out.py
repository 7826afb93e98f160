"""Which images a classifier is fitted to and which it is tested on.

An image is known by the SHA-256 of its content: what `decaf.images.listing.splits` draws by it is
the same whatever the image is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.images.listing import splits as images_splits
from decaf.images.listing.split_folders import SPLITS

__all__ = [
    "MIN_IMAGES",
    "Usable",
    "deal_folds",
    "draw_held_out",
    "independent_images",
    "usable_images",
    "wilson_interval",
]

# Classes with fewer are left out where nothing else is said: one image is fitted to or tested on.
MIN_IMAGES = 2

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
        Classes that were left out as too small, and the number of their images (for training, where
        the images are divided).
    groups : tuple of str, or None
        The group of each image, an empty text where it is in none.
    splits : tuple of str, or None
        "train", "val" or "test" of each image, where they came divided.
    outside : int
        How many were left out as they are in no split, where there are splits.
    seen : int
        How many for validation or the test were left out as exact copies of training images.
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
    groups: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    outside: int = 0
    seen: int = 0

    def places(self, split: str) -> Codes:
        """Return the places among `rows` of the images of a split."""
        assert self.splits is not None
        return np.array([at for at, name in enumerate(self.splits) if name == split], np.int64)

    @property
    def fitted(self) -> Codes:
        """The places among `rows` of the images to fit to in the end: all, or those of train."""
        return np.arange(len(self.rows)) if self.splits is None else self.places("train")

    @property
    def counts(self) -> Codes:
        """How many images each class has to fit to: (classes,) int64."""
        return np.bincount(self.codes[self.fitted], minlength=len(self.class_names))


def usable_images(
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    ok: Mask,
    content_sha256: npt.NDArray[np.uint8],
    *,
    names: Sequence[bytes] = (),
    min_images: int = MIN_IMAGES,
    source: str = "",
    groups: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
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
    min_images : int
        Leave out classes with fewer different images (for training, where they are divided).
    source : str
        Begins the messages.
    groups, splits : sequence of str, optional
        Of each image, as `Usable` has them. Of copies that are in several splits, that in train
        counts.

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
    order, outside = list(SPLITS), 0
    if splits is not None:
        # A copy of a training image is no image to test on.
        placed = np.array([splits[row] in order for row in readable.tolist()], bool)
        outside, readable = int((~placed).sum()), readable[placed]
        rank = [order.index(splits[row]) for row in readable.tolist()]
        readable = readable[np.argsort(rank, kind="stable")]
    key_of, conflicts = _different_images(readable, labels, content_sha256, names)
    rows = np.array(sorted(key_of), dtype=np.int64)
    own = None if splits is None else np.array([splits[row] for row in rows.tolist()], object)
    training = np.ones(len(rows), bool) if own is None else own == "train"
    # Also classes of which no image could be read are counted: with none.
    present = np.unique(labels[labelled])
    counts = np.array([int((labels[rows[training]] == code).sum()) for code in present.tolist()])
    shown = [class_names[code] if len(class_names) else str(code) for code in present.tolist()]
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
        every = _keys(readable, content_sha256, names)
        seen = sum(
            splits[row] != "train" and taken.get((key, labels[row])) == "train"
            for row, key in zip(readable.tolist(), every, strict=True)
        )
    doubtful = {row for group in conflicts for row in group}
    return Usable(
        rows=rows,
        codes=np.searchsorted(present[kept], labels[rows]).astype(np.int64),
        class_names=tuple(shown[i] for i in np.flatnonzero(kept).tolist()),
        testable=np.array([row not in doubtful for row in rows.tolist()], dtype=bool),
        keys=[key_of[row] for row in rows.tolist()],
        unreadable=int((~ok).sum()),
        unlabelled=int((ok & ~labelled).sum()),
        copies=copies - seen,
        conflicts=conflicts,
        left_out=left_out,
        groups=None if groups is None else tuple(groups[row] for row in rows.tolist()),
        splits=None if splits is None else tuple(splits[row] for row in rows.tolist()),
        outside=outside,
        seen=seen,
    )


def draw_held_out(usable: Usable, share: float, seed: int, *, grouped: bool = True) -> Mask:
    """Choose the images that are kept for the test; see `decaf.images.listing.splits.draw_share`.

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
    return images_splits.draw_share(
        usable.codes,
        usable.keys,
        share,
        salt=b"%d:" % seed,
        keep=2,
        groups=usable.groups if grouped else None,
        testable=usable.testable,
    )


def deal_folds(usable: Usable, folds: int, seed: int, *, grouped: bool = True) -> Codes:
    """Deal the images onto folds; see `decaf.images.listing.splits.deal_folds`.

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
    return images_splits.deal_folds(
        usable.codes,
        usable.keys,
        folds,
        salt=b"%d:" % seed,
        groups=usable.groups if grouped else None,
        testable=usable.testable,
    )


def independent_images(right: Mask, groups: Sequence[str]) -> float:
    """Tell how many independent images would say as much of the accuracy as images in groups.

    With e_g the sum of (right - p) over group g of G, the variance of p = Σ right / n is
    G / (G - 1) Σ e_g² / n²; that of m independent images is p (1 - p) / m. Returned is the m for
    which they are equal: n where images of a group are as unlike as others, about G where all of
    a group are right or wrong together.

    Parameters
    ----------
    right : array of bool, shape (n,)
        Whether each tested image was answered rightly.
    groups : sequence of str
        The group of each, an empty text where it is in none.

    Returns
    -------
    float
        1 to n; G where there is nothing to tell it from, since all are right, or none.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. (1977), section 9A.2; Kish, Survey Sampling (1965).

    Examples
    --------
    >>> round(independent_images(np.repeat([True, False] * 8, 5), [*"aaaaabbbbb"] * 8), 1)
    1.0
    """
    names = [group or str(at) for at, group in enumerate(groups)]
    _, place = np.unique(names, return_inverse=True)
    count, share = int(place.max()) + 1, float(right.mean())
    if count == 1 or share in (0.0, 1.0):
        return float(count)
    errors = np.bincount(place, right - share)
    variance = count / (count - 1) * float(errors @ errors) / len(right) ** 2
    independent = share * (1 - share) / variance if variance else math.inf
    return min(max(independent, 1.0), float(len(right)))


def wilson_interval(right: float, tested: float) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score method.

    Unlike the usual ± 1.96 standard errors it stays within 0 and 1 and is sensible for few images
    and for shares near the ends.

    Parameters
    ----------
    right, tested : float
        ``right`` of ``tested`` images, whole numbers or not (`independent_images`).

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


def _keys(
    rows: Codes, content_sha256: npt.NDArray[np.uint8], names: Sequence[bytes]
) -> list[bytes]:
    """Return what images are known by: their content, or else their names."""
    keys = [content_sha256[row].tobytes() for row in rows.tolist()]
    # Where nothing is known of the content, nothing says that it is like another one.
    return [
        key if any(key) else b"?" + (names[row] if len(names) else b"%d" % row)
        for row, key in zip(rows.tolist(), keys, strict=True)
    ]


def _different_images(
    readable: Codes,
    labels: Codes,
    content_sha256: npt.NDArray[np.uint8],
    names: Sequence[bytes],
) -> tuple[dict[int, bytes], tuple[tuple[int, ...], ...]]:
    """Return the images that are not copies, with what each is known by, and those in conflict."""
    first: dict[tuple[bytes, int], int] = {}
    by_content: dict[bytes, list[int]] = {}
    keys = _keys(readable, content_sha256, names)
    for row, key in zip(readable.tolist(), keys, strict=True):
        if first.setdefault((key, int(labels[row])), row) == row:
            by_content.setdefault(key, []).append(row)
    conflicts = tuple(tuple(rows) for rows in by_content.values() if len(rows) > 1)
    return {row: key for (key, _), row in first.items()}, conflicts


def _refuse_untaught(
    prefix: str, splits: npt.NDArray[np.object_], labels: Codes, shown: dict[int, str]
) -> None:
    """Refuse classes to test that have no training image."""
    known = set(labels[splits == "train"].tolist())
    if not known:
        raise InputError(
            f"{prefix}has images for validation or the test and none for training (train); "
            "layout='classes' takes such folders for classes"
        )
    new = sorted({shown[code] for code in set(labels.tolist()) - known})
    if new:
        raise InputError(
            f"{prefix}{_listed(new)} in val or test, and no training image of it; add some to "
            "train, or layout='classes' takes such folders for classes"
        )


def _refuse_few(
    prefix: str, kept: list[str], left_out: dict[str, int], min_images: int, copies: int
) -> NoReturn:
    if not left_out:
        raise InputError(
            f"{prefix}there is only one class, {kept[0]!r}; a classifier needs two or more: the "
            "first folder below the one given names the class"
        )
    found = f"only one class, {kept[0]!r}, has" if kept else "no class has"
    once = " (exact copies count once)" if copies else ""
    raise InputError(
        f"{prefix}{found} images enough: {_listed(left_out)} with fewer than {min_images} "
        f"different ones{once}; a classifier needs two classes, ten images or more of each are "
        "advisable"
    )


def _listed(names: Iterable[str]) -> str:
    each = [repr(name) for name in names]
    more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return f"{'class' if len(each) == 1 else 'classes'} {', '.join(each[:_SHOWN])}{more}"

"""The choice of C by cross-validation, inside the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.heads.problem import FoldScores, predicted_codes
from decaf.images.listing.draws import deal_folds, groups_of_classes
from decaf.runtime.wording import counted

__all__ = [
    "LOGISTIC_CS",
    "LOGISTIC_DROPOUT_CS",
    "SVM_CS",
    "SVM_DROPOUT_CS",
    "CSearch",
    "Fold",
    "Scorer",
    "check_folds",
    "make_folds",
    "search_C",
    "stratified_folds",
]

Fold = tuple[np.ndarray, np.ndarray]

# Fits Cs to the training rows of folds, and says what that gives for their held-out rows.
Scorer = Callable[[Sequence[float], Sequence[Fold]], Sequence[FoldScores]]

# The values that a search begins with, for rows of norm 1. Of pool5, fc6 and fc7 (Caltech-101 with
# 30 rows a class, 15-Scene with 100) the accuracy of logistic regression on held-out rows rises up
# to C = 16 … 64 and hardly changes beyond; that of a linear SVM is best at 1 … 16. Dropout is a
# penalty itself: under it the accuracy changes little with C, and a fit at a large one takes ten
# times as long as one of the middle.
LOGISTIC_CS = tuple(4.0**power for power in range(8))
LOGISTIC_DROPOUT_CS = (4.0, 32.0, 256.0)
SVM_CS = tuple(4.0**power for power in range(-3, 5))
SVM_DROPOUT_CS = (0.25, 2.0, 16.0)

# How often the grid grows towards an optimum at its border, and by how many values: three in a
# ratio up to 4, one in a larger.
_WIDENINGS = 3
_GROWTH = 3
_FINE_RATIO = 4.0


@dataclass(frozen=True)
class CSearch:
    """The results of a search for C.

    Attributes
    ----------
    Cs : ndarray of float64, shape (m,)
        All values tried, ascending.
    accuracy : ndarray of float64, shape (m,)
        Share of all held-out rows, or of their weight, that was classified rightly.
    std : ndarray of float64, shape (m,)
        Standard deviation of the accuracy over the folds.
    chosen : float
        The C of the best accuracy; the smallest of them where several have it.
    at_border : bool
        Whether it is the smallest or largest of `Cs`, so that others might be better.
    widened : int
        How often the grid was widened because its best value was at the border.
    folds : tuple of (ndarray, ndarray)
        Training and held-out rows of each fold.
    decisions : ndarray of float32, shape (n, K), or None
        Decision values of each row at `chosen` by the fit that had not seen it; NaN for rows that
        were never held out. None in a head that was read from a file.
    converged : ndarray of bool, shape (m,)
        Whether the fits of all folds converged.
    rising : bool
        Whether the chosen C is at the border and better than the value next to it by more than
        one standard error of their difference, on the same held-out rows (McNemar 1947).
    """

    Cs: np.ndarray
    accuracy: np.ndarray
    std: np.ndarray
    chosen: float
    at_border: bool
    widened: int
    folds: tuple[Fold, ...] = field(repr=False)
    decisions: np.ndarray | None = field(repr=False)
    converged: np.ndarray
    rising: bool


def make_folds(
    cv: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    random: np.random.RandomState,
    weight: np.ndarray | None = None,
    groups: Sequence[Any] | None = None,
) -> list[Fold]:
    """Draw the folds of a search, or take those that are given.

    Parameters
    ----------
    cv : int, or sequence of (training rows, held-out rows)
    codes : ndarray of int64, shape (n,)
        Place of each row's class among `classes`.
    classes : ndarray, shape (n_classes,)
    random : RandomState
    weight : ndarray of float64, shape (n,), optional
        Rows of weight 0 are in no fold.
    groups : sequence, shape (n,), optional
        The group of each row, None or an empty text where it is in none; for drawn folds.

    Returns
    -------
    list of (ndarray, ndarray) of int64
        Training and held-out rows of each fold.

    Raises
    ------
    SettingError
        For folds that `check_folds` refuses.
    InputError
        If a fold has no training row of a class, or no held-out row that counts.
    """
    if groups is not None and len(groups) != len(codes):
        raise InputError(f"{counted(len(groups), 'group')} for {counted(len(codes), 'row')}")
    folds = check_folds(cv, len(codes))
    rows = np.arange(len(codes)) if weight is None else np.flatnonzero(weight > 0)
    if isinstance(folds, int):
        texts = None
        if groups is not None:
            texts = ["" if groups[row] is None else str(groups[row]) for row in rows.tolist()]
        drawn = stratified_folds(codes[rows], folds, random, texts)
        folds = [(rows[train], rows[held]) for train, held in drawn]
    elif len(rows) < len(codes):
        folds = [(train[np.isin(train, rows)], held[np.isin(held, rows)]) for train, held in folds]
        if not all(len(held) for _, held in folds):
            raise InputError("`sample_weight` is zero for all held-out rows of a fold of `cv`")
    for number, (train, _) in enumerate(folds):
        missing = np.setdiff1d(np.arange(len(classes)), codes[train])
        if missing.size:
            raise InputError(
                f"fold {number} of `cv` has no training row of class "
                f"{classes.tolist()[missing[0]]!r}; every fold needs rows of every class"
            )
    return folds


def stratified_folds(
    codes: np.ndarray,
    folds: int,
    random: np.random.RandomState,
    groups: Sequence[str] | None = None,
) -> list[Fold]:
    """Split rows so that every class is spread over the folds as evenly as it can be.

    A class with fewer rows than folds is held out in as many folds as it has rows, and is in the
    training part of every fold. The only row of a class is never held out: there would be nothing
    left to learn the class from.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
    folds : int
        At least 2; fewer are made where no class has as many rows.
    random : RandomState
    groups : sequence of str, optional
        The group of each row, an empty text where it is in none. A group is never on both sides of
        a fold, and what holds of rows here then holds of groups; see
        `decaf.images.listing.draws.deal_folds`.

    Returns
    -------
    list of (ndarray, ndarray) of int64
        Training and held-out rows of each fold, ascending.

    Raises
    ------
    InputError
        If no class has two rows.
    """
    counts = groups_of_classes(codes, groups)
    if counts.max() < 2:
        unit = "row" if groups is None else "group"
        raise InputError(
            f"C cannot be chosen by cross-validation: every class has only one {unit}; give more "
            f"{unit}s, or a number for `C`"
        )
    folds = min(folds, int(counts.max()))
    keys = [b"%d" % row for row in range(len(codes))]
    salt = b"%d:" % random.randint(np.iinfo(np.int32).max)
    several = counts[codes] > 1 if groups is None else None
    fold_of = deal_folds(codes, keys, folds, salt=salt, groups=groups, testable=several)
    split_rows = [
        (np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(folds)
    ]
    split_rows = [fold for fold in split_rows if len(fold[1])]
    if not split_rows:
        raise InputError(
            "C cannot be chosen by cross-validation: without any of the groups a class has no "
            "row left; give groups that are finer, or a number for `C`"
        )
    return split_rows


def search_C(
    scorer: Scorer,
    codes: np.ndarray,
    folds: Sequence[Fold],
    Cs: Sequence[float],
    *,
    widen: bool,
    most: float = np.inf,
    weight: np.ndarray | None = None,
) -> CSearch:
    """Choose the C whose fits classify most held-out rows rightly.

    Where the best value is at the border of the grid and better than its neighbour by more than
    noise (see `CSearch.rising`), the grid grows towards it by three values in its own ratio (by one
    where that is above 4), three times at most, and only as far as can be computed.

    Parameters
    ----------
    scorer : callable
        Takes Cs and folds; gives for each fold the decision values of its held rows, and whether
        the fits converged.
    codes : ndarray of int64, shape (n,)
    folds : sequence of (ndarray, ndarray)
    Cs : sequence of float
    widen : bool
    most : float
        The grid does not grow beyond it.
    weight : ndarray of float64, shape (n,), optional
        For how many rows each held-out row counts; one by default.

    Returns
    -------
    CSearch
    """
    folds = tuple(folds)
    counts = np.ones(len(codes)) if weight is None else weight
    sizes = np.array([counts[held].sum() for _, held in folds])
    held_counts = np.concatenate([counts[held] for _, held in folds])

    def tried(new: list[float], before: list[_Trial]) -> list[_Trial]:
        scored = scorer(new, folds)
        trials = list(before)
        for number, C in enumerate(new):
            decisions = [np.asarray(each.decisions[number], np.float32) for each in scored]
            hits = [
                predicted_codes(values) == codes[held]
                for (_, held), values in zip(folds, decisions, strict=True)
            ]
            right = [counts[held] @ hit for (_, held), hit in zip(folds, hits, strict=True)]
            converged = all(bool(each.converged[number]) for each in scored)
            trials.append(_Trial(C, np.array(right), np.concatenate(hits), converged, decisions))
        best = _best(trials)
        # Only the decisions of the best value are kept: those of all may be large.
        trials = [trial if trial is best else replace(trial, decisions=()) for trial in trials]
        return sorted(trials, key=lambda trial: trial.C)

    trials, widened = tried(sorted({float(C) for C in Cs}), []), 0
    while widen and widened < _WIDENINGS:
        place = trials.index(_best(trials))
        if not _rising(trials, place, held_counts):
            break
        step = trials[-1].C / trials[-2].C if place else trials[0].C / trials[1].C
        growth = _GROWTH if max(step, 1 / step) <= _FINE_RATIO * (1 + 1e-9) else 1
        beyond = [trials[place].C * step**power for power in range(1, growth + 1)]
        possible = sorted(C for C in beyond if 0 < C <= most and np.isfinite(C))
        if not possible:
            break
        try:
            trials = tried(possible, trials)
        except SettingError:  # too large to be computed with: rounding would decide
            break
        widened += 1
    best = _best(trials)
    decisions = np.full((len(codes), best.decisions[0].shape[1]), np.nan, np.float32)
    for (_, rows), values in zip(folds, best.decisions, strict=True):
        decisions[rows] = values
    return CSearch(
        Cs=np.array([trial.C for trial in trials]),
        accuracy=np.array([trial.right.sum() / sizes.sum() for trial in trials]),
        std=np.array([(trial.right / sizes).std() for trial in trials]),
        chosen=best.C,
        at_border=best in (trials[0], trials[-1]),
        widened=widened,
        folds=folds,
        decisions=decisions,
        converged=np.array([trial.converged for trial in trials]),
        rising=_rising(trials, trials.index(best), held_counts),
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """A value that was tried: the weight of rightly classified rows of each fold, and the rest."""

    C: float
    right: np.ndarray
    hits: np.ndarray
    converged: bool
    decisions: Sequence[np.ndarray]


def _best(trials: Sequence[_Trial]) -> _Trial:
    return max(trials, key=lambda trial: (float(trial.right.sum()), -trial.C))


def _rising(trials: Sequence[_Trial], place: int, counts: np.ndarray) -> bool:
    """Tell whether a place is at the border, and better than the one next to it beyond noise."""
    if len(trials) == 1 or place not in (0, len(trials) - 1):
        return False
    here, inner = trials[place].hits, trials[1 if place == 0 else -2].hits
    difference = counts * (here.astype(np.float64) - inner)
    return bool(difference.sum() > np.sqrt(np.square(difference).sum()))


def check_folds(cv: Any, n: int) -> int | list[Fold]:
    """Check what the user gave as ``cv``: a number of folds, or the folds themselves.

    Parameters
    ----------
    cv : int, or sequence of (training rows, held-out rows)
    n : int
        Number of rows.

    Returns
    -------
    int or list of (ndarray, ndarray)

    Raises
    ------
    SettingError
        If it is neither, or a row is in both parts of a fold, or not there at all.
    """
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        if cv < 2:
            raise SettingError(f"`cv` must be at least 2 folds, got {cv}")
        return int(cv)
    try:
        pairs = [(np.asarray(train), np.asarray(held)) for train, held in cv]
    except (TypeError, ValueError):
        raise SettingError(
            "`cv` must be a number of folds or a list of (training rows, held-out rows), got "
            f"{cv!r:.80}"
        ) from None
    if not pairs:
        raise SettingError("`cv` is an empty list of folds")
    for number, (train, held) in enumerate(pairs):
        for part, rows in (("training", train), ("held-out", held)):
            if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
                raise SettingError(
                    f"fold {number}: its {part} rows must be row numbers, at least one"
                )
            if rows.min() < 0 or rows.max() >= n:
                raise SettingError(f"fold {number}: its {part} rows must be from 0 to {n - 1}")
        if np.intersect1d(train, held).size:
            raise SettingError(f"fold {number}: a row is both for training and held out")
    return pairs

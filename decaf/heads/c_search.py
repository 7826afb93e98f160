"""The choice of C by cross-validation, inside the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decaf.errors import InputError, SettingError
from decaf.images.listing.splits import deal_folds, groups_of_classes

__all__ = [
    "CSearch",
    "Fold",
    "Scorer",
    "check_folds",
    "predicted_codes",
    "search_C",
    "stratified_folds",
]

Fold = tuple[np.ndarray, np.ndarray]

# The decisions (len(Cs), n_held, K) of each fold's held rows, and which Cs converged (len(Cs),).
Scorer = Callable[[Sequence[float], Sequence[Fold]], Sequence[tuple[np.ndarray, np.ndarray]]]

# How often the grid grows towards an optimum at its border, and by how many values.
_WIDENINGS = 3
_GROWTH = 3


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

    @property
    def rising(self) -> bool:
        """Whether the chosen C is at the border and strictly better than the value next to it."""
        place = int(np.searchsorted(self.Cs, self.chosen))
        return len(self.Cs) > 1 and bool(_rising(self.accuracy, place))


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
        `decaf.images.listing.splits.deal_folds`.

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
            f"{unit}s, or a number for C"
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
            "row left; give groups that are finer, or a number for C"
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

    Where the best value is at the border of the grid and strictly better than its neighbour, the
    grid grows towards it by three values in its own ratio, three times at most, and only as far as
    can be computed.

    Parameters
    ----------
    scorer : callable
        Takes Cs and folds; gives for each fold the decision values of its held rows,
        (len(Cs), n_held, K), and whether the fits converged, (len(Cs),).
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
    tried = _Tried(scorer, codes, tuple(folds), weight)
    tried.add(sorted({float(C) for C in Cs}))
    widened = 0
    while widen and len(tried.Cs) > 1 and widened < _WIDENINGS:
        place = tried.best()
        if not _rising(tried.accuracy(), place):
            break
        ratio = tried.Cs[1] / tried.Cs[0] if place == 0 else tried.Cs[-1] / tried.Cs[-2]
        step = 1 / ratio if place == 0 else ratio
        more = [tried.Cs[place] * step**power for power in range(1, _GROWTH + 1)]
        possible = sorted(C for C in more if 0 < C <= most and np.isfinite(C))
        if not possible:
            break
        try:
            tried.add(possible)
        except SettingError:  # too large to be computed with: rounding would decide
            break
        widened += 1
    return tried.result(widened)


def _rising(accuracy: np.ndarray, place: int) -> bool:
    if place == 0:
        return bool(accuracy[0] > accuracy[1])
    return place == len(accuracy) - 1 and bool(accuracy[-1] > accuracy[-2])


class _Tried:
    """The values tried so far, ascending, with the held-out decisions of each."""

    def __init__(
        self,
        scorer: Scorer,
        codes: np.ndarray,
        folds: tuple[Fold, ...],
        weight: np.ndarray | None,
    ) -> None:
        self.scorer, self.codes, self.folds = scorer, codes, folds
        self.weight = np.ones(len(codes)) if weight is None else weight
        self.sizes = np.array([self.weight[held].sum() for _, held in folds])
        self.Cs: list[float] = []
        self._right: list[np.ndarray] = []
        self._converged: list[bool] = []
        self._best: tuple[float, float, list[Any]] | None = None

    def add(self, Cs: list[float]) -> None:
        """Try more values."""
        scored = self.scorer(Cs, self.folds)
        rows = list(zip(self.folds, scored, strict=True))
        for number, C in enumerate(Cs):
            right = np.array(
                [
                    self.weight[held] @ (predicted_codes(decisions[number]) == self.codes[held])
                    for (_, held), (decisions, _) in rows
                ]
            )
            self.Cs.append(C)
            self._right.append(right)
            self._converged.append(all(bool(converged[number]) for _, (_, converged) in rows))
            total = float(right.sum())
            # Only the decisions of the best value are kept: those of all may be large.
            if self._best is None or (total, -C) > (self._best[1], -self._best[0]):
                kept = [np.array(decisions[number], np.float32) for decisions, _ in scored]
                self._best = (C, total, kept)
        order = np.argsort(self.Cs)
        self.Cs = [self.Cs[place] for place in order]
        self._right = [self._right[place] for place in order]
        self._converged = [self._converged[place] for place in order]

    def best(self) -> int:
        """Return the place of the best value, the smallest where there are several."""
        assert self._best is not None
        return self.Cs.index(self._best[0])

    def accuracy(self) -> np.ndarray:
        """Return the share of held-out rows classified rightly, for each value."""
        return np.array([right.sum() / self.sizes.sum() for right in self._right])

    def result(self, widened: int) -> CSearch:
        assert self._best is not None
        chosen, _, kept = self._best
        place = self.Cs.index(chosen)
        decisions = np.full((len(self.codes), kept[0].shape[1]), np.nan, np.float32)
        for (_, rows), values in zip(self.folds, kept, strict=True):
            decisions[rows] = values
        return CSearch(
            Cs=np.array(self.Cs),
            accuracy=self.accuracy(),
            std=np.array([(right / self.sizes).std() for right in self._right]),
            chosen=chosen,
            at_border=place in (0, len(self.Cs) - 1),
            widened=widened,
            folds=self.folds,
            decisions=decisions,
            converged=np.array(self._converged),
        )


def predicted_codes(decisions: np.ndarray) -> np.ndarray:
    """Return the class of each row from its decision values.

    Parameters
    ----------
    decisions : ndarray, shape (n, K) or (n, 1)
        One column means two classes, the second where it is above 0.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    if decisions.shape[1] == 1:
        return (decisions[:, 0] > 0).astype(np.int64)
    best: np.ndarray = decisions.argmax(axis=1)
    return best


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
            raise SettingError(f"cv must be at least 2 folds, got {cv}")
        return int(cv)
    try:
        pairs = [(np.asarray(train), np.asarray(held)) for train, held in cv]
    except (TypeError, ValueError):
        raise SettingError(
            "cv must be a number of folds or a list of (training rows, held-out rows), got "
            f"{cv!r:.80}"
        ) from None
    if not pairs:
        raise SettingError("cv is an empty list of folds")
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

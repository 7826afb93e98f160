"""From fits to the sections of a report: means over pairs, pair by pair, heat maps, time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from decaf.runtime.progress import duration
from harness.adaptation.measure import FeatureColumn, Fit, Outcome
from harness.adaptation.methods import PAIR, PUBLISHED, PUBLISHED_COLUMNS, SOURCE, MethodSettings
from harness.frozen_features.sections import mean_and_std
from report import Cell, Column, HeatMap, Row, Table

__all__ = [
    "Results",
    "accuracy_map",
    "chosen_table",
    "gain_map",
    "mean_table",
    "pair_table",
    "remarks",
    "time_table",
]

_BASELINE = "svm-s"

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Results:
    """All fits of a run, by their places in the tables.

    Attributes
    ----------
    fits : tuple of Fit
    columns : tuple of FeatureColumn
    pairs : tuple of (source, target)
    methods : mapping of setting to tuple of MethodSettings
    """

    fits: tuple[Fit, ...]
    columns: tuple[FeatureColumn, ...]
    pairs: tuple[Pair, ...]
    methods: dict[str, tuple[MethodSettings, ...]]

    def __post_init__(self) -> None:
        outcomes: dict[tuple[str, str, str, Pair], list[Outcome]] = defaultdict(list)
        for fit in self.fits:
            outcomes[fit.column.title, fit.setting, fit.method.key, fit.pair].append(fit.outcome)
        object.__setattr__(self, "_outcomes", dict(outcomes))

    def outcomes(
        self, column: FeatureColumn, setting: str, method: str, pair: Pair
    ) -> list[Outcome]:
        """Return the outcomes over the splits, in their order.

        Parameters
        ----------
        column : FeatureColumn
        setting : {"supervised", "unsupervised"}
        method : str
            Key of the method.
        pair : (source, target)
        """
        outcomes: dict[tuple[str, str, str, Pair], list[Outcome]] = self.__dict__["_outcomes"]
        return outcomes[column.title, setting, method, pair]

    def accuracies(
        self,
        column: FeatureColumn,
        setting: str,
        method: str,
        pair: Pair,
        *,
        per_class: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Return the accuracy on each split, in percent: (splits,) float64.

        Parameters
        ----------
        column : FeatureColumn
        setting : {"supervised", "unsupervised"}
        method : str
            Key of the method.
        pair : (source, target)
        per_class : bool
            Whether the mean over the classes of each one's accuracy is taken.
        """
        outcomes = self.outcomes(column, setting, method, pair)
        return np.array([o.mean_per_class if per_class else o.accuracy for o in outcomes])


def mean_table(
    title: str, results: Results, setting: str, *, per_class: bool = False, caption: str = ""
) -> Table:
    """Make the table of methods (rows) and features (columns): the mean over all pairs.

    The spread is that of the mean over the pairs from one split to the next.

    Parameters
    ----------
    title : str
    results : Results
    setting : {"supervised", "unsupervised"}
    per_class : bool
        Whether the mean over the classes of each one's accuracy is taken.
    caption : str
    """

    def cell(column: FeatureColumn, method: MethodSettings) -> Cell:
        by_pair = [
            results.accuracies(column, setting, method.key, pair, per_class=per_class)
            for pair in results.pairs
        ]
        note = _note(
            [o for p in results.pairs for o in results.outcomes(column, setting, method.key, p)]
        )
        return _cell(np.mean(by_pair, axis=0), note)

    return _table(title, results, setting, cell, caption, collapsed=per_class)


def pair_table(
    title: str,
    results: Results,
    setting: str,
    pair: Pair,
    *,
    published: bool = False,
    caption: str = "",
    collapsed: bool = False,
) -> Table:
    """Make the table of one pair; `published` adds the paper's columns.

    Parameters
    ----------
    title : str
    results : Results
    setting : {"supervised", "unsupervised"}
    pair : (source, target)
    published : bool
        Whether the paper's columns stand beside ours.
    caption : str
    collapsed : bool
        Whether a page shows it folded up.
    """

    def cell(column: FeatureColumn, method: MethodSettings) -> Cell:
        outcomes = results.outcomes(column, setting, method.key, pair)
        return _cell(results.accuracies(column, setting, method.key, pair), _note(outcomes))

    table = _table(title, results, setting, cell, caption, collapsed=collapsed)
    if not published or pair != PAIR or setting != "supervised":
        return table
    columns = (*table.columns, *(Column(name, SOURCE) for name in PUBLISHED_COLUMNS))
    rows = []
    for method, row in zip(results.methods[setting], table.rows, strict=True):
        known = PUBLISHED.get(method.key, {})
        rows.append(
            Row(row.name, (*row.cells, *(Cell(*known.get(n, (None,))) for n in PUBLISHED_COLUMNS)))
        )
    return Table(
        title, columns, tuple(rows), row_header="Method", caption=caption, collapsed=collapsed
    )


def _table(
    title: str,
    results: Results,
    setting: str,
    cell: Callable[[FeatureColumn, MethodSettings], Cell],
    caption: str,
    *,
    collapsed: bool,
) -> Table:
    rows = tuple(
        Row(method.name, tuple(cell(column, method) for column in results.columns))
        for method in results.methods[setting]
    )
    columns = tuple(Column(column.title) for column in results.columns)
    return Table(title, columns, rows, row_header="Method", caption=caption, collapsed=collapsed)


def _cell(accuracies: npt.NDArray[np.float64], note: str) -> Cell:
    return Cell(*mean_and_std(accuracies), n=len(accuracies), note=note)


def _note(outcomes: Sequence[Outcome]) -> str:
    stuck = sum(not outcome.converged for outcome in outcomes)
    return f"{stuck} of {len(outcomes)} fits did not converge" if stuck else ""


def accuracy_map(
    title: str, results: Results, setting: str, column: FeatureColumn, *, caption: str = ""
) -> HeatMap:
    """Make the heat map of methods (rows) and pairs (columns).

    Parameters
    ----------
    title : str
    results : Results
    setting : {"supervised", "unsupervised"}
    column : FeatureColumn
    caption : str
    """
    return _map(
        title,
        results,
        results.methods[setting],
        lambda method, pair: float(results.accuracies(column, setting, method, pair).mean()),
        caption,
    )


def gain_map(
    title: str, results: Results, setting: str, column: FeatureColumn, *, caption: str = ""
) -> HeatMap | None:
    """Make the heat map of what each method gains over an SVM on the source alone.

    Parameters
    ----------
    title : str
    results : Results
    setting : {"supervised", "unsupervised"}
    column : FeatureColumn
    caption : str

    Returns
    -------
    HeatMap or None
        None where there is no such row, or no other.
    """
    methods = [method for method in results.methods[setting] if method.key != _BASELINE]
    if len(methods) in (0, len(results.methods[setting])):
        return None

    def gain(method: str, pair: Pair) -> float:
        plain = results.accuracies(column, setting, _BASELINE, pair)
        return float((results.accuracies(column, setting, method, pair) - plain).mean())

    return _map(title, results, methods, gain, caption)


def _map(
    title: str,
    results: Results,
    methods: Sequence[MethodSettings],
    value: Callable[[str, Pair], float],
    caption: str,
) -> HeatMap:
    return HeatMap(
        title,
        tuple(method.short or method.name for method in methods),
        tuple(f"{source} → {target}" for source, target in results.pairs),
        tuple(tuple(value(method.key, pair) for pair in results.pairs) for method in methods),
        row_label="Method",
        column_label="pair",
        caption=caption,
    )


def time_table(title: str, results: Results) -> Table:
    """Make the table of how long a fit with its predictions took.

    Parameters
    ----------
    title : str
    results : Results
    """
    rows = []
    for name, fits in _by_method(results).items():
        seconds = [fit.outcome.seconds for fit in fits]
        rows.append(
            Row(name, (duration(median(seconds)), duration(max(seconds)), duration(sum(seconds))))
        )
    columns = (Column("median"), Column("longest"), Column("all"))
    return Table(
        title, columns, tuple(rows), row_header="Method", unit="", best="none", collapsed=True
    )


def chosen_table(title: str, results: Results) -> Table:
    """Make the table of what was chosen: how often each C, and the dimensions of subspaces.

    Parameters
    ----------
    title : str
    results : Results
    """
    rows = []
    for name, fits in _by_method(results).items():
        Cs = Counter(fit.outcome.C for fit in fits if fit.outcome.C is not None)
        dims = sorted(fit.outcome.dim for fit in fits if fit.outcome.dim is not None)
        told = ", ".join(f"{C:g} ({count})" for C, count in sorted(Cs.items()))
        span = f"{dims[0]} to {dims[-1]}, median {median(dims):g}" if dims else "–"
        rows.append(Row(name, (told or "–", span)))
    columns = (Column("C (fits)"), Column("dimensions"))
    return Table(
        title, columns, tuple(rows), row_header="Method", unit="", best="none", collapsed=True
    )


def _by_method(results: Results) -> dict[str, list[Fit]]:
    by_method: dict[str, list[Fit]] = {}
    for fit in results.fits:
        by_method.setdefault(f"{fit.method.name}, {fit.setting}", []).append(fit)
    return by_method


def remarks(results: Results) -> list[str]:
    """Say what a reader must know of fits that did not converge or gave other warnings.

    Parameters
    ----------
    results : Results
    """
    lines = []
    stuck = Counter(fit.method.name for fit in results.fits if not fit.outcome.converged)
    if stuck:
        told = ", ".join(f"{name} ({count})" for name, count in stuck.most_common())
        lines.append(f"{stuck.total()} of {len(results.fits)} fits did not converge: {told}")
    warned: dict[str, Counter[str]] = defaultdict(Counter)
    for fit in results.fits:
        for message in fit.outcome.messages:
            warned[message][fit.method.name] += 1
    for message, counts in sorted(warned.items()):
        told = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        meaning = _WARNINGS.get(message, f"gave {message}")
        lines.append(f"{counts.total()} of {len(results.fits)} fits {meaning}: {told}")
    return lines


_WARNINGS = {"CSearchWarning": "chose a C at the border of the values tried"}

"""The report of a run: means over pairs, pair by pair, heat maps, and how it was made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from decaf.exploration.page import Cell, Column, HeatMap, Row, Section, Table
from decaf.runtime.progress import duration
from harness.adaptation.measure import FeatureColumn, MethodOutcome, Pair, Place
from harness.adaptation.methods import PAIR, PUBLISHED, PUBLISHED_COLUMNS, SOURCE, MethodSettings
from harness.adaptation.settings import AdaptationSettings
from harness.protocol.outcomes import result_cell
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, SplitRecord

__all__ = ["Results", "make_report"]

_BASELINE = "svm-s"

# Of these, where they were measured, the headline tells: chosen before anything was measured.
_HEADLINE = ("svm-s", "svm-st", "daume", "coral")

# Where there are more, the tables of the pairs are folded up.
_MANY_PAIRS = 3

_WARNINGS = {"CSearchWarning": "chose a C at the border of the values tried"}


@dataclass(frozen=True, eq=False)
class Results:
    """All fits of a run, and what the tables are made of.

    Attributes
    ----------
    fits : tuple of (Place, MethodOutcome)
    columns : tuple of FeatureColumn
    pairs : tuple of (source, target)
    methods : mapping of setting to tuple of MethodSettings
    """

    fits: tuple[tuple[Place, MethodOutcome], ...]
    columns: tuple[FeatureColumn, ...]
    pairs: tuple[Pair, ...]
    methods: dict[str, tuple[MethodSettings, ...]]

    @cached_property
    def outcomes(self) -> dict[Place, list[MethodOutcome]]:
        """The outcomes of each place, over the splits in their order."""
        outcomes: dict[Place, list[MethodOutcome]] = defaultdict(list)
        for place, outcome in self.fits:
            outcomes[place].append(outcome)
        return outcomes

    @cached_property
    def by_method(self) -> dict[str, list[MethodOutcome]]:
        """The outcomes of each method and setting."""
        names = self.names
        by_method: dict[str, list[MethodOutcome]] = defaultdict(list)
        for place, outcome in self.fits:
            by_method[f"{names[place.method]}, {place.setting}"].append(outcome)
        return by_method

    @property
    def names(self) -> dict[str, str]:
        """The methods' names by their keys."""
        return {each.key: each.name for some in self.methods.values() for each in some}

    def accuracies(self, place: Place, *, per_class: bool = False) -> npt.NDArray[np.float64]:
        """Return the accuracy on each split, in percent: (splits,) float64.

        Parameters
        ----------
        place : Place
        per_class : bool
            Whether the mean over the classes of each one's accuracy is taken.
        """
        outcomes = self.outcomes[place]
        return np.array([o.mean_per_class if per_class else o.accuracy for o in outcomes])


def make_report(
    results: Results,
    run: BenchmarkRun[AdaptationSettings],
    splits: Sequence[SplitRecord],
    pictures: Sequence[Section],
) -> BenchmarkReport:
    """Put the report together.

    Parameters
    ----------
    results : Results
    run : BenchmarkRun
    splits : sequence of SplitRecord
    pictures : sequence of Section
        Pictures of the domains before and after adaptation.
    """
    settings = run.settings
    tables = _pair_tables(results, settings)
    return run.report(
        f"{results.columns[0].domains.name}: domain adaptation on features",
        _what(results, settings),
        _headline(results),
        (
            *(_mean_table(results, settings, s) for s in results.methods if len(results.pairs) > 1),
            *(table for table in tables if not table.collapsed),
            *_maps(results),
            *pictures,
        ),
        splits=splits,
        settings=_settings(results, settings),
        notes=(
            *dict.fromkeys(note for column in results.columns for note in column.domains.notes),
            *run.notes,
            *remarks(results),
        ),
        appendix=(
            *(table for table in tables if table.collapsed),
            *(_mean_table(results, settings, s, per_class=True) for s in results.methods),
            _chosen_table(results),
            _time_table(results),
        ),
    )


def _pairs(results: Results) -> str:
    if len(results.pairs) == 1:
        return " → ".join(results.pairs[0])
    return f"{len(results.pairs)} pairs"


def _several(results: Results) -> bool:
    """Say whether there is a spread over splits at all."""
    return len(results.columns[0].splits) > 1


def _with(setting: str, settings: AdaptationSettings) -> str:
    count = settings.target_per_class
    images = "image" if count == 1 else "images"
    if setting == "supervised":
        return f"{count} labelled target {images} a class"
    return "no labelled target images"


def _table(
    title: str,
    results: Results,
    setting: str,
    cell: Callable[[FeatureColumn, MethodSettings], Cell],
    caption: str,
    *,
    published: bool = False,
    collapsed: bool = False,
) -> Table:
    """Make a table of methods (rows) and features (columns); `published` adds the paper's."""
    columns = [Column(column.title) for column in results.columns]
    columns += [Column(name, SOURCE) for name in PUBLISHED_COLUMNS if published]
    rows = []
    for method in results.methods[setting]:
        scores = PUBLISHED.get(method.key, {})
        own = [cell(column, method) for column in results.columns]
        theirs = [Cell(*scores.get(name, (None,))) for name in PUBLISHED_COLUMNS if published]
        rows.append(Row(method.name, (*own, *theirs)))
    return Table(
        title,
        tuple(columns),
        tuple(rows),
        row_header="Method",
        caption=caption,
        collapsed=collapsed,
    )


def _mean_table(
    results: Results, settings: AdaptationSettings, setting: str, *, per_class: bool = False
) -> Table:
    """Make the table of means over all pairs.

    The spread is that of the mean over the pairs from one split to the next.
    """

    def cell(column: FeatureColumn, method: MethodSettings) -> Cell:
        places = [Place(column.title, setting, method.key, pair) for pair in results.pairs]
        by_pair = [results.accuracies(place, per_class=per_class) for place in places]
        outcomes = [outcome for place in places for outcome in results.outcomes[place]]
        return result_cell(np.mean(by_pair, axis=0), outcomes)

    if per_class:
        title = f"Mean per-class accuracy over {_pairs(results)}, {setting}"
        return _table(title, results, setting, cell, "", collapsed=True)
    spread = " ± standard deviation (n - 1) of this mean over the splits" * _several(results)
    caption = f"Mean over {_pairs(results)}{spread}, in percent of the test images."
    title = f"Mean over {_pairs(results)}, {_with(setting, settings)}"
    return _table(title, results, setting, cell, caption)


def _pair_tables(results: Results, settings: AdaptationSettings) -> list[Table]:
    """Make the tables of the pairs; where there are many, all but the paper's are folded up."""
    tables = []
    office = results.columns[0].domains.name == "Office-31"
    for pair in results.pairs:
        for setting in results.methods:

            def cell(
                column: FeatureColumn,
                method: MethodSettings,
                pair: Pair = pair,
                setting: str = setting,
            ) -> Cell:
                place = Place(column.title, setting, method.key, pair)
                return result_cell(results.accuracies(place), results.outcomes[place])

            known = office and pair == PAIR and setting == "supervised"
            caption = "Accuracy on one split, in percent."
            if _several(results):
                caption = "Mean ± standard deviation (n - 1) over the splits, in percent."
            if known:
                caption += (
                    " The published DeCAF features were trained on ILSVRC-2012. The paper does not "
                    "say which classifier stands on the geodesic flow kernel."
                )
            tables.append(
                _table(
                    f"{pair[0]} → {pair[1]}, {_with(setting, settings)}",
                    results,
                    setting,
                    cell,
                    caption,
                    published=known,
                    collapsed=len(results.pairs) > _MANY_PAIRS and not known,
                )
            )
    return tables


def _maps(results: Results) -> list[HeatMap]:
    """Make the heat maps of accuracies, and of what is gained over an SVM on the source alone."""
    maps = []
    for column in results.columns:
        for setting, methods in results.methods.items():
            accuracies = {
                method.key: [
                    results.accuracies(Place(column.title, setting, method.key, pair))
                    for pair in results.pairs
                ]
                for method in methods
            }
            what = f"{column.title}, {setting}"
            means = [[float(a.mean()) for a in accuracies[m.key]] for m in methods]
            maps.append(_map(f"Accuracy by pair, {what}", results, methods, means))
            others = [method for method in methods if method.key != _BASELINE]
            if len(others) in (0, len(methods)):
                continue
            gains = [
                [
                    float((own - plain).mean())
                    for own, plain in zip(accuracies[m.key], accuracies[_BASELINE], strict=True)
                ]
                for m in others
            ]
            title = f"Gain over SVM (S) by pair, {what}"
            caption = "In percentage points, on the same splits."
            maps.append(_map(title, results, others, gains, caption))
    return maps


def _map(
    title: str,
    results: Results,
    methods: Sequence[MethodSettings],
    values: Sequence[Sequence[float]],
    caption: str = "",
) -> HeatMap:
    return HeatMap(
        title,
        tuple(method.short or method.name for method in methods),
        tuple(f"{source} → {target}" for source, target in results.pairs),
        tuple(tuple(row) for row in values),
        row_label="Method",
        column_label="pair",
        caption=caption,
    )


def _headline(results: Results) -> str:
    column, setting = results.columns[0], next(iter(results.methods))
    told = []
    for method in results.methods[setting]:
        if method.key in _HEADLINE:
            places = [Place(column.title, setting, method.key, pair) for pair in results.pairs]
            mean = np.mean([results.accuracies(place) for place in places])
            told.append(f"{method.name} {mean:.1f} %")
    return f"{_pairs(results)}, {column.title}, {setting}: {', '.join(told)}" if told else ""


def _what(results: Results, settings: AdaptationSettings) -> str:
    domains = results.columns[0].domains
    of_count: dict[int, list[str]] = {}
    for domain, n in settings.source_count(domains).items():
        of_count.setdefault(n, []).append(domain)
    if len(of_count) > 1:
        count = ", ".join(f"{n} from {' and '.join(names)}" for n, names in of_count.items())
        labelled = f"labelled source images a class ({count})"
    else:
        labelled = f"{next(iter(of_count))} labelled source images a class"
    splits = len(results.columns[0].splits)
    return (
        f"Classifiers for one domain of {domains.name} learned mostly from another: "
        f"{len(domains.class_names)} classes in {len(domains.domains)} domains "
        f"({', '.join(domains.domains)}), {labelled}, and in the "
        f"supervised setting {settings.target_per_class} of the target, in "
        f"{f'each of {splits} splits' if splits > 1 else 'one split'} (the protocol of Saenko et "
        "al. 2010 that Donahue et al. 2014 follow in section 4.2). Accuracy is over the other "
        "target images, which methods see without their labels: nothing is chosen on these."
    )


def _settings(results: Results, settings: AdaptationSettings) -> dict[str, str]:
    domains = results.columns[0].domains
    listed = {
        "data": Path(domains.root).name,
        "domains": ", ".join(f"{d} ({len(domains.rows_of(d)):,} images)" for d in domains.domains),
        "pairs": ", ".join(f"{s} → {t}" for s, t in results.pairs),
        "splits": settings.made_by,
        "features": ", ".join(column.title for column in results.columns),
        "crops": settings.crops,
        "precision": settings.precision,
        "C of the heads": "chosen by cross-validation among the labelled training images"
        if settings.C == "cv"
        else f"{settings.C:g}",
        "seed": str(settings.seed),
    }
    if domains.origin is not None:
        listed["reference of the data"] = domains.origin.reference
    return listed


def _time_table(results: Results) -> Table:
    rows = []
    for name, outcomes in results.by_method.items():
        seconds = [outcome.seconds for outcome in outcomes]
        rows.append(
            Row(name, (duration(median(seconds)), duration(max(seconds)), duration(sum(seconds))))
        )
    return _text_table("Time of a fit with its predictions", ("median", "longest", "all"), rows)


def _chosen_table(results: Results) -> Table:
    """Make the table of what was chosen: how often each C, and the dimensions of subspaces."""
    rows = []
    for name, outcomes in results.by_method.items():
        Cs = Counter(outcome.C for outcome in outcomes if outcome.C is not None)
        dims = sorted(outcome.dim for outcome in outcomes if outcome.dim is not None)
        told = ", ".join(f"{C:g} ({count})" for C, count in sorted(Cs.items()))
        span = f"{dims[0]} to {dims[-1]}, median {median(dims):g}" if dims else "–"
        rows.append(Row(name, (told or "–", span)))
    title = "What was chosen, and in how many fits"
    return _text_table(title, ("C (fits)", "dimensions"), rows)


def _text_table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Table:
    return Table(
        title,
        tuple(Column(name) for name in columns),
        tuple(rows),
        row_header="Method",
        unit="",
        best="none",
        collapsed=True,
    )


def remarks(results: Results) -> list[str]:
    """Say what a reader must know of fits that did not converge or gave other warnings.

    Parameters
    ----------
    results : Results
    """
    told: dict[str, Counter[str]] = defaultdict(Counter)
    stuck: Counter[str] = Counter()
    for place, outcome in results.fits:
        name = results.names[place.method]
        if not outcome.converged:
            stuck[name] += 1
        for message in outcome.messages:
            told[message][name] += 1
    kinds = {"did not converge": stuck} if stuck else {}
    for message, counts in sorted(told.items()):
        kinds[_WARNINGS.get(message, f"gave {message}")] = counts
    return [
        f"{counts.total()} of {len(results.fits)} fits {what}: "
        + ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        for what, counts in kinds.items()
    ]

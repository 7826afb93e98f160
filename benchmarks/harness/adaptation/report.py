"""The report of a run: the tables, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.adaptation import sections as parts
from harness.adaptation.methods import PAIR
from harness.adaptation.sections import Results
from harness.adaptation.settings import AdaptationSettings
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, Section, SplitRecord, Table

__all__ = ["Measured", "make_report"]

# Of these, where they were measured, the headline tells: chosen before anything was measured.
_HEADLINE = ("svm-s", "svm-st", "daume", "coral")

_MANY_PAIRS = 3


@dataclass(frozen=True, eq=False)
class Measured:
    """What a run found, for its report.

    Attributes
    ----------
    results : Results
    splits : list of SplitRecord
    made_by : str
        How the splits came about.
    source_count : mapping of domain to int
        Labelled images a class of each domain as the source.
    pictures : sequence of Section
        Pictures of the domains before and after adaptation.
    """

    results: Results
    splits: list[SplitRecord]
    made_by: str
    source_count: Mapping[str, int]
    pictures: Sequence[Section]


def make_report(measured: Measured, run: BenchmarkRun[AdaptationSettings]) -> BenchmarkReport:
    """Put the report together.

    Parameters
    ----------
    measured : Measured
    run : BenchmarkRun
    """
    results, settings = measured.results, run.settings
    tables = _pair_tables(results, settings)
    per_class = [
        parts.mean_table(
            f"Mean per-class accuracy over {_pairs(results)}, {setting}",
            results,
            setting,
            per_class=True,
        )
        for setting in results.methods
    ]
    return run.report(
        f"{results.columns[0].domains.name}: domain adaptation on features",
        _what(measured, settings),
        _headline(results),
        (
            *_mean_tables(results, settings),
            *(table for table in tables if not table.collapsed),
            *_maps(results),
            *measured.pictures,
        ),
        splits=measured.splits,
        settings=_settings(measured, settings),
        notes=(
            *dict.fromkeys(note for column in results.columns for note in column.domains.notes),
            *run.notes,
            *parts.remarks(results),
        ),
        appendix=(
            *(table for table in tables if table.collapsed),
            *per_class,
            parts.chosen_table("What was chosen, and in how many fits", results),
            parts.time_table("Time of a fit with its predictions", results),
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


def _mean_tables(results: Results, settings: AdaptationSettings) -> list[Section]:
    if len(results.pairs) == 1:
        return []
    spread = " ± standard deviation (n - 1) of this mean over the splits" * _several(results)
    caption = f"Mean over {_pairs(results)}{spread}, in percent of the test images."
    return [
        parts.mean_table(
            f"Mean over {_pairs(results)}, {_with(setting, settings)}",
            results,
            setting,
            caption=caption,
        )
        for setting in results.methods
    ]


def _pair_tables(results: Results, settings: AdaptationSettings) -> list[Table]:
    """Make the tables of the pairs; where there are many, all but the paper's are folded up."""
    tables = []
    office = results.columns[0].domains.name == "Office-31"
    for pair in results.pairs:
        for setting in results.methods:
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
                parts.pair_table(
                    f"{pair[0]} → {pair[1]}, {_with(setting, settings)}",
                    results,
                    setting,
                    pair,
                    published=known,
                    caption=caption,
                    collapsed=len(results.pairs) > _MANY_PAIRS and not known,
                )
            )
    return tables


def _maps(results: Results) -> list[Section]:
    maps: list[Section] = []
    for column in results.columns:
        for setting in results.methods:
            what = f"{column.title}, {setting}"
            maps.append(parts.accuracy_map(f"Accuracy by pair, {what}", results, setting, column))
            gain = parts.gain_map(
                f"Gain over SVM (S) by pair, {what}",
                results,
                setting,
                column,
                caption="In percentage points, on the same splits.",
            )
            if gain is not None:
                maps.append(gain)
    return maps


def _headline(results: Results) -> str:
    column, setting = results.columns[0], next(iter(results.methods))
    told = []
    for method in results.methods[setting]:
        if method.key in _HEADLINE:
            by_pair = [results.accuracies(column, setting, method.key, p) for p in results.pairs]
            told.append(f"{method.name} {np.mean(by_pair):.1f} %")
    return f"{_pairs(results)}, {column.title}, {setting}: {', '.join(told)}" if told else ""


def _what(measured: Measured, settings: AdaptationSettings) -> str:
    results = measured.results
    domains = results.columns[0].domains
    of_count: dict[int, list[str]] = {}
    for domain, n in measured.source_count.items():
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


def _settings(measured: Measured, settings: AdaptationSettings) -> dict[str, str]:
    domains = measured.results.columns[0].domains
    listed = {
        "data": Path(domains.root).name,
        "domains": ", ".join(f"{d} ({len(domains.rows_of(d)):,} images)" for d in domains.domains),
        "pairs": ", ".join(f"{s} → {t}" for s, t in measured.results.pairs),
        "splits": measured.made_by,
        "features": ", ".join(column.title for column in measured.results.columns),
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

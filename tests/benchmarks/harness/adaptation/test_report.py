"""Tables and heat maps from outcomes whose accuracies are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.domains import DomainSet
from decaf.exploration.page import Cell, HeatMap, Table
from harness.adaptation import AdaptationSettings
from harness.adaptation.measure import FeatureColumn, MethodOutcome, Place
from harness.adaptation.methods import METHODS, PUBLISHED, PUBLISHED_COLUMNS, methods_of
from harness.adaptation.report import Results, make_report, remarks
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport

PAIRS = (("amazon", "webcam"), ("webcam", "amazon"))
KEYS = ("svm-s", "svm-st", "gfk-1nn")
# By method, then by pair: right of 20 test images on each of two splits.
RIGHT = {
    "svm-s": ((10, 12), (4, 6)),
    "svm-st": ((16, 14), (8, 10)),
    "gfk-1nn": ((12, 12), (12, 12)),
}


def outcome_of(right: int, **more: Any) -> MethodOutcome:
    counts: dict[str, Any] = {"right": (right - 2, 2, 0), "images": (10, 8, 2)}
    return MethodOutcome(**counts, C=4.0, seconds=0.5, **more)


@pytest.fixture
def results(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> Results:
    column = make_column(make_domains())
    fits = [
        (Place("fc6", "supervised", key, pair), outcome_of(RIGHT[key][p][split]))
        for key in KEYS
        for p, pair in enumerate(PAIRS)
        for split in (0, 1)
    ]
    messages = ("CSearchWarning", "OtherWarning")
    fits[-1] = (fits[-1][0], outcome_of(12, dim=7, converged=False, messages=messages))
    return Results(tuple(fits), (column,), PAIRS, {"supervised": methods_of(KEYS)})


@pytest.fixture
def report(results: Results, tmp_path: Path) -> BenchmarkReport:
    settings = AdaptationSettings(name="da", source_per_class=6, cache=tmp_path)
    return make_report(results, BenchmarkRun(settings, tmp_path), [], [])


def table(report: BenchmarkReport, title: str) -> Table:
    """Return the one table whose title begins so."""
    parts = [*report.sections, *report.appendix]
    (part,) = [part for part in parts if part.title.startswith(title)]
    assert isinstance(part, Table)
    return part


def cells(row: Any) -> list[Cell]:
    return list(row.cells)


def test_the_mean_over_pairs_and_its_spread_over_splits(report: BenchmarkReport) -> None:
    rows = table(report, "Mean over 2 pairs, 3 labelled target images a class").rows
    assert [row.name for row in rows] == [m.name for m in methods_of(KEYS)]
    (cell,) = cells(rows[0])
    # 50 and 20 % on split 0, 60 and 30 % on split 1: means of 35 and 45 %.
    assert cell.mean == pytest.approx(40)
    assert cell.std == pytest.approx(np.std([35, 45], ddof=1))
    assert cell.n == 2
    assert cells(rows[2])[0].note == "1 of 4 fits did not converge"


def test_accuracy_by_class_counts_classes_alike(report: BenchmarkReport) -> None:
    (cell,) = cells(table(report, "Mean per-class accuracy over 2 pairs").rows[2])
    assert cell.mean == pytest.approx(100 * (10 / 10 + 2 / 8 + 0 / 2) / 3)


def test_a_pair_with_and_without_the_papers_numbers(report: BenchmarkReport) -> None:
    beside = table(report, "amazon → webcam, 3 labelled")
    assert [column.name for column in beside.columns] == ["fc6", *PUBLISHED_COLUMNS]
    assert {column.source for column in beside.columns[1:]} == {"Donahue et al. 2014, table 1"}
    own, *theirs = cells(beside.rows[1])
    assert (own.mean, own.n) == (pytest.approx(75), 2)
    assert [cell.mean for cell in theirs] == [23.19, 80.66, 79.12, None]
    # The other way round nothing was published.
    assert [column.name for column in table(report, "webcam → amazon").columns] == ["fc6"]


def test_published_numbers_are_those_of_the_paper() -> None:
    assert set(PUBLISHED) <= {method.key for method in METHODS}
    assert PUBLISHED["daume"]["DeCAF₆"] == (82.14, 1.9)
    assert PUBLISHED["mmdt"]["SURF"] == (37.66, 2.2)
    assert PUBLISHED["gfk-1nn"]["DeCAF₇"] == (77.55, 1.9)
    assert PUBLISHED["dlid"] == {"own features": (58.85, None)}


def test_heat_maps(report: BenchmarkReport) -> None:
    chart, gain = (part for part in report.sections if isinstance(part, HeatMap))
    assert chart.column_names == ("amazon → webcam", "webcam → amazon")
    assert chart.row_names == ("SVM (S)", "SVM (ST)", "GFK, 1-NN")
    np.testing.assert_allclose(chart.values, [[55, 25], [75, 45], [60, 60]])
    assert gain.title == "Gain over SVM (S) by pair, fc6, supervised"
    np.testing.assert_allclose(gain.values, [[20, 20], [5, 35]])


@pytest.mark.parametrize("keys", [["svm-s"], ["svm-st", "gfk-1nn"]])
def test_no_gain_without_what_it_is_over(results: Results, tmp_path: Path, keys: list[str]) -> None:
    fits = tuple((place, outcome) for place, outcome in results.fits if place.method in keys)
    some = replace(results, fits=fits, methods={"supervised": methods_of(keys)})
    run = BenchmarkRun(AdaptationSettings(name="da", cache=tmp_path), tmp_path)
    titles = [part.title for part in make_report(some, run, [], []).sections]
    assert not [title for title in titles if title.startswith("Gain")]


def test_what_was_chosen_and_how_long_it_took(report: BenchmarkReport) -> None:
    chosen = table(report, "What was chosen")
    assert chosen.rows[2].name == "Gong et al. 2012 (GFK, 1-NN), supervised"
    assert chosen.rows[2].cells == ("4 (4)", "7 to 7, median 7")
    assert chosen.rows[0].cells == ("4 (4)", "–")
    assert table(report, "Time of a fit").rows[0].cells == ("0.5 s", "0.5 s", "2.0 s")


def test_remarks(results: Results) -> None:
    name = "Gong et al. 2012 (GFK, 1-NN) (1)"
    assert remarks(results) == [
        f"1 of 12 fits did not converge: {name}",
        f"1 of 12 fits chose a C at the border of the values tried: {name}",
        f"1 of 12 fits gave OtherWarning: {name}",
    ]

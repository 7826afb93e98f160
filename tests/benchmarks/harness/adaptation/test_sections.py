"""Tables and heat maps from outcomes whose accuracies are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datasets.domains import DomainSet
from harness.adaptation import sections as parts
from harness.adaptation.measure import FeatureColumn, Fit, Outcome
from harness.adaptation.methods import METHODS, PUBLISHED, PUBLISHED_COLUMNS, methods_of
from harness.adaptation.sections import Results
from report import Cell

PAIRS = (("amazon", "webcam"), ("webcam", "amazon"))
KEYS = ("svm-s", "svm-st", "gfk-1nn")
# By method, then by pair: right of 20 test images on each of two splits.
RIGHT = {
    "svm-s": ((10, 12), (4, 6)),
    "svm-st": ((16, 14), (8, 10)),
    "gfk-1nn": ((12, 12), (12, 12)),
}


@pytest.fixture
def results(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> Results:
    column = make_column(make_domains())
    methods = methods_of(KEYS)

    def outcome(right: int, **more: Any) -> Outcome:
        return Outcome((right - 2, 2, 0), (10, 8, 2), "", C=4.0, seconds=0.5, **more)

    fits = [
        Fit(column, "supervised", method, pair, split, outcome(RIGHT[method.key][p][split]))
        for method in methods
        for p, pair in enumerate(PAIRS)
        for split in (0, 1)
    ]
    fits[-1] = Fit(
        column,
        "supervised",
        methods[-1],
        PAIRS[1],
        1,
        outcome(12, dim=7, converged=False, messages=("CSearchWarning", "OtherWarning")),
    )
    return Results(tuple(fits), (column,), PAIRS, {"supervised": methods})


def cells(row: Any) -> list[Cell]:
    return list(row.cells)


def test_the_mean_over_pairs_and_its_spread_over_splits(results: Results) -> None:
    table = parts.mean_table("Mean", results, "supervised")
    assert [row.name for row in table.rows] == [m.name for m in methods_of(KEYS)]
    (cell,) = cells(table.rows[0])
    # 50 and 20 % on split 0, 60 and 30 % on split 1: means of 35 and 45 %.
    assert cell.mean == pytest.approx(40)
    assert cell.std == pytest.approx(np.std([35, 45], ddof=1))
    assert cell.n == 2
    assert cells(table.rows[2])[0].note == "1 of 4 fits did not converge"


def test_accuracy_by_class_counts_classes_alike(results: Results) -> None:
    (cell,) = cells(parts.mean_table("Mean", results, "supervised", per_class=True).rows[2])
    assert cell.mean == pytest.approx(100 * (10 / 10 + 2 / 8 + 0 / 2) / 3)


def test_a_pair_with_and_without_the_papers_numbers(results: Results) -> None:
    plain = parts.pair_table("Pair", results, "supervised", PAIRS[0])
    assert [column.name for column in plain.columns] == ["fc6"]
    (cell,) = cells(plain.rows[1])
    assert (cell.mean, cell.n) == (pytest.approx(75), 2)
    beside = parts.pair_table("Pair", results, "supervised", PAIRS[0], published=True)
    assert [column.name for column in beside.columns] == ["fc6", *PUBLISHED_COLUMNS]
    assert {column.source for column in beside.columns[1:]} == {"Donahue et al. 2014, table 1"}
    assert [c.mean for c in cells(beside.rows[1])[1:]] == [23.19, 80.66, 79.12, None]
    # The other way round nothing was published.
    other = parts.pair_table("Pair", results, "supervised", PAIRS[1], published=True)
    assert len(other.columns) == 1


def test_published_numbers_are_those_of_the_paper() -> None:
    assert set(PUBLISHED) <= {method.key for method in METHODS}
    assert PUBLISHED["daume"]["DeCAF₆"] == (82.14, 1.9)
    assert PUBLISHED["mmdt"]["SURF"] == (37.66, 2.2)
    assert PUBLISHED["gfk-1nn"]["DeCAF₇"] == (77.55, 1.9)
    assert PUBLISHED["dlid"] == {"own features": (58.85, None)}


def test_heat_maps(results: Results) -> None:
    (column,) = results.columns
    chart = parts.accuracy_map("Accuracy", results, "supervised", column)
    assert chart.column_names == ("amazon → webcam", "webcam → amazon")
    assert chart.row_names == ("SVM (S)", "SVM (ST)", "GFK, 1-NN")
    np.testing.assert_allclose(chart.values, [[55, 25], [75, 45], [60, 60]])
    gain = parts.gain_map("Gain", results, "supervised", column)
    assert gain is not None
    np.testing.assert_allclose(gain.values, [[20, 20], [5, 35]])


def test_no_gain_without_what_it_is_over(results: Results) -> None:
    (column,) = results.columns
    for keys in (["svm-s"], ["svm-st", "gfk-1nn"]):
        some = Results(
            tuple(fit for fit in results.fits if fit.method.key in keys),
            results.columns,
            PAIRS,
            {"supervised": methods_of(keys)},
        )
        assert parts.gain_map("Gain", some, "supervised", column) is None


def test_what_was_chosen_and_how_long_it_took(results: Results) -> None:
    chosen = parts.chosen_table("Chosen", results)
    assert chosen.rows[2].name == "Gong et al. 2012 (GFK, 1-NN), supervised"
    assert chosen.rows[2].cells == ("4 (4)", "7 to 7, median 7")
    assert chosen.rows[0].cells == ("4 (4)", "–")
    assert parts.time_table("Time", results).rows[0].cells == ("0.5 s", "0.5 s", "2.0 s")


def test_remarks(results: Results) -> None:
    name = "Gong et al. 2012 (GFK, 1-NN) (1)"
    assert parts.remarks(results) == [
        f"1 of 12 fits did not converge: {name}",
        f"1 of 12 fits chose a C at the border of the values tried: {name}",
        f"1 of 12 fits gave OtherWarning: {name}",
    ]

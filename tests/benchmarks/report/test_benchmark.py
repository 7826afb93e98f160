"""The record holds plain numbers, comes back from JSON unchanged, and refuses what is not one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import InputError, SettingError
from decaf.exploration.page import (
    Bar,
    Bars,
    Cell,
    Column,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Row,
    Series,
    Table,
    Text,
)
from report import BenchmarkReport


def through_json(report: BenchmarkReport) -> BenchmarkReport:
    return BenchmarkReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))


def test_json_gives_back_the_same_report(report: BenchmarkReport) -> None:
    again = through_json(report)
    assert again == report
    assert [type(part) for part in again.sections] == [
        Table,
        Lines,
        ConfusionMatrix,
        Confusions,
        Bars,
        HeatMap,
        Text,
    ]


def test_only_what_can_be_one_of_several_says_its_kind(report: BenchmarkReport) -> None:
    first = report.to_dict()["sections"][0]
    assert first["kind"] == "Table"
    assert first["rows"][1]["cells"][1] == {"mean": None, "std": None, "n": None, "note": ""}


numbers = st.none() | st.floats(allow_infinity=False)


@given(st.lists(st.tuples(st.text(), numbers, numbers, st.none() | st.integers(0)), max_size=5))
def test_any_names_and_numbers_come_back(bars: list[Any]) -> None:
    part = Bars("bars", tuple(Bar(*bar) for bar in bars))
    report = BenchmarkReport("r", "t", "w", (part, Text("a", "b")))
    assert through_json(report) == report


def test_numbers_of_numpy_become_pythons_and_nan_becomes_none() -> None:
    cell = Cell(np.float32(0.5), np.float64("nan"), np.int64(5))  # type: ignore[arg-type]
    assert (cell.mean, cell.std, cell.n) == (0.5, None, 5)
    assert [type(value) for value in (cell.mean, cell.n)] == [float, int]
    matrix = ConfusionMatrix("m", ("a", "b"), np.eye(2, dtype=np.int32))  # type: ignore[arg-type]
    assert matrix.counts == ((1, 0), (0, 1))
    assert type(matrix.counts[0][0]) is int
    series = Series("s", np.arange(2), np.array([1.0, np.nan]))  # type: ignore[arg-type]
    assert (series.x, series.mean) == ((0.0, 1.0), (1.0, None))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Cell(float("inf")), "expected a finite number"),
        (
            lambda: Table("t", (Column("a"),), (Row("r", ()),)),
            "table 't': row 'r' has 0 cells, and there are 1 columns",
        ),
        (lambda: Table("t", (), (), best="most"), "best: 'most'; expected highest, lowest"),
        (lambda: Series("s", (1, 2), (1.0,)), "curve 's': 2 x, 1 means and 0"),
        (lambda: ConfusionMatrix("m", ("a",), ((1, 2),)), r"1 rows of \[2\] numbers; expected 1"),
        (lambda: ConfusionMatrix("m", ("a",), ((-1,),)), "has counts below 0"),
        (lambda: HeatMap("h", ("a",), ("b",), ()), r"0 rows of \[\] numbers; expected 1 of 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Any, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        make()


@pytest.mark.parametrize(
    ("path", "to", "text"),
    [
        (["format"], "decaf-head", "not a benchmark report: expected format 'decaf-benchmark'"),
        (["schema"], 2, "has schema 2, and this decaf reads 1"),
        (["colour"], "red", "KeyError.'colour'"),
        (["sections", 0, "kind"], "Pie", "KeyError.'Pie'"),
        (["sections", 0, "rows", 0], {}, "missing 2 required positional arguments"),
        (["sections", 0, "rows", 0, "cells"], [], "row 'LogReg' has 0 cells"),
        (["splits", 0], 7, "'int' object has no attribute 'items'"),
    ],
)
def test_what_is_not_a_report_is_refused(
    report: BenchmarkReport, path: list[Any], to: Any, text: str
) -> None:
    record = json.loads(json.dumps(report.to_dict()))
    place: Any = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    with pytest.raises(InputError, match=text):
        BenchmarkReport.from_dict(record)

"""Reports of benchmarks: a record as JSON, and Markdown, a page of HTML and curves made from it."""

from __future__ import annotations

from decaf.evaluate.reports.benchmark import BenchmarkReport, SplitRecord
from decaf.evaluate.reports.sections import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Row,
    Section,
    Series,
    Table,
    Text,
)

__all__ = [
    "Bar",
    "Bars",
    "BenchmarkReport",
    "Cell",
    "Column",
    "Confusion",
    "ConfusionMatrix",
    "Confusions",
    "HeatMap",
    "Lines",
    "Row",
    "Section",
    "Series",
    "SplitRecord",
    "Table",
    "Text",
]

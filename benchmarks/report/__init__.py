"""Reports of benchmarks: a record as JSON, and Markdown, a page of HTML and curves made from it."""

from __future__ import annotations

from report.benchmark import BenchmarkReport, SplitRecord
from report.files import load_report, report_json, write_report
from report.markdown import table_markdown
from report.sections import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Panel,
    Points,
    Row,
    Scatter,
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
    "Panel",
    "Points",
    "Row",
    "Scatter",
    "Section",
    "Series",
    "SplitRecord",
    "Table",
    "Text",
    "load_report",
    "report_json",
    "table_markdown",
    "write_report",
]

"""Reports of benchmarks: a record as JSON, and Markdown, a page of HTML and curves made from it."""

from __future__ import annotations

from decaf.exploration.page import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    NearestImages,
    Neighbour,
    Neighbours,
    Panel,
    Points,
    Row,
    Scatter,
    Section,
    Series,
    Table,
    Text,
)
from report.benchmark import (
    BenchmarkReport,
    SplitRecord,
    machine,
    now,
    versions,
)
from report.files import load_report, report_json, write_report
from report.rendering import report_text, table_text

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
    "NearestImages",
    "Neighbour",
    "Neighbours",
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
    "machine",
    "now",
    "report_json",
    "report_text",
    "table_text",
    "versions",
    "write_report",
]

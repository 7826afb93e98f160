"""Reports of benchmarks: a record as JSON, and Markdown, a page of HTML and curves made from it.

The sections of a report, its tables and curves, are those of all pages (`decaf.exploration.page`).
"""

from __future__ import annotations

import sys

try:
    from report.benchmark import BenchmarkReport, SplitRecord, machine, now, versions
    from report.files import load_report, report_json, write_report
    from report.rendering import report_text, table_text
except ModuleNotFoundError as error:
    if error.name not in ("jinja2", "matplotlib"):
        raise
    print(
        f"benchmarks need {error.name}; install it with: pip install 'decaf-features[baselines]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

__all__ = [
    "BenchmarkReport",
    "SplitRecord",
    "load_report",
    "machine",
    "now",
    "report_json",
    "report_text",
    "table_text",
    "versions",
    "write_report",
]

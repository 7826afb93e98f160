"""Benchmarks in published protocols: from a data set to tables, curves and a report."""

from __future__ import annotations

from decaf.evaluate.benchmarks.run import run_benchmark
from decaf.evaluate.benchmarks.settings import BenchmarkSettings, paper_heads

__all__ = ["BenchmarkSettings", "paper_heads", "run_benchmark"]

"""Benchmarks in published protocols: from a data set to tables, curves and a report."""

from __future__ import annotations

from harness.frozen_features.run import run_benchmark
from harness.frozen_features.settings import BenchmarkSettings, paper_heads

__all__ = ["BenchmarkSettings", "paper_heads", "run_benchmark"]

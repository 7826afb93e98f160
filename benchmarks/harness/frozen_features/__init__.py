"""Benchmarks in published protocols: from a data set to tables, curves and a report."""

from __future__ import annotations

from harness.frozen_features.heads import paper_heads
from harness.frozen_features.run import BASELINES, BenchmarkSettings, run_benchmark

__all__ = ["BASELINES", "BenchmarkSettings", "paper_heads", "run_benchmark"]

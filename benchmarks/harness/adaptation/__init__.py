"""Domain adaptation measured: domains, pairs of them, splits, methods, a report."""

from __future__ import annotations

from harness.adaptation.methods import METHODS, PAIR, methods_of
from harness.adaptation.run import run_adaptation
from harness.adaptation.settings import SETTINGS, AdaptationSettings

__all__ = ["METHODS", "PAIR", "SETTINGS", "AdaptationSettings", "methods_of", "run_adaptation"]

"""Domain adaptation measured: domains, pairs of them, splits, methods, a report."""

from __future__ import annotations

from datasets.domains import DomainSet, read_domains
from harness.adaptation.methods import METHODS, MethodSettings
from harness.adaptation.run import run_adaptation
from harness.adaptation.settings import AdaptationSettings

__all__ = [
    "METHODS",
    "AdaptationSettings",
    "DomainSet",
    "MethodSettings",
    "read_domains",
    "run_adaptation",
]

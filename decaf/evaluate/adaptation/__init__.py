"""Domain adaptation measured: domains, pairs of them, splits, methods, a report."""

from __future__ import annotations

from decaf.evaluate.adaptation.domain_set import DomainSet
from decaf.evaluate.adaptation.layouts import read_domains
from decaf.evaluate.adaptation.methods import METHODS, MethodSettings
from decaf.evaluate.adaptation.run import run_adaptation
from decaf.evaluate.adaptation.settings import AdaptationSettings

__all__ = [
    "METHODS",
    "AdaptationSettings",
    "DomainSet",
    "MethodSettings",
    "read_domains",
    "run_adaptation",
]

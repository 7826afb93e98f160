"""Heads on features, and features as scikit-learn takes them."""

from __future__ import annotations

from decaf.heads.extractor import FeatureExtractor
from decaf.heads.linear import CSearchWarning
from decaf.heads.logistic import LogisticRegression
from decaf.heads.scaling import Scaling
from decaf.heads.search import CSearch
from decaf.heads.svm import LinearSVM

__all__ = [
    "CSearch",
    "CSearchWarning",
    "FeatureExtractor",
    "LinearSVM",
    "LogisticRegression",
    "Scaling",
]

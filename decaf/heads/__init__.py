"""Heads on features, and features as scikit-learn takes them."""

from __future__ import annotations

from decaf.features.transformer import FeatureExtractor
from decaf.heads.c_search import CSearch
from decaf.heads.calibration import Calibration
from decaf.heads.estimators import LinearSVM, LogisticRegression
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.linear_head import CSearchWarning
from decaf.heads.saved import SavedHead, load_head, save_head
from decaf.heads.scaling import Scaling
from decaf.heads.streamed import StreamedFit, fit_streaming

__all__ = [
    "CSearch",
    "CSearchWarning",
    "Calibration",
    "FeatureExtractor",
    "FeatureIdentity",
    "LinearSVM",
    "LogisticRegression",
    "SavedHead",
    "Scaling",
    "StreamedFit",
    "fit_streaming",
    "load_head",
    "save_head",
]

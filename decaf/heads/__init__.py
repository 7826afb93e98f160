"""Features as scikit-learn takes them."""

from __future__ import annotations

from decaf.heads.extractor import FeatureExtractor

__all__ = ["FeatureExtractor"]

"""Fisher vectors of dense SIFT: what a linear classifier can do without a network."""

from __future__ import annotations

from harness.fisher_vectors.run import FisherVectors, fisher_vectors
from harness.fisher_vectors.settings import FisherVectorSettings

__all__ = ["FisherVectorSettings", "FisherVectors", "fisher_vectors"]

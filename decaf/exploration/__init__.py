"""What the layers see: pages and tables of images, made from a feature file.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.compare import Comparison, LayerComparison, Matched
    from decaf.exploration.copies import CopyPair, Duplicates
    from decaf.exploration.neighbours import NearestRows
    from decaf.exploration.search import Answer, Match, SearchResult
    from decaf.exploration.similarity import Dissimilarities, linear_cka

__all__ = [
    "Answer",
    "Comparison",
    "CopyPair",
    "Dissimilarities",
    "Duplicates",
    "LayerComparison",
    "Match",
    "Matched",
    "NearestRows",
    "SearchResult",
    "linear_cka",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Answer": "decaf.exploration.search",
        "Comparison": "decaf.exploration.compare",
        "CopyPair": "decaf.exploration.copies",
        "Dissimilarities": "decaf.exploration.similarity",
        "Duplicates": "decaf.exploration.copies",
        "LayerComparison": "decaf.exploration.compare",
        "Match": "decaf.exploration.search",
        "Matched": "decaf.exploration.compare",
        "NearestRows": "decaf.exploration.neighbours",
        "SearchResult": "decaf.exploration.search",
        "linear_cka": "decaf.exploration.similarity",
    },
)

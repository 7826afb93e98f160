"""What the layers see: pages and tables of images, made from a feature file.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.copies import CopyPair, Duplicates
    from decaf.exploration.neighbours import NearestRows
    from decaf.exploration.search import Answer, Match, SearchResult

__all__ = ["Answer", "CopyPair", "Duplicates", "Match", "NearestRows", "SearchResult"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Answer": "decaf.exploration.search",
        "CopyPair": "decaf.exploration.copies",
        "Duplicates": "decaf.exploration.copies",
        "Match": "decaf.exploration.search",
        "NearestRows": "decaf.exploration.neighbours",
        "SearchResult": "decaf.exploration.search",
    },
)

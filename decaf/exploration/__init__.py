"""What the layers see: pages and tables of images, made from a feature file.

What is named here is loaded when it is first used; what users call is at the front door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.compare import Comparison, LayerComparison, Matched
    from decaf.exploration.contrasts import UnitContrasts, class_means, unit_contrasts
    from decaf.exploration.copies import CopyPair, Duplicates
    from decaf.exploration.explore import Explored, ExploreSettings
    from decaf.exploration.fit_page import Reliability, reliability
    from decaf.exploration.label_errors import (
        LabelErrors,
        held_out_probabilities,
        rank_label_errors,
    )
    from decaf.exploration.maps import LayerMap, MapSettings, make_map
    from decaf.exploration.neighbours import NearestRows
    from decaf.exploration.page.rendering import check_page
    from decaf.exploration.search import Answer, Match, SearchResult
    from decaf.exploration.similarity import Dissimilarities, linear_cka

__all__ = [
    "Answer",
    "Comparison",
    "CopyPair",
    "Dissimilarities",
    "Duplicates",
    "ExploreSettings",
    "Explored",
    "LabelErrors",
    "LayerComparison",
    "LayerMap",
    "MapSettings",
    "Match",
    "Matched",
    "NearestRows",
    "Reliability",
    "SearchResult",
    "UnitContrasts",
    "check_page",
    "class_means",
    "held_out_probabilities",
    "linear_cka",
    "make_map",
    "rank_label_errors",
    "reliability",
    "unit_contrasts",
]

__getattr__, __dir__ = lazy_names(__name__)

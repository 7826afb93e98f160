"""What the layers see: pages and tables of images, made from a feature file.

What is named here is loaded when it is first used; what users call is at the front door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.exploration.explore import Explored, ExploreSettings, explore
    from decaf.exploration.label_errors import (
        LabelErrors,
        held_out_probabilities,
        rank_label_errors,
    )
    from decaf.exploration.maps import LayerMap, MapSettings, make_map
    from decaf.exploration.unit_contrasts import UnitContrasts, class_means, unit_contrasts

__all__ = [
    "ExploreSettings",
    "Explored",
    "LabelErrors",
    "LayerMap",
    "MapSettings",
    "UnitContrasts",
    "class_means",
    "explore",
    "held_out_probabilities",
    "make_map",
    "rank_label_errors",
    "unit_contrasts",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExploreSettings": "decaf.exploration.explore",
        "Explored": "decaf.exploration.explore",
        "LabelErrors": "decaf.exploration.label_errors",
        "LayerMap": "decaf.exploration.maps",
        "MapSettings": "decaf.exploration.maps",
        "UnitContrasts": "decaf.exploration.unit_contrasts",
        "class_means": "decaf.exploration.unit_contrasts",
        "explore": "decaf.exploration.explore",
        "held_out_probabilities": "decaf.exploration.label_errors",
        "make_map": "decaf.exploration.maps",
        "rank_label_errors": "decaf.exploration.label_errors",
        "unit_contrasts": "decaf.exploration.unit_contrasts",
    },
)

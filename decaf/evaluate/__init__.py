"""The errors of networks on labelled images, alone and averaged over several.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.evaluate.class_names import MatchSettings
    from decaf.evaluate.classification import evaluate_network
    from decaf.evaluate.localisation import BoxExample, Localisation, LocalisationSettings
    from decaf.evaluate.report import ClassResult, Evaluation
    from decaf.evaluate.submission import score_submission

__all__ = [
    "BoxExample",
    "ClassResult",
    "Evaluation",
    "Localisation",
    "LocalisationSettings",
    "MatchSettings",
    "evaluate_network",
    "score_submission",
]

__getattr__, __dir__ = lazy_names(__name__)

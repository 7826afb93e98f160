"""From labelled images to a classifier, with an estimate of how good it is on others.

What is named here is loaded when it is first used; `fit` is at the front door, `decaf.fit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.classify.classifier import Classifier, Prediction, load_classifier
    from decaf.classify.estimate import Estimate
    from decaf.classify.fit import FitSettings, Fitted
    from decaf.classify.layer_choice import Choice
    from decaf.classify.predictions import WrittenPredictions, model_and_images, write_predictions
    from decaf.classify.report import FitReport, GroupReport, TestedImages

__all__ = [
    "Choice",
    "Classifier",
    "Estimate",
    "FitReport",
    "FitSettings",
    "Fitted",
    "GroupReport",
    "Prediction",
    "TestedImages",
    "WrittenPredictions",
    "load_classifier",
    "model_and_images",
    "write_predictions",
]

__getattr__, __dir__ = lazy_names(__name__)

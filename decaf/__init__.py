"""decaf: images to AlexNet features to classifiers.

Everything public is named here and loaded when it is first used, so that ``import decaf`` stays
quick and loads neither torch nor numpy (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.errors import (
    DecafError,
    FeatureFileError,
    HeadError,
    ImageError,
    InputError,
    OutputError,
    PackError,
    ResumeError,
    SettingError,
    Stopped,
    WeightsError,
)
from decaf.lazy import lazy_names
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone, load_backbone
    from decaf.classify.classifier import Classifier, Prediction, load_classifier
    from decaf.classify.fit import Fitted, fit
    from decaf.describe import describe
    from decaf.evaluate.classification import evaluate_network
    from decaf.evaluate.report import Evaluation
    from decaf.features.extract import extract
    from decaf.features.store.file import FeatureFile, open_features
    from decaf.features.transformer import FeatureExtractor
    from decaf.finetuning.estimator import FineTuneClassifier
    from decaf.finetuning.fine_tune import finetune
    from decaf.train.distillation.distil import distil

__all__ = [
    "Backbone",
    "Classifier",
    "DecafError",
    "Evaluation",
    "FeatureExtractor",
    "FeatureFile",
    "FeatureFileError",
    "FineTuneClassifier",
    "Fitted",
    "HeadError",
    "ImageError",
    "InputError",
    "OutputError",
    "PackError",
    "Prediction",
    "ResumeError",
    "SettingError",
    "Stopped",
    "WeightsError",
    "__version__",
    "describe",
    "distil",
    "evaluate_network",
    "extract",
    "finetune",
    "fit",
    "load_backbone",
    "load_classifier",
    "open_features",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Backbone": "decaf.backbone.model",
        "Classifier": "decaf.classify.classifier",
        "Evaluation": "decaf.evaluate.report",
        "FeatureExtractor": "decaf.features.transformer",
        "FeatureFile": "decaf.features.store.file",
        "FineTuneClassifier": "decaf.finetuning.estimator",
        "Fitted": "decaf.classify.fit",
        "Prediction": "decaf.classify.classifier",
        "describe": "decaf.describe",
        "distil": "decaf.train.distillation.distil",
        "evaluate_network": "decaf.evaluate.classification",
        "extract": "decaf.features.extract",
        "finetune": "decaf.finetuning.fine_tune",
        "fit": "decaf.classify.fit",
        "load_backbone": "decaf.backbone.model",
        "load_classifier": "decaf.classify.classifier",
        "open_features": "decaf.features.store.file",
    },
)

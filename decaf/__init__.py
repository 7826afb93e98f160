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
    from decaf.backbone.export.models import export_model
    from decaf.backbone.model import Backbone, load_backbone
    from decaf.backbone.summary import summarise
    from decaf.backbone.weights.importing import import_weights
    from decaf.classify.classifier import Classifier, Prediction, load_classifier
    from decaf.classify.fit import Fitted, fit
    from decaf.description import describe
    from decaf.evaluate.classification import evaluate_network
    from decaf.evaluate.report import Evaluation
    from decaf.features.extract import extract
    from decaf.features.store.export import export_features
    from decaf.features.store.file import FeatureFile, open_features
    from decaf.features.transformer import FeatureExtractor
    from decaf.features.verify import verify
    from decaf.finetuning.estimator import FineTuneClassifier
    from decaf.finetuning.fine_tune import finetune
    from decaf.train.distillation.distil import distil
    from decaf.train.pack.build import make_pack

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
    "export_features",
    "export_model",
    "extract",
    "finetune",
    "fit",
    "import_weights",
    "load_backbone",
    "load_classifier",
    "make_pack",
    "open_features",
    "summarise",
    "verify",
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
        "describe": "decaf.description",
        "distil": "decaf.train.distillation.distil",
        "evaluate_network": "decaf.evaluate.classification",
        "export_features": "decaf.features.store.export",
        "export_model": "decaf.backbone.export.models",
        "extract": "decaf.features.extract",
        "finetune": "decaf.finetuning.fine_tune",
        "fit": "decaf.classify.fit",
        "import_weights": "decaf.backbone.weights.importing",
        "load_backbone": "decaf.backbone.model",
        "load_classifier": "decaf.classify.classifier",
        "make_pack": "decaf.train.pack.build",
        "open_features": "decaf.features.store.file",
        "summarise": "decaf.backbone.summary",
        "verify": "decaf.features.verify",
    },
)

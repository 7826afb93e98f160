"""decaf: images to AlexNet features to classifiers.

Everything public is named here and loaded when it is first used, so that ``import decaf`` stays
quick and loads neither torch nor numpy (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone, load_backbone
    from decaf.describe import describe
    from decaf.evaluate.fitting.fit import Fitted, fit
    from decaf.features.extract import extract
    from decaf.features.store.file import FeatureFile, open_features
    from decaf.heads.classifier import Classifier, Prediction, load_classifier
    from decaf.heads.extractor import FeatureExtractor
    from decaf.train.distillation.run import distil
    from decaf.train.finetuning.classifier import FineTuneClassifier
    from decaf.train.finetuning.run import finetune

__all__ = [
    "Backbone",
    "Classifier",
    "DecafError",
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
    "extract",
    "finetune",
    "fit",
    "load_backbone",
    "load_classifier",
    "open_features",
]

__version__ = "0.1.0"

# Public name → the module that defines it.
_LAZY = {
    "Backbone": "decaf.backbone.model",
    "Classifier": "decaf.heads.classifier",
    "FeatureExtractor": "decaf.heads.extractor",
    "FeatureFile": "decaf.features.store.file",
    "FineTuneClassifier": "decaf.train.finetuning.classifier",
    "Fitted": "decaf.evaluate.fitting.fit",
    "Prediction": "decaf.heads.classifier",
    "describe": "decaf.describe",
    "distil": "decaf.train.distillation.run",
    "extract": "decaf.features.extract",
    "finetune": "decaf.train.finetuning.run",
    "fit": "decaf.evaluate.fitting.fit",
    "load_backbone": "decaf.backbone.model",
    "load_classifier": "decaf.heads.classifier",
    "open_features": "decaf.features.store.file",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

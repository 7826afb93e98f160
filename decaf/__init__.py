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
    from decaf.classify.fit import FitSettings, Fitted, fit
    from decaf.classify.predictions import write_predictions
    from decaf.description import describe
    from decaf.evaluate.class_names import MatchSettings
    from decaf.evaluate.classification import evaluate_network
    from decaf.evaluate.localisation import Localisation, LocalisationSettings, score_submission
    from decaf.evaluate.report import Evaluation
    from decaf.features.extract import extract
    from decaf.features.settings import NetworkSettings
    from decaf.features.store.export import export_features
    from decaf.features.store.feature_file import FeatureFile, open_features
    from decaf.features.transformer import FeatureExtractor
    from decaf.features.verify import Verification, verify
    from decaf.finetuning.estimator import FineTuneClassifier
    from decaf.finetuning.fine_tune import finetune
    from decaf.finetuning.settings import FinetuneSettings
    from decaf.images.listing.settings import ListingSettings
    from decaf.runtime.settings import ComputeSettings
    from decaf.scale.engines import ScaleSettings
    from decaf.scale.parts_verification import verify_parts
    from decaf.scale.shard_extraction import extract_shards
    from decaf.scale.shard_packing import pack_shards
    from decaf.scale.status import shard_status
    from decaf.train.distillation.distil import distil
    from decaf.train.distillation.settings import DistilSettings, TeacherSettings
    from decaf.train.localise import localise
    from decaf.train.localiser import Localiser, load_localiser
    from decaf.train.localiser_settings import LocaliserSettings
    from decaf.train.pack.build import make_pack
    from decaf.train.pack.stored_images import PackSettings
    from decaf.train.recipe import TrainSettings
    from decaf.train.train_network import train_network
    from decaf.train.training_run import SavingSettings

__all__ = [
    "Backbone",
    "Classifier",
    "ComputeSettings",
    "DecafError",
    "DistilSettings",
    "Evaluation",
    "FeatureExtractor",
    "FeatureFile",
    "FeatureFileError",
    "FineTuneClassifier",
    "FinetuneSettings",
    "FitSettings",
    "Fitted",
    "HeadError",
    "ImageError",
    "InputError",
    "ListingSettings",
    "Localisation",
    "LocalisationSettings",
    "Localiser",
    "LocaliserSettings",
    "MatchSettings",
    "NetworkSettings",
    "OutputError",
    "PackError",
    "PackSettings",
    "Prediction",
    "ResumeError",
    "SavingSettings",
    "ScaleSettings",
    "SettingError",
    "Stopped",
    "TeacherSettings",
    "TrainSettings",
    "Verification",
    "WeightsError",
    "__version__",
    "describe",
    "distil",
    "evaluate_network",
    "export_features",
    "export_model",
    "extract",
    "extract_shards",
    "finetune",
    "fit",
    "import_weights",
    "load_backbone",
    "load_classifier",
    "load_localiser",
    "localise",
    "make_pack",
    "open_features",
    "pack_shards",
    "score_submission",
    "shard_status",
    "summarise",
    "train_network",
    "verify",
    "verify_parts",
    "write_predictions",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Backbone": "decaf.backbone.model",
        "Classifier": "decaf.classify.classifier",
        "ComputeSettings": "decaf.runtime.settings",
        "DistilSettings": "decaf.train.distillation.settings",
        "Evaluation": "decaf.evaluate.report",
        "FeatureExtractor": "decaf.features.transformer",
        "FeatureFile": "decaf.features.store.feature_file",
        "FineTuneClassifier": "decaf.finetuning.estimator",
        "FinetuneSettings": "decaf.finetuning.settings",
        "FitSettings": "decaf.classify.fit",
        "Fitted": "decaf.classify.fit",
        "ListingSettings": "decaf.images.listing.settings",
        "Localisation": "decaf.evaluate.localisation",
        "LocalisationSettings": "decaf.evaluate.localisation",
        "Localiser": "decaf.train.localiser",
        "LocaliserSettings": "decaf.train.localiser_settings",
        "MatchSettings": "decaf.evaluate.class_names",
        "NetworkSettings": "decaf.features.settings",
        "PackSettings": "decaf.train.pack.stored_images",
        "Prediction": "decaf.classify.classifier",
        "SavingSettings": "decaf.train.training_run",
        "ScaleSettings": "decaf.scale.engines",
        "TeacherSettings": "decaf.train.distillation.settings",
        "TrainSettings": "decaf.train.recipe",
        "Verification": "decaf.features.verify",
        "describe": "decaf.description",
        "distil": "decaf.train.distillation.distil",
        "evaluate_network": "decaf.evaluate.classification",
        "export_features": "decaf.features.store.export",
        "export_model": "decaf.backbone.export.models",
        "extract": "decaf.features.extract",
        "extract_shards": "decaf.scale.shard_extraction",
        "finetune": "decaf.finetuning.fine_tune",
        "fit": "decaf.classify.fit",
        "import_weights": "decaf.backbone.weights.importing",
        "load_backbone": "decaf.backbone.model",
        "load_classifier": "decaf.classify.classifier",
        "load_localiser": "decaf.train.localiser",
        "localise": "decaf.train.localise",
        "make_pack": "decaf.train.pack.build",
        "open_features": "decaf.features.store.feature_file",
        "pack_shards": "decaf.scale.shard_packing",
        "score_submission": "decaf.evaluate.localisation",
        "shard_status": "decaf.scale.status",
        "summarise": "decaf.backbone.summary",
        "train_network": "decaf.train.train_network",
        "verify": "decaf.features.verify",
        "verify_parts": "decaf.scale.parts_verification",
        "write_predictions": "decaf.classify.predictions",
    },
)

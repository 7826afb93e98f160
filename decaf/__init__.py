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
    from decaf.evaluate.localisation import Localisation, LocalisationSettings
    from decaf.evaluate.report import Evaluation
    from decaf.evaluate.submission import score_submission
    from decaf.exploration.boxes_page import write_boxes_page
    from decaf.exploration.compare import Comparison, compare
    from decaf.exploration.copies import Duplicates
    from decaf.exploration.cut_patches import Patch, cut_patches
    from decaf.exploration.demo.server import serve_demo
    from decaf.exploration.demo.settings import DemoSettings
    from decaf.exploration.duplicates import duplicates
    from decaf.exploration.explore import Explored, ExploreSettings, explore
    from decaf.exploration.export import TableSettings, export_index, export_table
    from decaf.exploration.filters import filters_picture
    from decaf.exploration.fit_page import write_fit_page
    from decaf.exploration.importance import Importance, OcclusionSettings, pixel_importance
    from decaf.exploration.neighbours import NearestRows
    from decaf.exploration.search import SearchResult, search
    from decaf.exploration.similarity import Dissimilarities, rdm
    from decaf.exploration.top_patches import TopPatches, top_patches
    from decaf.exploration.visualize import Visualization, visualize
    from decaf.features.extract import extract
    from decaf.features.settings import NetworkSettings
    from decaf.features.store.export import export_features
    from decaf.features.store.feature_file import FeatureFile
    from decaf.features.store.opening import open_features
    from decaf.features.transformer import FeatureExtractor
    from decaf.features.verify import Verification, verify
    from decaf.finetuning.estimator import FineTuneClassifier
    from decaf.finetuning.fine_tune import finetune
    from decaf.finetuning.settings import FinetuneSettings
    from decaf.images.listing.image_list import ImageList
    from decaf.images.listing.settings import ListingSettings
    from decaf.images.listing.sources import collect
    from decaf.installation import Installation, check_installation
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
    "Comparison",
    "ComputeSettings",
    "DecafError",
    "DemoSettings",
    "Dissimilarities",
    "DistilSettings",
    "Duplicates",
    "Evaluation",
    "ExploreSettings",
    "Explored",
    "FeatureExtractor",
    "FeatureFile",
    "FeatureFileError",
    "FineTuneClassifier",
    "FinetuneSettings",
    "FitSettings",
    "Fitted",
    "HeadError",
    "ImageError",
    "ImageList",
    "Importance",
    "InputError",
    "Installation",
    "ListingSettings",
    "Localisation",
    "LocalisationSettings",
    "Localiser",
    "LocaliserSettings",
    "MatchSettings",
    "NearestRows",
    "NetworkSettings",
    "OcclusionSettings",
    "OutputError",
    "PackError",
    "PackSettings",
    "Patch",
    "Prediction",
    "ResumeError",
    "SavingSettings",
    "ScaleSettings",
    "SearchResult",
    "SettingError",
    "Stopped",
    "TableSettings",
    "TeacherSettings",
    "TopPatches",
    "TrainSettings",
    "Verification",
    "Visualization",
    "WeightsError",
    "__version__",
    "check_installation",
    "collect",
    "compare",
    "cut_patches",
    "describe",
    "distil",
    "duplicates",
    "evaluate_network",
    "explore",
    "export_features",
    "export_index",
    "export_model",
    "export_table",
    "extract",
    "extract_shards",
    "filters_picture",
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
    "pixel_importance",
    "rdm",
    "score_submission",
    "search",
    "serve_demo",
    "shard_status",
    "summarise",
    "top_patches",
    "train_network",
    "verify",
    "verify_parts",
    "visualize",
    "write_boxes_page",
    "write_fit_page",
    "write_predictions",
]

__getattr__, __dir__ = lazy_names(__name__)

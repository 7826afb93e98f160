"""How a feature file was made, taken up again: the settings of its rows, and their network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights import WEIGHTS_ENDINGS
from decaf.errors import WeightsError
from decaf.features.image_finder import reading_the_record
from decaf.features.settings import RunSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.images.spec import PreprocessSpec

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["recorded_backbone", "recorded_settings"]


def recorded_settings(file: FeatureFile) -> RunSettings:
    """Return the settings that a feature file was made with.

    Parameters
    ----------
    file : FeatureFile

    Raises
    ------
    FeatureFileError
        Where they are not recorded as decaf records them.
    """
    with reading_the_record(file):
        return RunSettings(
            tuple(file.run["layers"]),
            file.run["crops"],
            file.run["precision"],
            file.run["dtype"],
        )


def recorded_backbone(file: FeatureFile, weights: Any = None) -> Backbone:
    """Load the network that a feature file was made with, which prepares images as it did then.

    Parameters
    ----------
    file : FeatureFile
    weights : str, path or Backbone, optional
        Where the weights are now; by default the name that the file gives, in the working folder or
        beside the file.

    Raises
    ------
    WeightsError
        Where there are none, or these are other weights, by their SHA-256.
    FeatureFileError
        Where the weights are not recorded as decaf records them.
    """
    from decaf.backbone.model import load_backbone

    with reading_the_record(file):
        name, sha256 = str(file.run["weights"]["name"]), str(file.run["weights"]["sha256"])
    backbone = load_backbone(_place_of(name, sha256, file.path) if weights is None else weights)
    if backbone.sha256 != sha256:
        raise WeightsError(
            f"{file.path}: was made with weights {name} (SHA-256 "
            f"{sha256}), these are {backbone.weights_name} ({backbone.sha256}); "
            "name the right ones with `weights`"
        )
    with reading_the_record(file):
        return backbone.with_preprocess(PreprocessSpec.from_dict(file.run["preprocess"]))


def _place_of(name: str, sha256: str, path: str) -> str | Path:
    """Return where the weights of a feature file are, if they are a file; else their name."""
    if not name.endswith(WEIGHTS_ENDINGS):
        return name
    beside = Path(path).parent / name
    there = next((place for place in (Path(name), beside) if place.is_file()), None)
    if there is None:
        raise WeightsError(
            f"{path}: was made with weights {name} (SHA-256 {sha256[:12]}…), which are neither in "
            "the working folder nor beside it; put them there, or say where they are with `weights`"
        )
    return there

"""What a classifier was fitted with: its weights, found by their SHA-256, and how images came."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights import WEIGHTS_ENDINGS, is_registry_name
from decaf.errors import WeightsError
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.spec import PreprocessSpec, override_preprocess

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.heads.feature_identity import FeatureIdentity
    from decaf.heads.saved import SavedHead

__all__ = ["check_margins", "check_preprocess", "find_backbone", "margins_of", "named_backbone"]

_logger = logging.getLogger(__name__)


def named_backbone(
    identity: FeatureIdentity, weights: str | os.PathLike[str] | Backbone, path: str
) -> Backbone:
    """Load the weights that the user names for a head, with the preprocessing of its features.

    Parameters
    ----------
    identity : FeatureIdentity
        Identity of the features that the head was fitted to.
    weights : str, path or Backbone
    path : str
        The file of the head, for messages.

    Raises
    ------
    WeightsError
        If they are not those that the head was fitted on.
    SettingError
        If the head's preprocessing is none, or not one that they can have.
    """
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(weights)
    if backbone.sha256 != identity.weights_sha256:
        raise WeightsError(
            f"{path}: was fitted on features of weights {identity.weights_name} (SHA-256 "
            f"{identity.weights_sha256[:12]}…); {backbone.weights_name} is {backbone.sha256[:12]}…"
        )
    return backbone.with_preprocess(PreprocessSpec.from_dict(identity.preprocess))


def check_preprocess(identity: FeatureIdentity, preprocess: Any, path: str) -> None:
    """Refuse another preprocessing than that of the features that a head was fitted to.

    Parameters
    ----------
    identity : FeatureIdentity
    preprocess : str, mapping or PreprocessSpec
        As in `decaf.extract`.
    path : str
        The file of the head, for messages.

    Raises
    ------
    HeadError
        With both values shown.
    """
    own = PreprocessSpec.from_dict(identity.preprocess)
    wanted = override_preprocess(own, preprocess)
    identity.check(replace(identity, preprocess=wanted.to_dict()), path)


def margins_of(crops: Iterable[BoxCrop | None] | None) -> list[float]:
    """Return the margins of boxes that were cut out of images, each once, sorted.

    Parameters
    ----------
    crops : iterable of BoxCrop or None, optional
        What was cut out for each image; None where nothing was.
    """
    return sorted({crop.margin for crop in crops or () if crop is not None})


def check_margins(head: SavedHead, crops: Iterable[BoxCrop | None] | None, path: str) -> None:
    """Warn where boxes have other margins than those that a head was fitted to.

    Parameters
    ----------
    head : SavedHead
    crops : iterable of BoxCrop or None, optional
        As in `margins_of`.
    path : str
        The file of the head, for the message.
    """
    features = head.report.get("features")
    fitted = features.get("margins") if isinstance(features, dict) else None
    here = margins_of(crops)
    if fitted and here and here != fitted:
        _logger.warning(
            "%s: was fitted to boxes with a margin of %s, these have %s; `margin` says how much "
            "around a box is taken along",
            path,
            *(", ".join(f"{margin:g}" for margin in margins) for margins in (fitted, here)),
        )


def find_backbone(head: SavedHead, path: str) -> Backbone:
    """Load the weights of a head from where they may be, by their SHA-256.

    Parameters
    ----------
    head : SavedHead
    path : str
        The head's file: the weights may lie beside it.

    Returns
    -------
    Backbone

    Raises
    ------
    WeightsError
        If they are nowhere, or others.
    """
    name = head.identity.weights_name
    features = head.report.get("features")
    recorded = features.get("weights_file") if isinstance(features, dict) else None
    if not name.endswith(WEIGHTS_ENDINGS):
        if is_registry_name(name):
            return named_backbone(head.identity, name, path)
        raise WeightsError(
            f"{path}: was fitted on features of a network {name!r} that is in no file (SHA-256 "
            f"{head.identity.weights_sha256[:12]}…); give it as weights"
        )
    places = [Path(path).parent / name, Path(name)]
    if isinstance(recorded, str):
        places.insert(0, Path(recorded))
    there = [place for place in dict.fromkeys(places) if place.is_file()]
    if not there:
        looked = " or ".join(str(place) for place in dict.fromkeys(map(os.path.abspath, places)))
        raise WeightsError(
            f"{path}: was fitted on features of weights {name} (SHA-256 "
            f"{head.identity.weights_sha256[:12]}…), which are not at {looked}; put them there, or "
            "say where they are with `weights`"
        )
    for place in there[:-1]:
        with suppress(WeightsError):
            return named_backbone(head.identity, place, path)
    return named_backbone(head.identity, there[-1], path)

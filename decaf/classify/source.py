"""The features that a classifier is fitted to: those of a file, or computed for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.weights import DEFAULT_WEIGHTS, IMAGENET
from decaf.classify.given_features import GivenFeatures, given_features
from decaf.classify.head_target import FEATURES_NAME, parts_path
from decaf.classify.held_out import MIN_IMAGES, Usable, usable_images
from decaf.errors import (
    DiskError,
    FeatureFileError,
    OutputError,
    ResumeError,
    SettingError,
    WeightsError,
)
from decaf.features.extract import extract
from decaf.features.settings import NetworkSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import holds_features, opened_features
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.spec import PreprocessSpec, override_preprocess
from decaf.runtime.names import name_text
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import counted
from decaf.storage import differences, disk_errors, output_called

__all__ = [
    "CANDIDATE_LAYERS",
    "FeatureRequest",
    "candidate_layers",
    "features_to_fit",
    "only_source",
    "rows_of",
    "source_name",
    "usable_of",
]

CANDIDATE_LAYERS = ("pool5", "fc6", "fc7")
"""Layers to choose from where none is named."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureRequest:
    """Which images or features a classifier is fitted to, and how the features are computed.

    Parameters
    ----------
    source : any
        As `decaf.fit` takes it.
    out : Path or None
        The classifier's file, beside which features are kept until it is done; without one they
        are in a temporary folder.
    layer : str
        Or ``"auto"``, for all of `CANDIDATE_LAYERS`.
    keep_features, overwrite
        As in `decaf.fit`.
    listing : ListingSettings
    network : NetworkSettings
        Its weights, crops and precision are None where nothing was asked for.
    compute : ComputeSettings
    features, paths
        As in `decaf.fit`.
    """

    source: Any
    out: Path | None
    layer: str
    keep_features: str | os.PathLike[str] | None
    overwrite: bool
    listing: ListingSettings
    network: NetworkSettings
    compute: ComputeSettings
    features: Any = None
    paths: Any = None

    @property
    def holds_features(self) -> bool:
        """Whether the source is features, so that nothing is extracted."""
        return holds_features(self.source)

    @property
    def least_images(self) -> int:
        """Images that a class must have not to be left out."""
        least = self.listing.min_images
        return MIN_IMAGES if least is None else least


def only_source(source: Any) -> Any:
    """Return the path that is alone in a list, as a command line has it; else what was given.

    Parameters
    ----------
    source : any
        As `decaf.fit` takes it.
    """
    alone = isinstance(source, (list, tuple)) and len(source) == 1 and _is_path(source[0])
    return source[0] if alone else source


def source_name(source: Any) -> str:
    """Name what was given, for people.

    Parameters
    ----------
    source : any
        As `decaf.fit` takes it.
    """
    if isinstance(source, FeatureFile):
        return source.path
    if _is_path(source):
        return name_text(source)
    if isinstance(source, (list, tuple)) and source and all(map(_is_path, source)):
        return f"{name_text(source[0])} and {len(source) - 1} more"
    return type(source).__name__


@contextmanager
def features_to_fit(request: FeatureRequest) -> Iterator[FeatureFile | GivenFeatures]:
    """Open the features of labelled images, which are computed where they are not there.

    Parameters
    ----------
    request : FeatureRequest

    Yields
    ------
    FeatureFile or GivenFeatures

    Raises
    ------
    SettingError, InputError, WeightsError, OutputError, ResumeError, Stopped
        As `decaf.extract` and `decaf.classify.held_out.usable_images` say.
    """
    out = request.out
    if request.features is not None or request.paths is not None:
        _check_given(request)
        yield given_features(_checked_images(request), request.features, request.paths)
        return
    if request.holds_features:
        _check_no_extraction(request)
        with opened_features(request.source) as features:
            _check_as_asked(features, request)
            yield features
        return
    images = _checked_images(request)
    if request.keep_features is not None:
        with output_called("keep_features"):
            kept = _extracted(images, request, request.keep_features, overwrite=request.overwrite)
        with kept as features:
            yield features
        return
    if out is None:
        with (
            tempfile.TemporaryDirectory(prefix="decaf-fit-") as folder,
            _extracted(images, request, Path(folder) / FEATURES_NAME) as features,
        ):
            yield features
        return
    parts = parts_path(out)
    with disk_errors(parts, "nothing was begun"):
        parts.mkdir(exist_ok=True)
    try:
        with _resumed(images, request, parts / FEATURES_NAME) as features:
            yield features
    finally:
        with suppress(OSError):  # something was computed, and is kept
            parts.rmdir()


def candidate_layers(features: FeatureFile | GivenFeatures, layer: str) -> tuple[str, ...]:
    """Return the layers of a file to choose from.

    Parameters
    ----------
    features : FeatureFile or GivenFeatures
    layer : str
        Or ``"auto"``, for those of `CANDIDATE_LAYERS` that the file has.

    Raises
    ------
    SettingError
        If the file has none of them.
    """
    if isinstance(features, GivenFeatures):
        return features.layers
    if layer != "auto":
        features[layer]  # tells what is there
        return (layer,)
    layers = tuple(name for name in CANDIDATE_LAYERS if name in features)
    if layers:
        return layers
    if len(features.layers) == 1:
        return features.layers
    raise SettingError(
        f"{features.path}: has none of {', '.join(CANDIDATE_LAYERS)}; choose one of "
        f"{', '.join(features.layers)} (`layer`)"
    )


def usable_of(features: FeatureFile | GivenFeatures, request: FeatureRequest) -> Usable:
    """Find the images of features that a classifier can learn from, with their groups and splits.

    Parameters
    ----------
    features : FeatureFile or GivenFeatures
    request : FeatureRequest
        May ask for other groups than features that are there have.

    Raises
    ------
    InputError
        As `decaf.classify.held_out.usable_images`.
    """
    images = features.images()
    listing = request.listing
    if request.holds_features:
        images = collect(images, replace(listing, labels="folder"))
    if listing.layout == "classes" and listing.splits is None:
        images = replace(images, splits=None)
    return _usable(images, features.ok, request)


def rows_of(features: FeatureFile | GivenFeatures, layer: str, usable: Usable) -> np.ndarray:
    """Return the features of the usable images at a layer, (n, D) float32.

    Parameters
    ----------
    features : FeatureFile or GivenFeatures
    layer : str
    usable : Usable

    Raises
    ------
    FeatureFileError
        If some of them are not finite.
    """
    X, _ = features.to_xy(layer)
    if len(X) != len(usable.rows):
        X = X[np.searchsorted(np.flatnonzero(features.ok), usable.rows)]
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        first = features.paths[usable.rows[bad.argmax()]]
        raise FeatureFileError(
            f"{features.path}: {int(bad.sum())} of {counted(len(X), 'image')} have NaN or "
            "infinity in "
            f"{layer}, the first is {first!r}; extract them anew, in float32"
        )
    return X


def _extracted(
    images: ImageList,
    request: FeatureRequest,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> FeatureFile:
    network, compute = request.network, request.compute
    features = extract(
        images,
        list(CANDIDATE_LAYERS) if request.layer == "auto" else [request.layer],
        out=out,
        weights=DEFAULT_WEIGHTS if network.weights is None else network.weights,
        preprocess=network.preprocess,
        crops=network.crops or "center",
        precision=network.precision or "fp32",
        device=compute.device,
        batch_size=network.batch_size,
        workers=compute.workers,
        on_error=request.listing.on_error,
        progress=compute.progress,
        overwrite=overwrite,
        stop=compute.stop,
    )
    assert isinstance(features, FeatureFile)
    return features


def _resumed(images: ImageList, request: FeatureRequest, out: Path) -> FeatureFile:
    try:
        return _extracted(images, request, out)
    except DiskError:  # what was finished is kept
        raise
    except (OutputError, ResumeError):
        # Of another run that was broken off: with other images or settings.
        return _extracted(images, request, out, overwrite=True)


def _check_no_extraction(request: FeatureRequest) -> None:
    if request.keep_features is not None:
        raise SettingError(
            "features are given, and are kept as they are: leave out `keep_features`"
        )
    if request.listing.crops_from is not None:
        raise SettingError("features are given, and nothing is cut out: leave out `crops_from`")
    labels = request.listing.labels
    if not (isinstance(labels, str) and labels == "folder"):
        raise SettingError(
            "features are given, with the labels that their file holds: leave `labels` out, or "
            "name the images"
        )


def _check_given(request: FeatureRequest) -> None:
    """Refuse what has no effect on features that are given for images."""
    if request.features is None:
        raise SettingError("`paths` are of the rows of `features`, which were not given")
    if request.holds_features:
        raise SettingError(
            f"{source_name(request.source)}: holds features, and others are given by `features`; "
            "name the images"
        )
    asked = {**vars(request.network), "keep_features": request.keep_features}
    idle = [f"`{name}`" for name, value in asked.items() if value is not None]
    idle += ["`layer`"] if request.layer != "auto" else []
    idle += ["`crops_from`"] if request.listing.crops_from is not None else []
    if idle:
        raise SettingError(
            f"`features` are given, and nothing is extracted: leave out {', '.join(idle)}"
        )


def _check_as_asked(features: FeatureFile, request: FeatureRequest) -> None:
    """Refuse what the features were not made with: it would have no effect."""
    network = request.network
    asked = {"crops": network.crops, "precision": network.precision}
    differing = [
        f"{name} {features.run[name]}, not {value}"
        for name, value in asked.items()
        if value not in (None, features.run[name])
    ]
    if differing:
        raise SettingError(
            f"{features.path}: holds features of {', and of '.join(differing)}; leave that out, or "
            "name the images"
        )
    if network.preprocess is not None:
        there = PreprocessSpec.from_dict(features.run["preprocess"])
        wanted = override_preprocess(there, network.preprocess)
        if other := differences(there.to_dict(), wanted.to_dict()):
            raise SettingError(
                f"{features.path}: holds features of other preprocessing ({'; '.join(other)}); "
                "leave that as it is, or name the images"
            )
    if network.weights is not None:
        _check_weights(features, network.weights)


def _check_weights(features: FeatureFile, weights: Any) -> None:
    known = features.run["weights"]
    if isinstance(weights, str) and weights == known["name"]:
        return
    if weights in (IMAGENET, DEFAULT_WEIGHTS):  # the first would have to be downloaded
        raise WeightsError(
            f"{features.path}: holds features of weights {known['name']}, not of {weights}"
        )
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(weights)
    if backbone.sha256 != known["sha256"]:
        raise WeightsError(
            f"{features.path}: holds features of weights {known['name']} (SHA-256 "
            f"{known['sha256'][:12]}…); {backbone.weights_name} is {backbone.sha256[:12]}…"
        )


def _checked_images(request: FeatureRequest) -> ImageList:
    """List the images, and refuse those that no classifier can be made of before any is read."""
    images = collect(request.source, request.listing)
    _usable(images, None, request)
    return images


def _usable(images: ImageList, ok: np.ndarray | None, request: FeatureRequest) -> Usable:
    if set(images.splits or ()) <= {"train", ""}:  # which divides nothing
        images = replace(images, splits=None)
    source = source_name(request.source)
    return usable_images(images, ok, min_images=request.least_images, source=source)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))

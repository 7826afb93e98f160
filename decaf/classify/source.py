"""The features that a classifier is fitted to: those of a file, or computed for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.weights.registry import DEFAULT_WEIGHTS
from decaf.classify.held_out import usable_images
from decaf.errors import (
    DiskError,
    HeadError,
    OutputError,
    ResumeError,
    SettingError,
    WeightsError,
)
from decaf.features.extract import extract
from decaf.features.run import differences
from decaf.features.store.file import FeatureFile
from decaf.heads.saved import load_head
from decaf.images.decoding.formats import is_hdf5
from decaf.images.listing.groups import find_groups
from decaf.images.listing.labels import common_folder
from decaf.images.listing.recognise import is_kind
from decaf.images.listing.refs import RefList
from decaf.images.listing.sources import ImageList, collect
from decaf.images.spec import PreprocessSpec, override_preprocess
from decaf.storage.atomic import disk_errors

__all__ = [
    "CANDIDATE_LAYERS",
    "candidate_layers",
    "features_to_fit",
    "groups_and_splits",
    "is_almost_done",
    "only_source",
    "parts_path",
    "remove_parts",
    "source_name",
]

CANDIDATE_LAYERS = ("pool5", "fc6", "fc7")
"""What is chosen from where no layer is named."""

_FEATURES = "features.h5"

# What determines a row of features, and what it is where nothing is asked for.
_OF_A_ROW = {"weights": DEFAULT_WEIGHTS, "crops": "center", "precision": "fp32"}


def parts_path(out: Path) -> Path:
    """Return the folder that holds the features while a classifier is being made."""
    return out.with_name(out.name + ".parts")


def remove_parts(out: Path) -> None:
    """Remove the features that were kept for a classifier that is made now, and nothing else."""
    folder = parts_path(out)
    for path in folder.glob(f"{_FEATURES}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or somebody's own
        folder.rmdir()


def is_almost_done(out: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether a run wrote its classifier, and was killed before it had removed its features.

    Parameters
    ----------
    out : Path
        The classifier's file.
    settings : mapping
        The record of the settings that are asked for now: those of the run that was killed must be
        the same.
    """
    try:
        left = os.listdir(parts_path(out))
        if not all(name.startswith(_FEATURES) for name in left):
            return False
        return bool(load_head(out).report.get("settings") == settings)
    except (OSError, HeadError):
        return False


def only_source(source: Any) -> Any:
    """Return the path that is alone in a list, as a command line has it; else what was given."""
    alone = isinstance(source, (list, tuple)) and len(source) == 1 and _is_path(source[0])
    return source[0] if alone else source


def source_name(source: Any) -> str:
    """Name what was given, for people."""
    if isinstance(source, FeatureFile):
        return source.path
    if _is_path(source):
        return os.fsdecode(source)
    if isinstance(source, (list, tuple)) and source and all(map(_is_path, source)):
        return f"{os.fsdecode(source[0])} and {len(source) - 1} more"
    return type(source).__name__


@contextmanager
def features_to_fit(
    source: Any,
    *,
    out: Path | None,
    layer: str,
    labels: Any,
    layout: str,
    groups: Any,
    keep_features: str | os.PathLike[str] | None,
    min_images: int,
    overwrite: bool,
    extraction: dict[str, Any],
) -> Iterator[FeatureFile]:
    """Open the features of labelled images, which are computed where they are not there.

    Parameters
    ----------
    source : any
        As `decaf.fit` takes it.
    out : Path or None
        The classifier's file, beside which features are kept until it is done; without one they
        are in a temporary folder.
    layer : str
        Or ``"auto"``, for all of `CANDIDATE_LAYERS`.
    labels, layout, groups, keep_features, min_images, overwrite
        As in `decaf.fit`.
    extraction : dict
        Further arguments of `decaf.extract`; ``weights``, ``crops`` and ``precision`` None where
        nothing was asked for.

    Yields
    ------
    FeatureFile

    Raises
    ------
    SettingError, InputError, WeightsError, OutputError, ResumeError, Stopped
        As `decaf.extract` and `decaf.classify.held_out.usable_images` say.
    """
    if isinstance(source, FeatureFile) or (is_hdf5(source) and not is_kind(source, "hdf5")):
        _check_no_extraction(labels, keep_features)
        given = source if isinstance(source, FeatureFile) else FeatureFile(source)
        with nullcontext() if given is source else given:
            _check_as_asked(given, extraction)
            yield given
        return
    source = _checked_images(source, labels, layout, groups, min_images)
    asked: dict[str, Any] = {
        "layer": list(CANDIDATE_LAYERS) if layer == "auto" else [layer],
        **{name: value for name, value in extraction.items() if name not in _OF_A_ROW},
        **{
            name: usual if extraction[name] is None else extraction[name]
            for name, usual in _OF_A_ROW.items()
        },
    }
    if keep_features is not None:
        with _extracted(source, out=keep_features, overwrite=overwrite, **asked) as features:
            yield features
        return
    if out is None:
        with (
            tempfile.TemporaryDirectory(prefix="decaf-fit-") as folder,
            _extracted(source, out=Path(folder) / _FEATURES, **asked) as features,
        ):
            yield features
        return
    parts = parts_path(out)
    with disk_errors(parts, "nothing was begun"):
        parts.mkdir(exist_ok=True)
    try:
        with _resumed(source, parts / _FEATURES, asked) as features:
            yield features
    finally:
        with suppress(OSError):  # something was computed, and is kept
            parts.rmdir()


def candidate_layers(features: FeatureFile, layer: str) -> tuple[str, ...]:
    """Return the layers of a file to choose from.

    Raises
    ------
    SettingError
        If the file has none of them.
    """
    if layer != "auto":
        features[layer]  # tells what is there
        return (layer,)
    found = tuple(name for name in CANDIDATE_LAYERS if name in features)
    if found:
        return found
    if len(features.layers) == 1:
        return features.layers
    raise SettingError(
        f"{features.path}: has none of {', '.join(CANDIDATE_LAYERS)}; choose one of "
        f"{', '.join(features.layers)} (--layer)"
    )


def _extracted(source: Any, **asked: Any) -> FeatureFile:
    found = extract(source, **asked)
    assert isinstance(found, FeatureFile)
    return found


def _resumed(source: Any, out: Path, asked: dict[str, Any]) -> FeatureFile:
    try:
        return _extracted(source, out=out, **asked)
    except DiskError:  # what was finished is kept
        raise
    except (OutputError, ResumeError):
        # Of another run that was broken off: with other images or settings.
        return _extracted(source, out=out, overwrite=True, **asked)


def _check_no_extraction(labels: Any, keep_features: Any) -> None:
    if keep_features is not None:
        raise SettingError("features are given, and are kept as they are: leave out keep_features")
    if not (isinstance(labels, str) and labels == "folder"):
        raise SettingError(
            "features are given, with the labels that their file holds: leave labels out, or name "
            "the images"
        )


def _check_as_asked(features: FeatureFile, asked: dict[str, Any]) -> None:
    """Refuse what the features were not made with: it would have no effect."""
    differing = [
        f"{name} {features.run[name]}, not {asked[name]}"
        for name in ("crops", "precision")
        if asked[name] not in (None, features.run[name])
    ]
    if differing:
        raise SettingError(
            f"{features.path}: holds features of {', and of '.join(differing)}; leave that out, or "
            "name the images"
        )
    if asked["preprocess"] is not None:
        there = PreprocessSpec.from_dict(features.run["preprocess"])
        wanted = override_preprocess(there, asked["preprocess"])
        if found := differences(there.to_dict(), wanted.to_dict()):
            raise SettingError(
                f"{features.path}: holds features of other preprocessing ({'; '.join(found)}); "
                "leave preprocess out, or name the images"
            )
    if asked["weights"] is not None:
        _check_weights(features, asked["weights"])


def _check_weights(features: FeatureFile, weights: Any) -> None:
    known = features.run["weights"]
    if isinstance(weights, str) and weights == known["name"]:
        return
    if weights in ("imagenet", DEFAULT_WEIGHTS):  # the first would have to be downloaded
        raise WeightsError(
            f"{features.path}: holds features of weights {known['name']}, not of {weights}"
        )
    from decaf.backbone.model import Backbone, load_backbone

    backbone = weights if isinstance(weights, Backbone) else load_backbone(weights)
    if backbone.sha256 != known["sha256"]:
        raise WeightsError(
            f"{features.path}: holds features of weights {known['name']} (SHA-256 "
            f"{known['sha256'][:12]}…); {backbone.weights_name} is {backbone.sha256[:12]}…"
        )


def groups_and_splits(
    features: FeatureFile, given: bool, layout: str, groups: Any
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the group and the split of each image; None where there are none.

    Parameters
    ----------
    features : FeatureFile
    given : bool
        Whether it was there: then groups may be asked for that it does not have.
    layout, groups
        As in `decaf.fit`.
    """
    found, splits = features.groups, features.splits
    if given and groups is not None:
        names = features.path_bytes.tolist()
        shared = len(common_folder(names))
        found = find_groups(groups, names, [n[shared:] for n in names], RefList(names, {}))
    if layout == "classes" or splits is None or set(splits) <= {"train", ""}:
        splits = None
    return found, splits


def _checked_images(
    source: Any, labels: Any, layout: str, groups: Any, min_images: int
) -> ImageList:
    """List the images, and refuse those that no classifier can be made of before any is read."""
    images = collect(source, labels=labels, layout=layout, groups=groups)
    usable_images(
        images.labels,
        images.class_names,
        np.ones(len(images), bool),
        np.zeros((len(images), 32), np.uint8),
        names=images.names,
        min_images=min_images,
        source=source_name(source),
        splits=None if set(images.splits or ()) <= {"train", ""} else images.splits,
    )
    return images


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))

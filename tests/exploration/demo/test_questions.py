"""What is asked besides the classes: nearest images, strongest units, places that mattered."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.backbone.model import Backbone
from decaf.backbone.weights.state import Weights
from decaf.exploration.demo.nearest_images import NearestImages
from decaf.exploration.demo.photograph import Photograph
from decaf.exploration.demo.places import Places
from decaf.exploration.demo.strongest_units import StrongestUnits
from decaf.exploration.importance import pixel_importance
from decaf.exploration.page import picture_uri
from decaf.exploration.patches_picture import heat_picture
from decaf.exploration.top_patches import top_patches
from decaf.features.settings import RunSettings
from decaf.heads import LogisticRegression
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import SavedHead
from decaf.runtime.settings import ComputeSettings
from network_fixtures import make_image

HERE = ComputeSettings("cpu", workers=0, progress=False)
Features = Callable[[Backbone, Sequence[np.ndarray], str], np.ndarray]


@pytest.fixture(scope="module")
def backbone(weights: Weights) -> Backbone:
    return decaf.load_backbone(weights)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """An image of a class of the folder that is not there."""
    return make_image(2, 77)


@pytest.fixture
def file(folder: Path, tmp_path: Path, backbone: Backbone) -> Iterator[decaf.FeatureFile]:
    """Features of a copy of the folder."""
    shutil.copytree(folder, tmp_path / "animals")
    made = decaf.extract(
        tmp_path / "animals",
        ["fc6", "fc7"],
        out=tmp_path / "f.h5",
        weights=backbone,
        workers=0,
        device="cpu",
    )
    assert isinstance(made, decaf.FeatureFile)
    with made:
        yield made


def test_the_nearest_images_are_those_of_the_largest_cosine(
    file: decaf.FeatureFile,
    backbone: Backbone,
    images: list[np.ndarray],
    features: Features,
    pixels: np.ndarray,
) -> None:
    ask = NearestImages(file, "fc6", backbone, k=5, compute=HERE)
    answer = ask(Photograph(pixels, "PNG"))
    rows = features(backbone, [*images, pixels], "fc6")
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = units[:-1] @ units[-1]
    best = np.argsort(-cosines)[:5]
    assert [each["path"] for each in answer["images"]] == file.paths[best].tolist()
    classes = [Path(path).parent.name for path in file.paths[best]]
    assert [each["class"] for each in answer["images"]] == classes
    np.testing.assert_allclose(
        [each["cosine"] for each in answer["images"]], cosines[best], atol=1e-4
    )
    assert (answer["layer"], answer["searched"]) == ("fc6", len(images))
    assert all(each["picture"].startswith("data:image/jpeg;base64,") for each in answer["images"])


def test_images_that_are_gone_or_others_now_are_not_shown(
    file: decaf.FeatureFile, backbone: Backbone, pixels: np.ndarray
) -> None:
    ask = NearestImages(file, None, backbone, k=3, compute=HERE)
    photograph = Photograph(pixels, "PNG")
    first, second, _ = (Path(each["path"]) for each in ask(photograph)["images"])
    first.unlink()
    Image.fromarray(pixels).save(second)
    shown = [each["picture"] is not None for each in ask(photograph)["images"]]
    assert shown == [False, False, True]


def test_features_of_another_network_are_refused(
    file: decaf.FeatureFile, make_weights: Callable[..., Weights]
) -> None:
    other = decaf.load_backbone(make_weights(1))
    with pytest.raises(decaf.WeightsError, match=r"features of weights net 0 .*, not of net 1 "):
        NearestImages(file, None, other, k=3, compute=HERE)


def test_units_are_ranked_by_what_usually_excites_them(
    folder: Path,
    backbone: Backbone,
    images: list[np.ndarray],
    features: Features,
    pixels: np.ndarray,
) -> None:
    found = top_patches(folder, "conv3", weights=backbone, workers=0, device="cpu")
    answer = StrongestUnits(found, backbone)(Photograph(pixels, "PNG"))
    rows = features(backbone, [*images, pixels], "conv3")
    peaks = rows.reshape(*rows.shape[:2], -1).max(axis=2)
    order = np.argsort(-peaks[:-1], axis=0, kind="stable")
    usual = np.take_along_axis(peaks[:-1], order[:6], axis=0).mean(axis=0)
    shares = np.divide(peaks[-1], usual, out=np.zeros_like(usual), where=usual > 0)
    best = np.argsort(-shares)[:4]
    assert [each["unit"] for each in answer["units"]] == best.tolist()
    np.testing.assert_allclose([each["share"] for each in answer["units"]], shares[best], 1e-3)
    paths = sorted(str(path) for path in folder.glob("*/*.png"))
    for each, unit in zip(answer["units"], best, strict=True):
        expected = [paths[row] for row in order[:6, unit]]
        assert [patch["path"] for patch in each["patches"]] == expected
        assert each["own"].startswith("data:image/jpeg")


def picture(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)), float)


def test_places_are_those_of_the_first_class(backbone: Backbone, pixels: np.ndarray) -> None:
    places = Places(decaf.Classifier(weights=backbone), compute=HERE)
    answer = places(Photograph(pixels, "PNG"))
    assert answer["class"] == backbone.classify(pixels)[0][0][0]
    for method, uri in answer["maps"]:
        expected = pixel_importance(
            pixels, layer="fc8", method=method, weights=backbone, square=16, stride=7
        )
        drawn = heat_picture(expected.pixels, expected.heat)
        assert uri == picture_uri(drawn, height=len(drawn))


def head_of(
    backbone: Backbone, rows: np.ndarray, y: np.ndarray, crops: str = "center", **settings: Any
) -> SavedHead:
    run = RunSettings(("fc7",), crops).record(backbone)
    head = LogisticRegression(solver="sklearn", **settings).fit(rows, y)
    names = tuple(f"class {number}" for number in range(len(head.classes_)))
    return SavedHead(head, FeatureIdentity.of(run, "fc7"), names, {})


@pytest.mark.parametrize("scale", ["mean-norm", "unit-norm"])
@pytest.mark.parametrize("classes", [2, 3])
def test_places_of_a_head_are_those_of_its_score(
    backbone: Backbone,
    images: list[np.ndarray],
    features: Features,
    pixels: np.ndarray,
    classes: int,
    scale: str,
) -> None:
    rows = features(backbone, images, "fc7").astype(np.float32)
    head = head_of(backbone, rows, np.arange(len(rows)) % classes, scale=scale)
    places = Places(decaf.Classifier(head, weights=backbone), compute=HERE)
    photograph = Photograph(pixels, "PNG")
    own = features(backbone, [pixels], "fc7").astype(np.float32)
    place = int(head.estimator.predict_proba(own)[0].argmax())
    assert places(photograph)["class"] == f"class {place}"
    target = places._target(photograph, np.zeros((64, 64, 3), np.uint8))
    assert (target.layer, target.unit, target.position) == ("fc7", place, (0, 0))
    # Up to the intercept, which no pixel changes.
    scores = head.estimator.decision_function(rows)
    scores = np.column_stack([-scores, scores])[:, place] if classes == 2 else scores[:, place]
    ours = target.of(torch.from_numpy(rows)).double().numpy()
    np.testing.assert_allclose(ours - ours.mean(), scores - scores.mean(), atol=1e-4)


def test_a_head_on_ten_crops_has_no_places(
    backbone: Backbone, images: list[np.ndarray], features: Features
) -> None:
    rows = features(backbone, images, "fc7").astype(np.float32)
    y = np.arange(len(rows)) % 2
    for crops, can in (("center", True), ("ten", False)):
        head = head_of(backbone, rows, y, crops)
        assert Places.can_explain(decaf.Classifier(head, weights=backbone)) is can

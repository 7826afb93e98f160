"""Features are computed once, and again where images change."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from datasets.dataset import read_class_folders
from decaf.backbone.model import Backbone
from decaf.backbone.weights.state import Weights
from decaf.images import ImageRef
from harness.protocol import feature_cache
from harness.protocol.feature_cache import CachedFeatures, cache_folder, cached_features


@pytest.fixture
def animals(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "animals"))


@pytest.fixture
def compute(
    animals: Path, tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return the features, and count the images that pass through the network."""
    network = Backbone(weights)

    def call(**more: Any) -> CachedFeatures:
        settings = {"weights": network, "workers": 0, "device": "cpu", "cache": tmp_path / "cache"}
        return cached_features(read_class_folders(animals), ("fc6", "fc7"), **{**settings, **more})

    return call


def test_rows_are_those_of_extract(compute: Any, animals: Path, weights: Weights) -> None:
    result = compute()
    expected = decaf.extract(
        animals, ["fc6", "fc7"], weights=Backbone(weights), workers=0, device="cpu"
    )
    assert isinstance(expected, dict)
    rows = np.array([20, 3, 3, 0, 27])
    for layer in ("fc6", "fc7"):
        np.testing.assert_allclose(
            result.matrix(layer, rows), expected[layer][rows], rtol=1e-5, atol=1e-5
        )
    assert result.ok.all()
    assert result.computed == 28
    assert result.weights["name"] == weights.name


def test_a_second_call_computes_nothing(compute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compute()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was computed again")

    monkeypatch.setattr(Backbone, "features", refuse)
    monkeypatch.setattr("decaf.features.extraction.Extraction.rows", refuse)
    second = compute()
    assert second.computed == 0
    assert second.path == first.path
    assert second.fingerprint == first.fingerprint


def test_an_image_that_changed_is_computed_again(compute: Any, animals: Path) -> None:
    first = compute()
    Image.fromarray(np.zeros((70, 90, 3), np.uint8)).save(animals / "cat" / "2.png")
    second = compute()
    assert second.path == first.path
    assert second.computed == 28
    assert second.fingerprint != first.fingerprint
    assert second.digests[b"cat/2.png"] != first.digests[b"cat/2.png"]
    assert second.digests[b"cat/1.png"] == first.digests[b"cat/1.png"]


def test_a_part_has_row_numbers_of_its_own(compute: Any) -> None:
    result = compute()
    part = replace(result, rows=np.array([3, 7, 20]))
    rows = result.matrix("fc6", np.array([20, 3]))
    np.testing.assert_array_equal(part.matrix("fc6", np.array([2, 0])), rows)


def test_other_settings_have_a_file_of_their_own(compute: Any, animals: Path) -> None:
    one, other = compute(), compute(crops="ten")
    assert one.path != other.path
    assert one.fingerprint != other.fingerprint
    (animals / "cat" / "2.png").unlink()
    assert compute().path not in (one.path, other.path)


def test_bad_images_keep_their_rows(compute: Any, animals: Path) -> None:
    (animals / "bee" / "0.png").write_bytes(b"no image")
    result = compute()
    assert np.flatnonzero(~result.ok).tolist() == [4]
    assert result.messages[4]
    assert b"bee/0.png" not in result.digests
    assert np.isnan(result.matrix("fc6", np.array([4]))).all()
    assert np.isfinite(result.matrix("fc6", np.array([3, 5]))).all()


def test_a_file_that_is_damaged_is_made_anew(compute: Any) -> None:
    first = compute()
    first.path.write_bytes(b"damaged")
    assert compute().fingerprint == first.fingerprint


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("DECAF_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "decaf"
    monkeypatch.setenv("DECAF_CACHE", str(tmp_path / "own"))
    assert feature_cache.cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "given").is_dir()


def test_rows_of_parts_of_images(
    animals: Path, tmp_path: Path, weights: Weights, images: list[np.ndarray]
) -> None:
    """Two parts of one image are two rows; other boxes are other features."""
    network = Backbone(weights)
    whole = read_class_folders(animals)
    boxes = [(0, 0, 40, 40), (30, 10, 90, 70)]
    taken = [3, 3, 20]
    settings = {"weights": network, "device": "cpu", "cache": tmp_path / "cache"}

    def compute(last: tuple[int, int, int, int], workers: int) -> CachedFeatures:
        rows = zip(taken, [*boxes, last], strict=True)
        parts = replace(
            whole,
            names=[b"%d" % number for number in range(3)],
            labels=whole.labels[taken],
            refs=[ImageRef(whole.files[row], box=box) for row, box in rows],
        )
        return cached_features(parts, ("fc6",), workers=workers, **settings)

    first = compute(boxes[1], 1)
    crops = [
        images[row][top:bottom, left:right]
        for row, (left, top, right, bottom) in zip(taken, [*boxes, boxes[1]], strict=True)
    ]
    expected = np.asarray(decaf.extract(crops, "fc6", weights=network, device="cpu"))
    result = first.matrix("fc6", np.arange(3))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    other = compute(boxes[0], 0)
    assert other.path != first.path
    assert other.fingerprint != first.fingerprint
    again = compute(boxes[1], 0)
    assert (again.path, again.fingerprint, again.computed) == (first.path, first.fingerprint, 0)

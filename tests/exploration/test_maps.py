"""Maps of layers: where images come to lie, and how far that can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import decaf
from decaf.errors import FeatureFileError, SettingError
from decaf.exploration import MapSettings, make_map
from decaf.exploration import maps as module
from made_features import made_file


def clusters(count: int, width: int = 30, kinds: int = 3) -> np.ndarray:
    """Rows around far-off centres: row i is of cluster i % kinds."""
    random = np.random.default_rng(0)
    centres = 8 * random.normal(size=(kinds, width))
    return centres[np.arange(count) % kinds] + random.normal(size=(count, width))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made_file(tmp_path / "f.h5", {"fc6": clusters(60)}, bad=(7, 31))


def test_alike_images_lie_together_and_bad_ones_have_no_place(file: Path) -> None:
    with decaf.open_features(file) as features:
        found = make_map(features, "fc6")
        assert found.rows.tolist() == [row for row in range(60) if row not in (7, 31)]
        assert (found.xy.min(), found.xy.max()) == (0, 1)
        nearest = NearestNeighbors(n_neighbors=5).fit(found.xy).kneighbors(return_distance=False)
        assert (found.rows[nearest] % 3 == found.rows[:, None] % 3).all()
        again = make_map(features, "fc6", settings=MapSettings())
        np.testing.assert_array_equal(again.xy, found.xy)
        assert found.settings["method"] == MapSettings().chosen
        assert found.settings["seed"] == 0


@pytest.mark.parametrize(
    ("method", "package"), [("opentsne", "openTSNE"), ("umap", "umap"), ("tsne", ""), ("pca", "")]
)
def test_each_method_places_alike_images_together(
    file: Path, method: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package:
        with monkeypatch.context() as patch:
            patch.setattr(module.importlib.util, "find_spec", lambda name: None)
            told = rf"`method` '{method}' needs {package}: pip install 'decaf-features\[maps\]'"
            with pytest.raises(SettingError, match=told):
                MapSettings(method=method)
            assert MapSettings().chosen == "tsne"
        pytest.importorskip(package)
    with decaf.open_features(file) as features:
        found = make_map(features, "fc6", method=method, seed=3)
        again = make_map(features, "fc6", method=method, seed=3)
    nearest = NearestNeighbors(n_neighbors=4).fit(found.xy).kneighbors(return_distance=False)
    assert (found.rows[nearest] % 3 == found.rows[:, None] % 3).mean() > 0.95
    np.testing.assert_array_equal(again.xy, found.xy)
    assert (found.settings["method"], found.settings["seed"]) == (method, 3)


def test_trust_is_the_share_of_neighbours_kept(file: Path) -> None:
    with decaf.open_features(file) as features:
        found = make_map(features, "fc6", method="pca", neighbours=6)
        X, _ = features.to_xy("fc6")
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    apart = np.linalg.norm(found.xy[:, None] - found.xy[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    for place in range(len(X)):
        true = set(np.argsort(-cosines[place])[:6].tolist())
        near = set(np.argsort(apart[place])[:6].tolist())
        assert found.trust[place] == pytest.approx(len(true & near) / 6)
        assert set(found.nearest[place].tolist()) == {int(found.rows[at]) for at in true}
    assert found.measure == "cosine in fc6"
    # The plane is that of the two first singular vectors, whatever their signs.
    centred = units - units.mean(axis=0)
    plane = np.linalg.svd(centred, full_matrices=False)[0][:, :2] * np.linalg.svd(centred)[1][:2]
    truth = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(apart, 0)
    np.testing.assert_allclose(apart / apart.max(), truth / truth.max(), atol=2e-3)


def test_of_many_images_some_are_landmarks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EXACT", 40)
    with decaf.open_features(file) as features:
        found = make_map(features, "fc6", method="tsne")
    assert found.settings["landmarks"] == 40
    assert "of 40 images" in found.method
    assert "principal components of fc6" in found.measure
    assert (found.nearest % 3 == found.rows[:, None] % 3).mean() > 0.95
    nearest = NearestNeighbors(n_neighbors=3).fit(found.xy).kneighbors(return_distance=False)
    assert (found.rows[nearest] % 3 == found.rows[:, None] % 3).mean() > 0.9


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_few_images_have_a_map(tmp_path: Path, count: int) -> None:
    with decaf.open_features(made_file(tmp_path / "f.h5", {"fc7": clusters(count)})) as features:
        found = make_map(features, "fc7")
    assert found.xy.shape == (count, 2)
    assert np.isfinite(found.xy).all()
    assert found.nearest.shape == (count, min(10, count - 1))
    assert np.isnan(found.trust).all() == (count == 1)


def test_images_that_are_all_alike_have_a_map(tmp_path: Path) -> None:
    same = np.ones((12, 5))
    with decaf.open_features(made_file(tmp_path / "f.h5", {"fc7": same})) as features:
        found = make_map(features, "fc7", method="pca")
    assert (found.xy < 1e-4).all()
    assert np.isfinite(found.trust).all()


def test_what_cannot_be_mapped_is_said(tmp_path: Path, file: Path) -> None:
    with decaf.open_features(file) as features:
        with pytest.raises(SettingError, match="has no layer 'fc9'"):
            make_map(features, "fc9")
        with pytest.raises(SettingError, match="could not be read"):
            make_map(features, "fc6", rows=[7])
        with pytest.raises(SettingError, match=r"`perplexity` 0.5: must be from 1 to 1000"):
            make_map(features, "fc6", perplexity=0.5)
    values = clusters(5)
    values[3, 2] = np.inf
    with (
        decaf.open_features(made_file(tmp_path / "inf.h5", {"fc6": values})) as features,
        pytest.raises(FeatureFileError, match=r"fc6 of row 3, '003.jpg', holds NaN or infinity"),
    ):
        make_map(features, "fc6")

"""`FeatureExtractor` in the hands of scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import decaf
from decaf.errors import ImageError, InputError, SettingError, WeightsError

WEIGHTS = "random:0:alexnet-64"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve images: six reddish, six bluish, in turn."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    found = []
    for number in range(12):
        pixels = generator.integers(0, 80, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0 if number % 2 else 2] += 150
        found.append(str(root / f"{number:02d}.png"))
        Image.fromarray(pixels).save(found[-1])
    return found


COLOURS = [0, 1] * 6


def extractor(layer: object = "fc6", **rest: object) -> decaf.FeatureExtractor:
    return decaf.FeatureExtractor(layer, weights=WEIGHTS, workers=0, **rest)


def test_rows_are_those_of_extract(paths: list[str]) -> None:
    expected = decaf.extract(paths, ["pool5", "fc6"], weights=WEIGHTS, workers=0)
    assert isinstance(expected, dict)
    step = extractor(["pool5", "fc6"]).fit(paths)
    found = step.transform(paths)
    np.testing.assert_array_equal(found, np.hstack([expected["pool5"], expected["fc6"]]))
    assert step.n_features_out_ == found.shape[1] == 2304 + 4096
    names = step.get_feature_names_out()
    assert (names[0], names[2304], len(names)) == ("pool5_0", "fc6_0", 6400)


def test_takes_arrays_of_paths_and_of_pixels(paths: list[str]) -> None:
    expected = extractor().fit_transform(paths)
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    for images in (np.array(paths), np.array(paths, object), np.array(paths)[:, None], pixels):
        np.testing.assert_array_equal(extractor().fit_transform(images), expected)


def test_works_in_a_pipeline_under_cross_validation(paths: list[str]) -> None:
    pipeline = make_pipeline(extractor(), LogisticRegression())
    assert cross_val_score(pipeline, np.array(paths), COLOURS, cv=3).mean() == 1.0


def test_its_settings_can_be_searched(paths: list[str]) -> None:
    search = GridSearchCV(
        make_pipeline(extractor(), LogisticRegression()),
        {"featureextractor__layer": ["pool1", "fc6"]},
        cv=2,
    )
    search.fit(np.array(paths), COLOURS)
    assert search.best_score_ == 1.0


def test_clones_and_survives_pickling_without_its_weights(paths: list[str]) -> None:
    step = extractor(crops="ten")
    assert clone(step).get_params() == step.get_params()
    expected = step.fit_transform(paths[:2])
    data = pickle.dumps(step)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data).transform(paths[:2]), expected)


def test_init_stores_and_fit_checks() -> None:
    wrong = extractor("fc9")
    with pytest.raises(SettingError, match="fc9"):
        wrong.fit(None)
    with pytest.raises(WeightsError):
        decaf.FeatureExtractor(weights="nonsense").fit(None)
    with pytest.raises(NotFittedError):
        extractor().transform(["a.png"])


def test_other_weights_under_the_same_name_are_refused(paths: list[str], tmp_path: Path) -> None:
    from decaf.backbone.weights import load_weights, save_weights

    place = tmp_path / "w.safetensors"
    save_weights(place, load_weights("random:0:alexnet-64"))
    step = decaf.FeatureExtractor(weights=str(place), workers=0).fit(None)
    data = pickle.dumps(step)
    save_weights(place, load_weights("random:1:alexnet-64"), overwrite=True)
    with pytest.raises(SettingError, match="when this extractor was fitted"):
        pickle.loads(data).transform(paths[:1])


def test_an_item_that_is_not_one_image_is_refused(paths: list[str]) -> None:
    folder = str(Path(paths[0]).parent)
    with pytest.raises(InputError, match=r"X has 2 items, which stand for 13 images"):
        extractor().fit_transform([paths[0], folder])


def test_a_bad_image_may_be_recorded(paths: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 2 images could not be read"):
        rows = extractor(on_error="record").fit_transform([paths[0], str(bad)])
    assert np.isnan(rows).any(axis=1).tolist() == [False, True]


def test_a_bad_image_is_an_error(paths: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        extractor().fit_transform([*paths[:1], str(bad)])

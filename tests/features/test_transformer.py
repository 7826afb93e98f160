"""`FeatureExtractor` in the hands of scikit-learn."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
from decaf.features import row_cache
from decaf.features.extraction import Extraction
from decaf.features.row_cache import shared_rows

WEIGHTS = "random:0:alexnet-64"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve images: six reddish, six bluish, in turn."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    result = []
    for number in range(12):
        pixels = generator.integers(0, 80, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0 if number % 2 else 2] += 150
        result.append(str(root / f"{number:02d}.png"))
        Image.fromarray(pixels).save(result[-1])
    return result


COLOURS = [0, 1] * 6


def extractor(layer: object = "fc6", **rest: object) -> decaf.FeatureExtractor:
    return decaf.FeatureExtractor(layer, weights=WEIGHTS, workers=0, **rest)


def test_rows_are_those_of_extract(paths: list[str]) -> None:
    expected = decaf.extract(paths, ["pool5", "fc6"], weights=WEIGHTS, workers=0)
    assert isinstance(expected, dict)
    step = extractor(["pool5", "fc6"]).fit(paths)
    result = step.transform(paths)
    np.testing.assert_array_equal(result, np.hstack([expected["pool5"], expected["fc6"]]))
    assert step.n_features_out_ == result.shape[1] == 2304 + 4096
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


@pytest.mark.slow
def test_other_weights_under_the_same_name_are_refused(paths: list[str], tmp_path: Path) -> None:
    from decaf.backbone.weights.load import load_weights, save_weights

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


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return how many images each extraction computes, with nothing kept from before."""
    counts: list[int] = []
    all_rows = Extraction.all_rows

    def counting(self: Extraction, **rest: Any) -> Any:
        counts.append(len(self.images))
        return all_rows(self, **rest)

    monkeypatch.setattr(Extraction, "all_rows", counting)
    shared_rows.clear()
    yield counts
    shared_rows.clear()


def test_cross_validation_computes_each_image_once(paths: list[str], computed: list[int]) -> None:
    pipeline = make_pipeline(extractor(), LogisticRegression())
    scores = cross_val_score(pipeline, np.array(paths), COLOURS, cv=3)
    assert computed == [8, 4]  # of the first fold; the others have them all
    anew = make_pipeline(extractor(cache_bytes=0), LogisticRegression())
    np.testing.assert_array_equal(cross_val_score(anew, np.array(paths), COLOURS, cv=3), scores)
    assert computed == [8, 4, 8, 4, 8, 4, 8, 4]


def test_rows_that_were_kept_have_the_bits_of_rows_computed_anew(
    paths: list[str], computed: list[int]
) -> None:
    step, anew = extractor().fit(None), extractor(cache_bytes=0).fit(None)
    kept = np.vstack(
        [step.transform(paths[:7]), step.transform(paths[7:8]), step.transform(paths[8:])]
    )
    assert computed == [7, 1, 4]
    for order in (slice(None), slice(None, None, -1), slice(3, 4), slice(0, 2), slice(2, 11, 4)):
        np.testing.assert_array_equal(step.transform(paths[order]), kept[order])
        np.testing.assert_array_equal(anew.transform(paths[order]), kept[order])
    assert computed[3:] == [12, 12, 1, 2, 3]


@pytest.mark.slow
def test_content_and_settings_tell_rows_apart(
    paths: list[str], tmp_path: Path, computed: list[int]
) -> None:
    one = shutil.copy(paths[0], tmp_path / "one.png")
    first = extractor().fit_transform([one, paths[0]])
    assert computed == [1]  # of one content
    np.testing.assert_array_equal(first[0], first[1])
    shutil.copy(paths[1], one)
    changed = extractor().fit_transform([one])
    assert not np.array_equal(changed[0], first[0])
    others: list[dict[str, Any]] = [
        {"crops": "ten"},
        {"preprocess": "as-is"},
        {"layer": "fc7"},
        {"layer": ["fc6", "fc7"]},
    ]
    for settings in others:
        extractor(**settings).fit_transform([one])
    decaf.FeatureExtractor(weights="random:1:alexnet-64", workers=0).fit_transform([one])
    assert computed == [1, 1, 1, 1, 1, 1, 1]
    # Pixels are told apart by their shape too.
    flat, tall = np.zeros((1, 10, 40, 3), np.uint8), np.zeros((1, 40, 10, 3), np.uint8)
    extractor(preprocess="shorter-side").fit_transform(flat)
    extractor(preprocess="shorter-side").fit_transform(tall)
    extractor(preprocess="shorter-side").fit_transform(flat.copy())
    assert computed == [1] * 9


def test_a_row_is_kept_for_what_was_read_not_for_what_was_there_before(
    paths: list[str], tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shutil.copy(paths[0], tmp_path / "one.png")
    started = row_cache.Extraction

    def swapped(*arguments: Any, **settings: Any) -> Any:
        shutil.copy(paths[1], one)
        return started(*arguments, **settings)

    monkeypatch.setattr(row_cache, "Extraction", swapped)
    result = extractor().fit_transform([one])
    monkeypatch.undo()
    expected = extractor(cache_bytes=0).fit_transform(paths[:2])
    np.testing.assert_array_equal(result[0], expected[1])
    np.testing.assert_array_equal(extractor().fit_transform(paths[:2]), expected)


def test_a_bad_image_is_looked_at_again_and_named_by_its_row(
    paths: list[str], tmp_path: Path, computed: list[int]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    step = extractor().fit(None)
    step.transform(paths[:2])
    for _ in range(2):
        with pytest.raises(ImageError, match=r"bad.png' \(image 2\)") as caught:
            step.transform([*paths[:2], str(bad)])
        assert caught.value.row == 2
    recording = extractor(on_error="record").fit(None)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 of 4 images .*the first is row 1,"):
            rows = recording.transform([paths[0], str(bad), paths[1], str(bad)])
        assert np.isnan(rows).any(axis=1).tolist() == [False, True, False, True]
    shutil.copy(paths[0], bad)
    assert np.isfinite(recording.transform([str(bad)])).all()


def test_what_is_kept_is_bounded_and_the_last_used_stay(
    paths: list[str], computed: list[int]
) -> None:
    row = 4096 * 4
    step = extractor(cache_bytes=3 * row).fit(None)
    step.transform(paths[:3])
    step.transform(paths[:1])
    step.transform(paths[3:4])
    assert (len(shared_rows), shared_rows.bytes) == (3, 3 * row)
    step.transform([paths[0], paths[2], paths[3]])
    assert computed == [3, 1]  # the second was used longest ago
    assert np.isfinite(step.transform(paths)).all()  # more than can be kept
    assert shared_rows.bytes == 3 * row
    extractor(cache_bytes=row - 1).fit_transform(paths[:1])
    with pytest.raises(SettingError, match="`cache_bytes` -1: must be a whole number from 0 on"):
        extractor(cache_bytes=-1).fit(None)


@pytest.mark.slow
def test_threads_share_what_is_kept(paths: list[str], computed: list[int]) -> None:
    expected = extractor(cache_bytes=0).fit_transform(paths)
    step = extractor(cache_bytes=5 * 4096 * 4).fit(None)
    with ThreadPoolExecutor(4) as threads:
        orders = [np.random.default_rng(seed).permutation(12) for seed in range(12)]
        result = threads.map(lambda order: step.transform([paths[i] for i in order]), orders)
        for order, rows in zip(orders, result, strict=True):
            np.testing.assert_array_equal(rows, expected[order])
    assert shared_rows.bytes == 5 * 4096 * 4
    assert len(shared_rows) == 5


def test_items_that_code_makes_are_never_kept(computed: list[int]) -> None:
    class Noise:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> np.ndarray:
            return np.full((64, 64, 3), 7, np.uint8)

    step = extractor().fit(None)
    step.transform(Noise())
    step.transform(Noise())
    assert computed == [2, 2]

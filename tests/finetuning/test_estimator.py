"""`FineTuneClassifier` among scikit-learn's tools."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from decaf.errors import ImageError, InputError, SettingError
from decaf.finetuning.estimator import FineTuneClassifier
from decaf.finetuning.settings import FinetuneSettings

Make = Callable[..., FineTuneClassifier]


@pytest.fixture
def classifier(weights_path: Path, tiny: None) -> Make:
    def make(**changes: Any) -> FineTuneClassifier:
        settings = FinetuneSettings(precision="fp32")
        first = {"settings": settings, "epochs": 4.0, "lr": 3e-3, "batch_size": 16, "workers": 0}
        return FineTuneClassifier(weights_path, **{**first, **changes})

    return make


@pytest.fixture(scope="module")
def paths(photographs: Path) -> list[str]:
    return sorted(str(path) for path in (photographs / "train").rglob("*.png"))


@pytest.fixture(scope="module")
def names(paths: list[str]) -> list[str]:
    return [Path(path).parent.name for path in paths]


@pytest.mark.slow
def test_paths_and_arrays_are_the_same(
    classifier: Make, paths: list[str], names: list[str]
) -> None:
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    by_path = classifier().fit(paths, names)
    by_array = classifier().fit(arrays, names)
    assert by_path.weights_.sha256 == by_array.weights_.sha256
    probabilities = by_path.predict_proba(paths)
    assert probabilities.shape == (64, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(by_array.predict_proba(arrays), probabilities, atol=1e-5)
    answers = by_path.predict(np.array(paths))
    assert answers.tolist() == by_path.classes_[probabilities.argmax(axis=1)].tolist()
    assert by_path.score(paths, names) == np.mean(answers == names)
    assert by_path.score(paths, names) > 0.5
    assert by_path.weights_.class_names == ("ants", "bees", "cats", "dogs")
    # 20 % of each class are kept back.
    assert [each[1:] for each in by_path.result_.classes] == [(13, 3)] * 4


@pytest.mark.slow
def test_numbers_keep_their_order(classifier: Make, paths: list[str], names: list[str]) -> None:
    numbers = np.array([{"ants": 10, "bees": -2, "cats": 9, "dogs": 100}[name] for name in names])
    fitted = classifier().fit(paths, numbers)
    assert fitted.classes_.tolist() == [-2, 9, 10, 100]
    assert fitted.score(paths, numbers) > 0.5
    texts = classifier().fit(paths, names)
    order = [1, 2, 0, 3]
    # The same classes under other numbers: the same network but for the order of its units.
    assert [each[1] for each in fitted.result_.classes] == [
        texts.result_.classes[i][1] for i in order
    ]


@pytest.mark.slow
def test_it_is_cross_validated_cloned_and_searched(
    classifier: Make, paths: list[str], names: list[str]
) -> None:
    scores = cross_val_score(classifier(), paths, names, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    made = classifier(
        settings=FinetuneSettings(dropout=0.1, precision="fp32"), class_weight="balanced"
    )
    copy = clone(made)
    assert copy.get_params() == made.get_params()
    search = GridSearchCV(classifier(), {"epochs": [1.0, 2.0]}, cv=2, error_score="raise")
    search.fit(paths, names)
    assert search.best_params_["epochs"] in (1.0, 2.0)


@pytest.mark.slow
def test_a_fitted_one_is_pickled(classifier: Make, paths: list[str], names: list[str]) -> None:
    fitted = classifier().fit(paths, names)
    expected = fitted.predict_proba(paths[:5])
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(paths[:5]), expected)


@pytest.mark.slow
def test_arguments_are_settings(classifier: Make, paths: list[str], names: list[str]) -> None:
    base = FinetuneSettings(weight_decay=0.123, epochs=9.0, precision="fp32")
    fitted = classifier(
        settings=base, class_weight="balanced", freeze="conv2", epochs=1.0, random_state=7
    ).fit(paths, names)
    used = fitted.result_.weights.provenance["settings"]
    assert (used["weight_decay"], used["epochs"], used["freeze"]) == (0.123, 1.0, "conv2")
    assert (used["class_weights"], used["seed"]) == ("balanced", 7)


@pytest.mark.slow
def test_mistakes_are_told(
    classifier: Make, paths: list[str], names: list[str], photographs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="all 4 images are of one class, 'ants'"):
        classifier().fit(paths[:4], names[:4])
    with pytest.raises(InputError, match="y must have one class an image: 64 images"):
        classifier().fit(paths, names[:-1])
    with pytest.raises(InputError, match=r"X has 2 items, which stand for 32 images \(a folder"):
        classifier().fit([str(photographs / "train/ants"), str(photographs / "train/bees")], "ab")
    with pytest.raises(SettingError, match="`lr` must be above 0"):
        classifier(lr=-1.0).fit(paths, names)
    with pytest.raises(SettingError, match="`class_weight` must be None or 'balanced', got 'best'"):
        classifier(class_weight="best").fit(paths, names)
    with pytest.raises(InputError, match="2 groups for 64 images"):
        classifier().fit(paths, names, groups=["a", "b"])
    with pytest.raises(NotFittedError):
        classifier().predict(paths)
    broken = tmp_path / "x.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"x\.png': .*\(unsupported\)$"):
        classifier().fit([*paths, str(broken)], [*names, "ants"])
    # A class of one image is learnt, and not among those kept back; pairs are on one side.
    groups = [f"{row // 2}" for row in range(49)]
    fitted = classifier(epochs=1.0).fit(paths[:49], names[:49], groups=groups)
    assert fitted.classes_.tolist() == sorted(set(names[:49]))
    assert names[:49].count("dogs") == 1
    assert fitted.result_.frozen.images % 2 == 0
    with pytest.raises(ImageError, match=r"x\.png' \(image 1\): .*\(unsupported\)$"):
        fitted.predict([paths[0], str(broken)])
    for items in (["nope.jpg"], [paths[0], "nope.jpg"]):
        with pytest.raises(ImageError, match=r"nope\.jpg'.*: no such file \(missing\)$"):
            fitted.predict(items)
    with pytest.raises(ImageError, match=r"nope\.jpg': no such file \(missing\)$"):
        classifier().fit([*paths, "nope.jpg"], [*names, "ants"])


def test_images_are_prepared_as_asked(classifier: Make) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    fitted = classifier(preprocess="as-is", epochs=1.0).fit(images, [0, 1] * 4)
    assert fitted.weights_.preprocess.resize == "none"
    assert fitted.predict_proba(images).shape == (8, 2)
    with pytest.raises(ImageError, match="40 x 44 pixels; taken as they are"):
        fitted.predict(np.zeros((1, 44, 40, 3), np.uint8))

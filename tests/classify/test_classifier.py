"""Images in, names of classes out: in order, whatever the images, from a head or a network."""

from __future__ import annotations

import dataclasses
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.classify.classifier import Classifier, load_classifier
from decaf.errors import HeadError, InputError, SettingError, Stopped, WeightsError
from decaf.heads import LinearSVM, LogisticRegression
from decaf.heads.calibration import Calibration
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import SavedHead, load_head, save_head
from decaf.images.spec import named_preprocess

NAMES = ("ant", "bee", "cat")
QUICK: dict[str, Any] = {"workers": 0, "device": "cpu"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_weights(seed: int) -> Weights:
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(c, channels=c.channels // 8) for c in spec.convs)
    spec = dataclasses.replace(spec, convs=convs, hidden=(48, 32), classes=3)
    state = random_state(spec, seed, "he")
    return Weights.of("net", spec, named_preprocess("decaf", 64), state, class_names=NAMES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(path, small_weights(0))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images in three classes, and after the fourth a file that is none."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for number in range(3):
            pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "bee" / "0a.jpg").write_bytes(b"GIF89a")
    return root


@pytest.fixture(scope="module")
def features(folder: Path, weights: Path) -> Iterator[decaf.FeatureFile]:
    result = decaf.extract(
        folder,
        ["fc6", "fc7"],
        out=folder.parent / "f.h5",
        weights=weights,
        on_error="record",
        **QUICK,
    )
    assert isinstance(result, decaf.FeatureFile)
    with result:
        yield result


def head_of(features: decaf.FeatureFile, layer: str, **settings: Any) -> SavedHead:
    X, y = features.to_xy(layer)
    kind = settings.pop("kind", LogisticRegression)
    calibration = settings.pop("calibration", None)
    classes = settings.pop("classes", 3)
    estimator = kind(solver="sklearn", **settings).fit(X[y < classes], y[y < classes])
    identity = FeatureIdentity.of(features, layer)
    return SavedHead(estimator, identity, NAMES[:classes], {}, calibration)


def table(predictions: list[decaf.Prediction], names: tuple[str, ...] = NAMES) -> np.ndarray:
    """Probabilities by class; NaN for images that could not be read."""
    rows = [[dict(each.classes).get(name, np.nan) for name in names] for each in predictions]
    return np.array(rows)


@pytest.mark.slow
def test_probabilities_in_the_order_of_the_images(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    head = head_of(features, "fc7")
    expected = head.estimator.predict_proba(features.to_xy("fc7")[0])
    classifier = Classifier(head, weights=weights)
    for settings in ({}, {"batch_size": 1}, {"batch_size": 3, "workers": 2}):
        result = classifier.predict(folder, top=None, **{**QUICK, **settings})
        assert [each.path for each in result] == features.paths.tolist()
        assert [each.status == "ok" for each in result] == features.ok.tolist()
        assert (result[4].status, result[4].classes) == ("corrupt", ())
        assert result[4].message == features.messages[4] != ""
        np.testing.assert_allclose(table(result)[features.ok], expected, rtol=1e-4)
    assert classifier.gives == "probability"
    assert classifier.class_names == NAMES
    for each, chances in zip(np.array(result, object)[features.ok], expected, strict=True):
        assert [name for name, _ in each.classes] == [NAMES[i] for i in np.argsort(-chances)]


def test_what_has_answered_is_pickled_without_what_it_runs_on(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    classifier = Classifier(head_of(features, "fc7"), weights=weights)
    expected = classifier.predict(folder, **QUICK)
    assert classifier.predict(folder, **QUICK) == expected  # on what was made for the first
    assert pickle.loads(pickle.dumps(classifier)).predict(folder, **QUICK) == expected


def test_the_first_answers_alone(folder: Path, features: decaf.FeatureFile, weights: Path) -> None:
    classifier = Classifier(head_of(features, "fc7"), weights=weights)
    every = classifier.predict(folder / "ant", top=9, **QUICK)
    for top in (1, 2):
        result = classifier.predict(folder / "ant", top=top, **QUICK)
        assert [each.classes for each in result] == [each.classes[:top] for each in every]
    for wrong in (0, True, 1.5):
        with pytest.raises(SettingError, match="`top` must be a whole number from 1"):
            classifier.predict(folder, top=wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="`batch_size` 0: must be a whole number from 1 on"):
        classifier.predict(folder, batch_size=0)
    with pytest.raises(InputError, match="no images"):
        classifier.predict([])


def test_features_give_the_answers_of_their_images(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    classifier = Classifier(head_of(features, "fc6"), weights=weights)
    expected = classifier.predict(folder, **QUICK)
    for given in (features, features.path, Path(features.path)):
        result = classifier.predict(given)
        for each, other in zip(result, expected, strict=True):
            assert (each.path, each.status, each.message) == (
                other.path,
                other.status,
                other.message,
            )
            assert dict(each.classes) == pytest.approx(dict(other.classes), rel=1e-4)
    # The weights need not even be there.
    moved = dataclasses.replace(classifier.head.identity, weights_name="gone.safetensors")  # type: ignore[union-attr]
    without = Classifier(dataclasses.replace(classifier.head, identity=moved))  # type: ignore[type-var]
    assert without.predict(features) == classifier.predict(features)


def test_other_features_are_refused(
    folder: Path, features: decaf.FeatureFile, tmp_path: Path
) -> None:
    classifier = Classifier(head_of(features, "fc6"))
    others = Weights.of(
        "net", small_weights(1).spec, small_weights(1).preprocess, small_weights(1).state
    )
    for layer, other, error, message in (
        ("fc6", decaf.Backbone(others), HeadError, "weights sha256: .* in the head, .* now"),
        ("pool5", decaf.Backbone(small_weights(0)), SettingError, "has no layer 'fc6'"),
    ):
        out = tmp_path / f"{layer}.h5"
        decaf.extract(folder / "ant", [layer], out=out, weights=other, **QUICK).close()  # type: ignore[union-attr]
        with pytest.raises(error, match=message) as caught:
            classifier.predict(out)
        assert str(out) in str(caught.value)


def test_of_two_classes_and_of_scores(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    X, _ = features.to_xy("fc6")
    for classes in (2, 3):
        names = NAMES[:classes]
        svm = head_of(features, "fc6", kind=LinearSVM, classes=classes)
        decisions = svm.estimator.decision_function(X)
        scored = Classifier(svm, weights=weights)
        assert scored.gives == "score"
        expected = decisions if classes == 3 else np.column_stack([-decisions, decisions])
        result = table(scored.predict(features, top=None), names)[features.ok]
        np.testing.assert_allclose(result, expected, rtol=1e-6)
        # Softmax of a times the scores; of two classes the first has the score 0.
        calibrated = Classifier(dataclasses.replace(svm, calibration=Calibration(2.5)))
        assert calibrated.gives == "probability"
        logits = decisions if classes == 3 else np.column_stack([0 * decisions, decisions])
        powers = np.exp(2.5 * logits)
        result = table(calibrated.predict(features, top=None), names)[features.ok]
        np.testing.assert_allclose(result, powers / powers.sum(1, keepdims=True), rtol=1e-6)
        logistic = head_of(features, "fc6", classes=classes)
        result = table(Classifier(logistic).predict(features, top=None), names)[features.ok]
        np.testing.assert_allclose(result, logistic.estimator.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("crops", ["ten", "ten-stack"])
def test_the_crops_are_those_of_the_features(
    crops: str, folder: Path, weights: Path, tmp_path: Path
) -> None:
    result = decaf.extract(
        folder,
        ["fc7"],
        out=tmp_path / "f.h5",
        weights=weights,
        crops=crops,
        on_error="record",
        **QUICK,
    )
    assert isinstance(result, decaf.FeatureFile)
    with result as features:
        head = head_of(features, "fc7")
        expected = head.estimator.predict_proba(features.to_xy("fc7")[0])
        classifier = Classifier(head, weights=weights)
        for given in (folder, features):
            answers = table(classifier.predict(given, **QUICK))[features.ok]
            np.testing.assert_allclose(answers, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_network_answers_with_its_own_classes(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    classifier = load_classifier(weights)
    assert classifier.class_names == NAMES
    assert "the network's own classes" in repr(classifier)
    good = folder / "ant"
    expected = decaf.load_backbone(weights).classify(good, top=3)
    for each, other in zip(classifier.predict(good, **QUICK), expected, strict=True):
        assert [name for name, _ in each.classes] == [name for name, _ in other]
        assert dict(each.classes) == pytest.approx(dict(other), rel=1e-4)  # type: ignore[arg-type]
    for layer in ("fc8", "prob"):
        out = tmp_path / f"{layer}.h5"
        decaf.extract(good, [layer], out=out, weights=weights, **QUICK).close()  # type: ignore[union-attr]
        np.testing.assert_allclose(
            table(classifier.predict(out)), table(classifier.predict(good, **QUICK)), rtol=1e-4
        )
        with pytest.raises(SettingError, match="holds features of weights"):
            load_classifier("random:0:alexnet-64").predict(out)
    decaf.extract(good, ["fc6"], out=tmp_path / "fc6.h5", weights=weights, **QUICK).close()  # type: ignore[union-attr]
    with pytest.raises(SettingError, match=r"fc6\.h5: has no layer prob"):
        classifier.predict(tmp_path / "fc6.h5")
    numbered = load_classifier("random:0:alexnet-64").predict(good, top=1, **QUICK)
    assert all(each.classes[0][0].isdigit() for each in numbered)
    with pytest.raises(SettingError, match="is a network itself; leave `weights` out"):
        load_classifier("random:0", "random:1")


def test_the_weights_are_found_where_they_are(
    folder: Path, features: decaf.FeatureFile, weights: Path, tmp_path: Path
) -> None:
    """Weights are found where they were, beside the head, or where the user says; never others."""
    head = head_of(features, "fc7")
    expected = Classifier(head, weights=weights).predict(folder / "ant", **QUICK)
    path = tmp_path / "a.head"

    def save(recorded: object) -> None:
        report = {"features": {"weights_file": recorded}}
        save_head(
            path,
            head.estimator,
            identity=head.identity,
            class_names=NAMES,
            report=report,
            overwrite=True,
        )

    save(str(weights))
    assert load_classifier(path).predict(folder / "ant", **QUICK) == expected
    gone = tmp_path / "moved" / "net.safetensors"
    for recorded in (str(gone), None, ["what"]):
        save(recorded)
        with pytest.raises(
            WeightsError, match=r"which are not at .*; put them there, or say where"
        ):
            load_classifier(path).predict(folder / "ant", **QUICK)
        result = load_classifier(path, weights).predict(folder / "ant", **QUICK)
        assert result == expected
    beside = tmp_path / "net.safetensors"
    beside.write_bytes(weights.read_bytes())
    assert load_classifier(path).predict(folder / "ant", **QUICK) == expected
    # Other weights have taken the name: they are passed over, or told.
    save_weights(tmp_path / "other.safetensors", small_weights(1))
    gone.parent.mkdir()
    (tmp_path / "other.safetensors").rename(gone)
    save(str(gone))
    assert load_classifier(path).predict(folder / "ant", **QUICK) == expected
    beside.unlink()
    with pytest.raises(WeightsError, match=rf"{path}: was fitted on features of weights net"):
        load_classifier(path).predict(folder / "ant", **QUICK)
    with pytest.raises(WeightsError, match="was fitted on features of weights net"):
        load_classifier(path, "random:0:alexnet-64")


def test_a_network_that_is_in_no_file_has_to_be_given(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    head = head_of(features, "fc7")
    unnamed = dataclasses.replace(
        head, identity=dataclasses.replace(head.identity, weights_name="mine")
    )
    with pytest.raises(WeightsError, match="of a network 'mine' that is in no file"):
        Classifier(unnamed).predict(folder, **QUICK)
    backbone = decaf.load_backbone(weights)
    assert len(Classifier(unnamed, weights=backbone).predict(folder, **QUICK)) == 10
    with pytest.raises(SettingError, match="needs a head, or the weights"):
        Classifier()


def test_what_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"absent\.head: cannot be read: there is no such file"):
        load_classifier(tmp_path / "absent.head")
    with pytest.raises(WeightsError, match=r"absent\.safetensors: no such file"):
        load_classifier(tmp_path / "absent.safetensors")
    (tmp_path / "text.head").write_text("no head")
    with pytest.raises(HeadError, match=r"text\.head: is a text file, not a head"):
        load_classifier(tmp_path / "text.head")


def test_stopping_gives_what_is_finished(
    folder: Path, features: decaf.FeatureFile, weights: Path
) -> None:
    classifier = Classifier(head_of(features, "fc7"), weights=weights)
    stop = threading.Event()
    result = []
    with pytest.raises(Stopped, match=r"stopped after [1-9] of 10 images"):
        for each in classifier.stream(folder, batch_size=1, stop=stop, **QUICK):
            result.append(each)
            stop.set()
    assert [each.path for each in result] == features.paths[: len(result)].tolist()
    with pytest.raises(Stopped, match="stopped after 0 of 10 images"):
        classifier.predict(features, stop=stop)


def test_a_head_that_was_read_answers_as_the_one_that_was_written(
    features: decaf.FeatureFile, tmp_path: Path
) -> None:
    head = head_of(features, "fc6", kind=LinearSVM, calibration=Calibration(3.0))
    save_head(
        tmp_path / "a.head",
        head.estimator,
        identity=head.identity,
        class_names=head.class_names,
        calibration=head.calibration,
    )
    assert load_head(tmp_path / "a.head").class_names == NAMES
    result = decaf.load_classifier(tmp_path / "a.head").predict(features)
    assert result == Classifier(head).predict(features)
    assert Classifier.load(tmp_path / "a.head").predict(features) == result


def test_a_head_prepares_images_as_its_features_were(
    folder: Path, features: decaf.FeatureFile, weights: Path, tmp_path: Path
) -> None:
    asked = {"resize": "shorter-side", "resize_to": 68, "mean": [0.5, 0.5, 0.5]}
    settings = {"weights": weights, "on_error": "record", **QUICK}
    out = tmp_path / "f.h5"
    with decaf.extract(folder, "fc6", out=out, preprocess=asked, **settings) as other:  # type: ignore[union-attr]
        head = head_of(other, "fc6")
        classifier = Classifier(head, weights=weights)
        expected = head.estimator.predict_proba(other.to_xy("fc6")[0])
        result = table(classifier.predict(folder, top=None, **QUICK))
        np.testing.assert_allclose(result[other.ok], expected, rtol=1e-4)
        told = "preprocess resize: shorter-side in the head, warp now"
        with pytest.raises(HeadError, match=told):
            classifier.predict(features)
        with pytest.raises(HeadError, match="preprocess resize: warp in the head, shorter-side"):
            Classifier(head_of(features, "fc6")).predict(other)
    with pytest.raises(HeadError, match=told):
        Classifier(head, weights=weights, preprocess="decaf")
    assert Classifier(head, weights=weights, preprocess=asked).predict(folder, **QUICK)


def test_weights_of_another_mean_change_no_answer_and_their_features_are_refused(
    folder: Path, features: decaf.FeatureFile, weights: Path, tmp_path: Path
) -> None:
    own = small_weights(0)
    mean = dataclasses.replace(own.preprocess, mean=(0.5, 0.5, 0.5))
    save_weights(tmp_path / "net.safetensors", dataclasses.replace(own, preprocess=mean))
    other = decaf.load_backbone(tmp_path / "net.safetensors")
    assert other.sha256 == features.run["weights"]["sha256"]
    head = head_of(features, "fc6")
    expected = Classifier(head, weights=weights).predict(folder, **QUICK)
    assert Classifier(head, weights=other).predict(folder, **QUICK) == expected
    made = decaf.extract(
        folder, "fc6", out=tmp_path / "f.h5", weights=other, on_error="record", **QUICK
    )
    with (
        made,  # type: ignore[union-attr]
        pytest.raises(
            HeadError, match=r"preprocess mean: 0\.\S+, .* in the head, 0\.5, 0\.5, 0\.5 now"
        ),
    ):
        Classifier(head, weights=other).predict(made)


def test_a_network_answers_about_images_prepared_as_asked(folder: Path, weights: Path) -> None:
    stimulus = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    classifier = load_classifier(weights, preprocess="as-is")
    (found,) = classifier.predict(stimulus, top=None, **QUICK)
    probabilities = decaf.extract(stimulus, "prob", weights=weights, preprocess="as-is", **QUICK)
    assert isinstance(probabilities, np.ndarray)
    chances = [dict(found.classes)[name] for name in NAMES]
    np.testing.assert_allclose(chances, probabilities[0], rtol=1e-4)
    assert {each.status for each in classifier.predict(folder / "ant", **QUICK)} == {"wrong_size"}

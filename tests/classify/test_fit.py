"""From labelled images to a classifier: what is chosen, what is tested, what is told and kept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression as Reference

import decaf
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.state import Weights
from decaf.classify import layer_choice
from decaf.classify.held_out import deal_folds, draw_held_out, usable_images
from decaf.classify.layer_choice import Task, best_trial, try_layers
from decaf.errors import (
    FeatureFileError,
    ImageError,
    InputError,
    OutputError,
    SettingError,
    Stopped,
    WeightsError,
)
from decaf.heads import LogisticRegression
from decaf.heads.saved import load_head

QUICK: dict[str, Any] = {"workers": 0, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def net(make_weights: Callable[..., Weights]) -> decaf.Backbone:
    return decaf.Backbone(make_weights(0))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory, net: decaf.Backbone) -> Path:
    """Noise of three classes, 30 images each, that differ in colour."""
    generator = np.random.default_rng(0)
    shift = np.repeat([[0, 0, 0], [12, 0, 0], [0, 12, 0]], 30, axis=0)[:, None, None]
    noise = generator.normal(128, 60, (90, 64, 64, 3)) + shift
    out = tmp_path_factory.mktemp("features") / "noise.h5"
    labels = [name for name in ("ant", "bee", "cat") for _ in range(30)]
    decaf.extract(
        noise.clip(0, 255).astype(np.uint8),
        ["pool5", "fc6", "fc7"],
        out=out,
        weights=net,
        labels=labels,
        device="cpu",
        progress=False,
    ).close()  # type: ignore[union-attr]
    return out


@pytest.mark.slow
def test_the_held_out_estimate_is_that_of_scikit_learn(features: Path) -> None:
    """The same split, layer and C, fitted by scikit-learn to features scaled by hand."""
    fitted = decaf.fit(features, held_out=0.3, seed=3, progress=False)
    result = fitted.report.estimate
    assert result is not None
    assert (result.method, result.folds, result.images) == ("held-out", 1, 27)
    (choice,) = result.choices
    assert choice.images == 63
    with decaf.open_features(features) as file:
        usable = usable_images(file.images(), file.ok)
        held = draw_held_out(usable, 0.3, 3)
        X, y = file.to_xy(choice.layer)
        names = file.paths
    X = X / np.sqrt(np.square(X[~held], dtype=np.float64).sum(1).mean())
    model = Reference(C=choice.C, tol=1e-8, max_iter=10000).fit(X[~held], y[~held])
    answers = model.predict(X[held])
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (y[held], answers), 1)
    assert result.confusion.tolist() == expected.tolist()
    assert result.right == expected.trace()
    assert result.accuracy == pytest.approx(expected.trace() / 27)
    assert result.mean_per_class_accuracy == pytest.approx(
        np.mean([expected[i, i] / expected[i].sum() for i in range(3)])
    )
    assert result.baseline == pytest.approx(1 / 3)
    wrong = {names[held][i] for i in np.flatnonzero(answers != y[held])}
    assert {each.path for each in result.mistakes} == wrong
    confidence = [each.probability for each in result.mistakes]
    assert confidence == sorted(confidence, reverse=True)
    # What is given is chosen and fitted on all 90.
    report = fitted.report
    assert report.choice.images == report.images == 90
    assert [each.layer for each in report.choice.candidates] == ["pool5", "fc6", "fc7"]
    best = max(report.choice.candidates, key=lambda each: each.accuracy)
    assert (best.layer, best.C) == (report.choice.layer, report.choice.C)
    assert fitted.classifier.head is not None
    assert fitted.classifier.head.identity.layer == best.layer
    assert report.class_counts == (30, 30, 30)
    json.dumps(report.to_dict())


def test_images_of_the_test_change_nothing_that_is_chosen() -> None:
    generator = np.random.default_rng(1)
    codes = np.arange(60) % 3
    layers = {name: generator.normal(size=(60, 8)).astype(np.float32) for name in ("one", "two")}
    layers["two"][:, 0] += 3 * codes
    task = Task("it", np.arange(45), np.arange(45, 60))

    def tried(codes: np.ndarray, layers: dict[str, np.ndarray]) -> Any:
        return try_layers(
            [task],
            codes,
            list(layers),
            layers.__getitem__,
            lambda: LogisticRegression("cv", Cs=[0.1, 1, 10], solver="sklearn"),
            tell=lambda _: None,
            stop=None,
        )[task]

    before = tried(codes, layers)
    changed = {name: np.where(np.arange(60)[:, None] < 45, X, 9 - X) for name, X in layers.items()}
    after = tried(np.where(np.arange(60) < 45, codes, 2 - codes), changed)
    for one, other in zip(before, after, strict=True):
        assert one.candidate == other.candidate
        assert np.array_equal(one.estimator.coef_, other.estimator.coef_)
        assert one.calibration == other.calibration
        assert not np.array_equal(one.scores, other.scores)
    assert best_trial(before).candidate.layer == "two"
    assert best_trial([before[0], before[0]]) is before[0]


def test_fits_that_memory_will_hardly_hold_are_told_of_before_they_begin(
    folder: Path, net: decaf.Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 21 of 28 images are fitted to, in turn; of the layer all 28 rows are in memory.
    width = decaf.extract(folder, "fc7", weights=net, **QUICK).shape[1]
    needed = 4 * (2 * 28 * width + 6 * 28**2) + 2**26
    settings = {"weights": net, "layer": "fc7", "C": 1.0, **QUICK}
    monkeypatch.setattr(layer_choice, "available_memory", lambda: needed - 1)
    with pytest.warns(UserWarning, match="fc7 of 28 images take about"):
        decaf.fit(folder, **settings)
    for free in (needed, None):
        monkeypatch.setattr(layer_choice, "available_memory", lambda free=free: free)
        decaf.fit(folder, **settings)


def test_few_images_are_tested_in_turn(folder: Path, net: decaf.Backbone) -> None:
    fitted = decaf.fit(folder, weights=net, layer="fc7", C=1.0, **QUICK)
    result = fitted.report.estimate
    assert result is not None
    assert (result.method, result.folds, result.images) == ("cross-validation", 4, 28)
    assert result.confusion.sum(axis=1).tolist() == [4] * 7
    assert [choice.images for choice in result.choices] == [21] * 4
    assert {choice.C for choice in result.choices} == {1.0}
    # Each fold by scikit-learn, on the others.
    with decaf.extract(
        folder, ["fc7"], out=folder.parent / "all.h5", weights=net, workers=0, progress=False
    ) as file:  # type: ignore[union-attr]
        usable = usable_images(file.images(), file.ok)
        X, y = file.to_xy("fc7")
        paths = file.paths.tolist()
    fold = deal_folds(usable, 4, 0)
    right = 0
    for number in range(4):
        train, test = fold != number, fold == number
        scale = np.sqrt(np.square(X[train], dtype=np.float64).sum(1).mean())
        model = Reference(C=1.0, tol=1e-8, max_iter=10000).fit(X[train] / scale, y[train])
        right += int((model.predict(X[test] / scale) == y[test]).sum())
    assert result.right == right
    # The images are named as those of their file.
    answers = fitted.classifier.predict(folder, top=1, workers=0, device="cpu")
    assert [each.path for each in answers] == paths


def test_two_images_a_class_are_fitted_to_and_not_tested(
    folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    """Without one of two images nothing is left to choose C on."""
    for path in sorted(folder.glob("*/[01].png")):
        copy = tmp_path / "two" / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    report = decaf.fit(
        tmp_path / "two", out=tmp_path / "two.head", weights=net, layer="fc6", **QUICK
    ).report
    assert report.images == 14
    assert report.estimate is None
    assert report.notes[0].startswith("not tested: too few images")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two", "two.head"]


def test_many_classes_of_two_images_are_fitted_to_and_not_tested(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    monkeypatch.setattr("decaf.classify.held_out.MOST_TESTED_IN_TURN", 10)
    test_two_images_a_class_are_fitted_to_and_not_tested(folder, tmp_path, net)


def test_what_is_left_out_is_told(folder: Path, tmp_path: Path, net: decaf.Backbone) -> None:
    source = tmp_path / "images"
    shutil.copytree(folder, source)
    (source / "ant" / "copy.png").write_bytes((source / "ant" / "0.png").read_bytes())
    (source / "bee" / "conflict.png").write_bytes((source / "cat" / "1.png").read_bytes())
    (source / "dog" / "bad.jpg").write_bytes(b"GIF89a")
    (source / "loose.png").write_bytes((source / "elk" / "1.png").read_bytes())
    (source / "yak").mkdir()
    shutil.copy(source / "fox" / "0.png", source / "yak" / "0.png")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        decaf.fit(source, weights=net, layer="fc7", **QUICK)
    fitted = decaf.fit(source, weights=net, layer="fc7", C=1.0, on_error="record", **QUICK)
    report = fitted.report
    assert [(each.name, each.status) for each in report.bad] == [
        (str(source / "dog" / "bad.jpg"), "corrupt")
    ]
    assert (report.copies, report.unlabelled, report.left_out) == (1, 1, {"yak": 1})
    assert [(each.paths, each.classes) for each in report.conflicts] == [
        (
            (str(source / "bee" / "conflict.png"), str(source / "cat" / "1.png")),
            ("bee", "cat"),
        ),
        ((str(source / "fox" / "0.png"), str(source / "yak" / "0.png")), ("fox", "yak")),
    ]
    assert report.images == sum(report.class_counts) == 29
    assert report.estimate is not None
    assert report.estimate.images == 26  # 29 without cat/1, bee/conflict and fox/0
    record = report.to_dict()
    assert json.loads(json.dumps(record))["bad"][0]["name"] == str(source / "dog" / "bad.jpg")
    kept = report.summary()
    assert (kept["bad"], kept["conflicts"]) == (1, 2)
    assert str(source / "dog") not in json.dumps(kept)


def test_it_is_kept_and_read_again(
    folder: Path, tmp_path: Path, make_weights: Callable[..., Weights]
) -> None:
    save_weights(tmp_path / "net.safetensors", make_weights(0))
    out = tmp_path / "animals.head"
    asked: dict[str, Any] = {
        "weights": tmp_path / "net.safetensors",
        "layer": "fc7",
        "head": "svm",
        "held_out": 0,
        **QUICK,
    }
    fitted = decaf.fit(folder, out=out, **asked)
    assert fitted.report.estimate is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animals.head", "net.safetensors"]
    classifier = decaf.load_classifier(out)
    assert classifier.gives == "probability"
    result = classifier.predict(folder, **QUICK)
    assert result == fitted.classifier.predict(folder, **QUICK)
    right = [each.classes[0][0] in each.path.split("/") for each in result]
    assert np.mean(right) > 0.9  # of the images that it was fitted to
    assert classifier.head is not None
    assert classifier.head.report["settings"]["head"] == "svm"
    with pytest.raises(OutputError, match=r"animals.head: exists; give another `out`, or `overw"):
        decaf.fit(folder, out=out, **asked)
    again = decaf.fit(folder, out=out, overwrite=True, **asked)
    assert again.classifier.predict(folder, **QUICK) == result


@pytest.mark.parametrize("left", ["all", "nothing"])
def test_killed_before_its_features_were_removed_the_same_command_is_done(
    folder: Path, tmp_path: Path, net: decaf.Backbone, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    from decaf.classify import head_target as module

    class Killed(BaseException):
        pass

    def killed(out: Path) -> None:
        if left == "nothing":
            module_remove(out)
            out.with_name("a.head.parts").mkdir()
        raise Killed

    out, module_remove = tmp_path / "a.head", module.remove_parts
    asked: dict[str, Any] = {"weights": net, "layer": "fc7", "C": 1.0, "held_out": 0, **QUICK}
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove_parts", killed)
        with pytest.raises(Killed):
            decaf.fit(folder, out=out, **asked)
    first = load_head(out).estimator.coef_.tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.head", "a.head.parts"]
    with pytest.raises(OutputError, match=r"a\.head: exists; give another `out`, or `overwrite"):
        decaf.fit(folder, out=out, **{**asked, "C": 2.0})
    decaf.fit(folder, out=out, **asked)
    assert [p.name for p in tmp_path.iterdir()] == ["a.head"]
    assert load_head(out).estimator.coef_.tobytes() == first


@pytest.mark.parametrize("source", ["kept", "features"])
def test_killed_as_it_ended_a_fit_to_features_that_stay_is_done(
    folder: Path, tmp_path: Path, net: decaf.Backbone, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    from decaf.classify import head_target as module

    class Killed(BaseException):
        pass

    def killed(out: Path) -> None:
        raise Killed

    out, kept, other = tmp_path / "a.head", tmp_path / "f.h5", tmp_path / "other"
    decaf.extract(folder, "fc7", out=kept, weights=net, workers=0).close()
    asked: dict[str, Any] = {"layer": "fc7", "C": 1.0, "held_out": 0, "out": out}
    if source == "kept":
        asked |= {"weights": net, "keep_features": kept, **QUICK}
    given = folder if source == "kept" else kept
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove_parts", killed)
        with pytest.raises(Killed):
            decaf.fit(given, **asked)
    first = load_head(out).estimator.coef_.tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.head", "a.head.parts", "f.h5"]
    # Of other images it is another classifier, which is not replaced unasked.
    shutil.copytree(folder, other)
    next(other.rglob("*.png")).unlink()
    with pytest.raises(OutputError, match=r"a\.head: exists already"):
        decaf.fit(other, **{**asked, "weights": net, "keep_features": tmp_path / "o.h5", **QUICK})
    assert load_head(out).estimator.coef_.tobytes() == first
    decaf.fit(given, **asked)
    assert load_head(out).estimator.coef_.tobytes() == first
    assert not (tmp_path / "a.head.parts").exists()
    with pytest.raises(OutputError, match=r"a\.head: exists; give another"):
        decaf.fit(given, **asked)


def test_a_failing_disk_does_not_begin_the_extraction_anew(
    folder: Path, tmp_path: Path, net: decaf.Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, left = tmp_path / "a.head", os.fsync, 12

    def failing(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    asked: dict[str, Any] = {"weights": net, "layer": "fc7", "C": 1.0, "held_out": 0, **QUICK}
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutputError, match="Input/output error"):
        decaf.fit(folder, out=out, batch_size=1, **asked)
    assert left == 0
    assert list((tmp_path / "a.head.parts" / "features.h5.parts").glob("*.shard"))


def test_an_interrupted_extraction_goes_on(
    folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    out, stop, seen = tmp_path / "a.head", threading.Event(), []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done >= 4:
            stop.set()

    asked: dict[str, Any] = {"weights": net, "layer": "fc7", "C": 1.0, "held_out": 0}
    asked |= {"workers": 0, "device": "cpu", "batch_size": 1}
    with pytest.raises(Stopped, match=r"features\.h5: stopped after \d+ of 28 images"):
        decaf.fit(folder, out=out, progress=progress, stop=stop, **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["a.head.parts"]
    done = max(seen)
    seen.clear()
    stop.clear()
    decaf.fit(
        folder,
        out=out,
        progress=lambda done, total: seen.append(done),
        **asked,
    )
    assert seen[0] >= done
    assert [path.name for path in tmp_path.iterdir()] == ["a.head"]


def test_remains_of_another_run_are_no_obstacle(
    folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    parts = tmp_path / "a.head.parts"
    parts.mkdir()
    with_other = {"weights": net, "out": parts / "features.h5", "workers": 0, "progress": False}
    decaf.extract(folder / "ant", ["fc6"], **with_other).close()  # type: ignore[arg-type,union-attr]
    asked: dict[str, Any] = {"weights": net, "layer": "fc7", "C": 1.0, "held_out": 0, **QUICK}
    decaf.fit(folder, out=tmp_path / "a.head", **asked)
    assert not parts.exists()
    with pytest.raises(SettingError, match="fc9"):
        decaf.fit(folder, out=tmp_path / "b.head", **{**asked, "layer": "fc9"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.head"]


@pytest.mark.slow
def test_features_are_kept_and_used(folder: Path, tmp_path: Path, net: decaf.Backbone) -> None:
    kept = tmp_path / "f.h5"
    asked: dict[str, Any] = {"C": 1.0, "held_out": 0, "progress": False}
    first = decaf.fit(
        folder, weights=net, keep_features=kept, workers=0, device="cpu", **asked
    ).report
    for source in (kept, [str(kept)], decaf.open_features(kept)):
        again = decaf.fit(source, weights=net, **asked).report
        assert again.choice == first.choice
        assert again.class_counts == first.class_counts
    source.close()  # type: ignore[union-attr]
    with pytest.raises(SettingError, match="leave out `keep_features`"):
        decaf.fit(kept, keep_features=tmp_path / "g.h5")
    with pytest.raises(SettingError, match="leave `labels` out"):
        decaf.fit(kept, labels=["a"])
    with pytest.raises(SettingError, match=r"f\.h5: has no layer 'conv1'; it has pool5, fc6, fc7"):
        decaf.fit(kept, layer="conv1")
    with pytest.raises(WeightsError, match=r"f.h5: holds features of weights net 0 \(SHA-256"):
        decaf.fit(kept, weights=decaf.load_backbone("random:0:alexnet-64"))
    with pytest.raises(WeightsError, match=r"holds features of weights net 0 \(SHA-256"):
        decaf.fit(kept, weights="random:0:alexnet-64")
    for name in ("imagenet", DEFAULT_WEIGHTS):  # the second is no default for what is there
        with pytest.raises(WeightsError, match=f"holds features of weights net 0, not of {name}"):
            decaf.fit(kept, weights=name)
    with pytest.raises(
        SettingError,
        match=r"f\.h5: holds features of crops center, not ten, and of precision fp32,",
    ):
        decaf.fit(kept, crops="ten", precision="bf16")


def test_what_features_were_made_with_may_be_said(features: Path, net: decaf.Backbone) -> None:
    asked: dict[str, Any] = {"layer": "fc7", "C": 1.0, "held_out": 0, "progress": False}
    plain = decaf.fit(features, **asked).report.to_dict()
    told = decaf.fit(features, weights=net, crops="center", precision="fp32", **asked)
    for report in (plain, again := told.report.to_dict()):
        del report["seconds"]
    assert again == plain


def test_only_a_classifier_is_replaced(features: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"layer": "fc7", "C": 1.0, "held_out": 0, "progress": False}
    out = tmp_path / "a.head"
    for content in (b"\xff\xd8\xff\xe0 a photograph", b"my notes", features.read_bytes()):
        out.write_bytes(content)
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=r"a\.head: exists and is an? .*, not a head"):
                decaf.fit(features, out=out, overwrite=overwrite, **asked)
        assert out.read_bytes() == content
    out.write_bytes(b"")  # as mktemp leaves it
    for _ in range(2):
        decaf.fit(features, out=out, overwrite=True, **asked)
    assert decaf.load_classifier(out).head is not None


def test_features_are_not_kept_in_the_place_of_something_else(
    folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    kept = tmp_path / "kept.h5"
    kept.write_text("my notes")
    with pytest.raises(OutputError, match=r"kept\.h5: exists and is a text file, not a feature"):
        decaf.fit(folder, weights=net, keep_features=kept, overwrite=True)
    assert kept.read_text(encoding="utf-8") == "my notes"


def test_features_of_another_run_are_not_replaced_unasked(
    folder: Path, tmp_path: Path, net: decaf.Backbone
) -> None:
    kept = tmp_path / "kept.h5"
    decaf.fit(folder, weights=net, layer="fc6", keep_features=kept, workers=0, device="cpu")
    with pytest.raises(OutputError, match="give another `keep_features`, or `overwrite=True`"):
        decaf.fit(folder, weights=net, layer="fc7", keep_features=kept, workers=0, device="cpu")


def test_features_that_are_not_finite(features: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.h5"
    shutil.copy(features, spoilt)
    with h5py.File(spoilt, "r+") as file:
        file["features/fc7"][5, 2] = np.inf  # as float16 makes it of what is too large
    with pytest.raises(FeatureFileError, match=r"spoilt\.h5: 1 of \d+ images have NaN or infinity"):
        decaf.fit(spoilt, layer="fc7", C=1.0, held_out=0, progress=False)


def test_a_folder_that_is_called_as_its_own_is_left_alone(features: Path, tmp_path: Path) -> None:
    parts = tmp_path / "a.head.parts"
    (parts / "features.h5.parts").mkdir(parents=True)
    (parts / "thesis.tex").write_text("mine")
    decaf.fit(features, out=tmp_path / "a.head", layer="fc7", C=1.0, held_out=0, progress=False)
    assert [path.name for path in parts.iterdir()] == ["thesis.tex"]


def test_a_file_of_other_layers(folder: Path, tmp_path: Path, net: decaf.Backbone) -> None:
    for layers in (["conv5"], ["conv5", "fc8"]):
        out = tmp_path / f"{len(layers)}.h5"
        decaf.extract(folder, layers, out=out, weights=net, workers=0, progress=False).close()  # type: ignore[union-attr]
    asked: dict[str, Any] = {"C": 1.0, "held_out": 0, "progress": False}
    assert decaf.fit(tmp_path / "1.h5", **asked).report.choice.layer == "conv5"
    assert decaf.fit(tmp_path / "2.h5", layer="fc8", **asked).report.choice.layer == "fc8"
    with pytest.raises(SettingError, match="has none of pool5, fc6, fc7; choose one of conv5, fc8"):
        decaf.fit(tmp_path / "2.h5", **asked)


def test_class_weights_are_by_name(features: Path) -> None:
    asked: dict[str, Any] = {"layer": "fc7", "C": 1.0, "held_out": 0, "progress": False}
    plain = decaf.fit(features, **asked)
    heavy = decaf.fit(features, class_weight={"bee": 50.0}, **asked)

    def answers(fitted: decaf.Fitted) -> int:
        return sum(each.classes[0][0] == "bee" for each in fitted.classifier.predict(features))

    assert answers(heavy) > answers(plain)
    assert heavy.report.settings["class_weight"] == {"bee": 50.0}
    assert (
        decaf.fit(features, class_weight="balanced", **asked).report.choice == plain.report.choice
    )
    with pytest.raises(SettingError, match="`class_weight` names 'elk', which is no class here"):
        decaf.fit(features, class_weight={"elk": 2.0}, **asked)


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        decaf.fit(
            "nowhere",
            head="tree",
            C=-1,
            dropout=1,
            scale="much",
            class_weight="heavy",
            held_out=1,
            min_images=1,
            seed=-1,
        )
    for word in (
        "tree",
        "`C` -1",
        "`dropout` 1",
        "much",
        "heavy",
        "`held_out` 1",
        "`min_images` 1",
        "seed",
    ):
        assert word in str(caught.value)
    for wrong in ("much", float("nan"), True):
        with pytest.raises(SettingError, match="must be 'cv' or a number above 0"):
            decaf.fit("nowhere", C=wrong)


def test_places_that_nothing_can_be_written_to(tmp_path: Path, features: Path) -> None:
    for out, message in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "no" / "a.head", "there is no folder"),
        ("imagenet", "imagenet: is the name of weights; give the classifier another name"),
    ):
        with pytest.raises(OutputError, match=message):
            decaf.fit(features, out=out)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="named both for the classifier and for the features"):
        decaf.fit(features, out=tmp_path / "a.head", keep_features=tmp_path / "link" / "a.head")


def test_images_that_no_classifier_can_be_made_of_cost_no_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "ant").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (70, 70)).save(tmp_path / "data" / "ant" / f"{number}.png")
    monkeypatch.setattr("decaf.classify.source.extract", None)
    with pytest.raises(InputError, match=r"data: there is only one class, 'ant'"):
        decaf.fit(tmp_path / "data", out=tmp_path / "a.head")
    with pytest.raises(InputError, match="ant: no image has a class"):
        decaf.fit(tmp_path / "data" / "ant", out=tmp_path / "a.head")
    with pytest.raises(InputError, match="no images"):
        decaf.fit([])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]

"""`decaf.fit` on images that belong together, and on images that came divided."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.backbone.weights.state import Weights
from decaf.classify.held_out import Plan, plan_of, usable_images
from decaf.errors import InputError, OutputError, SettingError
from decaf.heads.metrics import wilson_interval
from decaf.images import ImageList
from decaf.images.listing.image_ref import RefList

QUICK: dict[str, Any] = {"workers": 0, "device": "cpu", "progress": False, "layer": "fc7"}
CLASSES = ("ant", "bee", "cat")
BURSTS, SHOTS = 8, 5


@pytest.fixture(scope="module")
def net(make_weights: Callable[..., Weights]) -> decaf.Backbone:
    return decaf.Backbone(make_weights(0))


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that says nothing of its class; of each picture there are five nearly alike."""
    root = tmp_path_factory.mktemp("data") / "bursts"
    random = np.random.default_rng(0)
    for name in CLASSES:
        for burst in range(BURSTS):
            (root / name / f"b{burst}").mkdir(parents=True)
            scene = random.normal(128, 60, (16, 16, 3)).repeat(4, 0).repeat(4, 1)
            for shot in range(SHOTS):
                pixels = (scene + random.normal(0, 4, scene.shape)).clip(0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / name / f"b{burst}" / f"{shot}.png")
    return root


@pytest.fixture(scope="module")
def features(bursts: Path, net: decaf.Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "bursts.h5"
    decaf.extract(
        bursts, ["fc7"], out=out, weights=net, groups="folder", workers=0, progress=False
    ).close()  # type: ignore[union-attr]
    return out


@pytest.mark.slow
def test_bursts_flatter_where_they_are_not_told_of(
    bursts: Path, features: Path, net: decaf.Backbone
) -> None:
    report = decaf.fit(bursts, weights=net, groups="folder", **QUICK).report
    assert report.groups is not None
    assert report.estimate is not None
    claimed = report.groups.ungrouped
    assert claimed is not None
    assert (report.groups.count, report.groups.source) == (len(CLASSES) * BURSTS, "folder")
    # Nothing can be learnt but the bursts themselves.
    assert claimed.accuracy > 0.9
    assert report.estimate.accuracy < 0.6
    # All images are tested, and their interval is that of fewer, since those of a burst are alike.
    right, tested = report.estimate.right, len(CLASSES) * BURSTS * SHOTS
    assert report.estimate.images == tested
    by_images, by_groups = wilson_interval(right, tested), report.estimate.interval
    assert np.ptp(by_groups) > 1.3 * np.ptp(by_images)
    assert claimed.interval == wilson_interval(claimed.right, claimed.images)
    # Nor in the choice of C, on which the probabilities rest.
    assert report.choice.candidates[0].accuracy < 0.6
    plain = decaf.fit(bursts, weights=net, **QUICK).report
    assert plain.groups is None
    assert plain.estimate is not None
    assert plain.estimate.accuracy == claimed.accuracy
    kept = json.loads(json.dumps(report.to_dict()))["groups"]
    assert kept["ungrouped"]["accuracy"] == claimed.accuracy
    # What the file of features says, and what is asked for in its place.
    again = decaf.fit(features, device="cpu", progress=False).report
    assert again.groups is not None
    assert again.groups.source == "the feature file"
    assert again.estimate is not None
    assert again.estimate.accuracy == report.estimate.accuracy
    with pytest.raises(InputError, match="every class is of one group alone, so nothing can be"):
        decaf.fit(features, groups="folder:2", device="cpu", progress=False)
    wide = [name.split("/")[-3] for name in decaf.open_features(features).paths]
    wide[::2] = [f"{number}" for number in range(len(wide[::2]))]
    some = ["ant" if number < 40 else name for number, name in enumerate(wide)]
    odd = decaf.fit(features, groups=some, device="cpu", progress=False).report
    assert odd.groups is not None
    assert odd.groups.single == ("ant",)
    assert odd.estimate is not None
    assert odd.estimate.untested == ("ant",)


def plan(labels: list[int], groups: list[str] | None, held_out: float = 0.2) -> Plan:
    digests = np.random.default_rng(0).integers(0, 256, (len(labels), 32), np.uint8)
    names = [b"%d" % row for row in range(len(labels))]
    images = ImageList(
        names,
        np.array(labels),
        (),
        (),
        RefList(names, {}),
        groups=None if groups is None else tuple(groups),
        content_sha256=digests,
    )
    return plan_of(usable_images(images), held_out, 0)


@pytest.mark.parametrize("groups_of_class", [3, 20, 40])
def test_no_group_is_on_both_sides_of_a_test(groups_of_class: int) -> None:
    labels = [code for code in range(3) for _ in range(groups_of_class * 6)]
    groups = [f"{row // 6}" for row in range(len(labels))]
    made = plan(labels, groups)
    # A fifth of 60 groups is 12, which says too little, however many images they have.
    assert len(made.tests) == {3: 3, 20: 5, 40: 1}[groups_of_class]
    tested = np.concatenate([task.test for task in made.tests])
    assert len(set(tested.tolist())) == len(tested)
    for task in made.tests:
        assert not {groups[at] for at in task.train} & {groups[at] for at in task.test}
        assert task.groups == [groups[at] for at in task.train]
    assert made.final.groups == groups
    mixed = [
        {groups[at] for at in task.train} & {groups[at] for at in task.test}
        for task in made.ungrouped
    ]
    assert all(mixed)
    assert all(task.groups is None for task in made.ungrouped)
    assert plan(labels, groups, 0).tests == ()
    assert plan(labels, None).ungrouped == ()


def divided(root: Path, counts: dict[str, tuple[int, int]]) -> Path:
    """Colours of two classes in splits."""
    random = np.random.default_rng(1)
    for split, each in counts.items():
        for label, count in enumerate(each):
            folder = root / split / CLASSES[label]
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 160, (64, 64, 3), np.uint8)
                pixels[:, :, label] += 90
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.mark.slow
def test_train_and_val_are_what_they_are_called(tmp_path: Path, net: decaf.Backbone) -> None:
    root = divided(tmp_path / "data", {"Train": (9, 6), "Validation": (3, 4)})
    report = decaf.fit(root, weights=net, out=tmp_path / "a.head", **QUICK).report
    assert report.class_names == CLASSES[:2]
    assert (report.images, report.class_counts) == (15, (9, 6))
    assert report.split == {"train": 15, "val": 7}
    assert report.estimate is not None
    assert (report.estimate.method, report.estimate.images) == ("split", 7)
    assert report.choice.images == 15
    assert report.choice.chosen_on == 0
    kept = tmp_path / "data.h5"
    classes = decaf.fit(root, weights=net, layout="classes", keep_features=kept, **QUICK).report
    assert classes.class_names == ("Train", "Validation")
    assert classes.split is None
    with pytest.raises(OutputError, match="other labels"):
        decaf.fit(root, weights=net, keep_features=kept, **QUICK)
    decaf.fit(root, weights=net, keep_features=kept, overwrite=True, **QUICK)
    with decaf.open_features(kept) as file:
        assert file.splits == ("train",) * 15 + ("val",) * 7
        again = decaf.fit(file, device="cpu", progress=False).report
        assert (again.split, again.estimate) is not None
        assert again.split == report.split
        drawn = decaf.fit(file, layout="classes", device="cpu", progress=False).report
        assert (drawn.split, drawn.images) == (None, 22)


def test_of_three_splits_val_is_chosen_on(tmp_path: Path, net: decaf.Backbone) -> None:
    root = divided(tmp_path / "data", {"train": (8, 8), "valid": (4, 4), "testing": (5, 6)})
    fitted = decaf.fit(root, weights=net, **QUICK)
    report = fitted.report
    assert report.split == {"train": 16, "val": 8, "test": 11}
    assert (report.choice.images, report.choice.chosen_on) == (16, 8)
    assert report.estimate is not None
    assert (report.estimate.method, report.estimate.images) == ("split", 11)
    # The classifier is fitted to train alone: other images in val and test leave it as it is.
    with decaf.open_features(_kept(root, tmp_path / "a.h5", net)) as file:
        X, y = file.to_xy("fc7")
        train = np.array(file.splits) == "train"
    head = decaf.heads.LogisticRegression(report.choice.C).fit(X[train], y[train])
    assert fitted.classifier.head is not None
    kept = fitted.classifier.head.estimator
    np.testing.assert_allclose(kept.coef_, head.coef_, rtol=1e-3, atol=1e-5)


def _kept(root: Path, out: Path, net: decaf.Backbone) -> Path:
    decaf.extract(root, ["fc7"], out=out, weights=net, workers=0, progress=False).close()  # type: ignore[union-attr]
    return out


def test_classes_that_train_has_not_are_told(tmp_path: Path, net: decaf.Backbone) -> None:
    root = divided(tmp_path / "data", {"train": (4, 4), "test": (2, 2)})
    (root / "test" / "bee").rename(root / "test" / "elk")
    with pytest.raises(InputError, match=r"class 'elk' in val or test, and no training image"):
        decaf.fit(root, weights=net, **QUICK)


@pytest.mark.slow
def test_a_partly_labelled_table_is_fitted_to(
    tmp_path: Path, bursts: Path, net: decaf.Backbone
) -> None:
    paths = sorted(bursts.rglob("*.png"))
    table = tmp_path / "table.csv"
    rows = [
        f"{path},{'' if number % 10 == 0 else path.relative_to(bursts).parts[0]}"
        for number, path in enumerate(paths)
    ]
    table.write_text("\n".join(["path,species", *rows]))
    report = decaf.fit(bursts, weights=net, labels=table, **QUICK).report
    assert report.unlabelled == 12
    assert report.class_names == CLASSES
    assert report.images == len(paths) - 12


def test_wrong_settings_are_told(features: Path) -> None:
    with pytest.raises(SettingError, match="`on_error` 'skip' is not one of raise, record"):
        decaf.fit(features, on_error="skip")
    with pytest.raises(SettingError, match="it is none of FILE:COLUMN"):
        decaf.fit(features, groups="animal")

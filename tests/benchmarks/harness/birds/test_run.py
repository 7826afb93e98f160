"""Birds that were drawn, from their files to the report, with a small network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from bird_fixtures import BOX, HEAD, Bird
from datasets.cub200 import BirdSet, read_cub200
from decaf.backbone.model import Backbone
from decaf.backbone.weights.state import Weights
from decaf.errors import InputError, SettingError
from decaf.exploration.page import Table, Text
from harness.birds import run as run_module
from harness.birds.regions import enlarged, part_regions, to_pixels
from harness.frozen_features import BenchmarkSettings
from harness.frozen_features.heads import HeadSettings, run_head
from harness.frozen_features.published import PUBLISHED
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport

HEAD_SETTINGS = HeadSettings("LogReg", "logreg", Cs=(1.0, 100.0), folds=2)
COLUMNS = ["DeCAF6 of the box", "DPD + DeCAF6, parts localised", "DPD + DeCAF6, parts annotated"]


def flock(per_class: int = 8, classes: int = 3) -> list[Bird]:
    """Birds whose head and body lie anywhere; half of each class is for training."""
    random = np.random.default_rng(0)
    birds = []
    for label in range(classes):
        for number in range(per_class):
            head = (int(random.integers(16, 36)), int(random.integers(11, 24)))
            body = (int(random.integers(40, 62)), int(random.integers(44, 49)))
            birds.append(Bird(label, number % 2 == 0, head, body))
    birds[0] = replace(birds[0], hidden=HEAD)
    return birds


@pytest.fixture
def settings(network: str, tmp_path: Path) -> BenchmarkSettings:
    return BenchmarkSettings(
        name="birds",
        heads=(HEAD_SETTINGS,),
        layers=("fc6",),
        weights=(network,),
        device="cpu",
        workers=0,
        cache=tmp_path / "cache",
    )


def run_birds(birds: BirdSet, settings: BenchmarkSettings, out: Path) -> BenchmarkReport:
    return run_module.run_fine_grained(birds, BenchmarkRun(settings, out))


def tables(report: BenchmarkReport) -> dict[str, Table]:
    every = (*report.sections, *report.appendix)
    return {part.title: part for part in every if isinstance(part, Table)}


def features_of(birds: BirdSet, boxes: np.ndarray, weights: Weights) -> np.ndarray:
    """Cut the boxes out with Pillow, and have `decaf.extract` compute fc6."""
    crops = []
    for file, box in zip(birds.files, boxes.tolist(), strict=True):
        with Image.open(file.decode()) as image:
            crops.append(image.crop(box))
    network = Backbone(weights).with_preprocess("decaf")
    return np.asarray(decaf.extract(crops, "fc6", weights=network, device="cpu"))


@pytest.mark.slow
def test_a_report_from_end_to_end(
    draw_birds: Callable[[Sequence[Bird]], Path],
    settings: BenchmarkSettings,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    birds = read_cub200(draw_birds(flock()))
    report = run_birds(birds, settings, tmp_path / "out")
    (main, *_) = tables(report).values()
    assert [column.name for column in main.columns] == COLUMNS

    # The same from pieces that others have made: Pillow's crops, in rows side by side.
    assert birds.boxes is not None
    assert birds.sizes is not None
    assert birds.parts is not None
    (split,) = birds.official
    box = features_of(birds, to_pixels(enlarged(birds.boxes), birds.sizes), weights)
    regions = part_regions(birds.parts, birds.part_names, birds.boxes).boxes
    parts = [features_of(birds, to_pixels(regions[:, k], birds.sizes), weights) for k in (0, 1)]
    for column, X in ((0, box), (2, np.concatenate([box, *parts], axis=1))):
        expected = run_head(
            HEAD_SETTINGS,
            X[split.train],
            birds.labels[split.train],
            X[split.test],
            birds.labels[split.test],
            device="cpu",
        )
        cell = main.rows[0].cells[column]
        assert not isinstance(cell, str)
        assert cell.mean == pytest.approx(expected.mean_per_class)

    located = next(table for title, table in tables(report).items() if "Keypoints" in title)
    assert [row.name for row in located.rows] == [*birds.part_names, "all"]
    assert "Mean intersection over union with the annotated region: head " in located.caption
    assert (
        "in 1 of 24 images no keypoint of the head is visible in the annotation: the box stands "
        "for it" in report.notes
    )
    # Three classes are not the paper's protocol: its numbers stand apart.
    assert all(not column.source for column in main.columns)
    apart = next(table for title, table in tables(report).items() if "not comparable" in title)
    shown = {cell.mean for row in apart.rows for cell in row.cells if not isinstance(cell, str)}
    assert shown == {58.75, 64.96, 50.98, 56.78}
    assert any(note.startswith("no published numbers stand here") for note in report.notes)
    text = next(part for part in report.sections if isinstance(part, Text)).text
    assert "enlarged 1.5 times" in text
    assert str(tmp_path) not in json.dumps(report.to_dict())
    assert [(each.n_train, each.n_test) for each in report.splits] == [(12, 12)]

    # A second run computes nothing, and says the same.
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr("decaf.features.extraction.Extraction.rows", refuse)
        patch.setattr("harness.frozen_features.heads.run_head", refuse)
        patch.setattr(run_module, "locate_parts", refuse)
        second = run_birds(birds, settings, tmp_path / "out")
    assert second.sections == report.sections
    assert second.fingerprints == report.fingerprints


def test_part_features_move_with_the_parts(
    draw_birds: Callable[[Sequence[Bird]], Path], settings: BenchmarkSettings, tmp_path: Path
) -> None:
    """The head of a class is the same to DPD wherever it is; to the box it is not."""
    places = [((20, 12), (55, 45)), ((30, 18), (60, 46)), ((24, 18), (50, 47))]
    birds = [Bird(label, label == 0, *place) for label in (0, 1) for place in places]
    birds[0], birds[3] = replace(birds[0], train=False), replace(birds[3], train=True)
    dataset = read_cub200(draw_birds(birds))
    run = BenchmarkRun(settings, tmp_path / "out")
    names = dict.fromkeys(settings.weights, "net")
    assert dataset.boxes is not None
    assert dataset.sizes is not None
    assert dataset.parts is not None
    regions = to_pixels(enlarged(dataset.boxes), dataset.sizes)
    annotations = (dataset.boxes, dataset.sizes, dataset.parts)
    made = run_module._Birds(dataset, dataset.official[0], *annotations, regions)
    features = run_module._annotated_features(run, made, names)[settings.weights[0]]
    rows = run_module._side_by_side(features, "fc6", np.arange(6)).reshape(6, 2, -1)
    for label in (0, 1):
        heads = rows[3 * label : 3 * label + 3, 0]
        np.testing.assert_allclose(heads[1:], heads[[0, 0]], rtol=1e-5, atol=1e-5)
    bodies = rows[:, 1]
    np.testing.assert_allclose(bodies[1:], bodies[[0] * 5], rtol=1e-5, atol=1e-5)
    apart = np.abs(rows[0, 0] - rows[3, 0]).max()
    assert apart > 0.01 * np.abs(rows[:, 0]).max()  # two classes


@pytest.mark.slow
def test_images_cut_to_their_boxes(
    draw_birds: Callable[[Sequence[Bird]], Path], settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = draw_birds(flock(4))
    (root / "bounding_boxes.txt").unlink()
    report = run_birds(read_cub200(root), settings, tmp_path / "out")
    (main, *_) = tables(report).values()
    assert [column.name for column in main.columns] == ["DeCAF6 of the images"]
    assert any(note.startswith("no bounding_boxes.txt") for note in report.notes)


@pytest.mark.slow
def test_an_image_that_cannot_be_read_is_left_out(
    draw_birds: Callable[[Sequence[Bird]], Path], settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = draw_birds(flock())
    (root / "images" / "001.Bird_0" / "bird_0004.jpg").write_bytes(b"no image")
    report = run_birds(read_cub200(root), settings, tmp_path / "out")
    assert "1 of 24 images could not be read and were left out" in " ".join(report.notes)
    assert [(each.n_train, each.n_test) for each in report.splits] == [(12, 11)]


def test_what_cannot_be_measured_is_refused(
    draw_birds: Callable[[Sequence[Bird]], Path], settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = draw_birds(flock(2, 2))
    birds = read_cub200(root)
    with pytest.raises(SettingError, match="crops 'ten': parts are located on the maps of one"):
        run_birds(birds, replace(settings, crops="ten"), tmp_path / "out")
    other = replace(birds, part_names=("wheel", *birds.part_names[1:]))
    with pytest.raises(InputError, match=r"1 of the parts .* the first is 'back'"):
        run_birds(other, settings, tmp_path / "out")


def test_published_numbers_have_the_columns_of_the_benchmark() -> None:
    names = {name.format("DeCAF6") for name in (run_module.BOX, run_module.PARTS_LOCALISED)}
    assert {column for column, _, _ in PUBLISHED["CUB-200-2011"].scores} == names
    assert BOX == (90, 80)  # one size for all birds, so that margins are equal

"""A benchmark from folders to its report, with a small network."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import decaf
from datasets.dataset import Dataset, Split, read_class_folders
from datasets.ready_features import ReadyFeatures, read_given_features
from decaf.backbone.weights.safetensors_file import save_weights
from decaf.backbone.weights.state import Weights
from decaf.errors import InputError, SettingError, Stopped
from decaf.exploration.page import Bars, Cell, ConfusionMatrix, Confusions, Lines, Table
from decaf.heads import LogisticRegression
from harness.fisher_vectors import FisherVectors
from harness.frozen_features import BenchmarkSettings, paper_heads
from harness.frozen_features import run as run_module
from harness.frozen_features.heads import HeadSettings
from harness.protocol.run import BenchmarkRun
from harness.protocol.splits import draw_splits
from report import BenchmarkReport
from report.files import write_report

HEADS = (
    HeadSettings("LogReg", "logreg", Cs=(1.0, 10.0), folds=2),
    HeadSettings("SVM", "svm", Cs=(1.0, 10.0), folds=2),
)


@pytest.fixture
def settings(network: str, tmp_path: Path) -> BenchmarkSettings:
    return BenchmarkSettings(
        name="animals",
        heads=HEADS,
        layers=("fc6", "fc7"),
        weights=(network,),
        train_per_class=3,
        splits=2,
        curve_sizes=(1, 2, 3, 9),
        curve_layers=("fc6",),
        curve_heads=HEADS[1:],
        device="cpu",
        workers=0,
        cache=tmp_path / "cache",
    )


def run_benchmark(
    dataset: Dataset,
    settings: BenchmarkSettings,
    out: Path,
    given: Sequence[ReadyFeatures[Dataset]] = (),
    **more: Any,
) -> BenchmarkReport:
    return run_module.run_benchmark(dataset, BenchmarkRun(settings, out, **more), given)


def table(report: BenchmarkReport, number: int = 0) -> Table:
    result = [part for part in report.sections if isinstance(part, Table)]
    return result[number]


@pytest.mark.slow
def test_a_report_from_end_to_end(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    dataset = read_class_folders(folder)
    lines: list[str] = []
    report = run_benchmark(dataset, settings, tmp_path / "out", tell=lines.append)
    kinds = [type(part) for part in report.sections]
    assert kinds == [Table, Lines, Bars, Confusions, ConfusionMatrix]
    rows = table(report).rows
    assert [row.name for row in rows] == ["LogReg", "SVM"]
    assert [column.name for column in table(report).columns] == ["fc6", "fc7"]

    # The matrix of counts, the bars and the table tell the same story.
    matrix = next(part for part in report.sections if isinstance(part, ConfusionMatrix))
    counts = np.array(matrix.counts)
    assert counts.sum(axis=1).tolist() == [2] * 7  # one test image a class in each of two splits
    recall = 100 * np.diag(counts) / counts.sum(axis=1)
    bars = next(part for part in report.sections if isinstance(part, Bars))
    np.testing.assert_allclose([bar.mean for bar in bars.bars], recall)
    head, layer = report.headline.partition(":")[0].split(" on ")
    row = next(row for row in rows if row.name == head)
    cell = row.cells[["fc6", "fc7"].index(layer.split()[0])]
    assert not isinstance(cell, str)
    assert cell.mean == pytest.approx(recall.mean())
    assert cell.n == 2
    pairs = next(part for part in report.sections if isinstance(part, Confusions)).pairs
    assert sum(pair.count for pair in pairs) == counts.sum() - np.trace(counts)
    for pair in pairs:
        assert pair.images
        for image in (*pair.images, *pair.examples):
            assert (folder / image).is_file()

    # The last point of the curve is the table's cell; a size that no split has is left out.
    lines_of = next(part for part in report.sections if isinstance(part, Lines))
    (series,) = lines_of.series
    assert series.x == (1, 2, 3)
    svm = rows[1].cells[0]
    assert not isinstance(svm, str)
    assert series.mean[-1] == svm.mean

    manifest = json.loads((tmp_path / "out" / "animals-splits.json").read_bytes())
    assert [each.sha256 for each in report.splits] == [manifest["sha256"]] * 2
    assert [(each.n_train, each.n_test) for each in report.splits] == [(21, 7)] * 2
    assert report.peak_memory is not None
    assert report.peak_memory > 10_000_000
    assert any("4/4" in line or "8/8" in line for line in lines)
    assert str(tmp_path) not in json.dumps(report.to_dict())
    names = {path.name for path in write_report(report, tmp_path / "out", images=dataset.root)}
    assert {"animals.json", "animals.md", "animals.html"} <= names


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_repeats_every_digit(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = read_class_folders(folder)
    first = run_benchmark(dataset, settings, tmp_path / "out")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr("decaf.features.extraction.Extraction.rows", refuse)
        patch.setattr("harness.frozen_features.heads.run_head", refuse)
        second = run_benchmark(dataset, settings, tmp_path / "out")
    assert second.sections == first.sections
    assert second.appendix == first.appendix
    assert second.splits == first.splits
    assert second.fingerprints == first.fingerprints
    # Not out of the store alone: fitted again, they answer the same.
    third = run_benchmark(dataset, replace(settings, recompute=True), tmp_path / "out")
    assert third.sections == first.sections


@pytest.mark.slow
def test_given_features_have_the_figures_of_the_layer_that_they_are(
    folder: Path, settings: BenchmarkSettings, network: str, tmp_path: Path
) -> None:
    """Layer fc6 as decaf exports it, in its feature file, and as an array in another order."""
    dataset = read_class_folders(folder)
    path = tmp_path / "fc6.h5"
    decaf.extract(folder, "fc6", out=path, weights=network, device="cpu", workers=0)
    decaf.export_features(path, tmp_path / "fc6.npy")
    rows = np.load(tmp_path / "fc6.npy")
    header, *lines = (tmp_path / "fc6.rows.csv").read_text(encoding="utf-8").splitlines()
    np.save(tmp_path / "back.npy", rows[::-1])
    (tmp_path / "back.csv").write_text("\n".join([header, *lines[::-1]]))
    files = {"file": str(path), "array": str(tmp_path / "back.npy")}
    given = read_given_features(files, [str(tmp_path / "back.csv")], dataset)
    names = ("file", "array")
    both = replace(settings, given=names, curve_layers=("array", "fc6", "file"))
    told: list[str] = []
    report = run_benchmark(dataset, both, tmp_path / "out", given, tell=told.append)
    assert [column.name for column in table(report).columns] == ["fc6", "fc7", *names]
    for row in table(report).rows:
        own, _, *theirs = row.cells
        assert theirs == [own, own]
    # All are fits of their own, but for the last point of the curve, which is the table's.
    assert not any("from the cache" in line for line in told if " a class " not in line)
    curves = next(part for part in report.sections if isinstance(part, Lines))
    assert {(one.x, one.mean, one.std) for one in curves.series} == {
        (curves.series[0].x, curves.series[0].mean, curves.series[0].std)
    }
    assert [one.name for one in curves.series] == ["fc6, SVM", "file, SVM", "array, SVM"]
    widths = "file (96 numbers an image), array (96 numbers an image)"
    assert report.settings["features given"] == widths
    assert set(report.fingerprints) >= {"features file", "features array"}

    # The columns stand beside those of every network, and their fits are listed once.
    two = replace(both, weights=(network, "random:0:alexnet-64"), curve_layers=())
    report = run_benchmark(dataset, two, tmp_path / "two", given)
    assert table(report, 1).columns == table(report).columns
    assert [a.cells[2:] for a in table(report, 1).rows] == [a.cells[2:] for a in table(report).rows]
    chosen = next(part for part in report.appendix if part.title.startswith("C as chosen"))
    assert isinstance(chosen, Table)
    assert [row.name for row in chosen.rows].count("array, SVM") == 1


def test_given_features_of_images_that_cannot_be_read_are_left_out(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(folder, tmp_path / "animals"))
    (root / "ant" / "0.png").write_bytes(b"no image")
    dataset = read_class_folders(root)
    # Features that tell the classes, but for the image that is left out.
    rows = np.eye(7, dtype=np.float32)[dataset.labels]
    rows[0] = -99
    given = ReadyFeatures("told", dataset, rows, "f")
    few = replace(settings, train_per_class=2, layers=("fc6",), given=("told",), curve_layers=())
    report = run_benchmark(dataset, few, tmp_path / "out", [given])
    cells = [row.cells[1] for row in table(report).rows]
    assert [(cell.mean, cell.std) for cell in cells if isinstance(cell, Cell)] == [(100, 0)] * 2


def test_splits_given_back(folder: Path, settings: BenchmarkSettings, tmp_path: Path) -> None:
    dataset = read_class_folders(folder)
    first = run_benchmark(dataset, replace(settings, seed=5), tmp_path / "one")
    absent = replace(settings, splits=tmp_path / "nope.json", cache=tmp_path / "empty")
    with pytest.raises(InputError, match=r"nope\.json: No such file"):
        run_benchmark(dataset, absent, tmp_path / "one")
    assert not list((tmp_path / "empty").glob("*.h5*"))  # before anything is computed
    given = replace(settings, splits=tmp_path / "one" / "animals-splits.json")
    second = run_benchmark(dataset, given, tmp_path / "two")
    assert table(second) == table(first)
    moved = Path(shutil.copytree(folder, tmp_path / "animals"))
    (moved / "cat" / "1.png").unlink()
    with pytest.raises(InputError, match=r"1 of its 28 images are not below .*'cat/1\.png'"):
        run_benchmark(read_class_folders(moved), given, tmp_path / "three")
    shutil.copy(folder / "cat" / "2.png", moved / "cat" / "1.png")
    with pytest.raises(InputError, match=r"no longer what they were, the first is 'cat/1\.png'"):
        run_benchmark(read_class_folders(moved), given, tmp_path / "three")


def test_bad_images_are_left_out_and_counted(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(folder, tmp_path / "animals"))
    (root / "ant" / "0.png").write_bytes(b"no image")
    report = run_benchmark(
        read_class_folders(root), replace(settings, train_per_class=2), tmp_path / "out"
    )
    assert report.notes[0].startswith(
        "1 of 28 images could not be read and were left out; the first is ant/0.png: "
    )
    assert {each.n_test for each in report.splits} == {13}
    # With that image gone, the class has too few for the test.
    with pytest.raises(InputError, match="ant has 3 images; 3 training images a class"):
        run_benchmark(read_class_folders(root), settings, tmp_path / "out")


def test_copies_of_training_images_among_the_test_images_are_told(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(folder, tmp_path / "animals"))
    for number in (1, 2, 3):
        shutil.copy(root / "elk" / "0.png", root / "elk" / f"{number}.png")
    report = run_benchmark(read_class_folders(root), settings, tmp_path / "out")
    assert report.notes[0].startswith("1 test images of a split are copies, byte for byte, of")


@pytest.mark.slow
def test_the_baseline_of_random_weights(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_random_weights", lambda _: ("random:0:alexnet-64",))
    heads = (*HEADS, replace(HEADS[1], name="SVM with dropout", dropout=0.5))
    asked = replace(settings, heads=heads, layers=("fc6",), baselines=("random",), curve_sizes=())
    report = run_benchmark(read_class_folders(folder), asked, tmp_path / "out")
    assert [row.name for row in table(report, 1).rows] == [
        "random:0:alexnet-64, fc6, LogReg",
        "random:0:alexnet-64, fc6, SVM",
    ]
    assert [row.name for row in table(report).rows] == ["LogReg", "SVM", "SVM with dropout"]


def test_random_weights_are_no_baseline_beside_themselves(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    name = "random:0:alexnet-64"
    asked = replace(
        settings, weights=(name,), baselines=("random",), curve_layers=(), splits=1, layers=("fc7",)
    )
    report = run_benchmark(read_class_folders(folder), asked, tmp_path / "out")
    assert [part.title for part in report.sections if isinstance(part, Table)] == [
        f"Mean per-class accuracy, {name}"
    ]


def test_weights_of_one_name_have_tables_of_their_own(
    folder: Path, settings: BenchmarkSettings, weights: Weights, tmp_path: Path, make_weights: Any
) -> None:
    for name, made in (("first", weights), ("second", make_weights(1))):
        (tmp_path / name).mkdir()
        save_weights(tmp_path / name / "w.safetensors", made)
    paths = tuple(str(tmp_path / name / "w.safetensors") for name in ("first", "second"))
    asked = replace(settings, weights=paths, heads=HEADS[1:], layers=("fc7",), curve_layers=())
    report = run_benchmark(read_class_folders(folder), asked, tmp_path / "out")
    assert [part.title for part in report.sections if isinstance(part, Table)] == [
        "Mean per-class accuracy, first/w.safetensors",
        "Mean per-class accuracy, second/w.safetensors",
    ]
    assert len(report.fingerprints) == 4
    assert len(set(report.fingerprints.values())) == 4
    text = json.dumps(report.to_dict())
    assert str(tmp_path) not in text
    other_spelling = str(tmp_path / "second" / ".." / "first" / "w.safetensors")
    with pytest.raises(SettingError, match="are named twice"):
        replace(asked, weights=(paths[0], other_spelling))


def test_images_that_have_no_fisher_vector(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = replace(read_class_folders(folder), name="Caltech-101")
    asked = replace(settings, layers=("fc7",), baselines=("fisher-vectors",), curve_layers=())
    (first, second) = draw_splits(dataset, 3, n_splits=2)
    lost = [int(first.train[0]), int(first.test[0])]

    def compute(files: Any, digests: Any, training: Any, **_: Any) -> FisherVectors:
        assert files == dataset.files
        assert len(set(digests)) == len(files)
        for rows, split in zip(training, (first, second), strict=True):
            assert rows.tolist() == split.train.tolist()  # a vocabulary is a part of the training
        rows = np.random.default_rng(0).standard_normal((len(files), 8)).astype(np.float32)
        rows[lost] = np.nan
        return FisherVectors([rows, rows], dict.fromkeys(lost, ("worker_died", "torn")), "f")

    monkeypatch.setattr(run_module, "fisher_vectors", compute)
    report = run_benchmark(dataset, asked, tmp_path / "out")
    told = [note for note in report.notes if "could not be read" in note]
    assert len(told) == 1
    assert told[0].startswith("2 of 28 images could not be read for the Fisher vectors")
    # On this data set the settings were chosen.
    assert any(
        "the settings of the Fisher vectors were chosen on images" in n for n in report.notes
    )
    row = table(report, 1).rows[0]
    assert row.name.startswith("Fisher vectors of dense SIFT")
    assert not isinstance(row.cells[0], str)
    assert row.cells[0].mean is not None
    # The network's results are of all images.
    assert {each.n_test for each in report.splits} == {len(second.test)}
    assert report.fingerprints["Fisher vectors"] == "f"
    again = run_benchmark(dataset, asked, tmp_path / "out")
    assert again.sections == report.sections
    assert again.notes == report.notes


def test_official_splits_and_only_the_images_they_use(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    dataset = read_class_folders(folder)
    first = np.arange(0, 28, 4)
    splits = (
        Split("partition 01", np.concatenate([first, first + 1]), first + 2),
        Split("partition 02", first, first + 3),
    )
    dataset = Dataset(**{**vars(dataset), "official": splits})
    lines: list[str] = []
    asked = replace(settings, official=True, splits=1, curve_sizes=())
    report = run_benchmark(dataset, asked, tmp_path / "out", tell=lines.append)
    assert [(s.name, s.n_train, s.n_test) for s in report.splits] == [("partition 01", 14, 7)]
    assert any("21 images" in line for line in lines)


def test_a_run_that_is_stopped_keeps_what_is_done(
    folder: Path, settings: BenchmarkSettings, tmp_path: Path
) -> None:
    stop = threading.Event()
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if line.startswith("2/4"):
            stop.set()

    dataset = read_class_folders(folder)
    with pytest.raises(Stopped):
        run_benchmark(dataset, replace(settings, splits=1), tmp_path / "out", tell=tell, stop=stop)
    assert not list((tmp_path / "out").glob("*.html"))
    lines.clear()
    run_benchmark(dataset, replace(settings, splits=1), tmp_path / "out", tell=lines.append)
    from_cache = [line for line in lines if line.endswith("from the cache") and "/4 " in line]
    assert [line[:3] for line in from_cache] == ["1/4", "2/4"]


def test_settings_that_cannot_be(network: str) -> None:
    with pytest.raises(SettingError, match=r"baseline 'magic' is not one of .*; no layers asked"):
        BenchmarkSettings(name="x", heads=paper_heads(), layers=(), baselines=("magic",))


def test_curves_are_of_layers_in_the_tables(settings: BenchmarkSettings) -> None:
    with pytest.raises(SettingError, match="curve layer 'pool5' is not one of fc6, fc7"):
        replace(settings, curve_layers=("fc6", "pool5"))


def test_a_head_with_dropout_has_a_grid_of_its_own() -> None:
    plain, dropped = paper_heads()[:2]
    assert plain.key()["Cs"] == list(LogisticRegression.default_Cs)
    assert dropped.key()["Cs"] == list(LogisticRegression.dropout_Cs)
    assert {head.Cs for head in paper_heads(scale="none", Cs=(0.5,))} == {(0.5,)}

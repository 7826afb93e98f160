"""The benchmark of fine-tuning: how images are drawn, what is kept, and what the report says."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.finetuning.settings import FinetuneSettings
from harness.protocol.feature_cache import cached_features

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
CLASSES = ("dog", "house")

MACHINE = {
    "date": "2026-01-02",
    "processor": "P",
    "cores": 2,
    "gpu": "none was at hand",
    "versions": {"torch": "2"},
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("fine_tuning")


@pytest.fixture
def script(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the script, with results below ``out``."""

    def run(*arguments: str) -> int:
        name = str(SCRIPTS / "fine_tuning.py")
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--out", str(tmp_path / "out")])
        code: int = benchmark.main()
        return code

    return run


@pytest.fixture
def made_up(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[tuple[Any, ...]]]:
    """Do not fine-tune: give as accuracy what job it is, and tell the jobs."""
    asked = []

    def run(job: Any, cache: Path | None) -> dict[str, Any]:
        asked.append((job.name, job.per_class, job.seed, job.start))
        frozen = 50.0 + job.per_class + job.seed
        return outcome(job.key, frozen=frozen, tuned=frozen + 2 * job.seed)

    monkeypatch.setattr(benchmark, "_apart", run)
    return lambda: asked


def outcome(key: list[Any], *, frozen: float, tuned: float, better: bool = True) -> dict[str, Any]:
    return {
        "key": key,
        "train": 8,
        "val": 2,
        "test": 5,
        "classes": 2,
        "frozen": frozen,
        "tuned": tuned,
        "frozen_val": 50.0,
        "tuned_val": 50.0,
        "better_on_val": better,
        "passed_over": False,
        "epochs": 5.0,
        "best_epoch": 4.0,
        "batch_size": 4,
        "steps": 10,
        "seconds": 90.0,
        "peak_memory": 2**31,
        "machine": MACHINE,
    }


def photographs(root: Path, each: tuple[int, ...]) -> Path:
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate(zip(CLASSES, each, strict=True)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = 60 + 90 * label + random.integers(-30, 30, (48, 48, 3))
            file = root / name / f"{number:02}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


def names(dataset: Any) -> list[str]:
    return ["/".join(Path(os.fsdecode(path)).parts[-2:]) for path in dataset.files]


def test_a_fifth_of_a_class_at_least_is_the_test(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = str(photographs(tmp_path / "pets", (10, 5)))
    train, test = benchmark.drawn(benchmark.Job("pets", folder, benchmark.ALL, 0, "random"))
    assert [*train.counts] == [8, 4]
    assert [*test.counts] == [2, 1]
    assert sorted([*names(train), *names(test)]) == sorted(
        f"{name}/{number:02}.png"
        for name, count in (("dog", 10), ("house", 5))
        for number in range(count)
    )
    few, others = benchmark.drawn(benchmark.Job("pets", folder, 3, 0, "random"))
    assert [*few.counts] == [3, 3]
    assert [*others.counts] == [7, 2]


def test_images_are_drawn_by_seed(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = str(photographs(tmp_path / "pets", (10, 10)))
    of = {
        (seed, start): names(benchmark.drawn(benchmark.Job("pets", folder, 5, seed, start))[0])
        for seed in (0, 1)
        for start in ("packaged", "random")
    }
    assert of[0, "packaged"] == of[0, "random"]
    assert of[1, "packaged"] == of[1, "random"]
    assert of[0, "packaged"] != of[1, "packaged"]


def test_fewer_images_are_some_of_the_more(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = str(photographs(tmp_path / "pets", (10, 10)))
    few, more = (
        set(names(benchmark.drawn(benchmark.Job("pets", folder, size, 3, "packaged"))[0]))
        for size in (2, 6)
    )
    assert few < more


def test_a_val_folder_beside_is_the_test(benchmark: ModuleType, tmp_path: Path) -> None:
    photographs(tmp_path / "train", (4, 4))
    photographs(tmp_path / "val", (2, 3))
    job = benchmark.Job("imagenette", str(tmp_path), benchmark.ALL, 0, "packaged")
    train, test = benchmark.drawn(job)
    assert [*train.counts] == [4, 4]
    assert [*test.counts] == [2, 3]
    assert all("val" in Path(os.fsdecode(path)).parts for path in test.files)


@pytest.mark.slow
def test_seeds_come_one_after_the_other_and_nothing_is_run_twice(
    script: Any, made_up: Any, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sets = (f"a={tmp_path}/a:3,all", f"b={tmp_path}/b")
    assert script(*sets, "--seeds", "2") == 0
    assert [each[2] for each in made_up()] == [0] * 6 + [1] * 6
    assert made_up()[:6] == [
        (name, size, 0, start)
        for start in ("packaged", "random")
        for name, size in (("a", 3), ("a", 0), ("b", 0))
    ]
    assert script(*sets, "--seeds", "3") == 0
    assert [each[2] for each in made_up()[12:]] == [2] * 6
    kept = json.loads((tmp_path / "out" / "fine_tuning.runs.json").read_bytes())
    assert len(kept) == 18

    before = len(made_up())
    assert script(sets[0], "--seeds", "2") == 0
    assert len(made_up()) == before
    # The report of all sets is never written over by one of some.
    assert not (tmp_path / "out" / "fine_tuning.json").exists()
    page = _report_of(tmp_path / "out", "a=DIR:3,all --seeds 2")
    report = json.loads(page.read_bytes())
    assert report["title"] == (
        "Fine-tuning beside frozen features (a partial run: without caltech101 without scene15 "
        "without pacs-photo without imagenette --seeds 2 a 3,all)"
    )
    assert str(tmp_path) not in json.dumps(report)
    assert report["command"] == "python benchmarks/fine_tuning.py a=DIR:3,all --seeds 2"
    table = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "b, all" not in table  # was not asked for this time

    assert script(sets[0], "--start", "packaged") == 0
    assert len(made_up()) == before
    page = _report_of(tmp_path / "out", "a=DIR:3,all --start packaged")
    table = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "| frozen fc7 + head | fine-tuned | gain of fine-tuning |" in table
    assert script(sets[0], "--start", "random") == 0


def _report_of(folder: Path, arguments: str) -> Path:
    (page,) = (
        path
        for path in folder.glob("fine_tuning-partial-*.json")
        if json.loads(path.read_bytes())["command"].endswith(f".py {arguments}")
    )
    return page


def test_runs_of_other_packaged_weights_are_made_again(
    script: Any,
    made_up: Any,
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "a").mkdir()
    assert script(f"a={tmp_path}/a", "--seeds", "1") == 0
    monkeypatch.setattr(benchmark, "DEFAULT_WEIGHTS", "better")
    assert script(f"a={tmp_path}/a", "--seeds", "1") == 0
    assert [start for *_, start in made_up()] == ["packaged", "random", "packaged"]


def test_what_the_report_says(benchmark: ModuleType) -> None:
    runs = [
        outcome(["a", 10, 0, "packaged"], frozen=60.0, tuned=61.0),
        outcome(["a", 10, 0, "random"], frozen=30.0, tuned=20.0, better=False),
        outcome(["a", 10, 1, "packaged"], frozen=62.0, tuned=66.0, better=False)
        | {"passed_over": True},
        outcome(["a", 10, 1, "random"], frozen=33.0, tuned=21.0, better=False),
    ]
    # One run was disturbed, and two are somewhat slower.
    for run, (factor, memory) in zip(runs, ((1, 2), (9, 3), (4 / 3, 2), (1, 2)), strict=True):
        run |= {"seconds": 90 * factor, "peak_memory": memory * 2**30}
    report = benchmark.make_report(runs, "command")
    accuracy, *_, cost = report.sections
    (row,) = accuracy.rows
    assert row.name == "a, 10 a class"
    assert [cell.mean for cell in row.cells] == [61.0, 63.5, 31.5, 20.5, 2.5]
    assert row.cells[4].std == pytest.approx(statistics.stdev([1.0, 4.0]))
    assert {cell.n for cell in row.cells} == {2}
    (row,) = cost.rows
    assert row.cells[:3] == ("8 + 2", "5", "5")
    assert [cell.mean for cell in row.cells[3:]] == pytest.approx([1.75, 3.0])
    assert report.headline == (
        "fine-tuning moves accuracy by +1.0 to +4.0 points (+2.5 on average over 2 runs)"
    )
    said = report.appendix[0].text
    assert "Of 2 runs from the packaged weights 1 kept what was trained" in said
    assert "in 1 of these it names more test images too" in said
    assert "In 1 it named more validation images without that, and was passed over" in said


def test_a_row_of_fewer_seeds_says_so(benchmark: ModuleType) -> None:
    keys = [["a", 10, 0, "packaged"], ["a", 10, 1, "packaged"], ["b", 0, 0, "packaged"]]
    runs = [outcome(key, frozen=60.0, tuned=61.0) for key in keys]
    table = benchmark.make_report(runs, "command").sections[0]
    assert [row.name for row in table.rows] == ["a, 10 a class", "b, all (1 seed)"]


@pytest.mark.parametrize(("name", "is_told"), [("imagenette", True), ("scene15", False)])
def test_images_that_the_weights_were_made_from_are_told(
    benchmark: ModuleType, name: str, is_told: bool
) -> None:
    runs = [outcome([name, 10, 0, "packaged"], frozen=60.0, tuned=61.0)]
    titles = [section.title for section in benchmark.make_report(runs, "command").sections]
    assert ("What the packaged weights know of imagenette" in titles) == is_told


def test_what_a_run_begins_with(benchmark: ModuleType) -> None:
    packaged, random = (benchmark.Job("a", "folder", 5, 3, way) for way in ("packaged", "random"))
    assert packaged.weights == DEFAULT_WEIGHTS
    assert random.weights == "random:3:alexnet"


@pytest.mark.slow
def test_runs_in_earnest(
    benchmark: ModuleType,
    script: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "_apart", benchmark.run_one)
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(benchmark.Job, "weights", "random:0:alexnet-64")
    # Without processes that decode.
    monkeypatch.setattr(benchmark, "cached_features", partial(cached_features, workers=0))
    for name in ("extract", "finetune"):
        monkeypatch.setattr(decaf, name, partial(getattr(decaf, name), workers=0))
    monkeypatch.setattr(benchmark, "FinetuneSettings", partial(FinetuneSettings, epochs=2.0))
    folder = photographs(tmp_path / "pets", (10, 10))
    assert script(f"pets={folder}:5", "--seeds", "1", "--cache", str(tmp_path / "cache")) == 0
    assert "2/2 pets 5 seed 0 random: frozen" in capsys.readouterr().err
    packaged, random = json.loads((tmp_path / "out" / "fine_tuning.runs.json").read_bytes())
    for run in (packaged, random):
        assert (run["train"], run["val"], run["test"], run["classes"]) == (8, 2, 10, 2)
        assert run["epochs"] == 2
        assert run["peak_memory"] > 2**28
    assert packaged["frozen"] == 100  # one class is dark, the other is bright
    assert packaged["tuned"] == 100


def test_each_run_is_a_process(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "run_one", partial(eval, "__import__('os').getpid()"))
    result = {benchmark._apart({}, {}) for _ in range(2)}
    assert len(result - {os.getpid()}) == 2


@pytest.mark.parametrize("text", ["pets", "pets=no/such/folder", "=."])
def test_a_mistaken_set_is_one_line(
    script: Any, made_up: Any, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        script(text)
    assert ended.value.code == 2
    assert f"{text!r}: expected NAME=DIR, DIR a folder" in capsys.readouterr().err
    assert not made_up()


@pytest.mark.parametrize("sizes", ["few", "0", "-3", "10,,all"])
def test_a_mistaken_size_is_one_line(
    script: Any, made_up: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        script(f"pets={tmp_path}:{sizes}")
    assert ended.value.code == 2
    assert "images a class" in capsys.readouterr().err
    assert not made_up()

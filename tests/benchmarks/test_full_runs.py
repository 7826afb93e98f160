"""Only the full run of a benchmark has the name of its report, and lies where those are kept."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS, OTHER_RUNS = BENCHMARKS / "results", BENCHMARKS / "other_runs"

# The full run of each script that writes a report into a folder, the report's name, and runs that
# are not the full one.
COMMON = ("--quick", "--layer fc6", "--allow-partial", "--partial")
DRAWN = (*COMMON, "--splits 2", "--splits 7", "--train 3", "--seed 4", "--features a=a.npy")
FOLDERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "caltech101": ("--data DIR", "caltech101", (*DRAWN, "--curve-layer none", "--curve-layer fc7")),
    "scenes": ("--data DIR --dataset scene15", "scene15", DRAWN),
    "domain_adaptation": (
        "--data DIR",
        "domain_adaptation-pacs",
        (
            *("--quick", "--layers fc6", "--allow-partial", "--splits 2", "--pairs a:b"),
            *("--methods coral", "--setting unsupervised", "--source 5", "--target 2", "--seed 1"),
        ),
    ),
    "fine_grained": ("--data DIR", "cub200", (*COMMON, "--training 0")),
    "fine_tuning": (
        "caltech101=. scene15=. pacs-photo=. imagenette=.",
        "fine_tuning",
        ("--seeds 2", "--seeds 4", "--start packaged", "caltech101=.:5", "pets=."),
    ),
    "ablations": (
        "--cifar . --images .",
        "ablations",
        (
            *("--quick", "--part switches", "--seeds 2", "--rates 0.01", "--epochs 1"),
            *("--cifar-epochs 3", "--per-class 20", "--test-per-class 9", "--switches lrn"),
        ),
    ),
    "imagenet": (
        "a.pack --pretrain b.pack --out OUT",
        "imagenet",
        ("--quick", "--networks 2", "--pretrained 1", "--epochs 3", "--arch alexnet-64"),
    ),
}
# Of each script that writes its figures to one file.
FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "duplicates": ("DIR", "duplicates", ("--quick", "--layers fc6", "--copies 9", "--seed 1")),
    "label_errors": (
        "DIR",
        "label_errors",
        ("--allow-partial", "--layer fc7", "--share 0.1", "--seed 1", "-C 1"),
    ),
    "precision": ("DIR", "precision", ()),
    "transfer": ("w --data DIR", "transfer", ("--train 5", "--limit 9")),
    "finetune_defaults": (
        "a=DIR",
        "finetune_defaults",
        ("--recipes defaults", "--seeds 1", "--per-class 5", "--test-per-class 9"),
    ),
    "speed.adaptation": (
        "",
        "adaptation",
        ("--sizes 300,200", "--growth", "--dimensions 9", "--methods GFK", "--rounds 2"),
    ),
    "speed.explore": (
        "--photographs DIR",
        "explore",
        (
            *("--only search", "--rows 9", "--dimensions 9", "--rounds 1", "--images 9"),
            *("--passes 1", "--page-images 9", "--points 9"),
        ),
    ),
    "speed.extraction": (
        "DIR --memory --peer-python python",
        "extraction",
        ("--images 9", "--rounds 1", "--forward-rounds 1"),
    ),
    "speed.few_images": ("DIR --before DIR", "few_images", ("--images 9", "--rounds 1")),
    "speed.finetuning": ("DIR", "finetune_speed", ("--rounds 1", "--steps 1")),
    "speed.heads": (
        "DIR",
        "heads",
        ("--layer fc7", "--per-class 9", "--splits 2", "--rounds 2", "--C 1", "--all"),
    ),
    "speed.scale": ("DIR", "scale", ("--images 9", "--shards 2", "--rounds 1", "--weights w")),
    "speed.streaming_heads": (
        "--photographs DIR",
        "streaming_heads",
        ("--rows 9000", "--classes 9", "--dim 9", "--C 1", "--contenders svm"),
    ),
    "speed.explore_page": ("DIR", "explore_page", ("--images 9", "--points 9")),
    "speed.top_patches": ("DIR", "top_patches", ("--images 9", "--rounds 1")),
    "speed.training": (
        "DIR",
        "training",
        ("--images 9", "--rounds 1", "--steps 1", "--batch-size 9"),
    ),
}
# Those without what the full run has.
WITHOUT = {
    "speed.explore": ("",),
    "speed.extraction": ("DIR --memory", "DIR --peer-python python"),
    "speed.few_images": ("DIR",),
    "speed.streaming_heads": ("--synthetic",),
    "imagenet": ("a.pack --out OUT",),
    "fine_tuning": ("caltech101=. scene15=. imagenette=.",),
}
# No report: they make data, networks, or are parts of others.
NO_REPORT = {
    *("arguments", "command_line", "efficientnet_lite_teacher", "packaged_weights_data"),
    *("speed.contenders", "speed.forward", "speed.machine", "speed.steps"),
}


class Begun(Exception):
    """A run would begin now."""


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let scripts be imported as they import one another, and begin nothing."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS / "speed"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def folder_and_name(
    script: str, words: str, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[Path, str]:
    """Return the folder in which a run's report would lie, and its name."""
    module = importlib.import_module(script)
    seen: list[tuple[Path, str]] = []

    def begin(settings: Any, place: Path, **_: object) -> None:
        seen.append((place, settings.name))
        raise Begun

    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [f"{script}.py", *shlex.split(words), *more])
        patch.setattr(importlib.import_module("arguments"), "BenchmarkRun", _Run(begin))
        if script == "fine_tuning":

            def place(out: Path | None, apart: str) -> Path:
                seen.append((found(out, apart), f"fine_tuning{apart}"))
                raise Begun

            found = module.report_folder
            patch.setattr(module, "report_folder", place)
        names = ("photo", "art", "cartoon", "sketch")
        data = SimpleNamespace(
            name="PACS",
            domains=names,
            pairs=(),
            counts=SimpleNamespace(min=lambda: 9),
            counts_of=lambda _: SimpleNamespace(min=lambda: 9),
            boxes=(),
        )
        for name in ("read_caltech101", "read_scene15", "read_cub200"):
            if hasattr(module, name):
                patch.setattr(module, name, lambda *_, **__: data)
        if script == "scenes":
            patch.setitem(module.READERS, "scene15", lambda *_, **__: data)
        if script == "domain_adaptation":
            patch.setattr(module, "DomainSet", SimpleNamespace)
            patch.setattr(module, "_read", lambda _: (data, ()))
        if script == "imagenet":
            patch.setattr(module, "_quick_packs", lambda _: (Path("a"), Path("b")))
        if hasattr(importlib.import_module("arguments"), "read_given_features"):
            patch.setattr(sys.modules["arguments"], "read_given_features", lambda *_: ())
        with pytest.raises(Begun):
            module.main()
    return seen[-1]


class _Run:
    """Stands for the class, which is asked for with its parameters."""

    def __init__(self, begin: Any) -> None:
        self._begin = begin

    def __getitem__(self, _parameters: object) -> Any:
        return self._begin

    def __call__(self, *arguments: Any, **more: Any) -> None:
        self._begin(*arguments, **more)


def file_of(script: str, words: str, file: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that a run's figures would be written to, asked for as another one."""
    module = importlib.import_module(script)
    option = "--out" if script in ("transfer", "finetune_defaults") else "--json"
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *shlex.split(words), option, file])
    args = module._arguments()
    if script == "finetune_defaults":  # it needs the file while it runs
        path: Path = args.out
        return path
    asked = args.out if option == "--out" else args.json
    path = importlib.import_module("command_line").report_file(asked, args)
    return path


def test_every_script_is_tried() -> None:
    there = {path.stem for path in BENCHMARKS.glob("*.py")}
    there |= {f"speed.{path.stem}" for path in (BENCHMARKS / "speed").glob("*.py")}
    assert there == {*FOLDERS, *FILES, *NO_REPORT}


@pytest.mark.parametrize("script", FOLDERS)
def test_only_the_full_run_lies_with_the_results_and_has_their_name(
    script: str, monkeypatch: pytest.MonkeyPatch, scripts: None
) -> None:
    full, name, others = FOLDERS[script]
    required = script == "imagenet"  # whose folder has to be named
    expected = Path("OUT") if required else RESULTS
    assert folder_and_name(script, full, monkeypatch) == (expected, name)
    runs = [f"{full} {each}" for each in others] + list(WITHOUT.get(script, ()))
    seen = set()
    for words in runs:
        folder, other = folder_and_name(script, words, monkeypatch)
        assert folder == (Path("OUT") if required else OTHER_RUNS), words
        assert other.startswith(f"{name}-"), words
        seen.add(other)
        if not required:
            there = folder_and_name(script, words, monkeypatch, "--out", "here")
            assert there == (Path("here"), other), words
    # --partial is another name of --allow-partial.
    assert len(seen) == len(runs) - ("--partial" in others)


@pytest.mark.parametrize("script", FILES)
def test_only_the_full_run_takes_the_file_of_the_full_report(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, name, others = FILES[script]
    file = f"results/{name}.json"
    assert file_of(script, full, file, monkeypatch) == Path(file)
    runs = [f"{full} {each}" for each in others] + list(WITHOUT.get(script, ()))
    seen = {file_of(script, words, file, monkeypatch) for words in runs}
    assert len(seen) == len(runs)
    for path in seen:
        assert path.parent == Path("results")
        assert path.name.startswith(f"{name}-")
        assert path.suffix == ".json"
    for words in runs:  # any other name is the user's own
        assert file_of(script, words, "mine.json", monkeypatch) == Path("mine.json")

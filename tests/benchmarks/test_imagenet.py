"""ILSVRC's tables from end to end on a small pack, against averages by hand in numpy."""

from __future__ import annotations

import base64
import html
import importlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import decaf
import systems
import tiny_network
from decaf.backbone import spec as specs
from decaf.cli.main import main as decaf_command
from decaf.train import Pack, train_network
from decaf.train.pack.build import make_pack

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "imagenet.py"
CLASSES = (systems.possible_name("<i>ant"), "bee", "cat", "dog", "elk", "fox", "gnu")
RECIPE = (
    *("--preset", "modern", "--arch", "tiny", "--epochs", "2", "--batch-size", "14"),
    *("--precision", "fp32", "--lr", "0.02"),
)
COUNTS = ("--networks", "2", "--pretrained", "1")
WHERE = ("--device", "cpu", "-j", "0")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The script, where settings may name tiny networks and nothing draws their curves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specs, "ARCHITECTURES", specs.ARCHITECTURES)
        tiny_network.install()
        patch.setattr(train_network, "draw_curves", lambda *_: None)
        patch.setattr("decaf.train.log.wants_tensorboard", lambda _wish: False)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield importlib.import_module("imagenet")
        torch.set_num_threads(threads)


def packed(root: Path, name: str, classes: tuple[str, ...], splits: tuple[str, ...]) -> Path:
    random = np.random.default_rng(len(classes))
    for split in splits:
        for number, each in enumerate(classes):
            folder = root / name / split / each
            folder.mkdir(parents=True, exist_ok=True)
            for image in range(8 if split == "train" else 3):
                pixels = random.integers(0, 120, (40, 40, 3)) + 12 * number * np.array([1, 0, 1])
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{image}.png")
    path = root / f"{name}.pack"
    make_pack(root / name, path, size=40, encoding="raw", workers=0).close()
    return path


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("packs")
    larger = tuple(f"class {number}" for number in range(9))
    both = ("train", "val")
    animals = packed(root, "animals", CLASSES, both)
    twice = root / "larger" / "train" / "class 0" / "8.png"  # is in animals too
    twice.parent.mkdir(parents=True)
    shutil.copy(root / "animals" / "val" / "bee" / "0.png", twice)
    return animals, packed(root, "larger", larger, both)


def call(benchmark: ModuleType, *words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), *map(str, words), *WHERE])
        code: int = benchmark.main()
    return code


@pytest.fixture(scope="module")
def out(
    benchmark: ModuleType, packs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run with two networks, and one that was begun on a larger set."""
    folder = tmp_path_factory.mktemp("out")
    pack, larger = packs
    words = (pack, "--pretrain", larger, "--out", folder, *COUNTS, *RECIPE)
    assert call(benchmark, *words) == 0
    return folder


def report_of(out: Path) -> dict[str, Any]:
    (path,) = out.glob("imagenet-*.json")
    report: dict[str, Any] = json.loads(path.read_bytes())
    return report


def section(report: dict[str, Any], title: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["sections"] if each["title"] == title)
    return found


def by_hand(out: Path, packs: tuple[Path, Path], name: str, crops: str) -> np.ndarray:
    """The mean softmax of a network over crops that are cut out here: (N, C) float64."""
    network = decaf.load_backbone(out / "networks" / name / "weights.safetensors")
    # A network that goes on sees what it has seen before.
    before = packs[name.startswith("continued")]
    with Pack.open(packs[0]) as pack:
        images = np.stack([pack.splits["val"].pixels(row) for row in range(3 * len(CLASSES))])
    with Pack.open(before) as trained_on:
        mean, std = trained_on.mean, trained_on.std
    rest = 40 - 32
    corners = [(0, 0), (0, rest), (rest, 0), (rest, rest), (rest // 2, rest // 2)]
    cut = [images[:, y : y + 32, x : x + 32] for y, x in corners]
    cut = [*cut, *(crop[:, :, ::-1] for crop in cut)] if crops == "ten" else cut[4:]
    chances = []
    for crop in cut:
        pixels = ((crop / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
        logits = network.features(torch.from_numpy(pixels.copy()), ["fc8"])["fc8"].double().numpy()
        powers = np.exp(logits - logits.max(1, keepdims=True))
        chances.append(powers / powers.sum(1, keepdims=True))
    return np.mean(chances, axis=0)


def errors(chances: np.ndarray) -> tuple[float, float]:
    """Top-1 and top-5 error in percent; there are three images of each class."""
    labels = np.repeat(np.arange(len(CLASSES)), 3)
    order = np.argsort(-chances, axis=1, kind="stable")
    wrong = [(order[:, :top] != labels[:, None]).all(1).mean() for top in (1, 5)]
    return 100 * float(wrong[0]), 100 * float(wrong[1])


@pytest.mark.slow
def test_the_table_has_what_numpy_averages(out: Path, packs: tuple[Path, Path]) -> None:
    table = section(report_of(out), "ILSVRC-2012")
    shown = {row["name"]: [cell["mean"] for cell in row["cells"][:4]] for row in table["rows"]}
    expected = {}
    for crops in ("ten", "center"):
        of = {name: by_hand(out, packs, name, crops) for name in ("cnn-1", "cnn-2", "continued-1")}
        alone = np.mean([errors(of["cnn-1"]), errors(of["cnn-2"])], axis=0)
        two = errors((of["cnn-1"] + of["cnn-2"]) / 2)
        every = errors(sum(of.values()) / 3)
        expected[crops] = [alone, two, errors(of["continued-1"]), every]
    rows = ("1 CNN", "2 CNNs (5 CNNs)", "1 CNN*", "3 CNNs* (7 CNNs*)")
    for number, row in enumerate(rows):
        wanted = [*expected["ten"][number], *expected["center"][number]]
        assert shown[row] == pytest.approx(wanted), row
    assert len({tuple(values) for values in shown.values()}) > 3  # the rows do differ
    published = {row["name"]: [c["mean"] for c in row["cells"][4:]] for row in table["rows"]}
    assert published[rows[3]] == [36.7, 15.4, 15.3]
    assert published["SIFT + FVs"] == [None, None, 26.2]
    single = section(report_of(out), "ILSVRC-2010")["rows"]
    assert [cell["mean"] for cell in single[2]["cells"]] == [*shown["1 CNN"][:2], 37.5, 17.0]
    assert [cell["mean"] for cell in single[3]["cells"]] == [*shown["1 CNN"][2:], 39.0, 18.3]
    team = section(report_of(out), "The challenge of 2012")["rows"][1]
    assert [cell["mean"] for cell in team["cells"]] == [shown[rows[1]][1], 16.422]


@pytest.mark.slow
def test_the_nearest_images_are_those_of_scikit_learn(out: Path, packs: tuple[Path, Path]) -> None:
    part = section(report_of(out), "Nearest images at the last hidden layer")
    weights = out / "networks" / "cnn-1" / "weights.safetensors"
    with Pack.open(packs[0]) as pack:
        of = {}
        for split in ("train", "val"):
            rows = decaf.extract(pack.images(split), "fc7", weights=weights, workers=0)
            assert isinstance(rows, np.ndarray)
            of[split] = rows.astype(np.float64)
        names = {split: [name.decode() for name in pack.splits[split].names] for split in of}
    reference = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(of["train"])
    assert len(part["rows"]) == 5
    assert len({row["class_name"] for row in part["rows"]}) == 5
    for row in part["rows"]:
        query = of["val"][names["val"].index(row["name"])]
        distances, rows = reference.kneighbors(query[None])
        assert [each["name"] for each in row["nearest"]] == [names["train"][k] for k in rows[0]]
        np.testing.assert_allclose(
            [each["distance"] for each in row["nearest"]], distances[0], rtol=1e-4
        )


@pytest.mark.slow
def test_the_page_has_the_images_in_it_and_escapes_names(
    out: Path, packs: tuple[Path, Path]
) -> None:
    (path,) = out.glob("imagenet-*.html")
    page = path.read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)" alt="[^"]*: ([^"]*)"', page)
    assert len(pictures) == 5 * 7
    with Pack.open(packs[0]) as pack:
        for data, title in pictures[:8]:
            name = html.unescape(title)
            split = name.partition("/")[0]
            row = [each.decode() for each in pack.splits[split].names].index(name)
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float64)
            # Noise suffers from JPEG, its mean does not.
            mean = pack.splits[split].pixels(row).mean((0, 1))
            np.testing.assert_allclose(shown.mean((0, 1)), mean, atol=4)
    assert CLASSES[0] not in page
    assert "://" not in page
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "torchrun --nproc-per-node 8 -m decaf train imagenet.pack" in text
    assert str(out.parent) not in page + text


@pytest.mark.slow
def test_test_images_that_the_larger_set_has_are_told(out: Path) -> None:
    assert (
        "1 of 21 val images are training images of the larger set: the rows with a star have seen "
        "them"
    ) in report_of(out)["notes"]


@pytest.mark.slow
def test_what_is_there_is_not_made_again(
    benchmark: ModuleType,
    packs: tuple[Path, Path],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = report_of(out)
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    monkeypatch.setattr(decaf, "evaluate_network", None)
    words = (packs[0], "--pretrain", packs[1], "--out", out, *COUNTS, *RECIPE)
    assert call(benchmark, *words) == 0
    assert "from the cache" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == made
    assert report_of(out)["sections"] == before["sections"]


@pytest.mark.slow
def test_a_network_of_decaf_train_is_taken(
    benchmark: ModuleType, packs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "networks" / "cnn-1"
    words = ["train", str(packs[0]), "--out", str(folder), "--seed", "0", *RECIPE]
    assert decaf_command([*words, "--device", "cpu", "--quiet"]) == 0
    weights = folder / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert call(benchmark, packs[0], "--out", tmp_path, "--networks", "1", *RECIPE) == 0
    assert weights.stat().st_mtime_ns == before
    report = report_of(tmp_path)
    assert [row["name"] for row in section(report, "ILSVRC-2012")["rows"][:2]] == [
        "1 CNN",
        "SIFT + FVs",
    ]
    assert "no rows with a star: they need a larger label set (--pretrain)" in report["notes"]


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True])
def test_quick_takes_a_part_or_makes_images_up(
    benchmark: ModuleType, packs: tuple[Path, Path], tmp_path: Path, given: bool
) -> None:
    words = [packs[0], "--pretrain", packs[1]] if given else []
    small = ("--arch", "tiny", "--precision", "fp32")
    assert call(benchmark, *words, "--quick", "--out", tmp_path, *small) == 0
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert call(benchmark, *words, "--quick", "--out", tmp_path, *small) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == made
    report = json.loads((tmp_path / "imagenet-quick.json").read_bytes())
    rows = [row["name"] for row in section(report, "ILSVRC-2012")["rows"]]
    assert rows[:4] == ["1 CNN", "2 CNNs (5 CNNs)", "1 CNN*", "3 CNNs* (7 CNNs*)"]
    assert "this pack is not: it has" in report["notes"][0]
    assert report["title"].startswith("ILSVRC's result tables on ")
    with Pack.open(tmp_path / f"{'animals' if given else 'made-up'}-10-classes.pack") as pack:
        assert len(pack.wnids) == (7 if given else 10)
        assert len(pack.splits["val"]) == (21 if given else 40)


def test_mistakes_are_a_line(
    benchmark: ModuleType,
    packs: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told(*words: object) -> str:
        assert call(benchmark, *words, "--out", tmp_path / "out") == 2
        printed, text = capsys.readouterr()
        assert printed == ""
        lines = [line for line in text.splitlines() if not line.startswith("[")]
        assert len(lines) == 1
        return lines[0]

    assert "no/such.pack" in told("no/such.pack")
    assert "--networks must be 1 or more" in told(packs[0], "--networks", "0")
    assert "`epochs` must be above 0" in told(packs[0], "--epochs", "-1")
    assert "needs images of at least the network's 227 pixels" in told(packs[0])
    (tmp_path / "file").write_text("")
    assert call(benchmark, "--quick", "--out", tmp_path / "file") == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        call(benchmark, "--out", tmp_path)
    assert ended.value.code == 2
    assert "PACK is missing" in capsys.readouterr().err


def test_a_pack_without_test_images_is_refused(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = packed(tmp_path, "alone", CLASSES[1:3], ("train",))
    assert call(benchmark, pack, "--out", tmp_path / "out", *RECIPE) == 2
    assert "has no val and no test images to measure errors on" in capsys.readouterr().err


@pytest.mark.slow
def test_networks_of_other_settings_are_refused(
    benchmark: ModuleType,
    packs: tuple[Path, Path],
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words: tuple[object, ...] = (packs[0], "--out", out, *COUNTS, *RECIPE[:-1], "0.03")
    assert call(benchmark, *words) == 2
    assert "was begun with other settings" in capsys.readouterr().err


def test_the_recipe_is_the_papers(benchmark: ModuleType, packs: tuple[Path, Path]) -> None:
    parser: Callable[..., Any] = benchmark._parser
    words = [str(packs[0]), "--pretrain", str(packs[1]), "--out", "DIR"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), *words])
        settings = benchmark._settings(parser(), parser().parse_args(words))
    assert settings.recipe == decaf.train.PRESETS["alexnet-2012"]
    assert (settings.networks, settings.pretrained, settings.name) == (5, 2, "imagenet")
    assert settings.command == (
        "python benchmarks/imagenet.py animals.pack --pretrain larger.pack --out DIR"
    )

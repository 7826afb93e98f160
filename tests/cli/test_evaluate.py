"""``decaf evaluate`` as a user runs it: figures, reports, exit codes, mistakes."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import forked
import systems
from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.cli.evaluate import _lines
from decaf.cli.main import main
from decaf.evaluate.classification import evaluate_network
from decaf.images.spec import named_preprocess
from decaf.runtime.wording import printable
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack, PackSplit

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
QUICK = ["-q", "-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("weights")
    paths = []
    for seed in (0, 1):
        spec = architecture("alexnet-64")
        convs = tuple(dataclasses.replace(c, channels=c.channels // 8) for c in spec.convs)
        spec = dataclasses.replace(spec, convs=convs, hidden=(48, 32), classes=6)
        made = Weights.of(
            f"net{seed}",
            spec,
            named_preprocess("decaf", 64),
            random_state(spec, seed, "he"),
            class_names=[f"the {name}" for name in CLASSES],
            provenance={"wnids": list(CLASSES)},
        )
        paths.append(str(folder / f"net{seed}.safetensors"))
        save_weights(paths[-1], made)
    return paths


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for number in range(2):
            pixels = generator.integers(0, 256, (60, 80, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "val" / name / f"{number}.png")
    return tmp_path / "data"


def test_the_figures_are_those_of_the_library(
    weights: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *weights, str(data), "--per-class", *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = evaluate_network(weights, data, workers=0, device="cpu")
    lines = captured.out.splitlines()
    assert lines[0] == f"{data}, val: 12 images of 6 classes"
    assert lines[1] == f"  top-1 error           {found.top1_error:.2f} %"
    assert lines[2] == f"  top-5 error           {found.top5_error:.2f} %"
    assert lines[3] == f"  per-class accuracy    {found.mean_per_class_accuracy:.2f} % (mean)"
    for line, network in zip(lines[4:6], found.networks, strict=True):
        assert line == f"  weights               {network['name']} (SHA-256 {network['sha256']})"
    assert lines[6:9] == [
        "  crops                 center",
        "  precision             fp32",
        "  device                cpu",
    ]
    assert lines[9] == "    class  images    top-1    top-5  (accuracy)"
    for line, result in zip(lines[10:], found.classes, strict=True):
        percent = f"{100 * result.top1 / 2:7.2f} %{100 * result.top5 / 2:7.2f} %"
        assert line.startswith(f"    {result.id}         2{percent}")
        mistaken = f"mistaken {result.confused} times for the {result.confused_with}"
        assert line.endswith(mistaken if result.confused else f"%  the {result.id}")
    # Of five classes the first five answers are all.
    classes = tuple(dataclasses.replace(result, top5=None) for result in found.classes)
    few = dataclasses.replace(found, top5_error=None, classes=classes)
    assert "top-5" not in "\n".join(_lines(few, per_class=True))


def test_json_is_the_same_on_the_terminal_in_the_file_and_in_python(
    weights: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    asked = ["evaluate", weights[0], str(data), "--crops", "ten", "--json", *QUICK]
    assert main([*asked, "-o", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = evaluate_network(weights[0], data, crops="ten", workers=0, device="cpu").to_dict()
    assert printed == json.loads(out.read_bytes()) == json.loads(json.dumps(expected))
    before = out.read_bytes()
    assert main([*asked, "-o", str(out)]) == 2
    assert "report.json: exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert main([*asked, "-o", str(out), "--overwrite"]) == 0
    assert out.read_bytes() == before
    photograph = next(data.rglob("*.png"))
    before = photograph.read_bytes()
    assert main([*asked, "-o", str(photograph), "--overwrite"]) == 2
    assert "is an image, not a text file, so it is not replaced" in capsys.readouterr().err
    assert photograph.read_bytes() == before
    labels = data.parent / "labels.csv"
    labels.write_text(f"{photograph},{photograph.parent.name}\n")
    more = ["--labels", str(labels), "-o", str(labels), "--overwrite"]
    assert main([*asked, *more]) == 2
    assert "labels.csv: is read by this run, so it is not rep" in capsys.readouterr().err


def test_bad_images_end_in_one(
    weights: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = systems.possible_name("\n.jpg")
    for name in (odd, *(f"{number}.jpg" for number in range(5))):
        (data / "val" / "ant" / name).write_bytes(b"GIF89a")
    assert main(["evaluate", weights[0], str(data), *QUICK]) == 1
    output = capsys.readouterr().out
    assert f"{data}, val: 12 images of 6 classes\n" in output
    assert "  could not be read     6 images, which are not counted\n" in output
    assert f"    {data}/val/ant/{printable(odd)}: " in output
    assert output.endswith("    … and 1 more\n")


def test_what_the_network_does_not_know(
    weights: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "val" / "ant").rename(data / "val" / "yak")
    assert main(["evaluate", weights[0], str(data), *QUICK]) == 2
    assert capsys.readouterr().err == (
        f"decaf: {data}: 1 of 6 classes are not known to net0.safetensors (yak); "
        "--ignore-unknown leaves their 2 images out\n"
    )
    assert main(["evaluate", weights[0], str(data), "--ignore-unknown", *QUICK]) == 0
    output = capsys.readouterr().out
    assert ": 10 images of 5 classes\n" in output
    assert "  answers from          6 classes\n" in output
    assert "  left out              2 images of classes that are not known\n" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["W", "absent"], "'absent': No such file or directory"),
        (["absent.safetensors", "DATA"], "absent.safetensors: no such file"),
        (["random:0:alexnet-64", "DATA"], "random:0:alexnet-64: does not say what its 200 classes"),
        (["W", "DATA", "--split", "train"], "no split 'train'; it has val"),
        (["W", "DATA", "--labels", "absent.txt"], "absent.txt"),
        (["W", "DATA", "-o", "absent/r.json"], "absent/r.json: there is no folder absent"),
        (["W", "W"], "is a weights file, not an image, a folder, an archive, a list"),
        (["W", "DATA", "-b", "0"], "--batch-size 0: must be a whole number from 1 on"),
        (["W", "DATA", "--crops", "ten-max"], "invalid choice: 'ten-max'"),
        (["W"], "the following arguments are required: DATA"),
    ],
)
def test_mistakes_end_in_two(
    weights: list[str],
    data: Path,
    asked: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [{"W": weights[0], "DATA": str(data)}.get(word, word) for word in asked]
    assert main(["evaluate", *words, *QUICK]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_a_training_pack_is_evaluated_by_its_path(
    weights: list[str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (data / "train").symlink_to(data / "val", target_is_directory=True)
    (data / "words.txt").write_text("".join(f"{name}\t{name.upper()}\n" for name in CLASSES))
    path = tmp_path / "a.pack"
    settings = {"size": 72, "encoding": "raw", "workers": 0, "progress": False}
    make_pack(data, path, **settings).close()
    with Pack.open(path) as pack:
        expected = evaluate_network(weights[0], pack, workers=0, device="cpu").to_dict()
    assert main(["evaluate", weights[0], str(path), "--json", *QUICK]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(json.dumps(expected))
    assert report["data"]["sources"][0]["path"] == str(path)
    assert report["per_class"][1]["name"] == "BEE"
    # Its images were cut out; this network is for whole images made square.
    assert main(["evaluate", weights[0], str(path), "--split", "train", *QUICK]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{path}, train: 12 images of 6 classes\n")
    assert "  squared by            shorter-side in the pack, by itself otherwise: net0.s" in output
    for flags, message in (
        (["--split", "test"], "a.pack: no split 'test'; it has train, val"),
        (["--labels", "l.txt"], "a pack has its own labels"),
    ):
        assert main(["evaluate", weights[0], str(path), *flags, *QUICK]) == 2
        assert message in capsys.readouterr().err
    pixels = PackSplit.pixels

    def damaged(self: PackSplit, index: int) -> np.ndarray:
        if index == 5:
            raise ValueError("its JPEG is damaged")
        return pixels(self, index)

    monkeypatch.setattr(PackSplit, "pixels", damaged)
    assert main(["evaluate", weights[0], str(path), "--json", *QUICK]) == 1
    bad = json.loads(capsys.readouterr().out)["bad"]
    assert [entry["path"] for entry in bad] == ["val/cat/1.png"]
    path.write_bytes(path.read_bytes()[:100])
    assert main(["evaluate", weights[0], str(path), *QUICK]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.faults
def test_a_signal_ends_it_in_good_order(
    weights: list[str], data: Path, child_env: dict[str, str]
) -> None:
    for name in CLASSES:
        for number in range(2, 10):
            (data / "val" / name / f"{number}.png").hardlink_to(data / "val" / name / "0.png")
    code = "\n".join(
        [
            "import os, signal, sys",
            "from decaf.features.extraction import Extraction",
            "rows = Extraction.rows",
            "def slow(self, *args, **rest):",
            "    for number, found in enumerate(rows(self, *args, **rest)):",
            "        if number == 1:",
            "            signal.raise_signal(signal.SIGTERM)",
            "        yield found",
            "Extraction.rows = slow",
            "from decaf.cli.main import main",
            "sys.exit(main(sys.argv[1:]))",
        ]
    )
    how = ["evaluate", weights[0], data, *QUICK, "-b", 2]
    exit_code, said, complained = forked.run(child_env, "-c", code, *how)
    assert exit_code == 128 + signal.SIGTERM
    assert said == ""
    assert "stopping after the images in work" in complained
    assert "of 60 images; nothing of an evaluation is kept" in complained

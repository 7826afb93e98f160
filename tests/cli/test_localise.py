"""``decaf localise`` and the boxes of ``decaf evaluate``, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_network
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.cli.main import main
from decaf.images.spec import named_preprocess

CLASSES = ("ant", "bee", "cat", "dog")
QUICK = ["-q", "-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, images of four classes with a bright rectangle each, and the table of these."""
    folder = tmp_path_factory.mktemp("boxes")
    made = Weights.of(
        "tiny",
        tiny_network.TINY,
        named_preprocess("decaf", 32),
        random_state(tiny_network.TINY, 0, "he"),
        class_names=list(CLASSES),
        provenance={"wnids": list(CLASSES)},
    )
    save_weights(folder / "tiny.safetensors", made)
    random = np.random.default_rng(0)
    rows = ["path,xmin,ymin,xmax,ymax,width,height"]
    for number in range(40):
        name = f"{CLASSES[number % 4]}/{number:02d}.png"
        # Of so many pixels that a side rounded to one of them makes no difference.
        pixels = random.integers(0, 40, (320, 400, 3), dtype=np.uint8)
        x, y = int(random.integers(0, 160)), int(random.integers(0, 120))
        pixels[y : y + 200, x : x + 240] = 230
        (folder / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "val" / name)
        rows.append(f"{name},{x},{y},{x + 239},{y + 199},400,320")
    (folder / "boxes.csv").write_text("\n".join(rows))
    command = ["localise", str(folder / "val"), "--boxes", str(folder / "boxes.csv"),
               "-o", str(folder / "l.safetensors"), "-w", str(folder / "tiny.safetensors"),
               "--hidden", "64", "--epochs", "60", "--dropout", "0", "--batch-size", "8",
               "--lr", "3e-3",
               "--held-out", "0.25", "--layer", "conv1"]  # fmt: skip
    assert main([*command, *QUICK]) == 0
    return folder


@pytest.mark.slow
def test_boxes_are_learnt_and_their_errors_printed(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["localise", str(files / "val"), "--boxes", str(files / "boxes.csv"),
               "-o", str(tmp_path / "l.safetensors"), "-w", str(files / "tiny.safetensors"),
               "--epochs", "1", "--held-out", "0.25", "--layer", "fc6", *QUICK]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "boxes learnt from 40 images" in said
    assert "on 10 of them held out" in said
    assert "by the mean box" in said
    assert main(command) == 2
    assert "exists already; give another --out, or --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] == 10


def test_evaluate_measures_boxes_and_scores_the_guesses_that_it_wrote(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guesses = tmp_path / "guesses.txt"
    boxes = ["--boxes", str(files / "boxes.csv")]
    command = ["evaluate", str(files / "tiny.safetensors"), str(files / "val"), *boxes,
               "--localiser", str(files / "l.safetensors"), "--submission", str(guesses),
               "--json", *QUICK]  # fmt: skip
    assert main(command) == 0
    measured = json.loads(capsys.readouterr().out)["localisation"]
    # Four classes, so that one of five guesses names it: what is missed is the box.
    assert measured["class_error"] == 0
    assert measured["error"] == measured["error_given_class"]
    assert measured["error"] < min(measured["blind_errors"].values())
    assert measured["error_of_first"] >= measured["error"]
    assert set(measured["blind_errors"]) == {"whole_image", "mean_box", "centre_box"}
    assert main(["evaluate", str(guesses), str(files / "val"), *boxes, "--json", *QUICK]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["images"] == measured["images"]
    assert scores["error"] == pytest.approx(measured["error"], abs=2.6)
    assert scores["error_of_first"] == pytest.approx(measured["error_of_first"], abs=2.6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--boxes", "boxes.csv"], "--boxes and --localiser belong together"),
        (["--boxes", "boxes.csv", "--localiser", "tiny.safetensors"], "is a weights file"),
        (["--boxes", "absent.csv", "--localiser", "l.safetensors"], "absent.csv: cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(files / each) if "." in each else each for each in arguments]
    weights, data = str(files / "tiny.safetensors"), str(files / "val")
    assert main(["evaluate", weights, data, *given, *QUICK]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_localiser_of_another_network_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = random_state(tiny_network.TINY, 1, "he")
    other = Weights.of("other", tiny_network.TINY, named_preprocess("decaf", 32), state,
                       class_names=list(CLASSES), provenance={"wnids": list(CLASSES)})  # fmt: skip
    save_weights(tmp_path / "other.safetensors", other)
    command = ["evaluate", str(tmp_path / "other.safetensors"), str(files / "val"), "--boxes",
               str(files / "boxes.csv"), "--localiser", str(files / "l.safetensors")]  # fmt: skip
    assert main([*command, *QUICK]) == 2
    assert "the boxes were learnt on tiny" in capsys.readouterr().err
    shutil.copy(files / "l.safetensors", tmp_path / "copy.safetensors")
    assert main(["info", str(tmp_path / "copy.safetensors")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err

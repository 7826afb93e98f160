"""``decaf finetune`` as a command: what it takes, prints and exits with."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import forked
from decaf.backbone.spec import ArchSpec, ConvSpec
from decaf.backbone.weights.load import Weights, load_weights, save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.cli.main import main
from decaf.finetuning.settings import FinetuneSettings
from decaf.images.spec import PreprocessSpec
from decaf.train import train_network
from forked import until

TINY = Path(__file__).parents[1] / "support/tiny_network.py"
SMALL = ["--precision", "fp32", "--device", "cpu", "-j", "0", "--batch-size", "8"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, name in enumerate(("ants", "bees")):
        (root / name).mkdir()
        for i in range(6):
            pixels = random.integers(0, 130, (72, 72, 3), dtype=np.uint8)
            pixels[:, :, 2 * number] += 120
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of a few thousand parameters."""
    convs = (ConvSpec(8, 5, padding=2), *[ConvSpec(12, 3, padding=1)] * 4)
    spec = ArchSpec("tiny", input_size=32, convs=convs, hidden=(24, 20), classes=4)
    preprocess = PreprocessSpec("decaf", "warp", resize_to=36, crop=32)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, Weights.of("tiny", spec, preprocess, random_state(spec, 3)))
    return str(path)


@pytest.fixture
def short(weights: str) -> list[str]:
    """The arguments of a short run."""
    return [*SMALL, "-w", weights, "--epochs", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_network, "draw_curves", lambda *_: None)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said, complained = capsys.readouterr()
    assert said == ""
    assert complained.startswith("decaf: ")
    assert complained.count("\n") == 1
    return complained


def test_predict_takes_a_head_or_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "[MODEL] IMAGE [IMAGE ...]" in output
    assert "comes first: a head, as `decaf fit` writes it; or a network" in output


def test_every_setting_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    for field in fields(FinetuneSettings):
        assert f"--{field.name.replace('_', '-')}" in output
    assert "Train the new layer alone for so many of the epochs" in output


def test_a_folder_becomes_a_network_that_predicts(
    photos: Path, tmp_path: Path, short: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.safetensors"
    assert main(["finetune", str(photos), "-o", str(out), *short, "--seed", "1"]) == 0
    said, complained = capsys.readouterr()
    assert said.startswith(f"{out}: 2 classes, 10 training images, 1 epoch in ")
    assert "frozen fc7 + head" in said
    assert "fine-tuned" in said
    assert "on validation: use " in said
    assert "decaf: frozen fc7 + logistic regression: " in complained
    assert all(line.startswith("decaf: ") for line in complained.splitlines())
    assert load_weights(out).provenance["settings"]["seed"] == 1
    photo = str(photos / "ants/0.png")
    assert main(["predict", str(out), photo, "--format", "json"]) == 0
    assert "ants" in capsys.readouterr().out
    assert main(["evaluate", str(out), str(photos)]) == 0
    capsys.readouterr()
    again = ["finetune", str(photos), "-o", str(out), *short, "--seed", "1"]
    assert main([*again, "-q"]) == 2
    assert "exists already; give another --out, or --overwrite to replace it" in one_line(capsys)
    photograph = (photos / "ants/0.png").read_bytes()
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(photograph)
    other = ["finetune", str(photos), *short, "--seed", "1", "-q", "--overwrite"]
    assert main([*other, "-o", str(mine)]) == 2
    assert "mine.safetensors: exists and is an image, not a weights file, so" in one_line(capsys)
    assert main([*other, "-o", str(tmp_path / "n.safetensors"), "--save-head", str(mine)]) == 2
    assert "mine.safetensors: exists and is an image, not a head, so" in one_line(capsys)
    assert mine.read_bytes() == photograph
    assert main([*again, "-q", "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["path"] == str(out)
    assert result["sha256"] == load_weights(out).sha256


def test_arguments_become_settings(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def finetune(*args: Any, **options: Any) -> None:
        seen.append((args, options))
        raise OSError("enough")

    monkeypatch.setattr("decaf.finetune", finetune)
    given = ["--val", "there", "--freeze", "conv3", "--lr-by-layer", "fc8=3,conv1=0", "--start",
             "new", "--crop-area", "0.5", "1", "--class-weights", "balanced", "--no-mirror",
             "--keep", "--head-epochs", "2"]  # fmt: skip
    assert main(["finetune", str(photos), "-o", str(tmp_path / "m.safetensors"), *given]) == 2
    ((train, val), options) = seen[0]
    assert (train, val, options["keep"]) == (str(photos), "there", True)
    assert not options["saving"].resume
    expected = FinetuneSettings(
        freeze="conv3", lr_by_layer="fc8=3,conv1=0", start="new", crop_area=(0.5, 1.0),
        class_weights="balanced", mirror=False, head_epochs=2.0,
    )  # fmt: skip
    assert options["settings"] == expected


def damaged(photos: Path, root: Path, change: str) -> list[str]:
    """Copy the photographs, change them, and give the arguments for them."""
    train = root / "train"
    shutil.copytree(photos, train)
    match change:
        case "one class":
            shutil.rmtree(train / "bees")
        case "one image":
            for i in range(1, 6):
                (train / f"bees/{i}.png").unlink()
        case "all bad":
            for path in train.rglob("*.png"):
                path.write_bytes(f"no image, and none like {path}".encode())
            return [str(train), "--on-error", "record"]
        case "one bad":
            (train / "ants/3.png").write_bytes(b"no image")
        case "other classes":
            shutil.copytree(photos, root / "val")
            (root / "val/bees").rename(root / "val/elks")
            return [str(train), "--val", str(root / "val")]
        case "no classes":
            (root / "val").mkdir()
            shutil.copy(photos / "ants/0.png", root / "val")
            return [str(train), "--val", str(root / "val")]
        case "bad validation":
            shutil.copytree(photos, root / "val")
            for path in (root / "val").rglob("*.png"):
                path.write_bytes(b"no image")
            return [str(train), "--val", str(root / "val"), "--on-error", "record"]
        case "unreadable":
            return [str(train), "--val", str(root / "nothing")]
        case "empty":
            shutil.rmtree(train)
            train.mkdir()
        case "share":
            return [str(train), "--val-fraction", "1.5"]
        case "both":
            return [str(train), "--val", str(photos), "--val-fraction", "0.2"]
        case "setting":
            return [str(train), "--freeze", "conv7"]
        case "weights":
            return [str(train), "-w", "nothing"]
        case "name":
            return [str(train), "-o", str(root / "m.pth")]
        case "nothing":
            return [str(root / "none")]
    return [str(train)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("one class", "has the class 'ants' alone; training takes two classes or more"),
        ("one image", "two classes or more with 2 training images or more each; with fewer: bees"),
        ("all bad", "mend these images, or remove them and their folder\n"),
        ("one bad", "ants/3.png"),
        ("one bad", "; --on-error record leaves it out of the pack"),
        ("other classes", "train and val have other classes: 1 in val alone (elks)"),
        ("no classes", "1 of 1 image has no class"),
        ("bad validation", "none of the 12 val images can be read"),
        ("unreadable", "validation images: "),
        ("empty", "no images in "),
        ("share", "decaf: --val-fraction 1.5: must be between 0 and 1"),
        ("both", "--val-fraction is for a run without --val: give one of the two"),
        ("setting", "--freeze must be one of conv1, conv2"),
        ("weights", "no weights 'nothing'; there are imagenet-distilled"),
        ("name", "the name of a weights file ends in .safetensors"),
        ("nothing", "No such file or directory"),
    ],
)
def test_bad_input_is_a_line_and_leaves_nothing(
    photos: Path,
    tmp_path: Path,
    short: list[str],
    capsys: pytest.CaptureFixture[str],
    change: str,
    message: str,
) -> None:
    given = damaged(photos, tmp_path, change)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    arguments = ["finetune", "-o", str(tmp_path / "m.safetensors"), "--on-error", "raise", "-q"]
    assert main([*arguments, *short, *given]) == 2
    assert message in one_line(capsys)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert set(after) == set(before)


def test_bad_images_that_are_left_out_are_told(
    photos: Path, tmp_path: Path, short: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = damaged(photos, tmp_path, "one bad")
    out = str(tmp_path / "m.safetensors")
    assert main(["finetune", *given, "-o", out, *short, "-q"]) == 1
    told = "1 image could not be read, left out: ants/3.png"
    assert told in capsys.readouterr().out


def test_where_the_frozen_head_is_better_it_is_told_how_to_have_it(
    photos: Path, tmp_path: Path, short: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, head = tmp_path / "m.safetensors", tmp_path / "m.head"
    command = ["finetune", str(photos), "-o", str(out), *short, "-q"]
    command += ["--start", "new", "--lr", "1e-12"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "the network written is the fine-tuned one" in output
    assert output.endswith(f"  the same command with --resume --save-head {head} writes the head\n")
    assert main([*command, "--resume", "--save-head", str(head)]) == 0
    assert capsys.readouterr().out.endswith(f"  the head is in {head}\n")
    assert main(["predict", str(head), str(photos), "--format", "csv"]) == 0


def test_lists_have_their_labels(
    photos: Path, tmp_path: Path, short: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = []
    for name, rows in (("train", range(4)), ("val", range(4, 6))):
        paths = [photos / folder / f"{i}.png" for folder in ("ants", "bees") for i in rows]
        (tmp_path / f"{name}.txt").write_text("".join(f"{path}\n" for path in paths))
        labels = [path.parent.name.upper() for path in paths]
        (tmp_path / f"{name}.labels").write_text("\n".join(labels) + "\n")
        given += [str(tmp_path / f"{name}.txt"), str(tmp_path / f"{name}.labels")]
    train, labels_of_train, val, labels_of_val = given
    command = ["finetune", train, "--labels", labels_of_train, "--val", val, *short, "-q"]
    out = str(tmp_path / "m.safetensors")
    assert main([*command, "--val-labels", labels_of_val, "-o", out]) == 0
    assert "2 classes, 8 training images" in capsys.readouterr().out
    assert load_weights(out).class_names == ("ANTS", "BEES")


@pytest.mark.parametrize("out", ["", ".safetensors"])
def test_a_file_needs_a_name(
    photos: Path, short: list[str], out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finetune", str(photos), *short, "-o", out]) == 2
    assert f"{out!r}: is no name for a weights file; expected one such as" in one_line(capsys)


@pytest.mark.slow
@pytest.mark.faults
def test_a_run_that_is_stopped_goes_on(
    photos: Path, tmp_path: Path, weights: str, child_env: dict[str, str]
) -> None:
    out = tmp_path / "m.safetensors"

    def start(*more: str) -> forked.Forked:
        how = ["-w", weights, "--epochs", 60, "--checkpoint-steps", 5, *SMALL, *more]
        env = {**child_env, "OMP_NUM_THREADS": "1"}
        return forked.start(env, TINY, "finetune", photos, "-o", out, *how)

    first = start()
    until(lambda: list((tmp_path / "m.finetune").glob("run/checkpoints/step-*.safetensors")), first)
    first.send_signal(signal.SIGTERM)
    said, complained = first.communicate()
    assert first.returncode == 143, complained
    assert said == ""
    assert "holds what is finished: run the same again with --resume to go on" in complained
    assert not out.exists()
    refused = start()
    _, complained = refused.communicate()
    assert refused.returncode == 2
    assert "holds a run already; give --resume to go on with it" in complained
    again = start("--resume", "--json", "-q")
    said, complained = again.communicate()
    assert again.returncode == 0, complained
    assert json.loads(said)["epochs"] == 60
    assert out.exists()

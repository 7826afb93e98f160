"""``decaf train`` as a command: what it takes, prints and exits with."""

from __future__ import annotations

import json
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import decaf
import forked
from decaf.cli.main import main
from decaf.cli.train import _errors
from decaf.train import train_network
from decaf.train.log import read_log
from decaf.train.pack.build import make_pack
from decaf.train.recipe import TrainSettings
from decaf.train.validate import Validation
from forked import until

TINY = Path(__file__).parents[1] / "support/tiny_network.py"
# A step of the smallest network that has a name takes a second; nothing here needs many.
SMALL = ["--arch", "alexnet-64", "--precision", "fp32", "--device", "cpu", "-j", "1"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for name in ("ants", "bees"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    path = root / "data.pack"
    make_pack(root, path, size=40, encoding="raw", workers=0).close()
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_network, "draw_curves", lambda *_: None)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said, complained = capsys.readouterr()
    assert said == ""
    assert complained.startswith("decaf: ")
    assert complained.count("\n") == 1
    return complained


def test_every_setting_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    for field in fields(TrainSettings):
        assert f"--{field.name.replace('_', '-')}" in output
    assert "Probability of dropping a unit of fc6 and fc7 (4.2)" in output
    assert "--no-batch-norm" in output


def test_arguments_become_settings(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainSettings] = []

    def train(_pack: object, _out: object, settings: TrainSettings, **_: object) -> None:
        seen.append(settings)
        raise OSError("enough")

    monkeypatch.setattr(decaf, "train_network", train)
    given = ["--preset", "alexnet-2012", "--lr", "0.5", "--no-lrn", "--activation", "tanh"]
    given += ["--crop-area", "0.2", "0.9", "--epochs", "2.5", "--seed", "9", "--no-overlap"]
    assert main(["train", str(pack), "-o", str(tmp_path / "run"), *given]) == 2
    (settings,) = seen
    assert (settings.preset, settings.lr, settings.lrn) == ("alexnet-2012", 0.5, False)
    assert (settings.activation, settings.crop_area) == ("tanh", (0.2, 0.9))
    assert (settings.epochs, settings.seed, settings.overlap) == (2.5, 9, False)
    assert (settings.momentum, settings.mirror) == (0.9, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--preset", "modem"],
            "no preset 'modem'; there are alexnet-2012, modern, small, distil",
        ),
        (["--arch", "resnet"], "no architecture 'resnet'"),
        (
            ["--lr", "-1", "--momentum", "3"],
            "--lr must be above 0 and at most 100, got -1; --momentum",
        ),
        (["--batch-size", "4", "--keep", "0"], "--keep must be above 0, got 0"),
        (["--batch-size", "4", "--init-from", "nothing"], "no weights 'nothing'"),
        (["--batch-size", "99"], "--batch-size 99 is more than the 16 training images"),
        (["--device", "cuda:77"], "--device 'cuda:77'"),
    ],
)
def test_mistakes_are_a_line(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(pack), "-o", str(out), *SMALL, "--quiet", *more]) == 2
    assert message in one_line(capsys)
    assert not out.exists()


def test_what_is_no_pack_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(b"no pack")
    assert main(["train", str(tmp_path / "x"), "-o", str(tmp_path / "run")]) == 2
    assert "x" in one_line(capsys)


def start(env: dict[str, str], *args: object) -> forked.Forked:
    how = ["--arch", "tiny", "--precision", "fp32", "--device", "cpu", "--batch-size", "8"]
    more = ["--no-tensorboard", "-j", "1"]
    return forked.start({**env, "OMP_NUM_THREADS": "1"}, TINY, "train", *args, *how, *more)


@pytest.mark.slow
@pytest.mark.faults
def test_a_run_from_the_command_line(pack: Path, tmp_path: Path, child_env: dict[str, str]) -> None:
    """Stopped by a signal, a checkpoint damaged, gone on with, told as JSON, and refused again."""
    out = tmp_path / "run"
    first = start(child_env, pack, "-o", out, "--epochs", "60", "--checkpoint-steps", "5")
    until(lambda: len(list(out.glob("checkpoints/step-*"))) >= 3, first)
    psutil.Process(first.pid).suspend()  # or it might be done before the other has begun
    refused = start(child_env, pack, "-o", out, "--epochs", "60", "--resume")
    said, complained = refused.communicate()
    assert refused.returncode == 2
    assert f"another run is writing here (process {first.pid} on " in complained
    assert complained.count("\n") == 1
    first.send_signal(signal.SIGTERM)
    psutil.Process(first.pid).resume()
    said, complained = first.communicate()
    assert first.returncode == 143, complained
    assert said == ""
    assert "decaf: stopping after this step; once more to stop at once" in complained
    assert "run the same again with --resume to go on" in complained.splitlines()[-1]
    newest = sorted(out.glob("checkpoints/step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    again = start(child_env, pack, "-o", out, "--epochs", "60", "--resume", "--json")
    said, complained = again.communicate()
    assert again.returncode == 0, complained
    result = json.loads(said)
    assert result["epochs"] == 60
    assert result["validation"]["images"] == 6
    # There are two classes: five answers are more than all.
    assert result["validation"]["top5_error"] is None
    assert "top-5" not in _errors(Validation(**result["validation"]))
    rows = read_log(out / "log.csv")
    assert any("val_top1_error" in row for row in rows)
    assert not any("val_top5_error" in row for row in rows)
    assert result["folder"] == str(out)
    warned = [line for line in complained.splitlines() if "going back to the one before" in line]
    assert len(warned) == 1
    assert warned[0].startswith(f"decaf: {newest}: is damaged")
    assert all(line.startswith("decaf: ") for line in complained.splitlines())


def test_a_diverged_run_exits_with_2(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "decaf.train.feed.lighting_shift", lambda alpha, *_: np.full_like(alpha, np.inf)
    )
    threads = torch.get_num_threads()
    more = ["--batch-size", "4", "--no-batch-norm", "--lighting", "1", "--average", "0", "-q"]
    assert main(["train", str(pack), "-o", str(tmp_path / "run"), *SMALL, *more]) == 2
    told = "the loss is not a finite number; nothing was saved yet; try, with another --out, a"
    assert told in one_line(capsys)
    assert torch.get_num_threads() == threads

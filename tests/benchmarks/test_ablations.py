"""The script of the ablations: arguments, what is kept, what is written."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

Script = Callable[..., int]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Run the script, with results below ``out``."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("DECAF_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> int:
        out = str(tmp_path / "out")
        monkeypatch.setattr(
            sys, "argv", [str(SCRIPTS / "ablations.py"), *arguments, "--out", out, "-j", "0"]
        )
        code: int = importlib.import_module("ablations").main()
        return code

    return run


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Two classes of 32 pixels: brighter on the left, or on the right."""
    random = np.random.default_rng(0)
    for name, columns in (("left", slice(0, 16)), ("right", slice(16, 32))):
        folder = tmp_path / "cifar" / "train" / name
        folder.mkdir(parents=True)
        for number in range(32):
            pixels = random.integers(0, 150, (32, 32, 3))
            pixels[:, columns] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "cifar"


@pytest.mark.slow
def test_relu_and_tanh_from_a_folder_of_png(
    script: Script, cifar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--part", "activation", "--cifar", str(cifar), "--seeds", "2", "--rates", "0.02", "0.05",
        "--cifar-epochs", "99",
    )  # fmt: skip
    assert script(*options) == 0
    printed, told = capsys.readouterr()
    assert "relu, learning rate 0.05, seed 0" in told
    (page,) = (tmp_path / "out").glob("ablations-partial-*.json")
    report = json.loads(page.read_bytes())
    assert "a partial run: --part activation" in report["title"]
    assert str(tmp_path) not in json.dumps(report)
    assert report["command"].startswith("python benchmarks/ablations.py --part activation --cifar")
    table, curve = report["sections"][:2]
    assert [row["name"] for row in table["rows"]] == ["ReLU", "tanh"]
    for row in table["rows"]:
        assert 0 < row["cells"][1]["mean"] < 99
    assert [s["name"].split(",")[0] for s in curve["series"]] == ["ReLU", "tanh", "25 %"]
    assert curve["series"][0]["mean"][0] == 50  # guessing, of two classes
    for ending in (".md", ".html", "-curve.svg"):
        assert page.with_name(page.stem + ending).is_file()

    assert script(*options) == 0
    again, _ = capsys.readouterr()
    assert again == printed  # to the digit of the seconds: nothing was trained again


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--cifar is missing; --part measures one of the two parts alone"),
        (("--part", "switches"), "--images is missing"),
        (("--part", "switches", "--images", "no/such"), "--images no/such: is not there"),
        (("--part", "switches", "--images", ".", "--switches", "batch"), "switches batch: there"),
        (("--part", "activation", "--cifar", ".", "--rates", "-1"), "learning rates (-1.0,)"),
    ],
)
def test_a_mistake_is_one_line(
    script: Script, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    assert script(*arguments) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]

"""``decaf pack`` as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import systems
from decaf.cli.main import main
from decaf.runtime.wording import printable
from decaf.train.pack.reader import Pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            image = Image.fromarray(np.full((20, 30, 3), 40 * i + number, np.uint8))
            image.save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def pack(folder: Path, *more: str) -> int:
    out = str(folder.parent / "pets.pack")
    return main(["pack", str(folder), "-o", out, "-j", "0", "-q", "--size", "16", *more])


def test_the_summary_has_splits_size_and_statistics(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(folder, "--split-val", "0.3") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.fullmatch(
        rf"{folder.parent}/pets\.pack: train 4, val 2 images of 2 classes, 16 × 16 jpeg, "
        r"[\d.]+ KiB\n  mean 0\.\d{4} 0\.\d{4} 0\.\d{4}\n  std  0\.\d{4} 0\.\d{4} 0\.\d{4}\n",
        captured.out,
    )
    with Pack.open(folder.parent / "pets.pack") as made:
        assert made.run["split_val"] == 0.3
        assert made.run["quality"] == 92


def test_all_settings_arrive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--encoding", "raw", "--resize", "warp", "--val", str(folder), "--json"]
    assert pack(folder, *settings) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["encoding"], info["run"]["resize"], info["size"]) == ("raw", "warp", 16)
    assert {name: split["images"] for name, split in info["splits"].items()} == {
        "train": 6,
        "val": 6,
    }
    assert info["bad"] == []
    assert info["seconds"] >= 0


def test_bad_images_are_named_and_give_code_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = systems.possible_name("a\nb.jpg")
    (folder / "cats" / name).write_bytes(b"")
    assert pack(folder) == 1
    output = capsys.readouterr().out
    assert "  1 image could not be read, left out:\n" in output
    assert f"    train: cats/{printable(name)}: file of zero bytes" in output
    assert pack(folder, "--json") == 1  # complete: the same again
    assert json.loads(capsys.readouterr().out)["bad"] == [
        {
            "split": "train",
            "name": f"cats/{name}",
            "status": "empty",
            "message": "file of zero bytes",
        }
    ]
    assert pack(folder, "--on-error", "raise", "--overwrite") == 2
    assert f"'cats/{printable(name)}': file of zero bytes (empty)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size", "0"], "--size 0: must be a whole number from 1 to 4096"),
        (["--split-val", "2"], "--split-val 2.0: must be between 0 and 1"),
        (["--val", "/nowhere"], "'/nowhere': No such file or directory"),
        (["--devkit", "/nowhere"], "'/nowhere': is neither an archive nor a folder"),
        (["--encoding", "png"], "invalid choice: 'png'"),
    ],
)
def test_mistakes_are_a_line_and_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert pack(folder, *more) == 2
    complained = capsys.readouterr().err.splitlines()
    assert message in complained[-1]
    assert not (folder.parent / "pets.pack").exists()


def test_other_settings_are_refused_until_overwrite(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(folder) == 0
    assert pack(folder, "--quality", "50") == 2
    assert "exists and differs from this run (quality: 92 there, 50 now)" in capsys.readouterr().err
    assert pack(folder, "--quality", "50", "--overwrite") == 0

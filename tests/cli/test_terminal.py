"""Names and numbers on a terminal: nothing that it would obey gets through from a name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import systems
from decaf.backbone.weights.load import load_weights, save_weights
from decaf.cli import main as main_module
from decaf.cli.main import main
from decaf.runtime.wording import byte_size, printable

NASTY = systems.possible_name("\x1b[2J\n\u202e\x9b31m")


@given(st.binary() | st.text())
def test_a_name_stays_on_one_line_and_can_be_encoded(name: bytes | str) -> None:
    shown = printable(name)
    shown.encode("utf-8")
    assert shown.isprintable()


def test_plain_names_are_left_alone() -> None:
    assert printable("Müller/α ×.jpg") == "Müller/α ×.jpg"
    assert printable("Müller.jpg".encode()) == "Müller.jpg"
    assert printable(b"\x1b[31m\xff") == "\\x1b[31m\\xff"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (1_023_999, "0.977 MiB"),
        (2**40 * 5, "5 TiB"),
    ],
)
def test_byte_size(count: int, shown: str) -> None:
    assert byte_size(count) == shown


def test_numbers_of_things_are_worded_in_one_place() -> None:
    """`counted` knows that one image is no images."""
    things = "images|rows|files|parts|pairs|units|groups|classes|epochs|columns|values"
    plural = re.compile(rf"\{{[^{{}}]+\}} ((training|validation|held-out|other) )?({things})\b")
    wrong = [
        f"{path.name}: {line.strip()}"
        for path in sorted(Path(main_module.__file__).parent.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if plural.search(line)
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, features, a head and a network, all with such names."""
    folder = tmp_path_factory.mktemp("terminal")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        place = folder / f"photos{NASTY}" / f"{name}{NASTY}"
        place.mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}{NASTY}.png")
    (folder / f"photos{NASTY}" / f"a{NASTY}" / f"bad{NASTY}.png").write_bytes(b"<html>\x1b[2J")
    weights = load_weights("random:0:alexnet-64")
    save_weights(folder / f"net{NASTY}.safetensors", weights)
    return folder


COMMANDS = [
    ["extract", "PHOTOS", "-o", "F.h5", "-w", "NET", "-l", "fc6", "-l", "prob", "-j", "0"],
    ["extract", "PHOTOS", "-o", "G.h5", "-w", "NET", "-j", "0", "--on-error", "raise"],
    ["extract", "none", "-o", "G.h5", "-w", "NET"],
    ["info", "F.h5"],
    ["verify", "F.h5", "PHOTOS", "--rows", "3"],
    ["verify", "F.h5", "PHOTOS/a", "-w", "none"],
    ["export", "F.h5", "-o", "x.npy", "-l", "fc6"],
    ["export", "F.h5", "-o", "x.npy", "-l", "fc6"],
    ["fit", "F.h5", "-o", "h.head", "-l", "fc6", "-C", "1"],
    ["fit", "F.h5", "-o", "h.head", "-l", "fc6", "-C", "1"],
    ["info", "h.head"],
    ["predict", "h.head", "PHOTOS", "--format", "text", "-j", "0", "-q"],
    ["predict", "h.head", "PHOTOS", "-o", "x.csv", "-j", "0", "-q"],
    ["predict", "h.head", "PHOTOS", "-o", "x.csv", "-j", "0", "-q"],
    ["predict", "h.head"],
    ["pack", "PHOTOS", "-o", "p.pack", "--size", "16", "-q"],
    ["info", "p.pack"],
    ["summary", "NET"],
    ["info", "NET"],
    ["evaluate", "NET", "PHOTOS", "--match", "order", "--per-class", "-q", "-j", "0"],
    ["train", "PHOTOS", "-o", "run"],
    ["import", "NET", "-o", "again.safetensors"],
    ["distil", "none", "--teacher", "none", "-o", "run"],
    ["finetune", "none", "-o", "x.safetensors"],
    ["\x1b[2J"],
    ["info", "a", "\x1b[2J"],
]


@pytest.mark.slow
def test_nothing_of_a_name_reaches_a_terminal(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    names = {"PHOTOS": f"photos{NASTY}", "NET": f"net{NASTY}.safetensors"}
    for command in COMMANDS:
        given = []
        for word in command:
            stem, dot, ending = word.partition(".")
            if word in names:
                given.append(names[word])
            elif word == "none" or (dot and not word.startswith(("-", "\x1b"))):
                given.append(f"{stem}{NASTY}{dot}{ending}")
            else:
                given.append(word)
        main(given)
        captured = capsys.readouterr()
        for text in (captured.out, captured.err):
            wrong = {sign for sign in text if not sign.isprintable() and sign != "\n"}
            assert not wrong, (command, text)
        # One line for a mistake (after the usage, where arguments are wrong).
        if captured.err.startswith("decaf: "):
            assert all(line.startswith("decaf: ") for line in captured.err.splitlines()), command


@pytest.mark.slow
def test_csv_on_a_terminal(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    photographs = f"photos{NASTY}"
    for form in ("csv", "json", "text"):
        main(["predict", "random:0:alexnet-64", photographs, "--format", form, "-q", "-j", "0"])
        text = capsys.readouterr().out
        assert len(text.splitlines()) > 13
        assert not {sign for sign in text if not sign.isprintable() and sign != "\n"}

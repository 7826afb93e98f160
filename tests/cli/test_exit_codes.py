"""The codes that commands end with; and signals, in a process of their own where one ends it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import decaf
import decaf.scale
import tiny_network
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.main import COMMANDS, build_parser, commands_of, main
from decaf.images.spec import PreprocessSpec

CAFFE = Path(__file__).parents[1] / "backbone" / "caffe" / "golden" / "small.caffemodel"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_event_and_the_code(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with stopped_by_signals("stopping after this step") as stop:
        assert not stop.event.is_set()
        signal.raise_signal(number)
        assert stop.event.wait(5)
    assert stop.exit_code == 128 + number
    assert capfd.readouterr().err == (
        "\ndecaf: stopping after this step; once more to stop at once\n"
    )
    assert {each: signal.getsignal(each) for each in before} == before


def test_handlers_are_put_back_after_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), stopped_by_signals("y"):
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.faults
def test_the_second_signal_ends_the_process(child_env: dict[str, str]) -> None:
    code = (
        "import signal\n"
        "from decaf.cli.exit_codes import stopped_by_signals\n"
        "with stopped_by_signals('stopping'):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('alive', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still alive', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=False
    )
    assert done.returncode in (-signal.SIGTERM, 3)  # that of C's `raise` on Windows
    assert done.stdout == "alive\n"
    assert done.stderr.count("stopping; once more") == 1


# A call of each command that ends with 0, with 1 (where it can), and with 2, in that order.
CALLS: dict[str, tuple[str | None, str | None, str]] = {
    "fit": (
        "PHOTOS -o OUT/h.head -w NET --layer fc6 -C 1 -j 0 -q",
        "BROKEN -o OUT/i.head -w NET --layer fc6 -C 1 -j 0 -q",
        "ABSENT -o OUT/j.head -w NET",
    ),
    "predict": ("NET PHOTOS/ant -j 0 -q", "NET BROKEN/ant -j 0 -q", "NET ABSENT"),
    "demo": (None, None, "ABSENT.head --no-browser"),
    "extract": (
        "PHOTOS -o OUT/f.h5 -w NET -l fc6 -j 0 -q",
        "BROKEN -o OUT/g.h5 -w NET -l fc6 -j 0 -q",
        "ABSENT -o OUT/x.h5 -w NET",
    ),
    "info": ("OUT/f.h5", None, "ABSENT"),
    "status": ("PARTS/", "UNFINISHED/", "PHOTOS/"),
    "verify": ("OUT/f.h5 -w NET", "GONE -w NET", "TAMPERED -w NET"),
    "search": (
        "OUT/f.h5 PHOTOS/ant/0.png -j 0",
        "OUT/f.h5 BROKEN/ant/9.png -w NET -j 0",
        "ABSENT a.png",
    ),
    "duplicates": ("OUT/f.h5 -q", "GONE -q", "ABSENT"),
    "compare": ("OUT/f.h5 OUT/f.h5", None, "OUT/f.h5 ABSENT"),
    "export": ("OUT/f.h5 -o OUT/x.npy", None, "OUT/g.h5 -o OUT/x.npy"),
    "explore": (
        "OUT/f.h5 -o OUT/p.html --method pca -q",
        "OUT/g.h5 -o OUT/q.html --method pca -q",
        "ABSENT -o OUT/r.html",
    ),
    "summary": ("alexnet-64", None, "ABSENT"),
    "visualize": (
        "NET PHOTOS/ant -o OUT/v.png --units 0 -j 0 -q",
        "NET BROKEN/ant -o OUT/w.png --units 0 -j 0 -q",
        "NET ABSENT -o OUT/u.png",
    ),
    "finetune": (
        "PHOTOS -o OUT/t.safetensors -w NET --epochs 1 --precision fp32 -j 1 -q",
        "BROKEN -o OUT/u.safetensors -w NET --epochs 1 --precision fp32 -j 1 -q",
        "PHOTOS -o OUT/t.safetensors -w NET",
    ),
    "pack": (
        "PHOTOS -o OUT/p.pack --size 72 --split-val 0.3 -j 0 -q",
        "BROKEN -o OUT/q.pack --size 72 -j 0 -q",
        "PHOTOS -o OUT/p.pack --size 8 -j 0",
    ),
    "train": (
        "OUT/p.pack -o OUT/run --arch tiny --epochs 1 --batch-size 4 --precision fp32 -j 1 -q",
        None,
        "OUT/p.pack -o OUT/run --arch tiny",
    ),
    "distil": (
        (
            "OUT/p.pack --teacher NET -o OUT/student --arch tiny --epochs 1 --batch-size 4"
            " --views 1 --precision fp32 -j 1 -q"
        ),
        None,
        "OUT/p.pack --teacher NET -o OUT/student --arch tiny",
    ),
    "import": ("CAFFE -o OUT/c.safetensors --mean 1,2,3", None, "ABSENT -o OUT/d.safetensors"),
    "localise": (
        "PHOTOS --boxes BOXES -o OUT/b.safetensors -w NET -j 0 -q",
        None,
        "PHOTOS --boxes ABSENT -o OUT/e.safetensors -w NET",
    ),
    "evaluate": ("NET PHOTOS -j 0 -q", "NET BROKEN -j 0 -q", "NET ABSENT"),
    "doctor": ("", "--device xpu", "more"),
    "completion": ("bash", None, "csh"),
    "man": ("", None, "more"),
}


def documented(command: str) -> set[int]:
    """Return the exit codes that the help of a command names; those of all, where it names none."""
    parser = commands_of(build_parser([command]))[command]
    about = " ".join((parser.epilog or "").split()).partition("Exit codes: ")[2]
    codes = {int(code) for code in re.findall(r"(?:^|; |and )(\d+)(?= )", about)}
    return codes or {0, 2}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("codes")
    random = np.random.default_rng(0)
    for name in ("ant", "bee", "cat", "dog"):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{number}.png")
    shutil.copytree(root / "photos", root / "broken")
    (root / "broken/ant/9.png").write_bytes(b"no image")
    preprocess = PreprocessSpec("decaf", "warp", resize_to=36, crop=32)
    state = random_state(tiny_network.TINY, 0)
    names = ("ant", "bee", "cat", "dog")
    net = Weights.of("net", tiny_network.TINY, preprocess, state, class_names=names)
    save_weights(root / "net.safetensors", net)
    lines = [f"{path},2,3,32,33" for path in sorted((root / "photos").rglob("*.png"))]
    (root / "boxes.csv").write_text("\n".join(["path,xmin,ymin,xmax,ymax", *lines]))
    gone = shutil.copytree(root / "photos", root / "gone")
    options: dict[str, Any] = {"weights": root / "net.safetensors", "workers": 0}
    for name in ("gone", "tampered"):
        decaf.extract(gone, "fc6", out=root / f"{name}.h5", **options).close()
    (gone / "ant/0.png").unlink()
    with h5py.File(root / "tampered.h5", "r+") as file:
        file["features/fc6"][0] += 1
    for name in ("000", "001"):
        shutil.make_archive(str(root / "shards" / name), "tar", root / "photos" / "ant")
    for name, shards in (("parts", "000"), ("unfinished", "{000,001}")):
        decaf.scale.extract_shards(
            f"{root}/shards/{shards}.tar", root / name, "fc6", progress=False, **options
        )
    next((root / "unfinished").glob("001-*")).unlink()
    (root / "out").mkdir()
    found = {
        **{name.upper(): str(root / name) for name in ("photos", "broken", "parts", "unfinished")},
        **{name.upper(): str(root / f"{name}.h5") for name in ("gone", "tampered")},
        "NET": str(root / "net.safetensors"),
        "BOXES": str(root / "boxes.csv"),
        "OUT": str(root / "out"),
        "ABSENT": str(root / "absent"),
        "CAFFE": str(CAFFE),
    }
    return found


def call(command: str, words: str, places: dict[str, str]) -> int:
    told = [
        re.sub(r"^([A-Z]{3,})", lambda found: places.get(found[1], found[1]), word)
        for word in words.split()
    ]
    return main([command, *told])


@pytest.mark.slow
def test_commands_end_with_the_codes_that_their_help_and_the_documentation_name(
    places: dict[str, str],
    tiny: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(places["OUT"])
    assert set(CALLS) == set(COMMANDS)
    with_one = set()
    for command in sorted(CALLS, key=["extract", "pack"].count, reverse=True):
        for expected, words in enumerate(CALLS[command]):
            if words is None:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = call(command, words, places)
            captured = capsys.readouterr()
            assert code == expected, (command, words, captured.err)
            assert code in documented(command), (command, code)
            if code == 1:
                with_one.add(command)
    for command in COMMANDS:
        assert (1 in documented(command)) == (command in with_one), command
        assert documented(command) <= {0, 1, 2, 130, 143}
    page = Path(__file__).parents[2] / "docs/reference/exit-codes.md"
    about = page.read_text(encoding="utf-8")
    # Where 1 tells something else than that images could not be read, the page names the command.
    others = {"verify", "duplicates", "status", "doctor"}
    assert {name for name in COMMANDS if f"`decaf {name}`" in about} == others
    for code in (0, 1, 2, 130, 143):
        assert re.search(rf"\b{code}\b", about)
    assert main(["man"]) == 0
    page = capsys.readouterr().out.partition(".SH EXIT STATUS")[2]
    for name in others:
        assert name in page

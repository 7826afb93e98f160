"""The benchmark of domain adaptation as a script: what it prints and writes, and its exit codes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import decaf

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

Script = Callable[..., int]

FAST = ("--weights", "random:0:alexnet-64", "-j", "0", "--device", "cpu", "--C", "1")
CLASSES = ("dog", "house")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Run the script in this process, with a cache of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("DECAF_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> int:
        name = str(SCRIPTS / "domain_adaptation.py")
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--out", str(tmp_path / "out")])
        code: int = importlib.import_module("domain_adaptation").main()
        return code

    return run


def photographs(root: Path, domains: tuple[str, ...], each: int = 5) -> Path:
    random = np.random.default_rng(0)
    for place, domain in enumerate(domains):
        for label, name in enumerate(CLASSES):
            for number in range(each):
                pixels = 60 + 90 * label + 40 * place + random.integers(-30, 30, (64, 64, 3))
                file = root / domain / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


@pytest.mark.slow
def test_a_folder_of_domains(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photographs(tmp_path / "seasons", ("summer", "winter"))
    options = ("--data", str(data), "--quick", "--methods", "svm-s", "svm-st", "coral")
    assert script(*options, *FAST) == 0
    printed, told = capsys.readouterr()
    assert "Mean over 2 pairs, 3 labelled target images a class\nMethod" in printed
    for row in ("SVM (S)", "SVM (ST)", "CORAL"):
        assert f"\n{row}  " in printed
    assert "note: classes with fewer images than are taken of a source give all they" in printed
    assert "10/10 fc6 winter → summer, split 0, unsupervised, CORAL: " in told
    out = tmp_path / "out"
    report = json.loads((out / "domain_adaptation-seasons-quick.json").read_bytes())
    assert str(tmp_path) not in json.dumps(report)
    assert report["command"].startswith("python benchmarks/domain_adaptation.py --data DIR --quick")
    assert "standard deviation" not in (out / "domain_adaptation-seasons-quick.md").read_text(
        encoding="utf-8"
    )
    for ending in (".md", ".html", "-scatter.svg", "-splits.json"):
        assert (out / f"domain_adaptation-seasons-quick{ending}").is_file()

    first = printed.partition("wrote")[0]
    assert script(*options, *FAST) == 0
    printed, told = capsys.readouterr()
    assert printed.partition("wrote")[0] == first  # to the digit
    assert "fits to be made" not in told

    manifest = out / "domain_adaptation-seasons-quick-splits.json"
    assert script(*options, "--splits", str(manifest), *FAST) == 0
    text = (out / "domain_adaptation-seasons-quick.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert f"--splits {manifest.name} " in json.loads(text)["command"]


@pytest.mark.slow
def test_features_beside_the_layers(script: Script, tmp_path: Path) -> None:
    """Layer fc6, given as an array and its list of rows, has the figures of layer fc6."""
    data = photographs(tmp_path / "seasons", ("summer", "winter"))
    path, weights = tmp_path / "own.h5", "random:0:alexnet-64"
    decaf.extract(data, "fc6", out=path, weights=weights, device="cpu", workers=0, labels="none")
    decaf.export_features(path, tmp_path / "own.npy")
    options = ("--data", str(data), "--quick", "--methods", "svm-s", "svm-st", "coral")
    given = ("--features", f"own={tmp_path}/own.npy", "--paths", f"{tmp_path}/own.rows.csv")
    assert script(*options, *given, *FAST) == 0
    name = "domain_adaptation-seasons-quick.json"
    report = json.loads((tmp_path / "out" / name).read_bytes())
    assert "--features own=own.npy --paths own.rows.csv" in report["command"]
    tables = [each for each in report["sections"] if each["kind"] == "Table"]
    assert len(tables) >= 2
    for each in tables:
        assert [column["name"] for column in each["columns"]] == ["fc6", "own"]
        for row in each["rows"]:
            assert row["cells"][0] == row["cells"][1]


@pytest.mark.slow
def test_features_in_matlab_files(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    folder = tmp_path / "features"
    folder.mkdir()
    for domain in ("amazon", "Caltech10", "dslr", "webcam"):
        count = 24 if domain in ("dslr", "webcam") else 44
        labels = 1 + np.arange(count)[:, None] % 2
        rows = random.random((count, 6)) + labels
        savemat(folder / f"{domain}_SURF_L10.mat", {"fts": rows, "labels": labels})
    options = ("--features", str(folder), "--pairs", "amazon:webcam", "--methods", "svm-s", "daume")
    assert script(*options, "--splits", "2", "--C", "1") == 0
    printed, _ = capsys.readouterr()
    assert "amazon → webcam, 3 labelled target images a class\nMethod" in printed
    assert "SURF_L10" in printed
    assert "published" not in printed  # the paper's are of Office-31
    name = "domain_adaptation-office_caltech_10-partial-pairs-amazon-webcam-m"
    (file,) = (tmp_path / "out").glob("*.md")
    assert file.name.startswith(name)  # never that of all pairs
    page = file.read_text(encoding="utf-8")
    assert "domain adaptation on features (a partial run: --pairs amazon:webcam --meth" in page
    assert "source images a class (20 from amazon and caltech, 8 from dslr and webcam), and" in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "and as the source 20 are taken"),
        (("--quick", "--pairs", "summer"), "--pairs summer: expected SOURCE:TARGET"),
        (("--quick", "--methods", "magic"), "methods magic: not of logreg-s"),
        (("--quick", "--C", "some"), "--C some: expected a number above 0, or cv"),
        (("--quick", "--protocol", "office"), "no Office-31 here: expected the folders"),
        (("--quick", "--splits", "none.json"), "none.json: No such file"),
        (("--quick", "--features", "DIR"), "--features: expected NAME=FILE, such as clip=clip.npy"),
        (("--quick", "--features", "fc6=none.npy"), "none.npy: is not there, not a matrix of feat"),
    ],
)
def test_a_users_mistake_is_one_line(
    script: Script,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    data = photographs(tmp_path / "seasons", ("summer", "winter"), 2)
    assert script("--data", str(data), *more, *(() if "--C" in more else FAST)) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    last = told.strip().splitlines()[-1]
    assert message in last


@pytest.mark.parametrize("words", [(), ("--features", "A", "--features", "B")])
def test_no_data(
    script: Script, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert script(*words) == 2
    told = capsys.readouterr().err
    assert "give --data DIR, with --features NAME=FILE or without; or --features DIR alone" in told


@pytest.mark.slow
def test_unreadable_images_are_left_out_and_told(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photographs(tmp_path / "seasons", ("summer", "winter"), 6)
    (data / "winter" / "dog" / "3.png").write_bytes(b"no image")
    options = ("--data", str(data), "--quick", "--methods", "svm-s", "--target", "1")
    assert script(*options, *FAST) == 1
    printed, _ = capsys.readouterr()
    assert "1 of 24 images could not be read and were left out; the first is winter/dog/3.png" in (
        printed
    )

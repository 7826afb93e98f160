"""The benchmark scripts: arguments, exit codes, what they print and write."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from bird_fixtures import Bird

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

Script = Callable[..., int]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Run a script of ``benchmarks/`` in this process, with a cache of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("DECAF_CACHE", str(tmp_path / "cache"))

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{name}.py"), *arguments])
        code: int = importlib.import_module(name).main()
        return code

    return run


def photographs(root: Path, classes: tuple[str, ...], each: int) -> Path:
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        colour = random.integers(0, 255, 3)
        for image in range(each):
            pixels = colour + random.integers(-40, 40, (64, 64, 3)) + 3 * number
            file = root / name / f"image_{image:04}.jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


FAST = ("-w", "random:0:alexnet-64", "-j", "0", "--device", "cpu", "-l", "fc7")


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra_one_line_says_what_to_install(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.path[0] = {str(SCRIPTS)!r}; import report"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"benchmarks need {module}; install it with: pip install 'decaf-features[baselines]'\n"
    )


@pytest.mark.slow
def test_caltech101(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = photographs(tmp_path / "101_ObjectCategories", ("ant", "bass", "crab"), 6)
    options = ("--data", str(data), "--quick", "--train", "4", "--out", str(tmp_path / "out"))
    assert script("caltech101", *options, *FAST) == 0
    printed, told = capsys.readouterr()
    assert "Donahue" not in printed.partition("note:")[0]
    assert (
        "note: no published numbers stand here, for their protocol is another: 3 classes, not 102; "
        "4 training images a class, not 30; 18 images, not 9,144" in printed
    )
    assert "note: an excerpt of Caltech-101: 3 of 102 classes, 18 of 9,144 images" in printed
    assert "4/4 random:0:alexnet-64 fc7 SVM with dropout, split 0:" in told
    report = json.loads((tmp_path / "out" / "caltech101-quick.json").read_bytes())
    assert str(tmp_path) not in json.dumps(report)
    assert report["command"].startswith("python benchmarks/caltech101.py --data DIR --quick ")
    assert "standard deviation" not in (tmp_path / "out" / "caltech101-quick.md").read_text(
        encoding="utf-8"
    )
    for ending in (".md", ".html", "-splits.json"):
        assert (tmp_path / "out" / f"caltech101-quick{ending}").is_file()

    first = printed.partition("wrote")[0]
    assert script("caltech101", *options, *FAST) == 0
    printed, told = capsys.readouterr()
    assert printed.partition("wrote")[0] == first  # to the digit
    assert "in the cache" in told
    assert " s\n" not in told  # no head was fitted


@pytest.mark.slow
def test_features_beside_the_layers(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layer fc7, given as a feature file and as an array, has the figures of layer fc7."""
    data = photographs(tmp_path / "101_ObjectCategories", ("ant", "bass", "crab"), 6)
    path = tmp_path / "own.h5"
    decaf.extract(data, "fc7", out=path, weights="random:0:alexnet-64", device="cpu", workers=0)
    decaf.export_features(path, tmp_path / "own.npy")
    options = ("--data", str(data), "--quick", "--train", "4", "--out", str(tmp_path / "out"))
    options += ("--features", f"a={tmp_path}/own.npy", f"--paths={tmp_path}/own.rows.csv")
    options += (f"--features=b={path}", "--curve-layer", "b")
    assert script("caltech101", *options, *FAST) == 0
    report = json.loads((tmp_path / "out" / "caltech101-quick.json").read_bytes())
    assert str(tmp_path) not in json.dumps(report)
    assert "--features a=own.npy --paths own.rows.csv --features b=own.h5" in report["command"]
    assert "--features a=own.npy b=own.h5" in report["title"]
    main = report["sections"][0]
    assert [column["name"] for column in main["columns"]] == ["fc7", "a", "b"]
    heads = ["LogReg", "LogReg with dropout", "SVM", "SVM with dropout"]
    assert [row["name"] for row in main["rows"]] == heads
    for row in main["rows"]:
        assert row["cells"][0] == row["cells"][1] == row["cells"][2]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("features", "paths", "message"),
    [
        (["clip.npy"], [], "--features: expected NAME=FILE, such as clip=clip.npy"),
        (["fc7=clip.npy"], ["paths.txt"], "features fc7 have the name of a layer; give them anoth"),
        (["a=none.npy"], ["paths.txt"], "none.npy: is not there, not a matrix of features: .npy, "),
        (
            ["a=clip.npy"],
            [],
            "clip.npy: does not say which image a row is of: give `paths`, ",
        ),
        (["a=short.npy"], ["paths.txt"], "short.npy: has 11 rows, and paths file "),
        (["a=short.npy"], ["short.txt"], "has no row for 1 of 12 images: bass/image_0005.jpg"),
        (["a=clip.npy"], ["strange.txt"], "clip.npy: row 11, 'bass/no.jpg', is none of the images"),
        (
            ["a=nan.npy"],
            ["paths.txt"],
            "hold NaN, infinity or numbers beyond float32, the fi",
        ),
        (["a=maps.npy"], ["paths.txt"], "maps.npy: features of shape (12, 2, 2); expected (rows"),
        (["a=text.npy"], ["paths.txt"], "text.npy: features of type <U3; expected plain real numb"),
        ([], ["paths.txt"], "--paths: expected one list for all --features, or NAME=LIST for one"),
    ],
)
def test_features_that_do_not_fit_are_refused_in_a_line(
    script: Script,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    features: list[str],
    paths: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = photographs(tmp_path / "101_ObjectCategories", ("ant", "bass"), 6)
    names = [str(path.relative_to(data)) for path in sorted(data.rglob("*.jpg"))]
    rows = np.arange(48.0).reshape(12, 4)
    arrays = {"clip": rows, "short": rows[:11], "maps": rows.reshape(12, 2, 2), "nan": rows.copy()}
    arrays["nan"][3, 1] = np.nan
    for name, array in {**arrays, "text": np.full((12, 4), "1.0")}.items():
        np.save(f"{name}.npy", array)
    lists = {"paths": names, "short": names[:11], "strange": [*names[:11], "bass/no.jpg"]}
    for name, listed in lists.items():
        Path(f"{name}.txt").write_text("\n".join(listed), encoding="utf-8")
    options = [f"--features={each}" for each in features] + [f"--paths={each}" for each in paths]
    quick = ("--data", str(data), "--quick", "--train", "4", "--out", "out")
    assert script("caltech101", *quick, *options, *FAST) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert message in told
    assert told.count("\n") == 1
    assert not Path("out").exists()  # before anything is computed


@pytest.mark.slow
def test_scene15(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for half in ("train", "test"):
        photographs(tmp_path / half, ("MITcoast", "store"), 4)
    (tmp_path / "test" / "store" / "image_0003.jpg").write_bytes(b"no image")
    options = ("--data", str(tmp_path), "--dataset", "scene15", "--quick")
    assert script("scenes", *options, "--out", str(tmp_path / "out"), *FAST) == 1
    printed, _ = capsys.readouterr()
    assert "1 of 16 images could not be read and were left out" in printed
    assert "Zhou et al. 2014" not in printed
    assert "their protocol is another: 2 classes, not 15; " in printed


@pytest.mark.slow
def test_fine_grained(
    script: Script,
    draw_birds: Callable[[Sequence[Bird]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = draw_birds([Bird(label, n % 2 == 0) for label in (0, 1) for n in range(8)])
    lists = root.rename(tmp_path / "lists")
    images = (lists / "images").rename(tmp_path / "images")
    (images / "001.Bird_0" / "bird_0002.jpg").unlink()
    folders = ("--data", str(lists), "--images", str(images), "--out", str(tmp_path / "out"))
    assert script("fine_grained", *folders, *FAST) == 2
    printed, told = capsys.readouterr()
    assert (printed, told.count("\n")) == ("", 1)
    assert "1 of the 16 images of images.txt are missing: 001.Bird_0/bird_0002.jpg" in told
    assert script("fine_grained", *folders, "--partial", "--folds", "2", *FAST) == 0
    printed, told = capsys.readouterr()
    assert "note: an excerpt of CUB-200-2011: 15 of 16 images are there; missing are" in printed
    assert "DPD + DeCAF7, parts localised" in printed
    (file,) = (tmp_path / "out").glob("cub200-partial-*allow-partial*.html")
    report = json.loads(file.with_suffix(".json").read_bytes())
    assert report["command"].startswith(
        "python benchmarks/fine_grained.py --data DIR --images DIR --partial "
    )
    assert str(tmp_path) not in json.dumps(report)


def test_the_command_of_a_report_names_no_folders(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    arguments = importlib.import_module("arguments")
    parser = arguments.make_parser("", train=30, splits="")
    one, other = str(tmp_path / "a" / "w.safetensors"), str(tmp_path / "b" / "w.safetensors")
    words = ["--data", str(tmp_path), f"--out={tmp_path}", f"--splits={tmp_path}/c-splits.json"]
    words += ["-w", one, f"-w{other}", "--weights=random:0", "-w=imagenet", "--seed", "3"]
    monkeypatch.setattr(sys, "argv", ["benchmarks/caltech101.py", *words])
    result = arguments.settings_of(parser, parser.parse_args(words), "c", ("fc6",))
    assert result.command == (
        "python benchmarks/caltech101.py --data DIR --splits c-splits.json -w a/w.safetensors "
        "-w b/w.safetensors --weights random:0 -w imagenet --seed 3"
    )
    assert result.weights == (one, other, "random:0", "imagenet")


@pytest.mark.parametrize(
    ("words", "name", "title"),
    [
        ((), "", ""),
        (("--weights", "random:0", "-j", "2", "--recompute", "--baselines", "all"), "", ""),
        (("--splits", "5"), "", ""),
        (("--splits", "2"), "-partial-splits-2", " (a partial run: --splits 2)"),
        (("--splits", "a/b.json"), "-partial-splits-b.json", " (a partial run: --splits b.json)"),
        (("--splits", "7", "--seed", "3"), "-with-splits-7-seed-3", " (with --splits 7 --seed 3)"),
        (
            ("-l", "fc6", "--layer", "fc7", "--allow-partial"),
            "-partial-layer-fc6-fc7-allow-partial",
            " (a partial run: --layer fc6 fc7 --allow-partial)",
        ),
        (
            ("--quick", "--train", "4"),
            "-quick",
            " (a quick, partial run: --quick --train 4)",
        ),
    ],
)
def test_a_run_of_less_than_all_has_a_name_and_title_of_its_own(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str, title: str
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    arguments = importlib.import_module("arguments")
    parser = arguments.make_parser("", train=30, splits="")
    monkeypatch.setattr(sys, "argv", ["benchmarks/caltech101.py", "--data", "DIR", *words])
    args = parser.parse_args(["--data", "DIR", *words])
    result = arguments.settings_of(parser, args, "caltech101", ("pool5", "fc6", "fc7"))
    assert (result.name, result.title) == (f"caltech101{name}", title)


def test_the_name_of_a_run_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    told_apart = importlib.import_module("command_line").told_apart
    names = {told_apart([f"--pairs {'a:b ' * 40}{k}"], partial=True)[0] for k in range(9)}
    assert len(names) == 9
    assert all(len(name) <= 49 for name in names)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("caltech101", (), "no Caltech-101 here: expected the folder 101_ObjectCategories"),
        ("fine_grained", (), "no CUB-200-2011 here: expected the folder CUB_200_2011"),
        ("scenes", ("--dataset", "sun397"), "no SUN-397 here"),
        ("scenes", ("--dataset", "scene15", "--baselines", "magic"), "no 15-Scene here"),
    ],
)
def test_a_users_mistake_is_one_line(
    script: Script,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    more: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "cats").mkdir()
    assert script(name, "--data", str(tmp_path), "--out", str(tmp_path / "out"), *more) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()

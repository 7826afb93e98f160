"""``decaf fit`` and ``decaf predict`` as commands: what they print, write and refuse."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import os
import re
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
import forked
import systems
from decaf.backbone.spec import architecture
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import load_weights, save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.classify.estimate import estimate_of
from decaf.classify.layer_choice import Candidate, Choice
from decaf.classify.report import FitReport
from decaf.cli.fit_report import report_lines
from decaf.cli.main import main
from decaf.images.spec import named_preprocess
from decaf.runtime.wording import printable

CLASSES = ("ant", "bee", "cat")
QUICK = ["-q", "-j", "0", "--device", "cpu"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(c, channels=c.channels // 8) for c in spec.convs)
    spec = dataclasses.replace(spec, convs=convs, hidden=(48, 32), classes=2)
    state = random_state(spec, 0, "he")
    made = Weights.of(
        "net", spec, named_preprocess("decaf", 64), state, class_names=["day", "night"]
    )
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(path, made)
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 8 images that differ in colour; not to be written to."""
    root = tmp_path_factory.mktemp("data") / "photos"
    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 160, (60, 80, 3), np.uint8)
            pixels[:, :, label] += 90
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def head(photos: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("head") / "photos.head")
    asked = ["fit", str(photos), "-o", out, "-w", weights, "-l", "fc7", "-C", "16", *QUICK]
    assert main([*asked, "--held-out", "0"]) == 0
    return out


@pytest.mark.slow
def test_a_fit_that_ends_as_it_writes_its_page_is_finished_by_the_same_command(
    photos: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, page = tmp_path / "h.head", tmp_path / "r.html"
    asked = ["fit", str(photos), "-o", str(out), "-w", weights, "-l", "fc7", "-C", "16", *QUICK]
    asked += ["--report", str(page)]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decaf, "write_fit_page", stop)
        assert main(asked) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["h.head.parts"]
    capsys.readouterr()
    assert main(asked) == 0, capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.head", "r.html"]


@pytest.mark.slow
def test_two_commands_go_from_photographs_to_answers(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my photos.head"
    capsys.readouterr()
    assert main(["fit", str(photos), "-o", str(out), "-w", weights, *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == f"{photos}: 24 images of 3 classes"
    assert lines[1] == "  ant 8, bee 8, cat 8"
    assert "chosen by cross-validation on all 24 images" in lines
    table = lines[lines.index("chosen by cross-validation on all 24 images") + 2 :][:3]
    assert [line.split()[0] for line in table] == ["pool5", "fc6", "fc7"]
    (chosen,) = (line for line in table if line.endswith("chosen"))
    shares = [float(line.split()[2]) for line in table]
    assert float(chosen.split()[2]) == max(shares)
    (tested,) = (line for line in lines if line.startswith("tested on "))
    assert tested.startswith("tested on 24 images in turn, in 5 folds")
    (accuracy,) = (line for line in lines if line.startswith("  accuracy"))
    assert re.search(r"\d+\.\d %  \d+ of 24; 95 % interval about \d", accuracy)
    assert lines[-2].startswith(f"{out}: logistic regression on {chosen.split()[0]} of net")
    assert lines[-1] == f"next: decaf predict '{out}' IMAGES"
    assert [path.name for path in tmp_path.iterdir()] == ["my photos.head"]
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(out), str(photos), "-o", str(answers), *QUICK]) == 0
    assert capsys.readouterr().out.startswith(f"{answers}: 24 images: ")
    with open(answers, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        str(photos / name / f"{number}.png") for name in CLASSES for number in range(8)
    ]
    right = [row["class_1"] == Path(row["path"]).parent.name for row in rows]
    assert np.mean(right) > 0.9  # of the images that it was fitted to


def test_json_is_the_report(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["fit", str(photos), "-w", weights, "-l", "fc6", "-C", "1", "--seed", "5", *QUICK]
    out = str(tmp_path / "a.head")
    assert main([*asked, "-o", out, "--json", "--head", "svm", "--dropout", "0.25"]) == 0
    report = json.loads(capsys.readouterr().out)
    again = decaf.fit(
        photos,
        weights=weights,
        layer="fc6",
        C=1.0,
        seed=5,
        head="svm",
        dropout=0.25,
        workers=0,
        device="cpu",
        progress=False,
    ).report.to_dict()
    for record in (report, again):
        del record["seconds"]
        assert record.pop("path", out) == out
    assert report == json.loads(json.dumps(again))
    assert report["settings"]["dropout"] == 0.25


@pytest.mark.slow
def test_groups_and_splits_are_said(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["-w", weights, "-l", "fc7", *QUICK]
    command = ["fit", str(photos), "-o", str(tmp_path / "a.head"), *asked]
    # Two photographs a group: 0 and 1, 2 and 3, …
    groups = tmp_path / "groups.csv"
    paths = sorted(photos.rglob("*.png"))
    groups.write_text(
        "".join(f"{path},{path.parent.name}{int(path.stem) // 2}\n" for path in paths)
    )
    assert main([*command, "--groups", str(groups)]) == 0
    output = capsys.readouterr().out
    assert f"groups: 12, by {groups}; none is on both sides of a split" in output
    assert re.search(r"without groups +\d+\.\d %  is what a split through the groups would", output)
    root = tmp_path / "data"
    for name in CLASSES:
        for path in sorted((photos / name).iterdir()):
            folder = root / ("train" if int(path.stem) < 5 else "val") / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).symlink_to(path)
    command = ["fit", str(root), "-o", str(tmp_path / "b.head"), *asked]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == {"train": 15, "val": 9}
    assert main([*command, "--overwrite"]) == 0
    output = capsys.readouterr().out
    assert "divided as it came: train 15, val 9 (--layout classes takes such folders for" in output
    assert "chosen by cross-validation on the 15 images of train" in output
    assert "tested on the 9 images of the split that is not trained on" in output
    # Photograph 4 is in train, 5 of the same group in val.
    groups.write_text(
        "".join(f"{path},{path.parent.name}{int(path.stem) // 2}\n" for path in root.rglob("*.png"))
    )
    assert main([*command, "--groups", str(groups), "--overwrite"]) == 0
    output = capsys.readouterr().out
    assert "none is on both sides" not in output
    assert "in several of train, val and test: 3 groups; the test is flattered" in output
    assert "fitted to the 15 training images" in output
    # Photographs 6 and 7, of one group, in val, on which C is chosen, and in test.
    for path in [*root.rglob("[57].png")]:
        folder = root / ("train" if path.stem == "5" else "test") / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    assert main([*command, "--groups", r"path:\w+(?=/[67]\.png)", "--overwrite"]) == 0
    output = capsys.readouterr().out
    assert "none is on both sides" not in output
    assert "in several of train, val and test: 3 groups; the test is flattered" in output


def test_bad_images_end_in_one(
    photos: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "photos"
    for name in CLASSES:
        (source / name).mkdir(parents=True)
        for path in (photos / name).iterdir():
            (source / name / path.name).symlink_to(path)
    (source / "ant" / "0.png").unlink()
    odd = systems.possible_name("\n.jpg")
    (source / "ant" / odd).write_bytes(b"GIF89a")
    (source / "bee" / "again.png").symlink_to(photos / "bee" / "1.png")
    (source / "cat" / "other.png").symlink_to(photos / "bee" / "2.png")
    (source / "loose.png").symlink_to(photos / "bee" / "2.png")
    (source / "dog").mkdir()
    (source / "dog" / "1.png").symlink_to(photos / "ant" / "0.png")
    asked = ["fit", str(source), "-w", weights, "-l", "fc7", "-C", "1", *QUICK]
    assert main([*asked, "-o", str(tmp_path / "a.head"), "--on-error", "raise"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("decaf: ")
    assert captured.err.count("\n") == 1
    assert main([*asked, "-o", str(tmp_path / "a.head")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:10] == [
        f"{source}: 24 images of 3 classes",
        "  ant 7, bee 8, cat 9",
        "  left out: 1 image that could not be read",
        lines[3],
        "  left out: 1 image without a class",
        "  left out: 1 image that is an exact copy of another in its class",
        "  left out: classes with too few images: dog 1",
        "  warning: 1 image is in several classes at once (not tested on)",
        f"    {source}/bee/2.png = {source}/cat/other.png",
        "",
    ]
    assert lines[3].startswith(f"    {source}/ant/{printable(odd)}: ")
    assert lines[3].endswith("(corrupt)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["absent"], "'absent': No such file or directory"),
        (["DATA/ant"], "no image has a class; put the images of each class into a folder"),
        (["DATA", "-o", "no/a.head"], "no/a.head: there is no folder no"),
        (["DATA", "-o", "imagenet"], "imagenet: is the name of weights"),
        (["DATA", "-C", "much"], "argument -C: 'much' is neither cv nor a number"),
        (["DATA", "-C", "0"], "-C 0.0: must be 'cv' or a number above 0"),
        (["DATA", "--held-out", "1"], "--held-out 1.0: must be from 0 (no test) to below 1"),
        (["DATA", "-l", "fc9"], "fc9"),
        (["DATA", "-w", "absent.safetensors"], "absent.safetensors: no such file"),
        (["DATA", "--head", "tree"], "invalid choice: 'tree'"),
    ],
)
def test_mistakes_in_fitting_end_in_two(
    photos: Path,
    tmp_path: Path,
    asked: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.replace("DATA", str(photos)) for word in asked]
    if "-o" not in words:
        words += ["-o", "a.head"]
    assert main(["fit", *words, *QUICK]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_answers_in_order_whatever_the_form(
    form: str, head: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    names = ("a.png", "café.png" if systems.WINDOWS else "caf\udce9.png", "d\n.png")
    names = tuple(map(systems.possible_name, names))
    for number, name in enumerate(names):
        source = photos / CLASSES[number] / "0.png"
        (folder / name).write_bytes(source.read_bytes())
    (folder / "bad.jpg").write_bytes(b"GIF89a")
    expected = decaf.load_classifier(head).predict(folder, top=2, workers=0, device="cpu")
    assert main(["predict", head, str(folder), "--format", form, "--top", "2", *QUICK]) == 1
    captured = capsys.readouterr()
    texts = [f"{folder}/{name}" for name in (names[0], "bad.jpg", *names[1:])]
    texts = [text.replace("\udce9", "\\xe9") for text in texts]
    if form == "text":
        *lines, last = captured.out.splitlines()
        assert [line.partition(": ")[0] for line in lines] == [
            text.replace("\n", "\\n") for text in texts
        ]
        name, chance = expected[0].classes[0]
        assert lines[0].startswith(f"{texts[0]}: {name} {100 * chance:.1f} %")
        assert lines[1] == f"{texts[1]}: {expected[1].message} (corrupt)"
        assert last.startswith("4 images: ")
        assert last.endswith("1 could not be read")
        return
    assert captured.err == "decaf: 1 of 4 images could not be read\n"
    if form == "csv":
        header, *rows = csv.reader(io.StringIO(captured.out))
        columns = ["class_1", "probability_1", "class_2", "probability_2"]
        assert header == ["path", "status", "message", *columns]
        assert rows[1] == [texts[1], "corrupt", expected[1].message, "", "", "", ""]
        result = [
            (row[0], row[1], row[2], [(row[i], float(row[i + 1])) for i in (3, 5) if row[i]])
            for row in rows
        ]
    else:
        result = [
            (
                each["path"],
                each["status"],
                each["message"],
                [(one["class"], one["probability"]) for one in each["classes"]],
            )
            for each in json.loads(captured.out)
        ]
    for one, text, other in zip(result, texts, expected, strict=True):
        assert one[:3] == (text, other.status, other.message)
        assert dict(one[3]) == pytest.approx(dict(other.classes), rel=1e-5)


def test_a_network_and_features_answer_too(
    weights: str, head: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", weights, str(photos / "ant"), "--format", "csv", *QUICK]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["class_1"] for row in rows} <= {"day", "night"}
    file = str(tmp_path / "f.h5")
    assert main(["extract", str(photos), "-o", file, "-w", weights, "-l", "fc7", *QUICK]) == 0
    capsys.readouterr()
    assert main(["predict", head, str(photos), "--format", "csv", *QUICK]) == 0
    of_images = capsys.readouterr().out
    assert main(["predict", head, file, "--format", "csv", *QUICK]) == 0
    of_features = capsys.readouterr().out
    for one, other in zip(*map(str.splitlines, (of_images, of_features)), strict=True):
        assert one.split(",")[:4] == other.split(",")[:4]
    # From features of a weights file nobody knows where the weights are.
    again = tmp_path / "again.head"
    asked = ["fit", file, "-o", str(again), "-C", "1", "--held-out", "0"]
    assert main([*asked, *QUICK]) == 0
    assert capsys.readouterr().out.endswith(
        f"next: decaf predict {again} -w net.safetensors IMAGES\n"
    )
    assert main([*asked, "-w", weights, "--overwrite", *QUICK]) == 0
    assert capsys.readouterr().out.endswith(f"next: decaf predict {again} IMAGES\n")
    assert main(["predict", str(again), str(photos / "ant" / "0.png"), *QUICK]) == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["absent", "DATA"], "absent: cannot be read: there is no such file"),
        (["NOTES", "DATA"], "notes.head: is a text file, not a head, as `decaf fit` writes"),
        (["HEAD", "absent.jpg"], "absent.jpg"),
        (["HEAD", "DATA", "--top", "0"], "--top must be a whole number from 1"),
        (["HEAD", "DATA", "-o", "no/a.csv"], "no/a.csv: there is no folder no"),
        (["HEAD", "DATA", "-o", "a.xlsx"], "not written as .xlsx; the endings are .csv, .json, .t"),
        (["HEAD", "DATA", "-o", "DATA"], "is a folder; give the name of a file"),
        (["HEAD", "DATA", "-o", "HEAD"], "exists and is a head, not a text file, so it is"),
        (["HEAD", "DATA", "-w", "random:0:alexnet-64"], "was fitted on features of weights net"),
        (["HEAD"], ": is a model; name images too"),
        ([], "the following arguments are required"),
    ],
)
def test_mistakes_in_predicting_end_in_two(
    head: str,
    photos: Path,
    tmp_path: Path,
    asked: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes.head"
    notes.write_text("To do: photograph more ants.")
    words = [word.replace("DATA", str(photos)).replace("HEAD", head) for word in asked]
    words = [word.replace("NOTES", str(notes)) for word in words]
    assert main(["predict", *words, *QUICK]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.slow
def test_without_a_model_the_packaged_network_answers(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, folder = photos / "ant" / "0.png", photos / "bee"
    plain = [line.split() for line in ("{image}", "{image} --top 2 {folder}", "-b 4 {folder}")]
    for words in plain:
        filled = [word.format(image=image, folder=folder) for word in words]
        assert main(["predict", *filled, *QUICK]) == 0
        without = capsys.readouterr().out
        assert main(["predict", DEFAULT_WEIGHTS, *filled, *QUICK]) == 0
        assert capsys.readouterr().out == without
    known = load_weights(DEFAULT_WEIGHTS).class_names
    assert any(name in without for name in known)


@pytest.mark.slow
def test_names_are_no_formulas_to_a_spreadsheet(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("=cmd|'calc'!A0.png", "+1.png", "a.png"):
            file.write(photos / "ant" / "0.png", name)
    asked = ["predict", "random:0:alexnet-64", str(archive), "--format", "csv", *QUICK]
    for more, marks in (([], ["'+", "'=", "a."]), (["--raw-text"], ["+1", "=c", "a."])):
        assert main([*asked, *more]) == 0
        rows = list(csv.reader(capsys.readouterr().out.splitlines()))
        assert sorted(row[0][:2] for row in rows[1:]) == sorted(marks)


def test_answers_replace_only_text(
    head: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["predict", head, str(photos / "ant"), *QUICK, "--overwrite", "-o"]
    for source in (photos / "ant" / "0.png", Path(head)):
        out = tmp_path / source.name
        out.write_bytes(source.read_bytes())
        assert main([*asked, str(out)]) == 2
        assert ", not a text file, so it is not replaced" in capsys.readouterr().err
        assert out.read_bytes() == source.read_bytes()
    out = tmp_path / "answers.csv"
    out.write_text("path,… of last week\n", encoding="utf-8")
    assert main([*asked, str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("path,status,message,class_1,")
    capsys.readouterr()
    assert main([*asked, "/dev/null"]) == 2
    assert "/dev/null: exists and is neither a file nor a fo" in capsys.readouterr().err


def test_where_nothing_may_be_written(
    head: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = os.open

    def refuse(path: str | Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return make(path, flags, *rest)

    monkeypatch.setattr("decaf.storage.atomic.os.open", refuse)
    out = tmp_path / "a.csv"
    assert main(["predict", head, str(photos), "-o", str(out), *QUICK]) == 2
    assert f"decaf: {out}: cannot be written: Read-only file system" in capsys.readouterr().err


def test_flags_of_the_extraction_and_features_that_are_there(
    weights: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = str(tmp_path / "f.h5"), str(tmp_path / "a.head")
    assert main(["extract", str(photos), "-o", file, "-w", weights, "-l", "fc7", *QUICK]) == 0
    asked = ["fit", file, "-o", out, "-C", "1", "--held-out", "0", *QUICK]
    for flags, told in (
        (["--crops", "ten"], "crops center, not ten; leave that out"),
        (["--precision", "bf16"], "precision fp32, not bf16; leave that out"),
        (["--crop", "60"], "other preprocessing (crop: 64 there, 60 now); leave that as it is"),
        (["-w", DEFAULT_WEIGHTS], f"weights net.safetensors, not of {DEFAULT_WEIGHTS}"),
    ):
        capsys.readouterr()
        assert main([*asked, *flags]) == 2
        error = capsys.readouterr().err
        assert f"{file}: holds features of {told}" in error
        assert error.count("\n") == 1
        assert not Path(out).exists()
    assert main([*asked, "--crops", "center", "--precision", "fp32", "-w", weights]) == 0


def test_flags_of_the_preprocessing(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stimuli of the network's size, from the features to the answer."""
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "stimuli" / name).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "stimuli" / name / f"{number}.png")
    stimuli, file, out = (str(tmp_path / name) for name in ("stimuli", "f.h5", "s.head"))
    asked = ["--resize", "none", "--mean", "0.5", "0.5", "0.5", "-w", weights, *QUICK]
    assert main(["extract", stimuli, "-o", file, "-l", "fc7", *asked]) == 0
    with decaf.open_features(file) as features:
        recorded = features.run["preprocess"]
    assert (recorded["name"], recorded["resize_to"], recorded["crop"]) == ("as-is", 64, 64)
    assert recorded["mean"] == [0.5, 0.5, 0.5]
    assert main(["info", file]) == 0
    shown = "preprocess    as-is (resize none; resize-to 64; crop 64; mean 0.5, 0.5, 0.5; std "
    assert shown in capsys.readouterr().out
    assert main(["verify", file, "-w", weights]) == 0
    fit = ["fit", stimuli, "-o", out, "-l", "fc7", "-C", "1", "--held-out", "0", *asked]
    assert main(fit) == 0
    assert main(["info", out]) == 0
    assert " as-is (resize none; resize-to 64; crop 64; mean 0.5," in capsys.readouterr().out
    assert main(["predict", out, stimuli, "-w", weights, *QUICK]) == 0
    assert main(["predict", out, stimuli, "--resize", "warp", "-w", weights, *QUICK]) == 2
    assert "preprocess resize: none in the head, warp now" in capsys.readouterr().err
    assert main(["predict", weights, stimuli, "--resize", "none", *QUICK]) == 0
    for command in ("extract", "fit", "predict", "finetune", "evaluate"):
        assert main([command, "--help"]) == 0
        assert "--resize {warp,shorter-side,none}" in capsys.readouterr().out


def report_of(confusion: np.ndarray, names: tuple[str, ...]) -> FitReport:
    truth, answers = (
        np.repeat(axis, confusion.ravel()) for axis in np.indices(confusion.shape).reshape(2, -1)
    )
    choice = Choice(100, "fc6", 4.0, (Candidate("fc6", 4.0, 0.9, 0.01, False, True),))
    estimate = estimate_of(
        truth,
        answers,
        np.full(len(truth), 0.75),
        class_names=names,
        largest=0,
        paths=[f"{i}.jpg" for i in range(len(truth))],
        folds=1,
        choices=(choice,),
    )
    return FitReport(
        source="photos",
        images=200,
        class_names=names,
        class_counts=tuple(range(10, 10 + len(names))),
        choice=choice,
        estimate=estimate,
        bad=(),
        unlabelled=0,
        copies=0,
        left_out={},
        conflicts=(),
        notes=("fc6: did not converge",),
        settings={"head": "svm", "dropout": 0.5},
        features={"weights": {"name": "imagenet", "sha256": "00"}, "weights_file": None},
        seconds={},
        versions={},
    )


def test_the_matrix_of_few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ant", "honey bee", "cat")
    report = report_of(np.array([[5, 0, 1], [0, 0, 0], [0, 12, 3]]), names)
    monkeypatch.setenv("COLUMNS", "80")
    lines = list(report_lines(report, "a.head"))
    at = lines.index("confusion: a row for each true class, a column for each answer")
    assert lines[at + 1 : at + 5] == [
        "             ant  honey bee  cat    right",
        "  ant          5          ·    1     83 %",
        "  honey bee    ·          ·    ·        –",
        "  cat          ·         12    3     20 %",
    ]
    assert "  not tested: honey bee (too few)" in lines
    assert lines[-3] == "note: fc6: did not converge"
    assert lines[-2] == (
        "a.head: linear SVM on fc6 of imagenet (C = 4, dropout 0.5), fitted to all 200 images"
    )
    # Where the names do not fit, columns have the numbers of the rows.
    long = tuple(f"a class with a name {number}" for number in range(11))
    lines = list(report_lines(report_of(3 * np.eye(11, dtype=int), long), "a.head"))
    at = lines.index("confusion: a row for each true class, a column for each answer")
    assert lines[at + 1].split() == [*map(str, range(1, 12)), "right"]
    assert lines[at + 2].startswith("   1 a class with a name 0    3   ·")
    assert lines[at + 12].endswith("·   3    100 %")
    assert max(map(len, lines)) <= 100


def test_the_confusions_of_many_classes() -> None:
    names = tuple(f"class {number}" for number in range(20))
    confusion = 4 * np.eye(20, dtype=int)
    confusion[3, 17], confusion[8, 2] = 9, 2
    lines = list(report_lines(report_of(confusion, names), "a.head"))
    at = lines.index("most frequent confusions")
    assert lines[at + 1 : at + 4] == [
        "  class 3     9 of 13 taken for class 17",
        "  class 8      2 of 6 taken for class 2",
        "",
    ]
    assert "11 mistakes, the most confident first (wrong labels, too, are found here)" in lines
    assert lines[1].startswith("  class 0 10, class 1 11, ")
    assert all(line.rstrip(",")[-2:].isdigit() for line in lines[1 : lines.index("")])
    perfect = list(report_lines(report_of(np.eye(25, dtype=int), names + tuple("abcde")), "a"))
    assert "no image was given a wrong class" in perfect
    assert "  from 10 (class 0) to 34 (e)" in perfect


@pytest.mark.slow
@pytest.mark.faults
def test_a_signal_ends_it_and_the_same_command_goes_on(
    weights: str, photos: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
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
    out = tmp_path / "a.head"
    fit = ["fit", str(photos), "-o", str(out), "-w", weights, "-l", "fc7", "-C", "1", "-b", "1"]
    exit_code, said, complained = forked.run(child_env, "-c", code, *fit, *QUICK)
    assert exit_code == 128 + signal.SIGTERM
    assert said == ""
    assert "run the same command again to go on" in complained
    assert [path.name for path in tmp_path.iterdir()] == ["a.head.parts"]
    assert main([*fit, *QUICK]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.head"]
    answers = tmp_path / "a.csv"
    predict = ["predict", out, photos, "-o", answers, "-b", 1, *QUICK]
    exit_code, _, complained = forked.run(child_env, "-c", code, *predict)
    assert exit_code == 128 + signal.SIGTERM
    assert f"of 24 images; {answers} was not written" in complained
    assert [path.name for path in tmp_path.iterdir()] == ["a.head"]

"""The page of `decaf explore`: what it holds, that it asks for nothing, and what it refuses."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
import systems
from decaf.cli.main import main
from decaf.errors import (
    DiskError,
    HeadError,
    InputError,
    OutputError,
    SettingError,
    Stopped,
)
from decaf.exploration import unit_patches
from decaf.exploration.head_findings import head_findings
from decaf.heads import FeatureIdentity, LogisticRegression, load_head, save_head
from decaf.heads.metrics import wilson_interval
from made_features import made_file

CLASSES = ("=cmd|'/C calc'!A0", "</script><script>alert(1)</script>", "dog\x1b[31m")
HOSTILE = systems.possible_name("<img src=x onerror=alert(4)>\n.png")
ROWS = 36


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Images in three classes, and features: row 5 is in the wrong class, and row 30 is bad."""
    random = np.random.default_rng(0)
    names, digests = [], np.zeros((ROWS, 32), np.uint8)
    for row in range(ROWS):
        name = HOSTILE if row == 4 else f"{row:02d}.png"
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 255, (4, 6, 3), np.uint8))
        coarse.resize((60, 40), Image.Resampling.BICUBIC).save(path)
        names.append(bytes(path))
        digests[row] = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
    kind = np.arange(ROWS) % 3
    labels = kind.copy()
    labels[5] = 0
    centres = 4 * random.normal(size=(3, 24))
    fc7 = np.maximum(centres[kind] + random.normal(size=(ROWS, 24)), 0)
    return made_file(
        tmp_path / "f.h5",
        {"pool5": fc7.reshape(ROWS, 6, 2, 2), "fc7": fc7},
        names=names,
        labels=labels.tolist(),
        class_names=CLASSES,
        bad=[30],
        digests=digests,
        environment={"directory": str(tmp_path)},
    )


def head_of(path: Path, layer: str) -> Path:
    with decaf.open_features(path) as features:
        X, y = features.to_xy(layer)
        estimator = LogisticRegression(1.0).fit(X, y)
        identity = FeatureIdentity.of(features, layer)
    save_head(path.with_suffix(".head"), estimator, identity=identity, class_names=CLASSES)
    return path.with_suffix(".head")


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>',
        page.read_text(encoding="utf-8"),
    )
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def explore(source: Any, out: Path, **named: Any) -> decaf.Explored:
    return decaf.explore(source, out, method="pca", progress=False, **named)


def test_the_page_has_every_image_with_its_neighbours(made: Path, tmp_path: Path) -> None:
    done = explore(made, tmp_path / "p.html")
    data = data_of(done.path)
    assert (done.images, done.shown, done.thumbnails, done.bad) == (ROWS, ROWS - 1, ROWS - 1, 1)
    assert list(done.trust) == ["pool5", "fc7"]
    assert done.bytes == done.path.stat().st_size
    rows = [row for row in range(ROWS) if row != 30]
    with decaf.open_features(made) as features:
        X, labels = features.to_xy("fc7")
    np.testing.assert_array_equal(unpacked(data["labels"], "<i2"), labels)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    layer = data["maps"][1]
    assert layer["layer"] == "fc7"
    nearest = unpacked(layer["nearest"], "<u4").reshape(len(rows), layer["k"])
    np.testing.assert_array_equal(nearest[:, 0], cosines.argmax(axis=1))
    near = unpacked(layer["cosines"], "<i2").reshape(nearest.shape) / 1000
    np.testing.assert_allclose(near[:, 0], cosines.max(axis=1), atol=6e-4)
    assert unpacked(layer["xy"], "<u2").max() == 65535
    assert unpacked(layer["trust"], "u1").max() <= 100
    unreadable = r'30\.png</th><td>corrupt</td><td class="wrap">cut short</td>'
    assert re.search(unreadable, done.path.read_text(encoding="utf-8"))


def test_copies_are_listed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 30))
    values[6] = values[1]
    digests = np.arange(1, 9)[:, None] * np.ones((1, 32), int)
    digests[4] = digests[2]
    file = made_file(tmp_path / "f.h5", {"fc6": values}, digests=digests, bad=[0])
    explore(file, tmp_path / "p.html", images=False)
    # Their places on the maps, which leave out the bad row.
    pairs = {(kind, a, b) for a, b, _, kind in data_of(tmp_path / "p.html")["copies"]}
    assert pairs == {("same bytes", 1, 3), ("alike", 0, 5)}


def test_a_map_without_trust_has_null_in_the_record() -> None:
    done = decaf.Explored(
        Path("p.html"), 1, 1, 1, 1, 0, {"fc6": 0.5, "fc7": float("nan")}, None, (), 0.1
    )
    record = json.loads(json.dumps(done.to_record(), allow_nan=False))
    assert record["trust"] == {"fc6": 0.5, "fc7": None}
    assert record["path"] == "p.html"


def test_thumbnails_are_cut_from_sheets(made: Path, tmp_path: Path) -> None:
    explore(made, tmp_path / "p.html", thumbnail_side=32)
    sheets = data_of(tmp_path / "p.html")["sheets"]
    square = unpacked(sheets["square"], "<i4")
    sizes = unpacked(sheets["sizes"], "u1").reshape(-1, 2)
    assert (sizes == (32, 21)).all()
    sheet = Image.open(io.BytesIO(base64.b64decode(sheets["uris"][0].partition(",")[2])))
    for place, row in ((0, 0), (34, 35)):
        x, y = 32 * (square[place] % 10), 32 * (square[place] // 10)
        shown = np.asarray(sheet.crop((x, y, x + 32, y + 21)), float)
        with Image.open(tmp_path / "images" / f"{row:02d}.png") as image:
            image.thumbnail((32, 32), Image.Resampling.LANCZOS)
            truth = np.asarray(image, float)
        assert np.corrcoef(shown.ravel(), truth.ravel())[0, 1] > 0.8


def test_a_head_adds_mistakes_wrong_labels_and_units(made: Path, tmp_path: Path) -> None:
    done = explore(made, tmp_path / "p.html", head=head_of(made, "pool5"))
    head = data_of(done.path)["head"]
    assert head["heldOut"]
    # Row 5 has the label of another class, which no head that was fitted without it would give.
    assert [5, 2] in head["errors"][: head["likely"]]
    assert head["mistakes"][0] == 5
    assert done.accuracy == pytest.approx(1 - len(head["mistakes"]) / (ROWS - 1))
    assert [pair[:2] for pair in head["pairs"]] == [[0, 1], [0, 2], [1, 2]]
    with decaf.open_features(made) as features:
        strongest = np.delete(features["pool5"][:], 30, axis=0).max(axis=(2, 3))
    for unit, places in head["examples"].items():
        order = np.argsort(-strongest[:, int(unit)], kind="stable")
        assert places == order[:6].tolist()
    assert "likely wrong by its rule" in done.path.read_text(encoding="utf-8")


def test_a_head_of_other_features_is_refused(made: Path, tmp_path: Path) -> None:
    head = head_of(made, "fc7")
    other = made_file(
        tmp_path / "o.h5",
        {"fc7": np.ones((4, 24))},
        run={"weights": {"name": "w", "sha256": "cd" * 32}},
    )
    with pytest.raises(HeadError, match="not the features this head was fitted to"):
        explore(other, tmp_path / "p.html", head=head)
    lacks = made_file(tmp_path / "l.h5", {"fc6": np.ones((4, 24))})
    with pytest.raises(SettingError, match="has no layer 'fc7', to which"):
        explore(lacks, tmp_path / "p.html", head=head)
    assert not (tmp_path / "p.html").exists()


def test_names_are_harmless(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "p.html"
    argv = ["explore", str(made), "-o", str(page), "--head", str(head_of(made, "fc7"))]
    assert main([*argv, "--method", "pca", "-q"]) == 1  # one image could not be read
    assert "\x1b" not in capsys.readouterr().out
    html = page.read_text(encoding="utf-8")
    assert "\x1b" not in html
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert html.count("<script") == 2  # the data, and the one script that may run
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = html.partition('http-equiv="Content-Security-Policy" content="')[2].partition('">')[0]
    assert policy.replace("&#39;", "'") == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert not re.findall(r"https?://(?!www\.w3\.org/)", html)
    data = data_of(page)
    assert data["classes"] == [CLASSES[0], CLASSES[1], r"dog\x1b[31m"]
    assert data["names"][4].endswith(HOSTILE.replace("\n", r"\n"))


def test_images_that_changed_are_refused_and_those_gone_are_counted(
    made: Path, tmp_path: Path
) -> None:
    page = tmp_path / "p.html"
    (tmp_path / "images" / "03.png").unlink()
    done = explore(made, page)
    assert done.thumbnails == ROWS - 2
    assert any("1 image of 35 without thumbnail" in note for note in done.notes)
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "07.png")
    with pytest.raises(InputError, match=r"07.png: has changed since.*`images=False`"):
        explore(made, page)
    assert explore(made, page, images=False).thumbnails == 0
    assert "data:image" not in page.read_text(encoding="utf-8").replace("img-src data:", "")


def test_what_is_left_out_is_said(made: Path, tmp_path: Path) -> None:
    done = explore(made, tmp_path / "p.html", most_points=20, most_thumbnails=4)
    assert done.shown == 20
    assert "20 of 35 images are shown, drawn at random; 15 are left out" in done.notes[0]
    assert any("thumbnails are shown of" in note for note in done.notes)
    assert done.thumbnails <= 4
    data = data_of(done.path)
    assert len(data["names"]) == 20
    nearest = unpacked(data["maps"][0]["nearest"], "<u4")
    assert nearest.max() < 20


@pytest.mark.parametrize("labels", [[0] * 6, [-1] * 6, [0, 1, 2, 3, 4, 5]])
def test_labels_that_nothing_can_be_held_out_by(
    tmp_path: Path, made: Path, labels: list[int]
) -> None:
    with decaf.open_features(made) as features:
        X = np.asarray(features["fc7"][:6])
    few = made_file(
        tmp_path / "few.h5", {"fc7": X}, labels=labels, class_names=[*CLASSES, "x", "y", "z"]
    )
    done = explore(few, tmp_path / "p.html", head=head_of(made, "fc7"))
    assert done.accuracy is None
    assert any("nothing could be held out" in note for note in done.notes)
    head = data_of(done.path)["head"]
    assert not head["heldOut"]
    assert head["mistakes"] == head["errors"] == []
    assert len(head["sure"]) == 6


def test_groups_of_features_that_are_there_are_held_out_together(
    made: Path, tmp_path: Path
) -> None:
    """All of a class but two images are one group, so that its head knows these two alone."""
    head = head_of(made, "fc7")
    alone = explore(made, tmp_path / "p.html", head=head)
    with decaf.open_features(made) as features:
        groups = ["g" if row % 3 == 0 and row > 3 else "" for row in range(len(features))]
        found = head_findings(features, load_head(head), np.flatnonzero(features.ok), groups=groups)
    grouped = explore(made, tmp_path / "q.html", head=head, groups=groups)
    assert alone.accuracy is not None
    assert grouped.accuracy is not None
    assert found.accuracy is not None
    assert grouped.accuracy == found.accuracy[0] < alone.accuracy
    count = int(found.tested.sum())
    assert found.accuracy[1] < wilson_interval(found.accuracy[0] * count, count)[0]
    assert "%, by groups)" in (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "by groups" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_outliers_say_why(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = 1 + 0.2 * random.normal(size=(40, 30))
    values[11] = random.normal(size=30)
    done = explore(made_file(tmp_path / "f.h5", {"fc7": values}), tmp_path / "p.html")
    place, reason = data_of(done.path)["outliers"][0]
    assert place == 11
    assert reason.startswith("far from all others: cosine")


def test_what_cannot_be_explored_is_said(made: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="leave out `weights`, or name the images"):
        explore(made, tmp_path / "p.html", weights="random:0")
    with pytest.raises(SettingError, match="leave out `keep_features`"):
        explore(made, tmp_path / "p.html", keep_features=tmp_path / "k.h5")
    with pytest.raises(SettingError, match="`groups` keep together what is held out to try a `h"):
        explore(made, tmp_path / "p.html", groups="folder")
    with pytest.raises(OutputError, match="give another `keep_features`, or `overwrite=True`"):
        explore(tmp_path / "images", tmp_path / "p.html", keep_features=made, weights="random:0")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not a page of decaf's"):
        explore(made, tmp_path / "notes.txt")
    (tmp_path / "index.html").write_text("<!DOCTYPE html>\n<html><title>mine</title></html>\n")
    with pytest.raises(
        OutputError, match=r"index\.html: exists and is a page of HTML of another p"
    ):
        explore(made, tmp_path / "index.html")
    assert "mine" in (tmp_path / "index.html").read_text(encoding="utf-8")
    explore(made, tmp_path / "p.html")
    explore(made, tmp_path / "p.html")  # a page of decaf's is made anew
    with pytest.raises(SettingError, match="`layers` fc7, fc7: a layer is named twice"):
        explore(made, tmp_path / "p.html", layers=("fc7", "fc7"))
    both = tmp_path / "both.html"
    with pytest.raises(OutputError, match="is to be the page and another file of this run"):
        explore(tmp_path / "images", both, keep_features=both)
    kept = tmp_path / "kept.h5"
    with pytest.raises(HeadError, match="there is no such file"):
        explore(tmp_path / "images", tmp_path / "p.html", keep_features=kept, head="no.head")
    assert not kept.exists()  # told before features are computed
    lost = made_file(tmp_path / "bad.h5", {"fc7": np.ones((3, 4))}, bad=[0, 1, 2])
    first = r"none of 3 images could be read; the first is .* \(corrupt\)"
    with pytest.raises(InputError, match=first):
        explore(lost, tmp_path / "p.html")
    with pytest.raises(SettingError, match=r"`most_points` 0.*`thumbnail_side` 300"):
        explore(made, tmp_path / "p.html", most_points=0, thumbnail_side=300)


def test_splits_are_shown_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: Any
) -> None:
    """Folders called as splits, in any case of their letters: their classes are those below."""
    random = np.random.default_rng(0)
    for place, count in (("Train/ant", 3), ("Train/bee", 3), ("Test/ant", 1), ("Test/bee", 2)):
        (tmp_path / "set" / place).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / place / f"{number}.png")
    kept, page = tmp_path / "kept.h5", tmp_path / "p.html"
    command = ["explore", str(tmp_path / "set"), "-o", str(page), "--keep-features", str(kept)]
    command += ["-l", "fc6", "-w", "random:0:alexnet-64", "-j", "0", "-q"]
    assert main([*command, "--method", "pca"]) == 0
    told = capsys.readouterr().out
    assert "note: splits: test 3, train 6; the maps show all of them" in told
    data = data_of(page)
    assert data["classes"] == ["ant", "bee"]
    assert [each["layer"] for each in data["maps"]] == ["fc6"]
    assert data["splits"]["names"] == ["test", "train"]
    with decaf.open_features(kept) as features:
        expected = [data["splits"]["names"].index(name) for name in features.splits or ()]
        X, y = features.to_xy("fc6")
        identity = FeatureIdentity.of(features, "fc6")
    assert unpacked(data["splits"]["of"], "<i2").tolist() == expected
    fitted, head = LogisticRegression(1.0).fit(X, y), tmp_path / "m.head"
    save_head(head, fitted, identity=identity, class_names=("ant", "bee"))
    explore(kept, page, head=head)
    assert "images of all are held out in turn" in page.read_text(encoding="utf-8")


def test_five_thousand_images_stay_under_sixty_megabytes(tmp_path: Path) -> None:
    """Ten pictures of noise, which no photographs are as large as, times five hundred."""
    random = np.random.default_rng(0)
    names, digests = [], []
    for row in range(10):
        path = tmp_path / f"{row}.png"
        Image.fromarray(random.integers(60, 200, (96, 96, 3), np.uint8)).save(path)
        names.append(bytes(path))
        digests.append(np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8))
    values = random.normal(size=(10, 4))
    file = made_file(tmp_path / "f.h5", {"fc7": values}, names=names, digests=np.array(digests))
    explore(file, tmp_path / "p.html")
    (sheet,) = data_of(tmp_path / "p.html")["sheets"]["uris"]
    assert 500 * len(sheet) < 60e6


@pytest.mark.slow
def test_a_folder_is_extracted_first(
    folder: Path, tmp_path: Path, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = decaf.Backbone(weights)
    kept = tmp_path / "kept.h5"
    done = explore(folder, tmp_path / "p.html", weights=backbone, workers=0, keep_features=kept)
    assert list(done.trust) == ["pool5", "fc6", "fc7"]
    assert done.shown == done.thumbnails == 28
    with decaf.open_features(kept) as features:
        assert features.layers == ("pool5", "fc6", "fc7")
        X, y = features.to_xy("pool5")
        estimator = LogisticRegression(1.0).fit(X, y)
        identity = FeatureIdentity.of(features, "pool5")
    classes = data_of(done.path)["classes"]
    assert classes == ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]
    # The units of a map are shown by what their strongest place sees.
    save_head(tmp_path / "m.head", estimator, identity=identity, class_names=classes)
    done = explore(kept, tmp_path / "p.html", head=tmp_path / "m.head")
    assert any("not by patches" in note for note in done.notes)  # weights of no known name
    monkeypatch.setattr(unit_patches, "recorded_backbone", lambda features: backbone)
    head = data_of(explore(kept, tmp_path / "p.html", head=tmp_path / "m.head").path)["head"]
    assert head["patches"].keys() == head["examples"].keys() != set()
    for unit, uris in head["patches"].items():
        assert len(uris) == len(head["examples"][unit])
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in uris)


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_said_to_be_kept_is_kept(
    made: Path, tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"weights": "random:0:alexnet-64", "layers": ["fc6"], "workers": 0}
    if kept:
        asked["keep_features"] = tmp_path / "kept.h5"
    out, stop = tmp_path / "page.html", threading.Event()
    stop.set()
    with pytest.raises(Stopped) as stopped:
        decaf.explore(tmp_path / "images", out, stop=stop, **asked)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError) as failed:
        decaf.explore(tmp_path / "images", out, **asked)
    for error in (stopped.value, failed.value):
        text = str(error)
        assert ("decaf-explore" in text) is False
        assert ("`keep_features`" in text) != kept
        assert ("kept.h5.parts" in text) == kept

"""`decaf.search`: the nearest of images that are in a file, and of new ones."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
import systems
from decaf.cli.main import main
from decaf.errors import InputError, OutputError, SettingError, WeightsError
from decaf.exploration import NearestRows

HOSTILE = systems.possible_name("=cmd|<script>alert(1)<script>\x1b[31m.png")
ANT = systems.possible_name("<b>ant")
WEIGHTS = "random:0:alexnet-64"


def draw(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def backbone() -> decaf.Backbone:
    return decaf.load_backbone(WEIGHTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, backbone: decaf.Backbone) -> Path:
    """A folder with images of two classes, one of them damaged, and their features beside it."""
    root = tmp_path_factory.mktemp("made")
    for name in (ANT, "bee"):
        (root / "images" / name).mkdir(parents=True)
        for number in range(4):
            draw(root / "images" / name / f"{number}.png", 10 * len(name) + number)
    draw(root / "images" / "bee" / HOSTILE, 99)
    (root / "images" / "bee" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    decaf.extract(
        root / "images",
        ["pool5", "fc6"],
        out=root / "f.h5",
        weights=backbone,
        crops="ten",
        workers=0,
        on_error="record",
    ).close()
    return root


def cosines_of(file: decaf.FeatureFile, row: np.ndarray, layer: str) -> np.ndarray:
    X = file.to_xy(layer, ok_only=False)[0].astype(np.float64)
    return X @ row / (np.linalg.norm(X, axis=1) * np.linalg.norm(row))


def test_an_image_of_the_file_is_looked_up(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decaf.exploration.queries.recorded_backbone", None)  # not needed
    with decaf.open_features(made / "f.h5") as file:
        rows = file.to_xy("pool5", ok_only=False)[0]
        expected = cosines_of(file, rows[5], "pool5")
        result = decaf.search(file, made / "images/bee/0.png", layer="pool5", k=3)
        (answer,) = result.answers
        assert (result.layer, result.searched, result.left_out) == ("pool5", 9, 1)
        assert answer.row == list(file.paths).index(answer.path)
        row = answer.row
        expected = cosines_of(file, rows[row], "pool5")
        order = [r for r in np.argsort(-expected) if r != row and file.ok[r]][:3]
        assert [match.row for match in answer.matches] == order
        np.testing.assert_allclose([m.cosine for m in answer.matches], expected[order], atol=1e-6)
        assert {match.class_name for match in answer.matches} <= {ANT, "bee"}
        # By its row, by a name that is there no more, and of rows that are held: the same.
        assert decaf.search(file, row, layer="pool5", k=3).answers == (answer,)
        assert decaf.search(NearestRows(file, "pool5"), [row], k=3).answers[0].row == row


def test_the_rows_of_a_file_are_read_in_blocks_and_not_held(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    class Watched(NearestRows):
        def of_queries(self, *args: Any, **named: Any) -> Any:
            held.append(self.held)
            return super().of_queries(*args, **named)

    monkeypatch.setattr("decaf.exploration.search.NearestRows", Watched)
    decaf.search(made / "f.h5", [0, 1])
    assert held == [False]


def test_a_copy_elsewhere_has_the_original_as_its_nearest(made: Path, tmp_path: Path) -> None:
    copy = shutil.copy(made / "images/bee/0.png", tmp_path / "copy.png")
    (answer,) = decaf.search(made / "f.h5", copy, k=2).answers
    assert answer.row is None
    assert answer.matches[0].path.endswith("bee/0.png")
    assert answer.matches[0].cosine == pytest.approx(1, abs=1e-6)


def test_a_name_that_is_there_no_more_is_a_row(made: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.h5"
    shutil.copy(made / "f.h5", moved)
    name = str(made / "images/bee/1.png")
    hidden = made / "images/bee/hidden"
    (expected,) = decaf.search(moved, name, k=2).answers
    Path(name).rename(hidden)
    try:
        assert decaf.search(moved, [name], k=2).answers == (expected,)
        with pytest.raises(InputError, match=r"7\.png"):
            decaf.search(moved, str(made / "images/bee/7.png"))
    finally:
        hidden.rename(name)


def test_new_images_are_computed_as_those_of_the_file(
    made: Path, tmp_path: Path, backbone: decaf.Backbone
) -> None:
    new = draw(tmp_path / "new.png", 1234)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    row = decaf.extract(new, "fc6", weights=backbone, crops="ten", workers=0)[0]
    with decaf.open_features(made / "f.h5") as file:
        expected = cosines_of(file, row, "fc6")
        result = decaf.search(file, [new, tmp_path / "torn.png"], k=100, workers=0)
    assert result.bad == 1
    good, torn = result.answers
    assert len(good.matches) == 9  # all that there are
    np.testing.assert_allclose(
        [match.cosine for match in good.matches],
        [expected[match.row] for match in good.matches],
        atol=1e-5,
    )
    assert torn.status in ("corrupt", "unsupported")
    assert (torn.matches, bool(torn.message)) == ((), True)
    # From memory, too.
    with Image.open(new) as image:
        (again,) = decaf.search(made / "f.h5", [image.copy()], k=100, workers=0).answers
    assert [match.row for match in again.matches] == [match.row for match in good.matches]


def test_other_weights_are_refused_with_both(made: Path, tmp_path: Path) -> None:
    new = draw(tmp_path / "new.png", 1)
    for query in (new, made / "images/bee/0.png"):
        with pytest.raises(WeightsError) as caught:
            decaf.search(made / "f.h5", query, weights="random:1:alexnet-64")
        with decaf.open_features(made / "f.h5") as file:
            assert str(file.run["weights"]["sha256"]) in str(caught.value)
        assert "these are random:1:alexnet-64" in str(caught.value)


def test_what_cannot_be_searched_is_said(made: Path) -> None:
    with decaf.open_features(made / "f.h5") as file:
        bad = int(np.flatnonzero(~file.ok)[0])
        (answer,) = decaf.search(file, bad).answers
        assert (answer.status, answer.matches) == (file.status_names[file.status[bad]], ())
    with pytest.raises(SettingError, match="has no layer 'fc7'; it has pool5, fc6"):
        decaf.search(made / "f.h5", 0, layer="fc7")
    with pytest.raises(SettingError, match="`k` 0"):
        decaf.search(made / "f.h5", 0, k=0)
    with pytest.raises(SettingError, match="has no row 10; its rows are 0 to 9"):
        decaf.search(made / "f.h5", 10)
    with pytest.raises(OutputError, match="is a feature file, not a page"):
        decaf.search(made / "f.h5", 0, out=made / "f.h5")


def test_the_command_prints_text_json_and_csv(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    query = made / "images" / "bee" / HOSTILE
    command = ["search", str(made / "f.h5"), str(query), "-k", "9", "-q"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "nearest of 9 images by fc6" in text
    assert "\x1b" not in text
    assert main([*command, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert len(answer["matches"]) == 8
    page = str(tmp_path / "near.html")
    assert main([*command, "-o", page]) == 0
    assert capsys.readouterr().out.endswith(f"page: {page}\n")
    assert main(["search", str(made / "f.h5"), str(made / "images/bee/0.png"), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(line["rank"]) for line in lines] == list(range(1, 9))
    (tmp_path / "torn.png").write_bytes(b"no image")
    assert main(["search", str(made / "f.h5"), str(tmp_path / "torn.png"), "-q", "-j", "0"]) == 1


def test_names_are_harmless_on_the_page_and_in_csv(made: Path, tmp_path: Path) -> None:
    page = tmp_path / "near.html"
    result = decaf.search(made / "f.h5", made / "images/bee/0.png", k=9, out=page)
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert ANT not in html
    assert "\x1b" not in html
    assert html.count("data:image/jpeg") == 9
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    decaf.search(made / "f.h5", made / "images/bee/0.png", out=page, images=False)
    assert "data:image" not in page.read_text(encoding="utf-8")
    assert "'=cmd" not in result.to_csv()  # behind its folder it is no formula
    named = decaf.SearchResult(
        "f.h5", "fc6", 1, 0, (type(result.answers[0])("=1+1", None, "ok", "", ()),)
    )
    assert "\n'=1+1,ok," in named.to_csv()
    assert "\n=1+1,ok," in named.to_csv(raw_text=True)


def test_images_that_changed_are_refused_and_those_gone_are_counted(
    made: Path, tmp_path: Path, backbone: decaf.Backbone
) -> None:
    folder, page = tmp_path / "images", tmp_path / "p.html"
    shutil.copytree(made / "images", folder)
    decaf.extract(
        folder, "fc6", out=tmp_path / "f.h5", weights=backbone, workers=0, on_error="record"
    ).close()
    (folder / "bee" / "1.png").unlink()
    decaf.search(tmp_path / "f.h5", folder / "bee" / "0.png", out=page)
    assert "Not at their place any more: 1 of the images shown" in page.read_text(encoding="utf-8")
    draw(folder / "bee" / "2.png", 555)
    with pytest.raises(InputError, match="has changed since its features were computed"):
        decaf.search(tmp_path / "f.h5", folder / "bee" / "0.png", out=page)

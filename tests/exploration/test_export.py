"""Tables for programs that explore embeddings, read back by pyarrow, and an index of FAISS."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.cli.main import main
from decaf.errors import InputError, OutputError, SettingError
from decaf.exploration import NearestRows, make_map
from decaf.features.matrix import read_matrix
from made_features import made_file

parquet = pytest.importorskip("pyarrow.parquet")
BAD = 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made_file(
        tmp_path / "f.h5",
        {"pool5": np.random.default_rng(0).normal(size=(12, 2, 2, 2))},
        names=[b"=cmd\xff.jpg", *(b"%d.jpg" % n for n in range(1, 12))],
        labels=[0, 1, 0, -1, *[1] * 8],
        class_names=["<script>", "b"],
        bad=[BAD],
        splits=["train"] * 6 + ["test"] * 6,
    )


def test_a_table_has_all_that_is_known_of_a_row(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    done = decaf.export_table(file, out, neighbours=3)
    table = parquet.read_table(out)
    names = ["row", "path", "label", "class", "status", "message", "split"]
    assert table.column_names == list(done.columns) == [*names, "neighbours", "vector"]
    assert (done.rows, done.dimensions, done.bad, done.gone) == (12, 8, 1, 0)
    lines = table.to_pylist()
    assert lines[0]["path"] == "=cmd\\xff.jpg"
    assert [line["class"] for line in lines[:4]] == ["<script>", "b", "<script>", None]
    assert (lines[3]["label"], lines[BAD]["status"]) == (None, "corrupt")
    assert lines[BAD]["message"] == "cut short"
    assert (lines[BAD]["vector"], lines[BAD]["neighbours"]) == (None, None)
    with decaf.open_features(file) as features:
        X, _ = features.to_xy("pool5", ok_only=False)
        rows, cosines = NearestRows(features).of_rows([5], k=3)
        fingerprint = features.fingerprint
    assert lines[5]["vector"] == X[5].tolist()
    assert lines[5]["neighbours"]["ids"] == rows[0].tolist()
    np.testing.assert_allclose(lines[5]["neighbours"]["distances"], 1 - cosines[0], atol=1e-6)
    assert table.schema.metadata[b"decaf_fingerprint"].decode() == fingerprint


def test_a_map_places_the_rows_that_have_features(file: Path, tmp_path: Path) -> None:
    decaf.export_table(file, tmp_path / "t.parquet", map=True)
    lines = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert (lines[BAD]["x"], lines[BAD]["y"]) == (None, None)
    with decaf.open_features(file) as features:
        placed = make_map(features, "pool5")
    places = [(line["x"], line["y"]) for row, line in enumerate(lines) if row != BAD]
    np.testing.assert_allclose(places, placed.xy)
    lost = made_file(tmp_path / "lost.h5", {"fc6": np.ones((2, 4))}, bad=[0, 1])
    decaf.export_table(lost, tmp_path / "lost.parquet", map=True)
    (x, _) = parquet.read_table(tmp_path / "lost.parquet")["x"].to_pylist()
    assert x is None


def test_lines_count_the_rows_that_are_kept(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decaf.exploration.export._BLOCK_ROWS", 5)
    out = tmp_path / "t.parquet"
    decaf.export_table(file, out, ok_only=True, neighbours=20)
    lines = parquet.read_table(out).to_pylist()
    assert [line["row"] for line in lines] == [row for row in range(12) if row != BAD]
    for place, line in enumerate(lines):
        assert sorted(line["neighbours"]["ids"]) == [n for n in range(11) if n != place]
    # It can be fitted to, as any table of features.
    matrix = read_matrix(out)
    assert matrix.rows.shape == (11, 8)
    decaf.export_table(file, out, ok_only=True, neighbours=0, overwrite=True)
    assert "neighbours" not in parquet.read_table(out).column_names


def test_pictures_are_small_copies(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (90, 60), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    decaf.extract(
        tmp_path, "fc6", out=tmp_path / "f.h5", weights="random:0:alexnet-64", workers=0
    ).close()
    (tmp_path / "1.png").unlink()
    done = decaf.export_table(tmp_path / "f.h5", tmp_path / "t.parquet", thumbnails=24)
    lines = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert (done.gone, lines[1]["image"]) == (1, None)
    with Image.open(io.BytesIO(lines[2]["image"]["bytes"])) as image:
        assert (image.format, image.size) == ("JPEG", (36, 24))
        assert image.getpixel((3, 3))[0] == pytest.approx(160, abs=6)
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    with pytest.raises(InputError, match=r"has changed since .* no pictures, without `thumbnails`"):
        decaf.export_table(tmp_path / "f.h5", tmp_path / "u.parquet", thumbnails=24)
    assert not (tmp_path / "u.parquet").exists()


def test_an_index_answers_as_the_rows_do(file: Path, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    out = tmp_path / "x.faiss"
    done = decaf.export_index(file, out)
    assert (done.rows, done.bad) == (11, 1)
    queries = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    cosines, ids = faiss.read_index(str(out)).search(queries, 11)
    with decaf.open_features(file) as features:
        rows, expected = NearestRows(features).of_queries(queries, 11)
    np.testing.assert_array_equal(ids, rows)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    decaf.export_index(file, out, overwrite=True)  # it is known for an index


def test_what_cannot_be_written_is_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    decaf.export_table(file, out)
    with pytest.raises(OutputError, match=r"exists; give another `out`, or `overwrite=True`"):
        decaf.export_table(file, out)
    with pytest.raises(OutputError, match="is a Parquet table, not a FAISS index"):
        decaf.export_index(file, out, overwrite=True)
    with pytest.raises(OutputError, match="is a feature file, not a Parquet table"):
        decaf.export_table(file, file, overwrite=True)
    with pytest.raises(SettingError, match=r"must end in \.parquet"):
        decaf.export_table(file, tmp_path / "t.pq")
    with pytest.raises(SettingError, match="`thumbnails` 1: must be a whole number from 8"):
        decaf.export_table(file, out, thumbnails=1)
    for name, write in (("pyarrow.parquet", decaf.export_table), ("faiss", decaf.export_index)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SettingError, match=f"install {name.partition('.')[0]}"):
            write(file, tmp_path / "n.parquet")


def test_the_command_writes_them(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    out = tmp_path / "t.parquet"
    assert main(["export", str(file), "-o", str(out), "--neighbours", "2"]) == 0
    text = capsys.readouterr().out
    assert f"{out}: 12 rows of pool5, 8, with row, path, label, class, status" in text
    assert "1 row of images that could not be read: without features" in text
    assert main(["export", str(file), "-o", str(tmp_path / "x.faiss"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 11
    assert main(["export", str(file), "-o", str(tmp_path / "x.npy"), "--map"]) == 2
    assert "--map is for .parquet" in capsys.readouterr().err

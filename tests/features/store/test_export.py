"""Exports, read back by the tools they are meant for."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from decaf.errors import FeatureFileError, OutputError, SettingError
from decaf.features.store import export, layer_view
from decaf.features.store.export import export_features
from decaf.features.store.opening import open_features
from decaf.images import is_kind

ROWS = [
    ["path", "label", "class", "status"],
    ["cats/a.jpg", "0", "cats", "ok"],
    ["cats/b\\xff\n.jpg", "0", "cats", "corrupt"],
    ["dogs/c.jpg", "1", "dogs", "ok"],
    ["d.jpg", "-1", "", "ok"],
]


def layer(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        values: np.ndarray = file[f"features/{name}"][()]
    return values


def lines(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_npy_with_the_table_of_its_rows(feature_file: Path, tmp_path: Path) -> None:
    with open_features(feature_file) as file:
        done = export_features(file, tmp_path / "x.npy", layer="conv1")
    assert done.files == (tmp_path / "x.npy", tmp_path / "x.rows.csv")
    assert (done.layers, done.dtype) == ({"conv1": (4, 2, 3, 3)}, "float32")
    values = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(values, layer(feature_file, "conv1"))
    assert values.flags.c_contiguous
    assert lines(tmp_path / "x.rows.csv") == ROWS


def test_splits_and_groups_are_columns_too(feature_file: Path, tmp_path: Path) -> None:
    with h5py.File(feature_file, "r+") as file:
        for name, texts in (("split", [b"train", b"train", b"", b"val"]), ("group", [b"=a"] * 4)):
            file.create_dataset(name, data=np.array(texts, h5py.string_dtype("utf-8", 5)))
    with open_features(feature_file) as file:
        for ending in (".npy", ".csv", ".mat"):
            export_features(file, tmp_path / f"x{ending}", layer="fc6", ok_only=True)
    assert [line[4:] for line in lines(tmp_path / "x.rows.csv")] == [
        ["split", "group"],
        ["train", "'=a"],
        ["", "'=a"],
        ["val", "'=a"],
    ]
    assert lines(tmp_path / "x.csv")[0][:7] == [*ROWS[0], "split", "group", "f0"]
    result = loadmat(tmp_path / "x.mat", chars_as_strings=True)
    assert [cell[0].tolist() for cell in result["split"]] == [["train"], [], ["val"]]


@pytest.mark.parametrize("ending", [".npz", ".mat"])
@pytest.mark.parametrize("ok_only", [False, True])
def test_all_layers_in_one_file(
    ending: str, ok_only: bool, feature_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"x{ending}"
    with open_features(feature_file) as file:
        done = export_features(file, out, ok_only=ok_only)
        rows = 3 if ok_only else 4
        assert done.layers == {"fc6": (rows, 8), "conv1": (rows, 2, 3, 3)}
        keep = file.ok if ok_only else np.ones(4, bool)
        result = np.load(out) if ending == ".npz" else loadmat(out)
        for name in ("fc6", "conv1"):
            np.testing.assert_array_equal(result[name], layer(feature_file, name)[keep])
            assert result[name].dtype == np.float32
        texts = {
            "path": ["cats/a.jpg", "cats/b\\xff\n.jpg", "dogs/c.jpg", "d.jpg"],
            "class_names": ["cats", "dogs"],
            "layers": ["fc6", "conv1"],
            "status_names": ["ok", "missing", "corrupt"],
        }
        for name, expected in texts.items():
            values = [str(np.squeeze(each)) for each in result[name].ravel()]
            wanted = [text for text, kept in zip(expected, keep, strict=False) if kept]
            assert values == (wanted if name == "path" else expected)
        np.testing.assert_array_equal(result["label"].ravel(), file.labels[keep])
        np.testing.assert_array_equal(result["status"].ravel(), file.status[keep])
        assert str(np.squeeze(result["fingerprint"])) == file.fingerprint


def test_csv_gives_every_value_back_exactly(feature_file: Path, tmp_path: Path) -> None:
    with open_features(feature_file) as file:
        export_features(file, tmp_path / "x.csv", layer="conv1")
    table = lines(tmp_path / "x.csv")
    assert [line[:4] for line in table] == ROWS
    assert table[0][4:] == [f"f{i}" for i in range(18)]
    values = np.array([line[4:] for line in table[1:]], np.float32)
    np.testing.assert_array_equal(values, layer(feature_file, "conv1").reshape(4, 18))


def test_mat_as_matlab_sees_it(feature_file: Path, tmp_path: Path) -> None:
    with open_features(feature_file) as file:
        export_features(file, tmp_path / "x.mat", layer="conv1")
        fingerprint = file.fingerprint
    result = loadmat(tmp_path / "x.mat")
    np.testing.assert_array_equal(result["features"], layer(feature_file, "conv1"))
    assert result["features"].dtype == np.float32
    assert [str(cell[0]) for cell in result["path"].ravel()] == [line[0] for line in ROWS[1:]]
    assert result["label"].tolist() == [[0], [0], [1], [-1]]
    assert [str(cell[0]) for cell in result["class_names"].ravel()] == ["cats", "dogs"]
    assert result["status"].tolist() == [[0], [2], [0], [0]]
    assert [str(cell[0]) for cell in result["status_names"].ravel()] == ["ok", "missing", "corrupt"]
    assert result["ok"].ravel().tolist() == [1, 0, 1, 1]
    assert result["layer"].tolist() == ["conv1"]
    assert result["fingerprint"].tolist() == [fingerprint]


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_bad_rows_can_be_left_out(feature_file: Path, tmp_path: Path, ending: str) -> None:
    with open_features(feature_file) as file:
        done = export_features(file, tmp_path / f"x{ending}", layer="fc6", ok_only=True)
    assert done.layers == {"fc6": (3, 8)}
    expected = layer(feature_file, "fc6")[[0, 2, 3]]
    if ending == ".npy":
        values = np.load(tmp_path / "x.npy")
        assert lines(tmp_path / "x.rows.csv") == [ROWS[0], ROWS[1], ROWS[3], ROWS[4]]
    elif ending == ".csv":
        values = np.array([line[4:] for line in lines(tmp_path / "x.csv")[1:]], np.float32)
    else:
        values = (np.load if ending == ".npz" else loadmat)(tmp_path / f"x{ending}")["features"]
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("ending", export.ENDINGS)
def test_half_precision_survives(feature_file: Path, tmp_path: Path, ending: str) -> None:
    half = np.array([[0.1, 65504, 6e-8, -0.0, np.inf, np.nan, 1 / 3, 2]] * 4, np.float16)
    with h5py.File(feature_file, "a") as file:
        del file["features/fc6"]
        file.create_dataset("features/fc6", data=half, chunks=(2, 8), fletcher32=True)
    with open_features(feature_file) as file:
        export_features(file, tmp_path / f"x{ending}", layer="fc6")
    if ending == ".npy":
        values = np.load(tmp_path / "x.npy")
        assert values.dtype == np.float16
    elif ending == ".csv":
        values = np.array([line[4:] for line in lines(tmp_path / "x.csv")[1:]], np.float16)
    else:
        values = (np.load if ending == ".npz" else loadmat)(tmp_path / f"x{ending}")["features"]
    np.testing.assert_array_equal(values.astype(np.float16), half)


def test_several_blocks_make_one_array(
    write_features: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_features(tmp_path / "f.h5", rows=40)
    monkeypatch.setattr(layer_view, "BLOCK_BYTES", 100)
    with open_features(path) as file:
        for ending in export.ENDINGS:
            export_features(file, tmp_path / f"x{ending}", layer="fc6")
    expected = layer(path, "fc6")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)
    np.testing.assert_array_equal(loadmat(tmp_path / "x.mat")["features"], expected)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["features"], expected)
    assert len(lines(tmp_path / "x.csv")) == 41


def test_the_only_layer_need_not_be_named(feature_file: Path, tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "features-1.h5"
    with open_features(golden) as file:
        assert [*export_features(file, tmp_path / "x.npy").layers] == ["fc6"]
    with (
        open_features(feature_file) as file,
        pytest.raises(
            SettingError, match=r"y\.npy: takes one layer, got fc6, conv1 of .*f\.h5; name"
        ),
    ):
        export_features(file, tmp_path / "y.npy")


@pytest.mark.parametrize("name", ["x.txt", "x", "x.npy.gz"])
def test_an_unknown_ending_lists_the_known(feature_file: Path, tmp_path: Path, name: str) -> None:
    with (
        open_features(feature_file) as file,
        pytest.raises(SettingError, match=r"use one of \.npy, \.csv, \.npz, \.mat"),
    ):
        export_features(file, tmp_path / name, layer="fc6")


def test_killed_between_its_two_files_an_export_can_be_given_again(
    feature_file: Path, tmp_path: Path
) -> None:
    out, table = tmp_path / "x.npy", tmp_path / "x.rows.csv"
    with open_features(feature_file) as file:
        export_features(file, out, layer="fc6")
        values = out.read_bytes()
        out.unlink()
        export_features(file, out, layer="fc6")
        assert out.read_bytes() == values
        out.unlink()
        table.write_text("somebody's")
        with pytest.raises(OutputError, match=r"x\.rows\.csv: is there already"):
            export_features(file, out, layer="fc6")
        out.write_text("my notes")
        with pytest.raises(OutputError, match=r"x\.npy: exists and is a text file, not a NumPy a"):
            export_features(file, out, layer="fc6", overwrite=True)
        assert out.read_text(encoding="utf-8") == "my notes"
        out.unlink()
    assert table.read_text(encoding="utf-8") == "somebody's"
    assert not out.exists()


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_killed_at_its_end_an_export_can_be_given_again(
    feature_file: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    with open_features(feature_file) as file:
        first = export_features(file, out, layer="fc6")
        before = {path: (path.read_bytes(), path.stat().st_ino) for path in first.files}
        assert export_features(file, out, layer="fc6") == first
        assert before == {path: (path.read_bytes(), path.stat().st_ino) for path in first.files}
        with pytest.raises(OutputError, match="is there already"):
            export_features(file, out, layer="fc6", ok_only=True)
        whole = out.read_bytes()
        for other in (whole[:-1], whole + b"1", whole[:-1] + bytes([whole[-1] ^ 1])):
            out.write_bytes(other)
            with pytest.raises(OutputError, match=f"{name}: is there already"):
                export_features(file, out, layer="fc6")
            assert out.read_bytes() == other


def test_an_unknown_layer_writes_nothing(feature_file: Path, tmp_path: Path) -> None:
    with open_features(feature_file) as file, pytest.raises(SettingError, match="no layer 'fc9'"):
        export_features(file, tmp_path / "x.npy", layer="fc9")
    assert sorted(os.listdir(tmp_path)) == ["f.h5"]


@pytest.mark.parametrize("there", ["x.npy", "x.rows.csv"])
def test_what_is_there_is_not_replaced_unasked(
    feature_file: Path, tmp_path: Path, there: str
) -> None:
    (tmp_path / there).write_bytes(b"")
    with open_features(feature_file) as file:
        with pytest.raises(OutputError, match=f"{there}: is there already"):
            export_features(file, tmp_path / "x.npy", layer="fc6")
        assert (tmp_path / there).read_bytes() == b""
        assert len(os.listdir(tmp_path)) == 2
        export_features(file, tmp_path / "x.npy", layer="fc6", overwrite=True)
    assert np.load(tmp_path / "x.npy").shape == (4, 8)


def test_a_full_disk_leaves_nothing_behind(
    feature_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        open_features(feature_file) as file,
        pytest.raises(OutputError, match=r"x\.csv: .*the disk is full; nothing was written"),
    ):
        export_features(file, tmp_path / "x.csv", layer="fc6")
    assert os.listdir(tmp_path) == ["f.h5"]


def test_damage_leaves_nothing_behind(feature_file: Path, tmp_path: Path) -> None:
    with h5py.File(feature_file) as file:
        place = file["features/fc6"].id.get_chunk_info(1).byte_offset
    data = bytearray(feature_file.read_bytes())
    data[place] ^= 1
    feature_file.write_bytes(data)
    with open_features(feature_file) as file:
        for ending in (".csv", ".npy", ".mat"):
            with pytest.raises(FeatureFileError, match="fc6, rows 3 to 3"):
                export_features(file, tmp_path / f"x{ending}", layer="fc6")
    assert os.listdir(tmp_path) == ["f.h5"]


def test_a_folder_that_is_not_there(feature_file: Path, tmp_path: Path) -> None:
    with open_features(feature_file) as file, pytest.raises(OutputError, match="no folder"):
        export_features(file, tmp_path / "no" / "x.csv", layer="fc6")


def text_of(file: h5py.File, data: h5py.Dataset) -> list[str]:
    """Read a cell array of texts as MATLAB does."""
    assert data.attrs["MATLAB_class"] == b"cell"
    texts = []
    for (reference,) in data[()].T:
        cell = file[reference]
        assert cell.attrs["MATLAB_class"] == b"char"
        empty = bool(cell.attrs.get("MATLAB_empty", 0))
        texts.append("" if empty else cell[()].ravel().tobytes().decode("utf-16-le"))
    return texts


def test_what_a_mat_file_of_version_5_cannot_hold_is_one_of_version_7_3(
    feature_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_MAT_BYTES", 95)
    with open_features(feature_file) as features:
        export_features(features, tmp_path / "x.mat")
        # MATLAB's header stands before what HDF5 reads.
        start = (tmp_path / "x.mat").read_bytes()[:512]
        assert start.startswith(b"MATLAB 7.3 MAT-file")
        assert start[124:128] == b"\x00\x02IM"
        assert is_kind(tmp_path / "x.mat", "matlab")
        with h5py.File(tmp_path / "x.mat") as file:
            assert file.userblock_size == 512
            for name in features.layers:
                # MATLAB counts the first axis fastest: size(fc6) is that of the layer here.
                np.testing.assert_array_equal(file[name][()].T, features[name][:])
                assert file[name].attrs["MATLAB_class"] == b"single"
            assert file["label"][()].tolist() == [features.labels.tolist()]
            assert file["label"].attrs["MATLAB_class"] == b"int64"
            assert file["ok"].attrs["MATLAB_class"] == b"logical"
            assert text_of(file, file["path"])[1] == "cats/b\\xff\n.jpg"
            assert text_of(file, file["class_names"]) == list(features.class_names)
            assert file["run"].attrs["MATLAB_int_decode"] == 2
        # It is replaced as one that decaf has written, and has the same bytes.
        before = (tmp_path / "x.mat").read_bytes()
        export_features(features, tmp_path / "x.mat", overwrite=True)
        assert (tmp_path / "x.mat").read_bytes() == before
        export_features(features, tmp_path / "one.mat", layer="fc6", ok_only=True)
        with h5py.File(tmp_path / "one.mat") as file:
            assert file["features"].shape[-1] == int(features.ok.sum())


def test_other_readers_of_version_7_3(
    feature_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mat73 = pytest.importorskip("mat73")
    monkeypatch.setattr(export, "MAX_MAT_BYTES", 127)
    with open_features(feature_file) as features:
        export_features(features, tmp_path / "x.mat")
        read = mat73.loadmat(str(tmp_path / "x.mat"))
        for name in features.layers:
            np.testing.assert_array_equal(read[name], features[name][:])
        assert read["label"].tolist() == features.labels.tolist()
        assert read["ok"].tolist() == features.ok.tolist()
        assert [name for (name,) in read["class_names"]] == list(features.class_names)
        assert read["fingerprint"] == features.fingerprint

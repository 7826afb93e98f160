"""The feature file as a reader sees it, and the golden file that holds its format fast."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import decaf
import systems
from decaf.errors import FeatureFileError, SettingError
from decaf.features.store import layer_view as rows_module
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import open_features
from decaf.runtime.names import name_bytes
from decaf.storage.records import canonical_json, fingerprint
from made_features import made_file

GOLDEN = Path(__file__).parent / "golden" / "features-1.h5"


def raw(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        values: np.ndarray = file[name][()]
    return values


def test_columns_are_what_was_written(feature_file: Path) -> None:
    with open_features(feature_file) as file:
        assert len(file) == 4
        assert file.layers == ("fc6", "conv1")
        assert file.paths.tolist() == ["cats/a.jpg", "cats/b\udcff\n.jpg", "dogs/c.jpg", "d.jpg"]
        assert file.path_bytes[1] == name_bytes(file.paths[1]) == b"cats/b\xff\n.jpg"
        assert file.labels.dtype == np.int64
        assert file.labels.tolist() == [0, 0, 1, -1]
        assert file.class_names == ("cats", "dogs")
        assert file.status.tolist() == [0, 2, 0, 0]
        assert file.status_names == ("ok", "missing", "corrupt")
        assert file.messages.tolist() == ["", "cut short after 10 bytes", "", ""]
        assert file.ok.tolist() == [True, False, True, True]
        assert file.source_size.tolist() == [[500, 375], [0, 0], [500, 375], [500, 375]]
        assert file.content_sha256.shape == (4, 32)
        assert file.run["weights"]["name"] == "random:0"
        assert file.fingerprint == fingerprint(file.run) == file.attrs["fingerprint"]
        assert file.attrs["format"] == "decaf-features"
        assert file.attrs["schema"] == 1
        assert file.environment == {"device": "cpu"}


def test_public_names_are_the_same_objects() -> None:
    assert decaf.open_features is open_features
    assert decaf.FeatureFile is FeatureFile


def test_columns_cannot_be_changed_by_accident(feature_file: Path) -> None:
    with open_features(feature_file) as file, pytest.raises(ValueError, match="read-only"):
        file.labels[0] = 5


@pytest.mark.posix("names")
def test_a_file_name_that_is_not_utf8(feature_file: Path) -> None:
    odd = os.fsencode(feature_file.parent) + b"/\xff\n.h5"
    os.rename(feature_file, odd)
    for name in (odd, os.fsdecode(odd), Path(os.fsdecode(odd))):
        with open_features(name) as file:
            assert len(file) == 4


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(2),
        slice(None),
        slice(1, 3),
        slice(-2, None),
        slice(3, 1),
        slice(None, None, -1),
        slice(0, None, 2),
        [3, 0, 0, 2],
        [],
        np.array([True, False, True, True]),
        np.array([[0, 1], [2, 3]]),
        (0, 1),
        (slice(1, 3), 0),
        ([2, 1], slice(None), 2),
        (slice(None), Ellipsis, 0),
        (1, Ellipsis, 0),
    ],
    ids=str,
)
def test_a_layer_is_indexed_as_numpy_does(feature_file: Path, key: object) -> None:
    expected = raw(feature_file, "features/conv1")[key]
    with open_features(feature_file) as file:
        values = file["conv1"][key]
    assert values.shape == expected.shape
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(wanted=st.lists(st.integers(-50, 49), max_size=30))
def test_rows_come_in_any_order(
    write_features: Callable[..., Path], tmp_path: Path, wanted: list[int]
) -> None:
    path = tmp_path / "f.h5"
    if not path.exists():
        write_features(path, rows=50)
    whole = raw(path, "features/fc6")
    with open_features(path) as file:
        np.testing.assert_array_equal(file["fc6"][wanted], whole[np.array(wanted, int)])


def test_rows_outside_are_an_index_error(feature_file: Path) -> None:
    with open_features(feature_file) as file:
        for key in (4, -5, [0, 4], np.ones(3, bool), 1.5):
            with pytest.raises(IndexError):
                file["fc6"][key]


def test_a_layer_is_an_array(feature_file: Path) -> None:
    whole = raw(feature_file, "features/conv1")
    with open_features(feature_file) as file:
        view = file["conv1"]
        assert (view.name, view.shape, view.ndim, view.size) == ("conv1", (4, 2, 3, 3), 4, 72)
        np.testing.assert_array_equal(np.asarray(view), whole)
        assert np.asarray(view, dtype=np.float64).dtype == np.float64
        assert [row.shape for row in view] == [(2, 3, 3)] * 4
        assert repr(view) == "<layer conv1: shape (4, 2, 3, 3), float32>"
        with pytest.raises(ValueError, match="always a copy"):
            view.__array__(copy=False)


def test_slicing_reads_no_more_than_its_chunks(
    write_features: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_features(tmp_path / "f.h5", rows=300)  # in chunks of 3 rows
    read = []
    read_rows = rows_module.read_rows

    def counting(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return read_rows(dataset, start, stop)

    monkeypatch.setattr(rows_module, "read_rows", counting)
    with open_features(path) as file:
        file["fc6"][[299, 1, 0, 2, 150]]
    assert read == [(0, 3), (150, 151), (299, 300)]


def test_blocks_are_bounded_and_complete(
    write_features: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_features(tmp_path / "f.h5", rows=50)
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 7 * 8 * 4)
    with open_features(path) as file:
        blocks = list(file["fc6"].blocks())
        X, y = file.to_xy("fc6", ok_only=False)
    assert [start for start, _ in blocks] == list(range(0, 50, 6))  # whole chunks of 3 rows
    np.testing.assert_array_equal(np.concatenate([values for _, values in blocks]), X)
    assert len(y) == 50


def test_to_xy_leaves_bad_rows_out(feature_file: Path) -> None:
    whole = raw(feature_file, "features/conv1")
    with open_features(feature_file) as file:
        X, y = file.to_xy("conv1")
        assert X.dtype == np.float32
        assert X.flags.c_contiguous
        np.testing.assert_array_equal(X, whole[[0, 2, 3]].reshape(3, 18))
        assert np.isfinite(X).all()
        assert y.tolist() == [0, 1, -1]
        X, y = file.to_xy("conv1", ok_only=False)
        assert np.isnan(X[1]).all()
        assert y.tolist() == [0, 0, 1, -1]


def test_blocks_of_bad_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a folder that was lost: none of its images can be read."""
    monkeypatch.setattr("decaf.features.store.assemble.CHUNK_BYTES", 72)
    monkeypatch.setattr("decaf.features.store.layer_view.BLOCK_BYTES", 72)
    values = np.random.default_rng(0).random((6, 2, 3, 3), np.float32)
    for bad in ([0, 1, 2], [2, 3], [3, 4, 5], [*range(6)]):
        path = made_file(tmp_path / "f.h5", {"conv1": values}, bad=bad)
        good = np.setdiff1d(np.arange(6), bad)
        with open_features(path) as file:
            X, y = file.to_xy("conv1")
            np.testing.assert_array_equal(X, values[good].reshape(len(good), 18))
            assert len(y) == len(good)
        path.unlink()


def test_half_precision_layers(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        values = file["features/fc6"][()].astype(np.float16)
        del file["features/fc6"]
        file.create_dataset("features/fc6", data=values, chunks=(3, 8), fletcher32=True)
    with open_features(feature_file) as file:
        assert file["fc6"].dtype == np.float16
        X, _ = file.to_xy("fc6", ok_only=False)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, values.astype(np.float32))


def test_a_layer_that_is_not_there(feature_file: Path) -> None:
    with open_features(feature_file) as file:
        assert "fc7" not in file
        assert "fc6" in file
        with pytest.raises(SettingError, match=r"f\.h5: has no layer 'fc7'; it has fc6, conv1"):
            file["fc7"]


def test_a_closed_file_says_so(feature_file: Path) -> None:
    file = open_features(feature_file)
    assert "4 rows of fc6, conv1>" in repr(file)
    file.close()
    file.close()
    assert repr(file).endswith(", closed>")
    with pytest.raises(FeatureFileError, match="has been closed"):
        file["fc6"]
    with pytest.raises(FeatureFileError, match="has been closed"):
        file.labels  # noqa: B018


def test_no_file_stays_open_when_one_is_refused(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        file.attrs["format"] = "other"
    before = systems.open_files()
    for _ in range(3):
        with pytest.raises(FeatureFileError):
            open_features(feature_file)
    assert systems.open_files() == before


def test_info_is_json(feature_file: Path) -> None:
    with open_features(feature_file) as file:
        info = json.loads(json.dumps(file.info(), allow_nan=False))
    assert info["rows"] == 4
    assert info["ok"] == 3
    assert info["bad"] == {"corrupt": 1}
    assert info["classes"] == {"cats": 2, "dogs": 1}
    assert info["labelled"] == 3
    assert info["layers"]["conv1"] == {"shape": [2, 3, 3], "dtype": "float32", "bytes": 288}
    assert info["bytes"] == feature_file.stat().st_size
    assert info["run"]["crops"] == "center"


def test_splits_and_groups_where_there_are_any(feature_file: Path) -> None:
    with open_features(feature_file) as file:
        assert (file.splits, file.groups) == (None, None)
        assert (file.info()["splits"], file.info()["groups"]) == ({}, 0)
    with h5py.File(feature_file, "r+") as raw:
        for name, texts in (("split", ["train", "val", "", "val"]), ("group", ["a", "a", "é", ""])):
            encoded = np.array([each.encode() for each in texts], h5py.string_dtype("utf-8", 5))
            raw.create_dataset(name, data=encoded)
    with open_features(feature_file) as file:
        assert file.splits == ("train", "val", "", "val")
        assert file.groups == ("a", "a", "é", "")
        assert file.info()["splits"] == {"train": 1, "val": 2, "": 1}
        assert file.info()["groups"] == 2
    with h5py.File(feature_file, "r+") as raw:
        raw["split"][2] = b"dev"
    with (
        open_features(feature_file) as file,
        pytest.raises(FeatureFileError, match=r"split, row 2: 'dev' found, one of train, val, tes"),
    ):
        _ = file.splits
    with h5py.File(feature_file, "r+") as raw:
        del raw["split"]
        raw.create_dataset("split", data=np.array([b"train"] * 3, h5py.string_dtype("utf-8", 5)))
    with pytest.raises(FeatureFileError, match=r"'split' has shape \(3,\), expected \(4,\)"):
        open_features(feature_file)


def test_bare_numbers_as_labels(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        del file["class_names"]
        file.create_dataset("class_names", shape=(0,), dtype=h5py.string_dtype("utf-8", 1))
        file["label"][:] = [7, 7, 1000, -1]
    with open_features(feature_file) as file:
        assert file.class_names == ()
        assert file.labels.tolist() == [7, 7, 1000, -1]
        assert file.info()["classes"] == {"7": 2, "1000": 1}


def test_canonical_json_does_not_depend_on_order_and_refuses_nan() -> None:
    assert canonical_json({"b": [1.5, "é"], "a": None}) == '{"a":null,"b":[1.5,"\\u00e9"]}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_the_golden_file_still_reads() -> None:
    """A file of schema 1 as it was first written: what reads it today must read it for ever."""
    with open_features(GOLDEN) as file:
        assert file.layers == ("fc6",)
        np.testing.assert_array_equal(
            file["fc6"][[0, 2]], (np.arange(24, dtype=np.float32).reshape(3, 8) / 7)[[0, 2]]
        )
        assert np.isnan(file["fc6"][1]).all()
        assert file.path_bytes.tolist() == [b"a/one.jpg", b"a/\xfftwo.jpg", b"three.jpg"]
        assert file.labels.tolist() == [0, 0, -1]
        assert file.class_names == ("a",)
        assert file.status.tolist() == [0, 5, 0]
        assert file.status_names[5] == "corrupt"
        assert file.messages.tolist() == ["", "cut short", ""]
        assert file.source_size.tolist() == [[500, 375], [0, 0], [64, 64]]
        assert file.content_sha256[0].tobytes().hex() == (
            "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
        )
        assert file.fingerprint == (
            "8bbe7a30cec3057e596baf078de812c148d97060ec0fe68a57fa1360e9897362"
        )
        assert file.attrs["created"] == "2026-01-02T03:04:05+00:00"
        assert file.environment == {"device": "cpu"}

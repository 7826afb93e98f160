"""Matrices of features of other networks: how they are read, and which images their rows are of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from decaf.errors import DecafError, InputError
from decaf.features.matrix import FeatureMatrix, read_matrix

RELATIVE = [b"ant/1.jpg", b"ant/2.jpg", b"bee/1.jpg", b"bee/3.jpg"]
NAMES = [b"/data/insects/" + name for name in RELATIVE]
ROWS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def texts(paths: list[Any]) -> Any:
    return np.array(paths, h5py.string_dtype())


@pytest.mark.parametrize(
    "paths",
    [
        RELATIVE,
        NAMES,
        [b"insects/" + name for name in RELATIVE],  # the last parts of a path
        [b"./" + name for name in RELATIVE],
        [name.replace(b"/", b"\\") for name in RELATIVE],
        [b"/another/machine/photos/" + name for name in RELATIVE],
        ["ant/1.jpg", "2.jpg", "bee/1.jpg", "3.jpg"],  # names that one image alone has
    ],
)
def test_rows_come_in_the_order_of_the_images(paths: list[Any]) -> None:
    order = [2, 0, 3, 1]
    matrix = read_matrix(ROWS[order])
    rows = matrix.in_order(NAMES, RELATIVE, [paths[place] for place in order])
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "ant/2.jpg\nant/1.jpg\nbee/1.jpg\nbee/3.jpg\n"),
        ("list.txt", "path\r\nant/2.jpg\r\nant/1.jpg\r\nbee/1.jpg\r\nbee/3.jpg"),
        ("r.csv", '"x"\n"ant/2.jpg"\n"ant/1.jpg"\n"bee/1.jpg"\n"bee/3.jpg"\n'),
        (
            "table.csv",
            "n,path,a,b\n0,ant/2.jpg,,\n1,ant/1.jpg,,\n2,bee/1.jpg,1,2\n3,bee/3.jpg,,\n",
        ),
        ("index.csv", ",path\n0,ant/2.jpg\n1,ant/1.jpg\n2,bee/1.jpg\n3,bee/3.jpg\n"),
        ("no header.tsv", "ant/2.jpg\t1\nant/1.jpg\t1\nbee/1.jpg\t2\nbee/3.jpg\t2\n"),
    ],
)
def test_lists_of_paths(tmp_path: Path, name: str, text: str) -> None:
    np.save(tmp_path / "clip.npy", ROWS[[1, 0, 2, 3]].astype(np.float64))
    (tmp_path / name).write_text(text, newline="")
    matrix = read_matrix(tmp_path / "clip.npy")
    assert matrix.rows.dtype == np.float32
    rows = matrix.in_order(NAMES, RELATIVE, tmp_path / name)
    np.testing.assert_array_equal(rows, ROWS)


def test_the_column_of_a_list_can_be_named(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    # The first column names images as well: those that the pictures were cut from.
    table.write_text("of,cut\n" + "".join(f"ant/1.jpg,{name.decode()}\n" for name in RELATIVE))
    rows = read_matrix(ROWS).in_order(NAMES, RELATIVE, f"{table}:cut")
    np.testing.assert_array_equal(rows, ROWS)
    with pytest.raises(InputError, match=r"rows 0 and 1 are both of the image 'ant/1\.jpg'"):
        read_matrix(ROWS).in_order(NAMES, RELATIVE, f"{table}:of")
    with pytest.raises(InputError, match=r"no column 'other'"):
        read_matrix(ROWS).in_order(NAMES, RELATIVE, f"{table}:other")
    # At its last separators the table can be divided into two columns as well.
    table.write_text("n,path,a\n" + "".join(f"1,{name.decode()},x\n" for name in RELATIVE))
    rows = read_matrix(ROWS).in_order(NAMES, RELATIVE, f"{table}:path")
    np.testing.assert_array_equal(rows, ROWS)


def test_paths_must_not_contradict_those_of_the_matrix() -> None:
    matrix = FeatureMatrix("m.parquet", ROWS, tuple(RELATIVE))
    for same in (RELATIVE, NAMES):
        np.testing.assert_array_equal(matrix.in_order(NAMES, RELATIVE, same), ROWS)
    with pytest.raises(
        InputError,
        match=r"^m\.parquet: its own list of paths says that row 0 is of 'ant/1\.jpg', `paths` "
        r"that it is of 'bee/3\.jpg'; leave out `paths` to go by the first$",
    ):
        matrix.in_order(NAMES, RELATIVE, RELATIVE[::-1])
    # A column of text in HDF5 may be something else.
    matrix = FeatureMatrix("m.h5", ROWS, (b"may", b"june", b"may", b"june"))
    np.testing.assert_array_equal(matrix.in_order(NAMES, RELATIVE, RELATIVE), ROWS)


PATHS = [name.decode() for name in RELATIVE]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([*PATHS[:3], "cat/1.jpg"], r"features: row 3, 'cat/1\.jpg', is none of the images, the n"),
        ([*PATHS[:3], "1.jpg"], r"'1\.jpg' names 2 images; give their paths below the source"),
        ([*PATHS[:3], PATHS[0]], r"features: rows 0 and 3 are both of the image 'ant/1\.jpg'"),
        (PATHS[:3], r"features: has 4 rows, and `paths` 3 paths; expected one a row"),
        ([*PATHS, "a.jpg"], r"features: has 4 rows, and `paths` 5 paths; expected one a row"),
        ([*PATHS[:3], ""], r"features: row 3, '', is none of the images"),
        (None, r"features: does not say which image a row is of: give `paths`"),
        ("none.txt", r"paths file 'none\.txt' cannot be read: No such file"),
    ],
)
def test_rows_that_do_not_fit_the_images_are_refused(paths: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_matrix(ROWS).in_order(NAMES, RELATIVE, paths)


def test_images_without_a_row_are_named() -> None:
    with pytest.raises(InputError, match=r"has no row for 2 of 4 images: ant/2\.jpg, bee/3\.jpg$"):
        read_matrix(ROWS[[0, 2]]).in_order(NAMES, RELATIVE, [PATHS[0], PATHS[2]])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_row_that_is_not_finite_is_named_by_its_image(value: float) -> None:
    rows = ROWS.astype(np.float64)
    rows[1, 2] = value
    message = r"1 of 4 rows of features hold NaN.*the first is that of 'ant/2\.jpg'"
    with pytest.raises(InputError, match=message):
        read_matrix(rows).in_order(NAMES, RELATIVE, PATHS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS[0], r"features of shape \(3,\); expected \(rows, dimensions\)"),
        (ROWS[:, :, None], r"features of shape \(4, 3, 1\)"),
        (ROWS[:0], r"features of shape \(0, 3\)"),
        (ROWS.astype("U5"), "features of type <U5; expected plain real numbers"),
        (ROWS + 1j, "features of type complex64; expected plain real numbers"),
        (np.array([[None, "a"]], object), "cannot be read as a matrix of features: "),
    ],
)
def test_arrays_that_are_no_matrix_of_numbers(tmp_path: Path, content: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=rf"a\.npy: {message}"):
        read_matrix(tmp_path / "a.npy")


def cut(file: Path) -> None:
    np.save(file, ROWS)
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("cut.npy", cut, "cannot be read as a matrix of features: "),
        ("a.txt", lambda file: file.write_text("1 2 3"), "is a text file, not a matrix of feat"),
        ("none.npy", lambda file: None, "is not there, not a matrix of features: .npy, .h5 or .p"),
        ("bad.h5", lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "cannot be re"),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, name: str, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_matrix(tmp_path / name)


def test_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "dino.h5"
    with h5py.File(path, "w") as file:
        file["images/paths"] = texts([*PATHS])
        file["images/embedding"] = ROWS.astype(np.float16)
        file["labels"] = np.arange(4)
    matrix = read_matrix(path)
    np.testing.assert_array_equal(matrix.rows, ROWS.astype(np.float16))
    assert matrix.paths == tuple(RELATIVE)
    with h5py.File(path, "a") as file:
        file["other"] = ROWS[:, :2]
        file["notes"] = texts(["a", "b"])
    with pytest.raises(InputError, match=r"holds 2 matrices; name one, as FILE:DATASET; it has im"):
        read_matrix(path)
    matrix = read_matrix(f"{path}:other")
    np.testing.assert_array_equal(matrix.rows, ROWS[:, :2])
    assert matrix.paths == tuple(RELATIVE)  # of two texts the one that is called so
    with pytest.raises(InputError, match="has no dataset 'third'"):
        read_matrix(f"{path}:third")
    with pytest.raises(InputError, match=r"features of shape \(4,\)"):
        read_matrix(f"{path}:labels")


def test_hdf5_that_points_elsewhere_or_was_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["rows"] = ROWS
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rows"] = h5py.ExternalLink("other.h5", "rows")
    with pytest.raises(InputError, match=r"holds no matrices.*it has no dataset"):
        read_matrix(tmp_path / "a.h5")
    with pytest.raises(InputError, match="'rows' is a link, which is not followed"):
        read_matrix(f"{tmp_path / 'a.h5'}:rows")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("rows", (10**9, 512), np.float32, chunks=(64, 512))
    with pytest.raises(InputError, match=r"b\.h5: dataset rows claims .* a part was never written"):
        read_matrix(tmp_path / "b.h5")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: to read parquet, install pyarrow$"):
        read_matrix(tmp_path / "a.parquet")


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"

    def write(**columns: Any) -> None:
        parquet.write_table(arrow.table(columns), path, row_group_size=3)

    fixed = arrow.FixedSizeListArray.from_arrays(ROWS.ravel(), 3)
    floats = {f"f{column}": ROWS[:, column] for column in range(3)}
    numbers = {"label": [0, 0, 1, 1]}  # integers are no features
    for columns in ({"x": fixed}, {"x": [*ROWS]}, {**floats, **numbers}):
        write(path=PATHS, **columns)
        matrix = read_matrix(path)
        np.testing.assert_array_equal(matrix.in_order(NAMES, RELATIVE), ROWS)
    wrong: dict[str, dict[str, Any]] = {
        "has no column path; it has x": {"x": [*ROWS]},
        "has columns of lists: x, y; expected one": {"path": PATHS, "x": [*ROWS], "y": [*ROWS]},
        "has no column of lists or floats": {"path": PATHS, **numbers},
        "has empty cells": {"path": PATHS, "x": [[1.0], None, [1.0], [2.0]]},
        "its rows are lists of 1 to 2 numbers": {"path": PATHS, "x": [[1.0], [1.0, 2.0]] * 2},
        "features of type object; expected plain": {"path": PATHS, "x": [["a"]] * 4},
    }
    for message, columns in wrong.items():
        write(**columns)
        with pytest.raises(InputError, match=message):
            read_matrix(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DecafError, match=r"a\.parquet: cannot be read as a matrix of features"):
        read_matrix(path)

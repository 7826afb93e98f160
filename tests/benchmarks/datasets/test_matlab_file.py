"""MATLAB files of features: what scipy writes is read, what a stranger damages is refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from datasets.feature_folder import read_matlab_features
from decaf.errors import InputError


def rows_and_labels(n: int = 6, d: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"fts": random.random((n, d)), "labels": (1 + np.arange(n) % 3)[:, None]}


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("packed", "name", "dtype"),
    [
        (False, "fts", "f8"),
        (True, "feas", "f4"),
        (False, "features", "i2"),
        (True, "fts", "u1"),
        (True, "features", ">f8"),
    ],
)
def test_what_scipy_writes(tmp_path: Path, packed: bool, name: str, dtype: str) -> None:
    path = tmp_path / "amazon.mat"
    rows = np.random.default_rng(0).integers(0, 99, (6, 4)).astype(dtype)
    given = {name: rows, "labels": rows_and_labels()["labels"].astype("u1")}
    savemat(path, given, do_compression=packed)
    found, labels = read_matlab_features(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows.astype(np.float32))
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.slow
def test_one_row_of_one_number(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"fts": 2.0, "labels": 7})
    rows, labels = read_matlab_features(tmp_path / "a.mat")
    assert (rows.tolist(), labels.tolist()) == ([[2.0]], [7])


@pytest.mark.slow
def test_a_file_of_a_big_endian_machine(tmp_path: Path) -> None:
    """Put together by hand: flags, sides, name and numbers of two matrices."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    def matrix(name: bytes, sides: tuple[int, int], numbers: list[float]) -> bytes:
        flags = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", *sides))
        return element(
            14, flags + element(1, name) + element(9, np.array(numbers, ">f8").tobytes())
        )

    header = b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    rows = matrix(b"fts", (2, 3), [1, 2, 3, 4, 5, 6])
    (tmp_path / "a.mat").write_bytes(header + rows + matrix(b"labels", (2, 1), [5, 6]))
    found, labels = read_matlab_features(tmp_path / "a.mat")
    assert found.tolist() == [[1, 3, 5], [2, 4, 6]]  # column by column
    assert labels.tolist() == [5, 6]


@pytest.mark.slow
def test_labels_may_lie_in_a_row_and_other_variables_beside_them(tmp_path: Path) -> None:
    content = rows_and_labels()
    other = {"note": "text", "cells": np.array([[1, "a"]], dtype=object)}
    savemat(tmp_path / "a.mat", {**other, **content, "labels": content["labels"].T})
    assert read_matlab_features(tmp_path / "a.mat")[1].shape == (6,)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fts": None}, "no variables called fts or feas or features; expected one"),
        ({"feas": np.ones((6, 2))}, "2 variables called fts or feas or features"),
        ({"labels": np.ones((5, 1))}, "6 rows of features, and 5 labels"),
        ({"labels": np.full((6, 1), 1.5)}, "labels that are no whole numbers"),
        ({"labels": np.full((6, 1), np.nan)}, "labels that are no whole numbers"),
        ({"labels": "text"}, "labels does not hold plain real numbers"),
        ({"fts": np.ones((6, 2, 2))}, r"features of shape \(6, 2, 2\); expected \(rows, dim"),
        ({"fts": np.ones((0, 2))}, r"features of shape \(0, 2\)"),
        ({"fts": np.array([[{"a": 1}]], dtype=object)}, "fts does not hold plain real numbers"),
        ({"fts": np.ones((6, 2)) * 1j}, "fts does not hold plain real numbers"),
        (
            {"fts": np.array([[1.0], [2.0], [np.nan], [1.0], [np.inf], [1e60]])},
            "3 of 6 rows of features hold NaN, infinity or numbers beyond float32, .* is row 2",
        ),
    ],
)
def test_contents_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {k: v for k, v in {**rows_and_labels(), **change}.items() if v is not None}
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(InputError, match=message) as caught:
        read_matlab_features(tmp_path / "a.mat")
    assert str(caught.value).startswith(f"{tmp_path}")


def test_no_file_and_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_matlab_features(tmp_path / "a.mat")
    for content in (b"", b"hello", b"\0" * 4096, os.urandom(200)):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(InputError, match=r"not a MATLAB file of version 5"):
            read_matlab_features(tmp_path / "a.mat")
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"version 7\.3"):
        read_matlab_features(tmp_path / "a.mat")

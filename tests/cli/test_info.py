"""``decaf info`` and ``decaf export`` as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import systems
from decaf.cli.main import main
from decaf.runtime.wording import printable

GOLDEN = Path(__file__).parents[1] / "features" / "store" / "golden" / "features-1.h5"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN, tmp_path / "f.h5"))


def test_the_facts_of_a_feature_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for line in (
        f"{file}\n",
        "  rows          3 (2 ok, 1 bad)\n",
        f"  weights       random:0 (SHA-256 {'ab' * 32})\n",
        "  preprocess    decaf (resize warp; resize-to 256; crop 227)\n",
        "  crops         center\n",
        "  precision     fp32\n",
        "  versions      torch 2.11.0\n",
        "  device        cpu\n",
        "  written by    decaf 0.1.0, 2026-01-02T03:04:05+00:00\n",
        "    fc6         8                 float32   96 bytes\n",
        "  classes       1 (1 row of none)\n           2  a\n",
        "  corrupt       1\n    row 1: a/\\xfftwo.jpg: cut short\n",
    ):
        assert line in captured.out


def test_the_facts_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rows"] == 3
    assert result["bad"] == {"corrupt": 1}
    assert result["bad_images"] == [
        {"row": 1, "path": "a/\\xfftwo.jpg", "status": "corrupt", "message": "cut short"}
    ]


def test_long_lists_are_cut(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, text = 30, h5py.string_dtype("utf-8", 12)
    columns = {
        "features/fc6": np.zeros((rows, 8), "f4"),
        "path": np.array([b"%d" % i for i in range(rows)], "S4"),
        "label": np.arange(rows),
        "status": np.full(rows, 5, "u1"),
        "source_size": np.zeros((rows, 2), "i4"),
        "content_sha256": np.zeros((rows, 32), "u1"),
        "message": np.array([b"no"] * rows, text),
        "class_names": np.array([b"class %d" % i for i in range(rows)], text),
    }
    with h5py.File(file, "a") as opened:
        for name, values in columns.items():
            del opened[name]
            opened.create_dataset(name, data=values, chunks=True, fletcher32=True)
    assert main(["info", str(file)]) == 0
    output = capsys.readouterr().out
    assert "10 more; --json lists them all" in output
    assert "class 19\n" in output
    assert "class 20\n" not in output
    assert "    row 4: 4: no\n    … and 25 more\n" in output


def test_info_of_a_damaged_feature_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    assert main(["info", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"decaf: {file}: an HDF5 file, but cut short or damaged (")
    assert error.count("\n") == 1


def test_what_was_cut_short_before_it_says_what_it_is_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((50, 30, 30, 3), np.uint8)
    assert main(["info", str(path)]) == 0
    assert "a.h5: an HDF5 file of another program\n" in capsys.readouterr().out
    os.truncate(path, path.stat().st_size // 2)
    told = f"decaf: {path}: an HDF5 file, but cut short or damaged ("
    for command in (["info", str(path)], ["extract", str(path), "-o", str(tmp_path / "f.h5")]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(told)
        assert error.count("\n") == 1


def test_info_of_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / systems.possible_name("a\n.npy")
    np.save(path, np.zeros((2, 3), np.uint8))
    assert main(["info", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"{printable(str(path))}: a NumPy array\n"
        "  bytes             134 bytes\n"
        "  shape             2, 3\n"
        "  dtype             uint8\n"
        "  use               `decaf extract` takes one of images\n"
    )
    assert main(["info", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"decaf: {tmp_path}/none: there is no such file or folder\n"


def test_an_export_says_what_it_wrote(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.with_name("x.npy")
    assert main(["export", str(file), "-o", str(out)]) == 0
    rows = file.with_name("x.rows.csv")
    output = capsys.readouterr().out.splitlines()
    assert output[0] == f"fc6, 3 × 8 float32: {out}, {rows}"
    assert output[1:] == [
        "1 row of images that could not be read: written as NaN (--ok-only leaves them out)"
    ]
    assert np.load(out).shape == (3, 8)
    assert main(["export", str(file), "-o", str(out), "--ok-only"]) == 2
    assert capsys.readouterr().err == (
        f"decaf: {rows}: is there already; choose another name, or --overwrite\n"
    )
    again = ["export", str(file), "-o", str(out), "--overwrite", "--ok-only", "-l", "fc6", "--json"]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": [str(out), str(rows)],
        "layers": {"fc6": [2, 8]},
        "dtype": "float32",
        "bad": 1,
    }
    assert np.isfinite(np.load(out)).all()


def test_export_wants_a_known_ending(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(file), "-o", "x.xlsx"]) == 2
    assert "use one of .npy, .csv, .npz, .mat" in capsys.readouterr().err

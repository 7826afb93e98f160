"""A report on disk is read back as it was, and what is not one is refused in a clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from decaf.errors import InputError, OutputError, SettingError
from report import BenchmarkReport, load_report, report_json, write_report


def test_the_files_of_a_report(report: BenchmarkReport, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "results"
    files = write_report(report, out, images=images)
    names = ["caltech101.json", "caltech101.md", "caltech101.html", "caltech101-curve.svg"]
    assert files == [out / name for name in names]
    assert sorted(out.iterdir()) == sorted(files)
    assert load_report(files[0]) == report
    assert "](caltech101-curve.svg)" in files[1].read_text(encoding="utf-8")
    before = [file.read_bytes() for file in files]
    write_report(load_report(files[0]), out, images=images)
    assert [file.read_bytes() for file in files] == before
    assert str(tmp_path).encode() not in b"".join(before)


def test_each_section_of_curves_has_its_file(report: BenchmarkReport, tmp_path: Path) -> None:
    lines = report.sections[1]
    files = write_report(replace(report, sections=(lines, lines)), tmp_path)
    assert [file.name for file in files[3:]] == ["caltech101-curve.svg", "caltech101-curve-2.svg"]


def test_json_has_a_line_for_each_row_of_numbers(report: BenchmarkReport) -> None:
    text = report_json(report)
    assert json.loads(text) == report.to_dict()
    assert text.isascii()
    long = BenchmarkReport("r", "t", "w", (), timing={f"stage {k}": k for k in range(30)})
    assert max(map(len, report_json(long).splitlines())) <= 100


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "a b", "é", "a\n"])
def test_names_that_are_no_file_names_are_refused(
    report: BenchmarkReport, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SettingError, match="report: the name"):
        write_report(replace(report, name=name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told(report: BenchmarkReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file: is a file; give the name of a folder"):
        write_report(report, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        write_report(report, tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "not a benchmark report"),
        (b'{"format": "decaf-benchmark", "schema": 1}', "not a benchmark report: TypeError"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data)
    with pytest.raises(InputError, match=rf"x\.json: {text}"):
        load_report(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file or directory"):
        load_report(tmp_path / "none.json")

"""Finished results are found again by all that determines them, the code that runs among it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

from decaf.errors import OutputError
from harness.protocol.result_store import ResultStore, code_digest

PLAIN = "def f(x: int) -> int:\n    return x + 1\n"


@dataclass(frozen=True)
class Result:
    answers: tuple[int, ...]
    score: float


def test_what_is_put_is_given_back(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    result = Result((1, 2, 3), 0.1 + 0.2)
    store.put({"layer": "fc6", "C": 0.1}, result)
    assert store.get({"C": 0.1, "layer": "fc6"}, Result) == result
    assert store.get({"C": 0.2, "layer": "fc6"}, Result) is None


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"key": 1, "value": 2}', b"\xff"])
def test_damage_is_no_result(tmp_path: Path, damage: bytes) -> None:
    store = ResultStore(tmp_path)
    store.put({"a": 1}, Result((), 1.0))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert store.get({"a": 1}, Result) is None


def test_a_result_of_another_kind_is_none(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Other:
        x: int

    store = ResultStore(tmp_path)
    store.put({"a": 1}, Other(1))
    assert store.get({"a": 1}, Result) is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="finished results are kept"):
        ResultStore(tmp_path / "file" / "results").put({"a": 1}, Result((), 1.0))


def digest_of(folder: Path, source: str) -> str:
    file = folder / "pack" / "__init__.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("pack", file)
    assert spec is not None
    return code_digest(importlib.util.module_from_spec(spec))


def test_results_are_kept_by_what_the_code_does(tmp_path: Path) -> None:
    told = PLAIN.replace("    return x + 1", '    """Add one."""  # why\n    return (x + 1)')
    plain = digest_of(tmp_path, PLAIN)
    assert digest_of(tmp_path, '"""A module."""\n\n' + told) == plain
    assert digest_of(tmp_path, PLAIN.replace("1", "2")) != plain


def test_a_file_below_counts(tmp_path: Path) -> None:
    plain = digest_of(tmp_path, PLAIN)
    (tmp_path / "pack" / "more.py").write_text(PLAIN)
    assert digest_of(tmp_path, PLAIN) != plain

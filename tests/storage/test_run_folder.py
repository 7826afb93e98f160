"""The folder of a run: one run at a time, of one run for ever, and nothing of anybody else's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decaf.errors import DiskError, OutputError, ResumeError
from decaf.storage.atomic import SUFFIX
from decaf.storage.run_folder import RunFolder

BODY = {"settings": {"lr": 1, "epochs": 2}}


def folder_of(path: Path) -> RunFolder:
    return RunFolder(path, "run.json", format="decaf-cake", schema=3, remedy="bake again")


def held(path: Path) -> RunFolder:
    folder = folder_of(path)
    folder.hold(lambda name: name == f"run.json{SUFFIX}")
    return folder


def test_the_record_comes_back_and_the_folder_is_held_once(tmp_path: Path) -> None:
    folder = held(tmp_path / "run")
    folder.write_record(BODY)
    assert folder.is_held
    assert folder.read_record() == BODY
    with pytest.raises(OutputError, match=r"another run is writing here"):
        held(tmp_path / "run")
    folder.close()
    assert not folder.is_held
    held(tmp_path / "run").close()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("thesis.tex", r"holds something else \('thesis.tex'\)"),
        (f"run.json{SUFFIX}", None),
        ("run.json", None),
    ],
)
def test_what_somebody_else_keeps_there_is_left_alone(
    tmp_path: Path, name: str, told: str | None
) -> None:
    (tmp_path / name).write_text("mine")
    if told is None:
        held(tmp_path).close()
    else:
        with pytest.raises(OutputError, match=told):
            held(tmp_path)
        assert os.listdir(tmp_path) == [name]
    with pytest.raises(OutputError, match="is needed for work and is no folder"):
        held(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: {**record, "format": "decaf-pie"}, "'decaf-pie', not 'decaf-cake'"),
        (
            lambda record: {**record, "schema": 4},
            "schema 4 by decaf .*, this version reads 3; .*ba",
        ),
        (lambda record: [record], "is damaged .*; bake again"),
        (lambda record: {}, "is damaged"),
    ],
)
def test_a_record_that_is_none_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    folder = held(tmp_path)
    folder.write_record(BODY)
    record = json.loads(folder.record_path.read_bytes())
    folder.record_path.write_text(json.dumps(change(record)))
    with pytest.raises(ResumeError, match=told):
        folder.read_record()
    folder.record_path.write_bytes(folder.record_path.read_bytes()[:-3])
    with pytest.raises(ResumeError, match="is damaged"):
        folder.read_record()
    folder.close()


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.refuse_differences(BODY, BODY, "give those")
    with pytest.raises(ResumeError, match=r"other settings \(settings lr: 1 there, 3 now\); give"):
        folder.refuse_differences(BODY, {"settings": {"lr": 3, "epochs": 2}}, "give those")


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_record_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    folder = held(tmp_path)
    folder.write_record(BODY)
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        folder.write_record({})
    monkeypatch.undo()
    assert folder.read_record() == BODY
    folder.close()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DiskError, match="the disk is full; nothing was begun"):
        held(tmp_path)

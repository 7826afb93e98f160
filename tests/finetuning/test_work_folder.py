"""The folder of a fine-tuning: what is there is kept until something else is finished."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decaf.errors import OutputError
from decaf.finetuning.work_folder import WorkFolder


class Killed(BaseException):
    """Ends a run as a kill does: nothing is tidied up."""


def begin(model: Path, **how: bool) -> WorkFolder:
    work = WorkFolder(model, {"lr": 1}, {"count": 2, "sha256": "0"})
    try:
        work.open(**{"resume": False, "overwrite": False, **how})
    except BaseException:
        work.close()
        raise
    return work


def content(work: WorkFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(work.path)): path.read_bytes()
        for path in sorted(work.path.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A model with the folder of the run that made it."""
    model = tmp_path / "m.safetensors"
    work = begin(model)
    work.run.mkdir()
    (work.run / "log.csv").write_text("old")
    (work.run / "curves.png").write_text("old")
    model.write_bytes(b"old")
    work.keep_result({"sha256": "old"})
    work.tidy(keep=False)
    work.close()
    return model, content(work)


def make(work: WorkFolder) -> None:
    work.pack.write_text("new")
    work.run.mkdir()
    (work.run / "log.csv").write_text("new")


def test_a_run_that_fails_gives_back_what_it_was_to_replace(
    finished: tuple[Path, dict[str, bytes]],
) -> None:
    model, before = finished
    work = begin(model, overwrite=True)
    assert work.result() is None
    make(work)
    work.discard()
    work.close()
    assert content(work) == before


def test_a_run_that_is_finished_drops_what_it_replaced(
    finished: tuple[Path, dict[str, bytes]],
) -> None:
    model, _ = finished
    work = begin(model, overwrite=True)
    make(work)
    work.keep_result({"sha256": "new"})
    work.tidy(keep=False)
    work.close()
    assert sorted(content(work)) == ["finetune.json", "run/log.csv"]
    assert (work.run / "log.csv").read_text(encoding="utf-8") == "new"


def test_a_run_that_is_killed_once_it_has_its_result_is_finished_by_the_same_command(
    tmp_path: Path, finished: tuple[Path, dict[str, bytes]]
) -> None:
    model = tmp_path / "other.safetensors"
    work = begin(model)
    make(work)
    work.keep_result({"sha256": "new"})
    work.close()
    model.write_bytes(b"new")
    work = WorkFolder(model, {"lr": 1}, {"count": 2, "sha256": "0"})
    assert work.open(resume=False, overwrite=False)
    assert work.result() == {"sha256": "new"}
    work.tidy(keep=False)
    work.close()
    assert sorted(content(work)) == ["finetune.json", "run/log.csv"]
    # Now that all is tidy it is one more run, which has to be asked for.
    for path in (model, finished[0]):
        with pytest.raises(OutputError, match=r"exists already; give another `out`, or `overwri"):
            begin(path)


def test_of_two_runs_the_finished_one_is_kept(finished: tuple[Path, dict[str, bytes]]) -> None:
    model, before = finished
    for _ in range(2):
        work = begin(model, overwrite=True)
        make(work)
        work.close()
    work = begin(model, resume=True)
    assert (work.run / "log.csv").read_text(encoding="utf-8") == "new"
    work.close()
    work = begin(model, overwrite=True)
    assert not work.run.exists()
    work.discard()
    work.close()
    assert content(work) == before


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("end", ["fails", "finishes"])
def test_killed_anywhere_it_is_the_old_result_or_a_run_that_goes_on(
    finished: tuple[Path, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    end: str,
) -> None:
    model, before = finished
    left = place

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return change(*args, **options)

        return wrapped

    changes: list[tuple[Any, str]] = [(os, name) for name in ("rename", "unlink", "rmdir", "mkdir")]
    changes += [(Path, name) for name in ("unlink", "rmdir", "mkdir")]
    for room, name in [*changes, (shutil, "rmtree")]:
        monkeypatch.setattr(room, name, dying(getattr(room, name)))
    work = WorkFolder(model, {"lr": 1}, {"count": 2, "sha256": "0"})
    killed = False
    try:
        work.open(resume=False, overwrite=True)
        make(work)
        if end == "finishes":
            work.keep_result({"sha256": "new"})
        else:
            work.discard()
    except Killed:
        killed = True
    work.close()
    monkeypatch.undo()
    assert killed == (left < 0)
    again = begin(model, resume=True)
    result, found = again.result(), content(again)
    if result is None:
        # One that goes on; and what was there before is there still.
        assert {k.removeprefix("before/"): v for k, v in found.items() if "before/" in k} == before
        again.discard()
        assert content(again) == before
    elif result == {"sha256": "old"}:
        assert {k: v for k, v in found.items() if k != "data.pack"} == before
    else:
        assert (end, (again.run / "log.csv").read_text(encoding="utf-8")) == ("finishes", "new")
        assert not (again.path / "before").exists()
    again.close()

"""A file that is made of shards: taken up where it ended, by the same run alone, or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from decaf.errors import DiskError, FeatureFileError, OutputError, ResumeError, Stopped
from decaf.storage.atomic import temporary_path
from decaf.storage.lock import acquire
from numbers_file import NumbersFile, make

EXPECTED = [1, 4, 9, 16, 25]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photographs"
    place.mkdir()
    for size in range(1, 6):
        (place / f"{size}.png").write_bytes(b"x" * size)
    return place


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "numbers"


def values(path: Path) -> list[int]:
    found: list[int] = json.loads(path.read_bytes())["values"]
    return found


def interrupted(out: Path, folder: Path, rows: int = 2, **how: Any) -> NumbersFile:
    """Leave an unfinished file of which some rows are there."""
    stop = threading.Event()
    output = NumbersFile(out, folder, stop=stop, **how)
    compute = output.compute

    def until(*args: Any) -> Any:
        for each in compute(*args):
            yield each
            if len(output.computed) >= rows:
                stop.set()

    output.compute = until  # type: ignore[method-assign]
    with pytest.raises(Stopped, match=rf"stopped after {rows} of 5 images; they are kept in"):
        make(output)
    assert not out.exists()
    return output


def test_it_is_made_once_and_nothing_is_left_beside_it(out: Path, folder: Path) -> None:
    assert make(NumbersFile(out, folder)) == [0, 1, 2, 3, 4]
    assert values(out) == EXPECTED
    assert os.listdir(out.parent) == ["numbers"]
    assert make(NumbersFile(out, folder)) == []


def test_a_stopped_run_is_taken_up_where_it_ended(out: Path, folder: Path) -> None:
    interrupted(out, folder)
    assert make(NumbersFile(out, folder, shard_rows=3)) == [2, 3, 4]  # cut as the beginning was
    assert values(out) == EXPECTED


def test_changed_settings_are_refused_with_the_difference(out: Path, folder: Path) -> None:
    unfinished = interrupted(out, folder)
    with pytest.raises(ResumeError, match=r"other settings \(offset: 0 there, 7 now\); give anoth"):
        make(NumbersFile(out, folder, 7))
    assert unfinished.shards_path.is_dir()
    assert make(NumbersFile(out, folder, 7, overwrite=True)) == [0, 1, 2, 3, 4]
    with pytest.raises(OutputError, match=r"differs from this run \(offset: 7 there, 0 now\)"):
        make(NumbersFile(out, folder))
    make(NumbersFile(out, folder, overwrite=True))
    assert values(out) == EXPECTED


def test_changed_images_are_refused_and_touched_ones_are_not(out: Path, folder: Path) -> None:
    interrupted(out, folder)
    os.utime(folder / "1.png", (1, 1))
    assert make(NumbersFile(out, folder)) == [2, 3, 4]
    out.unlink()
    interrupted(out, folder)
    (folder / "1.png").write_bytes(b"?")
    with pytest.raises(ResumeError, match=r"other images \(1 image changed since their rows"):
        make(NumbersFile(out, folder))
    (folder / "6.png").write_bytes(b"")
    with pytest.raises(ResumeError, match=r"other images \(5 images there, 6 now; 1 new"):
        make(NumbersFile(out, folder))


def test_a_finished_file_of_changed_images_is_refused(out: Path, folder: Path) -> None:
    make(NumbersFile(out, folder))
    (folder / "2.png").write_bytes(b"??")
    with pytest.raises(OutputError, match=r"differs from this run \(the content of .*2\.png"):
        make(NumbersFile(out, folder))


def test_bad_images_are_looked_at_again_where_they_are_an_error(out: Path, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    interrupted(out, folder)
    with pytest.raises(FeatureFileError, match="an image is empty"):
        make(NumbersFile(out, folder, raise_bad=True))
    assert make(NumbersFile(out, folder)) == [2, 3, 4]
    assert make(NumbersFile(out, folder)) == []
    assert make(NumbersFile(out, folder, overwrite=True)) == [0, 1, 2, 3, 4]


def test_what_is_no_file_of_the_kind_is_not_replaced(out: Path, folder: Path) -> None:
    out.write_text("thesis", encoding="utf-8")
    with pytest.raises(OutputError, match="exists and is no file of numbers that can be read"):
        make(NumbersFile(out, folder))
    assert out.read_text(encoding="utf-8") == "thesis"
    make(NumbersFile(out, folder, overwrite=True))
    assert values(out) == EXPECTED


def test_what_a_killed_run_left_beside_a_finished_file_goes(out: Path, folder: Path) -> None:
    unfinished = interrupted(out, folder)
    shards = unfinished.shards_path
    kept = shards.rename(shards.with_name("kept"))
    make(NumbersFile(out, folder))
    kept.rename(shards)
    temporary_path(out).write_bytes(b"half")
    assert make(NumbersFile(out, folder)) == []
    assert os.listdir(out.parent) == ["numbers"]


def test_shards_of_another_run_beside_a_finished_file_stay(out: Path, folder: Path) -> None:
    make(NumbersFile(out, folder))
    finished = out.rename(out.with_name("finished"))
    unfinished = interrupted(out, folder, offset=1)
    finished.rename(out)
    assert make(NumbersFile(out, folder)) == []
    assert unfinished.shards_path.is_dir()


def test_two_runs_do_not_write_at_once(out: Path, folder: Path) -> None:
    output = NumbersFile(out, folder)
    held = acquire(output.shards_path)
    with pytest.raises(OutputError, match="another run is writing here"):
        make(output)
    os.close(held)
    make(NumbersFile(out, folder))


def test_of_a_damaged_shard_the_rows_are_made_anew(out: Path, folder: Path) -> None:
    unfinished = interrupted(out, folder, 4)
    (shard, _) = sorted(unfinished.shards_path.glob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert make(NumbersFile(out, folder)) == [0, 1, 4]
    assert values(out) == EXPECTED


@pytest.mark.parametrize("name", ["run.json", "inputs.jsonl"])
def test_a_damaged_memory_is_refused(out: Path, folder: Path, name: str) -> None:
    memory = interrupted(out, folder).shards_path / name
    memory.write_bytes(memory.read_bytes()[:-4])
    with pytest.raises(ResumeError, match=rf"{name}: is damaged .*give `overwrite=True` to start"):
        make(NumbersFile(out, folder))
    make(NumbersFile(out, folder, overwrite=True))
    assert values(out) == EXPECTED


@pytest.mark.parametrize("key", ["run", "fingerprint", "shard_rows", "created"])
def test_a_header_that_lacks_something_is_refused(out: Path, folder: Path, key: str) -> None:
    path = interrupted(out, folder).shards_path / "run.json"
    header = json.loads(path.read_bytes())
    del header[key]
    path.write_text(json.dumps(header))
    with pytest.raises(ResumeError, match="damaged"):
        make(NumbersFile(out, folder))


def test_a_stop_ends_the_comparing_of_images(out: Path, folder: Path) -> None:
    make(NumbersFile(out, folder))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="numbers: stopped; run the same command again"):
        make(NumbersFile(out, folder, stop=stop))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_is_told_with_what_is_kept(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    interrupted(out, folder)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(DiskError, match="the disk is full; finished images are kept in"):
            make(NumbersFile(out, folder))
    assert make(NumbersFile(out, folder)) == [2, 3, 4]

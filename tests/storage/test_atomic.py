"""Files are whole under their names or not there, and leftovers of ours alone are taken away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import systems
from decaf.errors import OutputError
from decaf.storage import atomic
from decaf.storage.atomic import (
    append_line,
    disk_errors,
    remove_leftover,
    temporary_path,
    whole_file,
    write_atomically,
)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, b"before")
    failed = OSError(errno.EIO, os.strerror(errno.EIO))

    def broken(*_: object) -> None:
        raise failed

    if call in ("fsync", "replace"):
        monkeypatch.setattr(os, call, broken)
    with (
        pytest.raises(OutputError, match=r"Input/output error; all is kept; mend that and run"),
        disk_errors(path, "all is kept"),
        whole_file(path) as stream,
    ):
        stream.write(b"after")
        if call == "write":
            raise failed
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.posix("proc")
def test_the_folder_is_synced_after_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(*names: Any) -> None:
        calls.append("replace")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomically(tmp_path / "a", b"1")
    assert calls == ["a.decaf-tmp", "replace", tmp_path.name]


def test_a_line_is_synced_after_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest"
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    append_line(path, b"0 3\n")
    append_line(path, b"3 4\n")
    assert synced == [b"0 3\n", b"0 3\n3 4\n"]


def test_a_file_has_the_permissions_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_a_killed_run_left_is_taken_away_by_the_next(
    tmp_path: Path, child_env: dict[str, str]
) -> None:
    path = tmp_path / "f.csv"
    program = (
        "import systems, sys, pathlib; from decaf.storage.atomic import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half'); stream.flush(); systems.kill_itself()\n"
    )

    def killed() -> None:
        done = subprocess.run([sys.executable, "-c", program, str(path)], env=child_env)
        assert systems.was_killed(done.returncode)
        assert [p.name for p in tmp_path.iterdir()] == ["f.csv.decaf-tmp"]

    killed()
    remove_leftover(path)
    assert not list(tmp_path.iterdir())
    killed()
    write_atomically(path, b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["f.csv"]
    assert path.read_bytes() == b"whole"


def test_what_another_run_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    with whole_file(path) as stream:
        stream.write(b"first")
        stream.flush()
        remove_leftover(path)
        with pytest.raises(OutputError, match="another run is writing it"), whole_file(path):
            pass
        assert temporary_path(path).read_bytes() == b"first"
    assert path.read_bytes() == b"first"


def test_a_file_that_is_closed_to_be_renamed_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on Windows, where it is renamed closed.
    monkeypatch.setattr(atomic, "OPEN_FILES_STAY", True)
    path = tmp_path / "f.csv"
    temporary_path(path).write_bytes(b"first")
    seen = []

    def sleep(_: float) -> None:
        if not seen:
            os.replace(temporary_path(path), path)
            seen.append(path.read_bytes())

    monkeypatch.setattr(time, "sleep", sleep)
    write_atomically(path, b"second")
    assert (seen, path.read_bytes()) == ([b"first"], b"second")


@pytest.mark.parametrize("refusals", [2, 1000])
def test_what_is_open_for_a_moment_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    monkeypatch.setattr(atomic, "OPEN_FILES_STAY", True)
    path = tmp_path / "f.csv"
    path.write_bytes(b"before")
    real, left = os.replace, [refusals]

    def replace(old: Path, new: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(old))
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    if refusals == 2:
        write_atomically(path, b"after")
        assert path.read_bytes() == b"after"
    else:
        with pytest.raises(OutputError, match=r"f\.csv: is open in this program or another one"):
            write_atomically(path, b"after")
        assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["f.csv"]


@pytest.mark.parametrize(
    "kind",
    [
        *("symlink", "dangling", "hard link", "folder"),
        pytest.param("pipe", marks=pytest.mark.posix("pipes")),
    ],
)
def test_what_is_not_ours_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "f.csv", tmp_path / "thesis.txt"
    victim.write_text("all of it")
    place = temporary_path(path)
    if kind == "symlink":
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "new.txt")
    elif kind == "hard link":
        place.hardlink_to(victim)
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises(OutputError, match=r"f\.csv\.decaf-tmp: is needed for work and is a link"):
        write_atomically(path, b"x")
    remove_leftover(path)
    assert os.path.lexists(place)
    assert victim.read_text(encoding="utf-8") == "all of it"
    assert not (tmp_path / "new.txt").exists()
    assert not path.exists()


@pytest.mark.posix("open files")
def test_a_file_that_is_taken_away_meanwhile_is_not_replaced_by_another(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    with pytest.raises(OutputError, match="was taken away"), whole_file(path):
        temporary_path(path).unlink()
        temporary_path(path).write_text("somebody's")
    assert temporary_path(path).read_text(encoding="utf-8") == "somebody's"
    assert not path.exists()


@pytest.mark.posix("flock")
def test_a_leftover_that_is_deleted_as_it_is_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making and locking a file another run may take it for a leftover."""
    import fcntl

    path = tmp_path / "f.csv"
    real, tries = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            temporary_path(path).unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomically(path, b"x")
    assert len(tries) == 2
    assert path.read_bytes() == b"x"


@pytest.mark.posix("flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_what_the_disk_says_is_told_in_words(tmp_path: Path) -> None:
    for number, text in ((errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota is used up")):
        with pytest.raises(OutputError, match=text), disk_errors(tmp_path, "all is kept"):
            raise OSError(number, os.strerror(number))
    with pytest.raises(OutputError, match=r"^it is taken$"), disk_errors(tmp_path, "all is kept"):
        raise OutputError("it is taken")

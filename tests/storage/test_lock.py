"""The lock of a directory: held by one run, and nothing of anybody else's is touched."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

import pytest

from decaf.errors import OutputError
from decaf.storage import lock


@pytest.mark.posix("flock")
def test_a_lock_that_was_deleted_as_it_was_taken_is_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that held it had just finished and taken the directory away."""
    import fcntl

    path = tmp_path / "f.h5.parts"
    real, tries = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            (path / "lock").unlink()
            path.rmdir()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    held = lock.acquire(path)
    assert len(tries) == 2
    assert os.fstat(held).st_ino == (path / "lock").stat().st_ino
    os.close(held)


@pytest.mark.parametrize(
    "kind",
    [
        *("symlink", "dangling", "hard link", "text", "folder"),
        pytest.param("pipe", marks=pytest.mark.posix("pipes")),
    ],
)
def test_what_is_no_lock_of_ours_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    folder, victim = tmp_path / "f.h5.parts", tmp_path / "thesis.txt"
    folder.mkdir()
    victim.write_text("all of it")
    place = folder / "lock"
    if kind == "symlink":
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "new.txt")
    elif kind == "hard link":
        place.hardlink_to(victim)
    elif kind == "text":
        place.write_text("all of it")
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises(OutputError, match="is a link, or a file that no run of yours has written"):
        lock.acquire(folder)
    assert victim.read_text(encoding="utf-8") == "all of it"
    assert not (tmp_path / "new.txt").exists()
    if kind == "text":
        assert place.read_text(encoding="utf-8") == "all of it"


def test_a_lock_keeps_its_length_whoever_held_it(tmp_path: Path) -> None:
    folder = tmp_path / "f.h5.parts"
    os.close(lock.acquire(folder))
    size = (folder / "lock").stat().st_size
    (folder / "lock").write_text(f"process {2**31} on a host of a former version\n")
    os.close(lock.acquire(folder))
    written = (folder / "lock").read_text(encoding="utf-8")
    assert len(written) == size
    assert written.strip() == f"process {os.getpid()} on {platform.node()}"


def test_a_lock_that_cannot_be_written_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            lock.acquire(tmp_path / "f.h5.parts")
    os.close(lock.acquire(tmp_path / "f.h5.parts"))

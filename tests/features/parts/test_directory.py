"""The directory of an unfinished run: its lock, its shards, its lines."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import OutputError
from decaf.features.parts.directory import Parts
from decaf.features.parts.inputs import changed_list, dump, parse
from decaf.features.rows import Rows
from decaf.storage import lock
from decaf.storage.atomic import append_line
from decaf.storage.manifest import Shard, from_lines, to_line
from decaf.storage.records import fingerprint

RUN = {"crops": "center"}
HEADER: dict[str, Any] = {
    "run": RUN,
    "fingerprint": fingerprint(RUN),
    "decaf_version": "0",
    "class_names": [],
    "shard_rows": 3,
}
INPUTS = [["a", 1, 1, 0], ["b\udcff\n", 2, 2, -1], ["c", 3, 3, 1], ["d", 4, 4, 0]]

shards = st.builds(
    Shard,
    start=st.integers(0, 10**9),
    stop=st.integers(0, 10**9),
    size=st.integers(0, 10**12),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


def block(start: int, stop: int) -> Rows:
    rows = Rows.empty(start, stop)
    rows.features["fc6"] = np.arange(2.0 * (stop - start), dtype=np.float32).reshape(-1, 2)
    rows.status[0] = 4
    rows.messages[0] = "no imäge\n"
    return rows


def opened(path: Path) -> Parts:
    return Parts.open(path, dict(HEADER), INPUTS, lambda row: bytes(32))


def test_shards_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    parts = opened(path)
    assert parts.missing(4) == [(0, 3), (3, 4)]
    parts.write(block(3, 4))
    parts.close()
    parts = opened(path)
    assert parts.resumed == 1
    assert parts.missing(4) == [(0, 3)]
    parts.write(block(0, 3))
    for found, made in zip(parts.all_rows(4), (block(0, 3), block(3, 4)), strict=True):
        assert (found.start, found.stop, found.messages) == (made.start, made.stop, made.messages)
        np.testing.assert_array_equal(found.features["fc6"], made.features["fc6"])
        np.testing.assert_array_equal(found.status, made.status)
        np.testing.assert_array_equal(found.source_size, made.source_size)
    parts.remove()
    parts.close()
    assert not path.exists()


def test_a_shard_that_changes_under_a_run_is_not_used(tmp_path: Path) -> None:
    parts = opened(tmp_path / "f.h5.parts")
    parts.write(block(0, 3))
    path = parts.path / parts.shards[0].file_name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(OutputError, match="has changed since it was written"):
        list(parts.all_rows(3))
    parts.close()


@given(st.lists(shards, max_size=4), st.binary(max_size=60), st.data())
def test_lines_are_whole_or_do_not_count(found: list[Shard], torn: bytes, data: Any) -> None:
    lines = [to_line(shard) for shard in found]
    assert list(from_lines(b"".join(lines))) == found
    cut = data.draw(st.integers(0, len(b"".join(lines))))
    kept = list(from_lines(b"".join(lines)[:cut]))
    assert kept == found[: len(kept)]
    assert list(from_lines(torn + b"\n" + b"".join(lines)))[-len(found) :] == found


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    first, second = Shard(0, 3, 5, "ab" * 32), Shard(3, 4, 5, "cd" * 32)
    append_line(path, to_line(first)[:-5])
    append_line(path, to_line(second))
    assert list(from_lines(path.read_bytes())) == [second]


def test_a_second_run_is_refused_until_the_first_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    parts = opened(path)
    with pytest.raises(OutputError, match=rf"\(process {os.getpid()} on "):
        opened(path)
    (path / "lock").write_bytes(b"")
    with pytest.raises(OutputError, match=r"\(it has just begun\)"):
        opened(path)
    parts.close()
    opened(path).close()


def test_a_lock_that_was_deleted_as_it_was_taken_is_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that held it had just finished and taken the directory away."""
    path = tmp_path / "f.h5.parts"
    real, tries = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            (path / "lock").unlink()
            path.rmdir()
        real(descriptor, how)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    held = lock.acquire(path)
    assert len(tries) == 2
    assert os.fstat(held).st_ino == (path / "lock").stat().st_ino
    os.close(held)


@pytest.mark.parametrize("kind", ["symlink", "dangling", "hard link", "text", "folder", "pipe"])
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
    assert victim.read_text() == "all of it"
    assert not (tmp_path / "new.txt").exists()
    if kind == "text":
        assert place.read_text() == "all of it"


def test_a_lock_keeps_its_length_whoever_held_it(tmp_path: Path) -> None:
    folder = tmp_path / "f.h5.parts"
    os.close(lock.acquire(folder))
    size = (folder / "lock").stat().st_size
    (folder / "lock").write_text(f"process {2**31} on a host of a former version\n")
    os.close(lock.acquire(folder))
    written = (folder / "lock").read_text()
    assert len(written) == size
    assert written.strip() == f"process {os.getpid()} on {os.uname().nodename}"


def test_a_lock_that_cannot_be_written_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            lock.acquire(tmp_path / "f.h5.parts")
    os.close(lock.acquire(tmp_path / "f.h5.parts"))


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"f\.h5\.parts: is needed.* and is no folder"):
        opened(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    "name", ["", "manifest-00000.txt", "run.json", "0000000003-0000000004.shard"]
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_read_from_or_written_to_what_is_no_plain_file(
    tmp_path: Path, kind: str, name: str, begun: bool
) -> None:
    path, victim = tmp_path / "f.h5.parts", tmp_path / "victim"
    parts = opened(path)
    parts.write(block(3, 4))
    parts.close()
    if not begun and name != "run.json":
        (path / "run.json").unlink()
    (path / name).rename(victim)
    if kind == "link":
        (path / name).symlink_to(victim)
    else:
        os.mkfifo(path / name)
    before = victim.read_bytes() if name else sorted(os.listdir(victim))
    with pytest.raises(OutputError, match=r"is needed for unfinished work and is (a link|no )"):
        opened(path)
    assert (victim.read_bytes() if name else sorted(os.listdir(victim))) == before


def test_inputs_are_read_back_whatever_their_names(tmp_path: Path) -> None:
    assert parse(dump(INPUTS)) == INPUTS
    assert changed_list(INPUTS, INPUTS) == ""
    with pytest.raises(ValueError, match="is not name, size, time and label"):
        parse(b'["a", 1, 2]\n')

"""The folder of an unfinished run: its shards, the lines of its manifest, what it remembers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import OutputError
from decaf.features.rows import Rows
from decaf.storage.atomic import append_line
from decaf.storage.records import fingerprint
from decaf.storage.shards import Shard, ShardDirectory, manifest_line, read_manifest
from decaf.storage.unfinished import changed_list, dump_inputs, open_shards, parse_inputs

RUN = {"crops": "center"}
HEADER: dict[str, Any] = {
    "run": RUN,
    "fingerprint": fingerprint(RUN),
    "decaf_version": "0",
    "class_names": [],
    "shard_rows": 3,
    "created": "2026-11-29T08:00:00+00:00",
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


def opened(path: Path) -> ShardDirectory[Rows]:
    return open_shards(path, Rows, dict(HEADER), INPUTS, lambda row: bytes(32))


def test_shards_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    folder = opened(path)
    assert folder.missing(4) == [(0, 3), (3, 4)]
    folder.write(block(3, 4))
    folder.close()
    folder = opened(path)
    assert folder.missing(4) == [(0, 3)]
    folder.write(block(0, 3))
    for found, made in zip(folder.all_rows(4), (block(0, 3), block(3, 4)), strict=True):
        assert (found.start, found.stop, found.messages) == (made.start, made.stop, made.messages)
        np.testing.assert_array_equal(found.features["fc6"], made.features["fc6"])
        np.testing.assert_array_equal(found.status, made.status)
        np.testing.assert_array_equal(found.source_size, made.source_size)
    folder.remove()
    folder.close()
    assert not path.exists()


def test_a_shard_that_changes_under_a_run_is_not_used(tmp_path: Path) -> None:
    folder = opened(tmp_path / "f.h5.parts")
    folder.write(block(0, 3))
    path = folder.path / folder.finished[0].file_name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(OutputError, match="has changed since it was written"):
        list(folder.all_rows(3))
    folder.close()


@given(st.lists(shards, max_size=4), st.binary(max_size=60), st.data())
def test_lines_are_whole_or_do_not_count(found: list[Shard], torn: bytes, data: Any) -> None:
    lines = [manifest_line(shard) for shard in found]
    assert list(read_manifest(b"".join(lines))) == found
    cut = data.draw(st.integers(0, len(b"".join(lines))))
    kept = list(read_manifest(b"".join(lines)[:cut]))
    assert kept == found[: len(kept)]
    assert list(read_manifest(torn + b"\n" + b"".join(lines)))[-len(found) :] == found


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    first, second = Shard(0, 3, 5, "ab" * 32), Shard(3, 4, 5, "cd" * 32)
    append_line(path, manifest_line(first)[:-5])
    append_line(path, manifest_line(second))
    assert list(read_manifest(path.read_bytes())) == [second]


def test_a_second_run_is_refused_until_the_first_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    folder = opened(path)
    with pytest.raises(OutputError, match=rf"\(process {os.getpid()} on "):
        opened(path)
    (path / "lock").write_bytes(b"")
    with pytest.raises(OutputError, match=r"\(it has just begun\)"):
        opened(path)
    folder.close()
    opened(path).close()


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f.h5.parts"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"f\.h5\.parts: is needed.* and is no folder"):
        opened(path)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    "name", ["", "manifest-00000.txt", "run.json", "0000000003-0000000004.shard"]
)
@pytest.mark.parametrize("kind", ["link", pytest.param("pipe", marks=pytest.mark.posix("pipes"))])
def test_nothing_is_read_from_or_written_to_what_is_no_plain_file(
    tmp_path: Path, kind: str, name: str, begun: bool
) -> None:
    path, victim = tmp_path / "f.h5.parts", tmp_path / "victim"
    folder = opened(path)
    folder.write(block(3, 4))
    folder.close()
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
    assert parse_inputs(dump_inputs(INPUTS)) == INPUTS
    assert changed_list(INPUTS, INPUTS) == ""
    with pytest.raises(ValueError, match="is not name, size, time and label"):
        parse_inputs(b'["a", 1, 2]\n')

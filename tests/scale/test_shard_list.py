"""Shards are listed as a shell would expand their names, each once, with what tells a change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from decaf.errors import InputError
from decaf.scale.shard_list import MISSING, expand_braces, list_shards

PATTERNS = [
    "a{0..3}.tar",
    "{000..012}.tar",
    "{8..11}",
    "{08..11}",
    "{3..0}",
    "{0..10..3}",
    "s-{a,b,c}.{tar,zip}",
    "{a,b}{1..2}{x,y}",
    "plain.tar",
    "no{pattern}here",
    "{}",
    "x{a,}",
    "{-1..1}",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_braces_expand_as_in_bash(pattern: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True)
    assert list(expand_braces(pattern)) == said.stdout.decode().splitlines()


def test_too_many_are_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match="means 1000000000000 shards, at most 2000000"):
        list_shards("{000000..999999}/{000000..999999}.tar")


def test_the_same_shard_is_listed_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    listed = list_shards([f"{shards}/{{000..001}}.tar", "*.tar", f"file://{shards}/000.tar"])
    assert [shard.name for shard in listed] == [f"{shards}/{n:03d}.tar" for n in range(3)]
    status = os.stat(shards / "000.tar")
    assert (listed[0].size, listed[0].version) == (status.st_size, str(status.st_mtime_ns))


def test_a_shard_that_is_not_there_keeps_its_place(shards: Path) -> None:
    listed = list_shards(f"{shards}/{{001..003}}.tar")
    assert [shard.version == MISSING for shard in listed] == [False, False, True]


@pytest.mark.parametrize(
    ("source", "message"),
    [("{}", "is a folder; name the shards in it"), ("{}/*.zip", "no file is called like this")],
)
def test_what_names_no_shard_is_refused(shards: Path, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list_shards(source.format(shards))


def test_a_list_is_cut_into_shards(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    lines = ["a.jpg", "", "s3://bucket/b.jpg", str(tmp_path / "c.jpg")]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    first, second = list_shards(tmp_path / "list.txt", shard_images=2)
    assert first.lines == (str(tmp_path / "a.jpg"), "s3://bucket/b.jpg")
    assert second.lines == (str(tmp_path / "c.jpg"),)
    (tmp_path / "list.txt").write_text("\n".join([*lines[:3], "d.jpg"]))
    again = list_shards(tmp_path / "list.txt", shard_images=2)
    # The piece that is the same is known again; the other is of another version.
    assert again[0] == first
    assert again[1].name == second.name
    assert again[1].version != second.version


def test_images_that_are_named_alone_are_a_list() -> None:
    (shard,) = list_shards(["https://host/a.jpg", "https://host/b.png"])
    assert shard.lines == ("https://host/a.jpg", "https://host/b.png")


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(InputError, match="lists no images"):
        list_shards(tmp_path / "list.txt")

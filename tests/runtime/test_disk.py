"""Disks without room are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decaf.errors import OutputError
from decaf.runtime.disk import need_room


def test_what_the_disk_has_no_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    usage = shutil.disk_usage(tmp_path)._replace(free=2_500_000)

    def disk_usage(path: Path) -> object:
        asked.append(path)
        return usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.chdir(tmp_path)
    need_room(tmp_path / "a" / "b.pack", 2_500_000, "the pack takes", "or pack less")
    need_room(Path("c/d"), 1, "it takes", "or wait")
    assert asked == [tmp_path, tmp_path]
    with pytest.raises(OutputError) as caught:
        need_room(tmp_path / "b.pack", 12_000_000_000, "the pack takes", "or pack less")
    assert str(caught.value) == (
        f"{tmp_path / 'b.pack'}: the pack takes 12 GB, and the disk has 0.0025 GB left; make room, "
        "or pack less"
    )

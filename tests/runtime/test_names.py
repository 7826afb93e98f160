"""Names of files from this system and others."""

from __future__ import annotations

import os
from typing import Any

import pytest

from decaf.images.listing.names import below_shared, path_text
from decaf.runtime import names
from decaf.runtime.names import name_bytes, name_text, slashed

# Windows writes half a character as UTF-8 would; the last is a name of another system.
ODD = [b"caf\xc3\xa9.jpg", b"half \xed\xa0\xbd.jpg", b"latin \xe9.jpg"]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(name: Any) -> str:
        name = os.fspath(name)
        return name.decode("utf-8", "surrogatepass") if isinstance(name, bytes) else name

    def encode(name: Any) -> bytes:
        name = os.fspath(name)
        return name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name

    monkeypatch.setattr(names.os, "fsdecode", decode)
    monkeypatch.setattr(names.os, "fsencode", encode)


@pytest.mark.usefixtures("windows")
def test_windows_reads_its_own_names_and_those_of_others() -> None:
    assert [name_text(name) for name in ODD] == ["café.jpg", "half \ud83d.jpg", "latin \udce9.jpg"]
    assert [name_bytes(name_text(name)) for name in ODD] == ODD
    assert os.fsencode(name_text(ODD[1])) == ODD[1]
    assert path_text(name_text(ODD[2])) == path_text(ODD[2]) == "latin \\xe9.jpg"


def test_here_every_name_comes_back() -> None:
    assert [name_bytes(name_text(name)) for name in ODD] == ODD
    assert name_text("a.jpg") == "a.jpg"


def test_a_backslash_stands_between_folders_on_windows_alone() -> None:
    given = [b"C:\\photos\\cat\\1.jpg", b"C:\\photos\\dog/2.jpg"]
    assert below_shared(given, "windows") == [b"cat/1.jpg", b"dog/2.jpg"]
    odd = [b"odd\\1.jpg", b"odd\\2.jpg"]
    assert below_shared([b"a/" + name for name in odd], "posix") == odd
    assert len(slashed(given[0], "windows")) == len(given[0])

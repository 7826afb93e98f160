"""A disk that fails under HDF5 is told once, and what was written, text too, is in the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.storage.atomic import whole_file
from decaf.storage.hdf5 import (
    LIBVER,
    HDF5Output,
    decode_text,
    hdf5_output,
    text_array,
    write_text_attribute,
)

# NUL pads, and lone surrogates are no text.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


def fill(output: HDF5Output, between: Callable[[], object] = lambda: None) -> None:
    """Write chunks that are gone through more often than HDF5 keeps them in memory, and text."""
    file = output.file
    rows = file.create_dataset("rows", (40, 300, 250), "f4", chunks=(7, 300, 250), fletcher32=True)
    for row in [*range(0, 40, 2), *range(1, 40, 2)]:
        rows[row] = np.full((300, 250), row, np.float32)
        between()
    names = file.create_dataset("names", (500,), "S80", compression="gzip", chunks=(50,))
    names[...] = np.array([b"%080d" % i for i in range(500)])
    for number in range(60):
        file.attrs[f"a{number}"] = "x" * 100


def written(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {"rows": file["rows"][:, 0, 0].tolist(), "names": file["names"][:].tolist()}


EXPECTED = {"rows": [float(i) for i in range(40)], "names": [b"%080d" % i for i in range(500)]}


def write(path: Path, between: Callable[[], object] = lambda: None) -> None:
    with whole_file(path) as stream, hdf5_output(stream) as output:
        fill(output, between)


def test_what_is_written_is_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    assert written(tmp_path / "a.h5") == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "ftruncate", "read"])
def test_whichever_call_fails_it_is_told_as_it_is_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real, count = getattr(os, call), 0

    def at(number: int) -> bool:
        nonlocal count
        count = 0

        def counted(*args: Any) -> Any:
            nonlocal count
            count += 1
            if count >= number:  # a full disk stays full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args)

        told = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, call, counted)
            try:
                write(tmp_path / "a.h5")
            except OSError as error:
                told = error.errno
        assert told == (errno.ENOSPC if count >= number else 0)
        assert (count >= number) != (tmp_path / "a.h5").exists()
        return count >= number

    number = 1
    while at(number):
        assert os.listdir(tmp_path) == []
        number += 1 + number // 6
    assert number > 1
    assert written(tmp_path / "a.h5") == EXPECTED


def test_a_disk_that_takes_a_part_of_what_it_is_given_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2 + 1]))
    write(tmp_path / "a.h5")
    assert written(tmp_path / "a.h5") == EXPECTED


def test_a_failure_is_told_at_the_next_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(OSError, match="No space left"),
        whole_file(tmp_path / "a.h5") as stream,
        hdf5_output(stream) as output,
    ):

        def between() -> None:
            nonlocal calls
            calls += 1
            if calls == 10:
                monkeypatch.setattr(os, "write", full)
            output.check()

        fill(output, between)
    assert 10 <= calls < 40
    assert os.listdir(tmp_path) == []


def test_a_mistake_in_the_body_is_told_as_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^other shapes$"),
        whole_file(tmp_path / "a.h5") as stream,
        hdf5_output(stream) as output,
    ):
        output.file.create_dataset("a", (3,), "f4")
        raise ValueError("other shapes")
    assert os.listdir(tmp_path) == []


@given(st.lists(TEXT))
def test_texts_survive(texts: list[str]) -> None:
    assert [decode_text(value) for value in text_array(texts).tolist()] == texts


@given(TEXT, st.integers(1, 30))
def test_long_texts_are_cut_between_signs(text: str, width: int) -> None:
    (value,) = text_array([text], width).tolist()
    assert len(value) <= width
    assert text.startswith(decode_text(value))
    assert len(value) > min(len(text.encode()), width) - 4


def test_what_utf8_cannot_hold_is_escaped() -> None:
    assert text_array(["a\udcff\0b"]).tolist() == [b"a\\udcffb"]


@pytest.mark.parametrize("value", [b"\xff", "a\udcff"])
def test_what_is_not_utf8_is_not_text(value: str | bytes) -> None:
    with pytest.raises(UnicodeError):
        decode_text(value)


@pytest.mark.parametrize("text", ["", "né", "x" * 1_000_000], ids=["empty", "short", "long"])
def test_an_attribute_of_any_length(tmp_path: Path, text: str) -> None:
    # A long one does not fit the object's header, where HDF5 keeps up to 64 KiB.
    with h5py.File(tmp_path / "f.h5", "w", libver=LIBVER) as file:
        write_text_attribute(file, "run", "first")
        write_text_attribute(file, "run", text)
    with h5py.File(tmp_path / "f.h5") as file:
        assert decode_text(file.attrs["run"]) == text
        kind = h5py.h5a.open(file.id, b"run").get_type()
        assert not kind.is_variable_str()
        assert kind.get_cset() == h5py.h5t.CSET_UTF8

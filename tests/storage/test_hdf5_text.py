"""Text of fixed length: what goes in comes out, and is cut between signs."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.features.store.schema import LIBVER
from decaf.storage.hdf5_text import decode_text, text_array, write_text_attribute

# NUL pads, and lone surrogates are no text.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


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

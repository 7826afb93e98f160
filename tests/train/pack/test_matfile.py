"""MATLAB files against scipy, and as strangers may send them."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import InputError
from decaf.train.pack.matfile import read_structures

scipy_io = pytest.importorskip("scipy.io")


def mat(synsets: list[tuple[Any, ...]], *, compressed: bool = True) -> bytes:
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("children", "O")]
    array = np.empty((len(synsets), 1), kinds)
    for row, synset in enumerate(synsets):
        array[row, 0] = synset
    file = io.BytesIO()
    variables = {"before": np.eye(3), "synsets": array, "after": "text"}
    scipy_io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


SYNSETS = [
    (1.0, "n01440764", "tench, Tinca tinca", np.zeros((1, 0))),
    (2.0, "n01443537", "café", np.array([[3.0, 4.0, 300.5]])),
    (70000.0, "n9", "x", np.array([[1, 2]], np.uint16)),
]

text = st.text(st.characters(min_codepoint=32, max_codepoint=0x7FF), min_size=1, max_size=20)
numbers = st.floats(allow_nan=False, width=64)


@pytest.mark.parametrize("compressed", [False, True])
def test_scipys_files_are_read(compressed: bool) -> None:
    found = read_structures(mat(SYNSETS, compressed=compressed), "synsets")
    assert [list(structure) for structure in found] == [
        ["ILSVRC2012_ID", "WNID", "words", "children"]
    ] * 3
    for structure, (number, wnid, words, children) in zip(found, SYNSETS, strict=True):
        assert structure["ILSVRC2012_ID"] == [number]
        assert (structure["WNID"], structure["words"]) == (wnid, words)
        assert structure["children"] == children.ravel().tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(numbers, text, text, st.lists(numbers, max_size=4)), max_size=4))
def test_any_structures_are_read(synsets: list[tuple[float, str, str, list[float]]]) -> None:
    found = read_structures(mat([(n, a, b, np.array([c])) for n, a, b, c in synsets]), "synsets")
    given_back = [(s["ILSVRC2012_ID"], s["WNID"], s["words"], s["children"]) for s in found]
    assert given_back == [([n], a, b, c) for n, a, b, c in synsets]


def test_other_files_are_refused() -> None:
    with pytest.raises(InputError, match="not a MATLAB file of version 5"):
        read_structures(b"MATLAB 7.3 MAT-file" + bytes(500), "synsets")
    with pytest.raises(InputError, match="a MATLAB file without the structures 'nothing'"):
        read_structures(mat(SYNSETS), "nothing")
    cut = mat(SYNSETS, compressed=False).partition(b"n01443537")[0]
    with pytest.raises(InputError, match="a MATLAB file that is damaged"):
        read_structures(cut, "synsets")


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_damage_is_refused_or_harmless(data: st.DataObject, compressed: bool) -> None:
    content = bytearray(mat(SYNSETS, compressed=compressed))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(120, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        read_structures(bytes(content[: data.draw(st.integers(0, len(content)))]), "synsets")

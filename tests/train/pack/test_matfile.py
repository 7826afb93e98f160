"""MATLAB files against scipy, and as strangers may send them."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import InputError
from decaf.train.pack import matfile
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


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind: int, shape: list[int], name: bytes, *rest: bytes) -> bytes:
    sides = struct.pack(f"<{len(shape)}i", *shape)
    parts = [element(6, struct.pack("<II", kind, 0)), element(5, sides), element(1, name), *rest]
    return element(14, b"".join(parts))


def structures(shape: list[int], width: int, names: bytes, *fields: bytes) -> bytes:
    return matrix(2, shape, b"s", element(5, struct.pack("<i", width)), element(1, names), *fields)


HEADER = bytes(124) + b"\0\1IM"
INFINITE = matrix(4, [1, 1], b"", element(9, struct.pack("<d", float("inf"))))
LONG = matrix(6, [1, 1], b"", element(2, bytes((1 << 20) + 1)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (structures([2**31 - 1] * 40, 1, b"a"), "a matrix of 40 axes"),
        (structures([1, 1], 1, b"a" * 2000), "2000 fields"),
        (structures([1000, 1000], 1, b""), "1000000 structures in "),
        (structures([10, 1], 1, b"ab"), "10 structures in "),
        (structures([1, 1], 1, b"a", INFINITE), "cannot convert float infinity to integer"),
        (structures([1, 1], 1, b"a", LONG), "a field of 1048577 numbers"),
        (element(5, b"") * 1001, "a MATLAB file of more than 1000 variables"),
    ],
)
def test_what_would_take_for_ever_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_structures(HEADER + content, "s")


def test_what_unpacks_to_too_much_in_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matfile, "MAX_BYTES", 10_000)
    packed = zlib.compress(element(1, bytes(4000)))
    once = struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(InputError, match="without the structures"):
        read_structures(HEADER + once * 2, "s")
    with pytest.raises(InputError, match="unpacks to more than 10000 bytes"):
        read_structures(HEADER + once * 3, "s")


def test_structures_made_by_hand_are_read() -> None:
    number = matrix(6, [1, 1], b"", element(2, b"\7"))
    content = HEADER + structures([2, 1], 1, b"a", number, number)
    assert read_structures(content, "s") == [{"a": [7.0]}] * 2


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_damage_is_refused_or_harmless(data: st.DataObject, compressed: bool) -> None:
    content = bytearray(mat(SYNSETS, compressed=compressed))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(120, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        read_structures(bytes(content[: data.draw(st.integers(0, len(content)))]), "synsets")

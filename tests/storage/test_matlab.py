"""MATLAB files that scipy has written, and as strangers may send them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from decaf.errors import InputError
from decaf.storage.matlab import read_matlab


def mat(synsets: list[tuple[Any, ...]], *, compressed: bool = True) -> bytes:
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("children", "O")]
    array = np.empty((len(synsets), 1), kinds)
    for row, synset in enumerate(synsets):
        array[row, 0] = synset
    file = io.BytesIO()
    variables = {"before": np.eye(3), "synsets": array, "after": "text"}
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


SYNSETS = [
    (1.0, "n01440764", "tench, Tinca tinca", np.zeros((1, 0))),
    (2.0, "n01443537", "café", np.array([[3.0, 4.0, 300.5]])),
    (70000.0, "n9", "x", np.array([[1, 2]], np.uint16)),
]


def read(data: bytes, name: str = "synsets", max_bytes: int = 1 << 20) -> Any:
    return read_matlab(data, [name], max_bytes=max_bytes)[name]


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
def test_scipys_files_are_read(compressed: bool) -> None:
    found = read(mat(SYNSETS, compressed=compressed))
    assert [list(structure) for structure in found] == [
        ["ILSVRC2012_ID", "WNID", "words", "children"]
    ] * 3
    for structure, (number, wnid, words, children) in zip(found, SYNSETS, strict=True):
        assert structure["ILSVRC2012_ID"] == [number]
        assert (structure["WNID"], structure["words"]) == (wnid, words)
        assert structure["children"] == children.ravel().tolist()


@pytest.mark.slow
def test_numbers_keep_their_shape_and_text_is_text() -> None:
    found = read_matlab(mat(SYNSETS), ["before", "after", "nothing"], max_bytes=1 << 20)
    np.testing.assert_array_equal(found.pop("before"), np.eye(3))
    assert found == {"after": "text"}
    file = io.BytesIO()
    cells = np.array([["a", np.eye(2)]], object)
    savemat(file, {"cells": cells, "strange": np.array([[("a", cells)]], [("x", "O"), ("y", "O")])})
    found = read_matlab(file.getvalue(), ["cells", "strange"], max_bytes=1 << 20)
    assert found == {"cells": None, "strange": [{"x": "a", "y": None}]}


@pytest.mark.slow
def test_other_files_are_refused() -> None:
    with pytest.raises(InputError, match="not a MATLAB file of version 5"):
        read(b"MATLAB 7.3 MAT-file" + bytes(500))
    with pytest.raises(InputError, match=r"version 7\.3"):
        read(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n")
    cut = mat(SYNSETS, compressed=False).partition(b"n01443537")[0]
    with pytest.raises(InputError, match="a MATLAB file that is damaged"):
        read(cut)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind: int, shape: list[int], name: bytes, *rest: bytes) -> bytes:
    sides = struct.pack(f"<{len(shape)}i", *shape)
    parts = [element(6, struct.pack("<II", kind, 0)), element(5, sides), element(1, name), *rest]
    return element(14, b"".join(parts))


def structures(shape: list[int], width: int, names: bytes, *fields: bytes) -> bytes:
    return matrix(2, shape, b"s", element(5, struct.pack("<i", width)), element(1, names), *fields)


HEADER = b"MATLAB 5.0".ljust(124) + b"\0\1IM"


@pytest.mark.slow
def test_structures_made_by_hand_are_read() -> None:
    number = matrix(6, [1, 1], b"", element(2, b"\7"))
    content = HEADER + structures([2, 1], 1, b"a", number, number)
    assert read(content, "s") == [{"a": [7.0]}] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        structures([2**31 - 1] * 40, 1, b"a"),
        structures([10, 1], 1, b"ab"),
        matrix(6, [2**30, 2**30], b"s", element(9, bytes(8))),
        element(15, b"no zlib"),
    ],
)
def test_a_header_that_promises_much_is_refused(content: bytes) -> None:
    with pytest.raises(
        InputError, match=r"damaged|unpacks to more than 1,048,576 bytes"
    ) as refused:
        read(HEADER + content, "s")
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_much() -> None:
    file = io.BytesIO()
    savemat(file, {"s": np.zeros((100, 1 << 17))}, do_compression=True)
    assert len(file.getvalue()) < 1 << 18
    with pytest.raises(InputError, match="unpacks to more than 4,194,304 bytes"):
        read(file.getvalue(), "s", 1 << 22)


@pytest.mark.slow
@pytest.mark.faults
def test_damage_is_refused_or_harmless() -> None:
    """Bytes changed and files cut short, some of which end the process that reads them."""
    whole = mat(SYNSETS, compressed=False)
    refused = []
    for seed in range(15, 21):  # 18 ends scipy 1.17's
        random = np.random.default_rng(seed)
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            data[random.integers(124, len(data))] = random.integers(256)
        if random.random() < 0.3:
            data = data[: random.integers(len(data))]
        try:
            read_matlab(bytes(data), ["synsets"], max_bytes=1 << 20)
        except InputError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in text for text in refused)

"""The wire format: numbers in every form they may take, and bytes that are no message."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.backbone.caffe.wire import Budget, Message, WireError


def message(data):
    return Message(memoryview(data), Budget())


@given(value=st.integers(-(2**63), 2**63 - 1), number=st.integers(1, 2**29 - 1))
def test_integers_of_64_bits(caffe, value, number):
    assert message(caffe.integer(number, value)).integers(number) == [value]


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1)), split=st.integers(0, 9))
def test_integers_packed_and_one_by_one(caffe, values, split):
    packed = caffe.chunk(3, b"".join(map(caffe.varint, values[:split])))
    single = b"".join(caffe.integer(3, value) for value in values[split:])
    assert message(packed + single).integers(3) == values


@given(
    values=st.lists(st.floats(width=32, allow_nan=False)),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    double=st.booleans(),
)
def test_floats_packed_and_one_by_one(caffe, values, cuts, double):
    code, wire = ("<d", 1) if double else ("<f", 5)
    whole, pieces = b"", np.split(np.array(values), sorted(min(c, len(values)) for c in cuts))
    for turn, piece in enumerate(pieces):
        numbers = [struct.pack(code, value) for value in piece]
        if turn % 2:
            whole += caffe.chunk(5, b"".join(numbers)) + caffe.integer(1, 7)
        else:
            whole += b"".join(caffe.varint(5 << 3 | wire) + each for each in numbers)
    result = message(whole).floats(5, double=double)
    assert result.tolist() == values
    assert result.dtype == (np.float64 if double else np.float32)


def test_a_number_is_told_as_it_was_written(caffe):
    assert message(caffe.real(2, 0.0001)).number(2, 1.0) == 0.0001
    assert message(b"").number(2, 0.75) == 0.75
    assert message(caffe.real(2, 1.0) + caffe.real(2, 3.0)).number(2, 0.0) == 3.0


def test_an_optional_message_told_twice_is_one(caffe):
    data = caffe.chunk(9, caffe.integer(1, 5)) + caffe.chunk(9, caffe.integer(2, 6))
    merged = message(data).message(9)
    assert (merged.integer(1, 0), merged.integer(2, 0), merged.integer(3, 8)) == (5, 6, 8)
    assert len(message(data).messages(9)) == 2
    assert 9 in message(data)
    assert 8 not in message(data)


def test_text_is_utf8_and_bounded(caffe):
    data = caffe.chunk(1, "é") + caffe.chunk(1, b"\xff") + caffe.chunk(2, "x" * 10**6)
    assert message(data).texts(1) == ["é", "\N{REPLACEMENT CHARACTER}"]
    assert len(message(data).text(2)) == 1000
    assert message(data).text(3) == ""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x08", "cut off"),
        (b"\x08" + b"\xff" * 10, "more than 64 bits"),
        (b"\x0a\x05abcd", "cut off: 5 bytes announced, 4 left"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "cut off"),
        (b"\x0d\0\0\0", "cut off: 4 bytes announced, 3 left"),
        (b"\x09\0\0\0\0\0\0\0", "cut off: 8 bytes announced, 7 left"),
        (b"\x00\x00", "field number 0"),
        (b"\x0b", "wire type 3 of field 1"),
        (b"\x0e", "wire type 6 of field 1"),
        (b"\x80\x80\x80\x80\x10\x00", "field number 536870912"),
    ],
)
def test_what_is_no_message(data, text):
    with pytest.raises(WireError, match=text):
        message(data)


def test_fields_of_another_type_than_expected(caffe):
    data = caffe.integer(1, 5) + caffe.real(2, 0.5) + caffe.chunk(3, b"\xff" * 7)
    for ask in (lambda m: m.floats(1), lambda m: m.integers(2), lambda m: m.texts(2)):
        with pytest.raises(WireError, match=r"field \d has wire type"):
            ask(message(data))
    with pytest.raises(WireError, match="field 3 has 7 bytes of 4 each"):
        message(data).floats(3)
    with pytest.raises(WireError, match="cut off"):
        message(data).integers(3)


def test_a_file_of_nothing_but_fields_is_given_up(caffe):
    with pytest.raises(WireError, match="more than 100,000 fields"):
        message(b"\x08\x00" * 100_001)
    with pytest.raises(WireError, match="more than 100,000 fields"):
        message(caffe.chunk(1, b"\x00" * 100_001)).integers(1)
    # One budget for all messages of a file.
    outer = message(caffe.chunk(1, b"\x08\x00" * 99_998))
    assert outer.message(1).integer(1, 1) == 0
    with pytest.raises(WireError, match="more than 100,000 fields"):
        outer.message(1)


def test_millions_of_numbers_one_by_one_are_read_at_once():
    records = np.zeros((3_000_000, 5), dtype=np.uint8)
    records[:, 0] = 5 << 3 | 5
    values = np.arange(len(records), dtype="<f4")
    records[:, 1:] = values.view(np.uint8).reshape(-1, 4)
    started = time.process_time()
    assert np.array_equal(message(records.tobytes()).floats(5), values)
    assert time.process_time() - started < 2  # number by number it takes several times that


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        result = message(data)
        for number in range(1, 9):
            result.integers(number)
            result.floats(number)
    except WireError:
        return
    assert all(number in result or not result.integers(number) for number in range(1, 9))

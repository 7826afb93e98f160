"""Messages against Google's own implementation, through the messages of the onnx package."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.backbone.export.protobuf import Message

onnx = pytest.importorskip("onnx")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(TEXTS, st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_fields_are_written_as_google_writes_them(text, number, numbers):
    expected = onnx.AttributeProto(name=text, i=number, ints=numbers, f=1.25)
    message = Message()
    message.text(1, text)
    message.single(2, 1.25)
    message.integer(3, number)
    for each in numbers:
        message.integer(8, each)
    assert bytes(message) == expected.SerializeToString(deterministic=True)
    assert message.size == expected.ByteSize()


@given(st.binary(max_size=400), st.integers(1, 2**29 - 1))
def test_a_message_in_a_message_is_a_field_of_bytes(data, number):
    inner = Message()
    inner.raw(9, memoryview(data))
    one, other = Message(), Message()
    one.message(number, inner)
    other.raw(number, bytes(inner))
    assert bytes(one) == bytes(other)
    assert one.size == len(bytes(one))
    assert onnx.TensorProto.FromString(bytes(inner)).raw_data == data


def test_large_values_are_not_copied():
    values = bytearray(8)
    message = Message()
    message.raw(1, memoryview(values))
    values[:] = struct.pack("<d", 1.5)
    assert bytes(message).endswith(struct.pack("<d", 1.5))


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="from 0 on, got -1"):
        Message().integer(1, -1)

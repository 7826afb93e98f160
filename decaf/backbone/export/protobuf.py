"""The wire format of protocol buffers, as far as writing ONNX needs it.

A message is a sequence of fields, each a key (field number and wire type) and a value; see
"Encoding" in the Protocol Buffers documentation. Large values are kept where they are until the
message is written, so that a network in a message takes no memory beside the network.
"""

from __future__ import annotations

import struct
from typing import IO

__all__ = ["MAX_MESSAGE_BYTES", "Message"]

MAX_MESSAGE_BYTES = 2**31 - 1
"""Readers of protocol buffers count the bytes of a message in 31 bits."""

_VARINT, _BYTES, _FIXED32 = 0, 2, 5


class Message:
    """A message in the making; its fields stand in the order in which they are added.

    Attributes
    ----------
    size : int
        Bytes so far.

    Examples
    --------
    >>> message = Message()
    >>> message.integer(1, 150)
    >>> bytes(message).hex()
    '089601'
    """

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self.size = 0

    def integer(self, number: int, value: int) -> None:
        """Add a whole number from 0 on as field `number`."""
        self._add(_varint(number << 3 | _VARINT) + _varint(value))

    def single(self, number: int, value: float) -> None:
        """Add a float32."""
        self._add(_varint(number << 3 | _FIXED32) + struct.pack("<f", value))

    def text(self, number: int, value: str) -> None:
        """Add a text."""
        self.raw(number, value.encode())

    def raw(self, number: int, value: bytes | memoryview) -> None:
        """Add bytes; a memoryview is looked at when the message is written."""
        self._add(_varint(number << 3 | _BYTES) + _varint(len(value)))
        self._add(value)

    def message(self, number: int, value: Message) -> None:
        """Add a message, as it is now."""
        self._add(_varint(number << 3 | _BYTES) + _varint(value.size))
        self._pieces += value._pieces
        self.size += value.size

    def write(self, stream: IO[bytes]) -> None:
        """Write the message."""
        for piece in self._pieces:
            stream.write(piece)

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    def _add(self, piece: bytes | memoryview) -> None:
        self._pieces.append(piece)
        self.size += len(piece)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    if value < 0:
        raise ValueError(f"only whole numbers from 0 on, got {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])

"""The wire format of protocol buffers, as far as Caffe's files use it.

A message is a sequence of fields, each a key (field number and wire type) and a value; see
"Encoding" in the Protocol Buffers documentation. Nothing is copied or allocated beyond what the
file holds, every length is checked against what is left, and the number of fields is bounded, so
that a hostile file costs no more than its own size.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Budget", "Message", "WireError"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10  # bytes, for 64 bits
_MAX_FIELDS = 100_000
_MAX_TEXT = 1_000

Value = int | memoryview


class WireError(ValueError):
    """Bytes that are no message, or a field that is not of the type it should have."""


class Budget:
    """The number of fields that may still be read of a file, whose messages share one budget.

    A network has some thousands. Numbers stored one by one count as one field.

    Parameters
    ----------
    fields : int
    """

    def __init__(self, fields: int = _MAX_FIELDS) -> None:
        self._left = fields

    def spend(self) -> None:
        """Count a field.

        Raises
        ------
        WireError
            If there have been too many.
        """
        self._left -= 1
        if self._left < 0:
            raise WireError(f"more than {_MAX_FIELDS:,} fields")


class Message:
    """A message whose fields can be asked for by number.

    Parameters
    ----------
    data : memoryview or sequence of memoryview
        Its bytes. Several pieces are read as one message, which is how a field of message type
        that occurs more than once is to be understood.
    budget : Budget
        Shared by all messages of a file.

    Raises
    ------
    WireError
        If the bytes are not a sequence of fields.
    """

    def __init__(self, data: memoryview | list[memoryview], budget: Budget) -> None:
        self._budget = budget
        self._fields: dict[int, list[tuple[int, Value]]] = {}
        for piece in data if isinstance(data, list) else [data]:
            self._parse(piece.cast("B"))

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integers(self, number: int) -> list[int]:
        """Return a repeated integer (int32, int64, uint32, bool, enum), packed or not.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        values: list[int] = []
        for wire, value in self._fields.get(number, ()):
            if isinstance(value, int):
                values.append(_signed(value))
                continue
            if wire != _BYTES:
                raise self._wrong(number, wire, "an integer")
            at = 0
            while at < len(value):
                self._budget.spend()
                item, at = _varint(value, at)
                values.append(_signed(item))
        return values

    def integer(self, number: int, default: int) -> int:
        """Return an integer; of several the last counts.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        default : int
        """
        return (self.integers(number) or [default])[-1]

    def floats(self, number: int, *, double: bool = False) -> np.ndarray:
        """Return a repeated float (or double), packed or not.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        double : bool
            Whether the field is of type double.

        Returns
        -------
        ndarray of float32 (float64 for doubles), shape (n,)
            May be a view of the file's bytes.
        """
        kind = np.dtype("<f8" if double else "<f4")
        pieces = []
        for wire, value in self._fields.get(number, ()):
            if isinstance(value, int) or wire not in (_BYTES, _FIXED64 if double else _FIXED32):
                raise self._wrong(number, wire, "numbers")
            if len(value) % kind.itemsize:
                raise WireError(f"field {number} has {len(value)} bytes of {kind.itemsize} each")
            pieces.append(np.frombuffer(value, dtype=kind))
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=kind)

    def number(self, number: int, default: float) -> float:
        """Return a float, the last of several: the shortest decimal that is the same float32.

        So that 0.0001 is read as it was written into the network's description.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        default : float
        """
        values = self.floats(number)
        return float(str(values[-1])) if len(values) else default

    def texts(self, number: int) -> list[str]:
        """Return a repeated string; what is no UTF-8 is replaced, what is too long is cut.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        return [
            bytes(piece[:_MAX_TEXT]).decode("utf-8", "replace") for piece in self.pieces(number)
        ]

    def text(self, number: int) -> str:
        """Return a string; the empty one where there is none.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        return (self.texts(number) or [""])[-1]

    def message(self, number: int) -> Message:
        """Return an optional message; an empty one where there is none.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        return Message(self.pieces(number), self._budget)

    def messages(self, number: int) -> list[Message]:
        """Return a repeated message.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        return [Message(piece, self._budget) for piece in self.pieces(number)]

    def pieces(self, number: int) -> list[memoryview]:
        """Return the bytes of every occurrence of a field that has a length.

        Parameters
        ----------
        number : int
            The field's number in the message type.
        """
        pieces = []
        for wire, value in self._fields.get(number, ()):
            if isinstance(value, int) or wire != _BYTES:
                raise self._wrong(number, wire, "text or a message")
            pieces.append(value)
        return pieces

    def _wrong(self, number: int, wire: int, expected: str) -> WireError:
        return WireError(f"field {number} has wire type {wire}, expected {expected}")

    def _parse(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            self._budget.spend()
            start = at
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if not 1 <= number < 2**29:
                raise WireError(f"field number {number}")
            value: Value
            if wire == _VARINT:
                value, at = _varint(data, at)
            elif wire == _BYTES:
                length, at = _varint(data, at)
                value, at = _take(data, at, length)
            elif wire in (_FIXED32, _FIXED64):
                value, at = _run(data, start, at, 4 if wire == _FIXED32 else 8)
            else:
                raise WireError(f"wire type {wire} of field {number}")
            self._fields.setdefault(number, []).append((wire, value))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return an unsigned integer and where it ends: 7 bits a byte, the lowest first."""
    value = 0
    for count, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), at + count + 1
    raise WireError("cut off, or a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _take(data: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    if length > len(data) - at:
        raise WireError(f"cut off: {length} bytes announced, {len(data) - at} left")
    return data[at : at + length], at + length


def _run(data: memoryview, start: int, at: int, size: int) -> tuple[memoryview, int]:
    """Return the numbers of `size` bytes that follow one another with the same key, as if packed.

    Number by number, the tens of millions of a network would take minutes. `start` is where the
    first one's key begins, `at` where it ends.
    """
    first, end = _take(data, at, size)
    record = at - start + size
    if data[end : end + at - start] != data[start:at]:
        return first, end
    key = np.frombuffer(data[start:at], dtype=np.uint8)
    pieces = [np.frombuffer(first, dtype=np.uint8)[None]]
    # Twice as far each time, so that short runs are cheap and the work is that of the run's length.
    ahead = 1
    while count := min(ahead, (len(data) - end) // record):
        some = np.frombuffer(data[end : end + count * record], dtype=np.uint8)
        some = some.reshape(count, record)
        same = (some[:, : len(key)] == key).all(axis=1)
        length = count if same.all() else int(same.argmin())
        pieces.append(some[:length, len(key) :])
        end += length * record
        if length < count:
            break
        ahead *= 2
    return memoryview(np.concatenate(pieces).tobytes()), end

"""Names and numbers on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.cli.terminal import byte_size, printable


@given(st.binary() | st.text())
def test_a_name_stays_on_one_line_and_can_be_encoded(name: bytes | str) -> None:
    shown = printable(name)
    shown.encode("utf-8")
    assert shown.isprintable()


def test_plain_names_are_left_alone() -> None:
    assert printable("Müller/α ×.jpg") == "Müller/α ×.jpg"
    assert printable("Müller.jpg".encode()) == "Müller.jpg"
    assert printable(b"\x1b[31m\xff") == "\\x1b[31m\\xff"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**40 * 5, "5 TiB")],
)
def test_byte_size(count: int, shown: str) -> None:
    assert byte_size(count) == shown

"""Progress is for people: where it cannot be written, the work goes on."""

from __future__ import annotations

import io

import pytest

from decaf.runtime import progress
from decaf.runtime.progress import progress_for, tell_line


class Full(io.StringIO):
    """As on a full disk, or with nobody left to read it."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_takes_nothing_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.0)
    with progress_for(True, 10, 0) as lines:
        lines.advance(4, "half")
        lines.advance(6)
    assert lines.done == 10
    tell_line("done")

"""Python processes that are started with a line to them, or with limits."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import pytest

import line_child
from decaf.runtime.children import Ended, python_command, run_limited, start_with_line

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(line_child.__file__).parent))


def test_a_line_goes_both_ways_and_ends_with_either(tmp_path: Path) -> None:
    process, line = start_with_line("line_child:echo")
    signals = "SIGINT,SIGTERM" if sys.platform != "win32" else ""
    assert line.recv_bytes() == f"1 {signals}".encode()
    for message in (b"a", bytes(1 << 20)):
        threading.Thread(target=line.send_bytes, args=(message,)).start()
        assert line.recv_bytes() == message
    line.close()
    assert process.wait(60) == 0
    process, line = start_with_line("line_child:echo")
    line.recv_bytes()
    process.kill()
    with pytest.raises(EOFError):
        line.recv_bytes()
    process.wait()
    line.close()


def run(function: str, argument: str, data: bytes, **limits: int) -> tuple[Ended, bytes]:
    with tempfile.TemporaryFile() as out:
        ended = run_limited(python_command(f"line_child:{function}", argument), data, out, **limits)
        out.seek(0)
        return ended, out.read()


@pytest.mark.slow
def test_a_process_takes_no_more_memory_than_it_may() -> None:
    ended, said = run("grow", "0", b"100", memory=2 << 30, seconds=60)
    assert (ended, said) == (Ended(0, b""), b"taken")
    ended, said = run("grow", "60", str(3 << 30).encode(), memory=2 << 30, seconds=60)
    assert said == b""
    # Linux gives it no more; elsewhere it is ended.
    assert ended.too_large or ended.code == 3


@pytest.mark.slow
def test_the_interpreter_may_be_a_child_of_what_was_started() -> None:
    """As it is in a virtual environment of Windows."""
    launcher = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    grow = python_command("line_child:grow", "60")
    with tempfile.TemporaryFile() as out:
        command = [sys.executable, "-c", launcher, *grow]
        data = str(3 << 30).encode()
        ended = run_limited(command, data, out, memory=2 << 30, seconds=60)
        out.seek(0)
        assert out.read() == b""
    assert ended.too_large or ended.code == 3


@pytest.mark.slow
def test_a_process_takes_no_more_time_than_it_may() -> None:
    ended, _ = run("spin", "", b"", memory=4 << 30, seconds=1)
    assert ended.code != 0
    assert not ended.too_large

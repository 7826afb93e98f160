"""One run at a time, which keeps what is done when it is told to stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decaf.errors import OutputError
from decaf.train.pack.reader import Pack

pytestmark = pytest.mark.faults


def test_two_runs_do_not_write_at_once(
    dataset: Path, tmp_path: Path, make: Callable[..., Any]
) -> None:
    def again(_done: int, _total: int) -> None:
        with pytest.raises(OutputError, match=r"p\.parts: another run is writing here"):
            make(dataset, tmp_path / "p")

    make(dataset, tmp_path / "p", progress=again).close()


@pytest.mark.slow
def test_a_command_that_is_told_to_stop_keeps_what_is_done(
    dataset: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    out = tmp_path / "p"
    command = [sys.executable, "-m", "decaf", "pack", str(dataset), "-o", str(out), "-j", "0"]
    process = subprocess.Popen(
        [*command, "--size", "24", "-q"], env=child_env, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while not (tmp_path / "p.parts" / "run.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=90)
    # It may have begun its one shard already, which it then finishes.
    assert process.returncode in (0, 143), complained
    assert "decaf: stopping after the images in work" in complained
    if process.returncode == 143:
        # It may come before the first image or after it.
        assert re.search(r"stopped(;| after 0 of 14 images; they are kept in)", complained)
        assert not out.exists()
        done = subprocess.run([*command, "--size", "24", "-q"], env=child_env)
        assert done.returncode == 0
    with Pack.open(out) as pack:
        pack.verify()

"""Killed at any write, or by a signal from outside: the pack is the same, to the byte."""

from __future__ import annotations

import json
import os
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

PROBE = Path(__file__).parent / "fault_probe.py"
# How dense the probe is: every call, or every so manieth.
MODES = ("kill", "torn", "ENOSPC")
EVERY = int(os.environ.get("DECAF_PACK_EVERY", "13"))


def test_broken_at_any_write_it_goes_on(
    dataset: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    (dataset / "train" / "n02" / "3.JPEG").write_bytes(b"")
    out = tmp_path / "out" / "p"
    out.parent.mkdir()
    done = subprocess.run(
        [sys.executable, str(PROBE), str(dataset), str(out), str(EVERY), *MODES],
        env=child_env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for line in done.stdout.splitlines():
        found = json.loads(line)
        assert found["calls"] > 50
        # From nothing to all of it: 14 images in 4 shards, 13 of them good.
        assert {0, 14} <= set(found["found"].values()) <= {0, 2, 4, 6, 8, 10, 12, 13, 14}
    assert len(done.stdout.splitlines()) == len(MODES)


def test_two_runs_do_not_write_at_once(
    dataset: Path, tmp_path: Path, make: Callable[..., Any]
) -> None:
    def again(_done: int, _total: int) -> None:
        with pytest.raises(OutputError, match=r"p\.parts: another run is writing here"):
            make(dataset, tmp_path / "p")

    make(dataset, tmp_path / "p", progress=again).close()


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

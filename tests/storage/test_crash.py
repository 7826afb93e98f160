"""Broken at any of its writes a command ends in words, and can be given again: a few of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

HARNESS = Path(__file__).parent / "crash_harness.py"
# Of each command and way of breaking it; `crash_harness.py` alone tries all.
TRIES = int(os.environ.get("DECAF_CRASH_TRIES", "1"))
COMMANDS = [*("extract", "fit", "pack", "train", "finetune", "distil", "predict-csv", "export-npy")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux, cc")
def test_broken_at_any_write_a_command_can_be_given_again(child_env: dict[str, str]) -> None:
    """And the smallest file that is made of shards at every write."""
    done = subprocess.run(
        [sys.executable, str(HARNESS), "numbers", *COMMANDS, "--tries", str(TRIES)],
        capture_output=True,
        env=child_env,
        text=True,
        check=False,
    )
    *cases, total = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, [each for each in cases if each["wrong"]] or done.stderr[-3000:]
    tried = {(each["command"], each["mode"]): each["tried"] for each in cases}
    assert sum(tried.values()) == total["tried"]
    assert len(tried) == 6 * (1 + len(COMMANDS))
    assert min(tried.values()) >= TRIES
    assert min(tried["numbers", mode] for mode in ("kill", "torn", "EIO", "ENOSPC")) >= 30

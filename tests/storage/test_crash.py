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
COMMANDS = ["extract", "fit", "pack", "train", "finetune", "predict-csv", "export-npy"]


def broken(env: dict[str, str], *arguments: str) -> int:
    """Break what is named, and return at how many places that was."""
    done = subprocess.run(
        [sys.executable, str(HARNESS), *arguments],
        capture_output=True,
        env=env,
        text=True,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, [each for each in found if each["wrong"]] or done.stderr[-3000:]
    tried: int = found[-1]["tried"]
    return tried


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux, cc")
def test_broken_at_any_write_a_command_can_be_given_again(child_env: dict[str, str]) -> None:
    tried = broken(child_env, *COMMANDS, "--tries", str(TRIES))
    assert tried >= 6 * len(COMMANDS) * TRIES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux, cc")
def test_a_file_made_of_shards_is_broken_at_every_write(child_env: dict[str, str]) -> None:
    modes = ("kill", "torn", "EIO", "ENOSPC")
    tried = broken(child_env, "numbers", *(f"--mode={mode}" for mode in modes))
    assert tried >= 30 * len(modes)

"""One run at a time, which keeps what is done when it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forked
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
    # Two shards; the signal comes with the first image of the first.
    code = "\n".join(
        [
            "import os, signal, sys",
            "from decaf.cli.main import main",
            "from decaf.images.workers.decoders import Decoders",
            "from decaf.train.pack import build",
            "build.SHARD_ROWS = (8, 8)",
            "submit = Decoders.submit",
            "def signalled(self, job):",
            "    if job.index == 0 and 'stop' in sys.argv:",
            "        signal.raise_signal(signal.SIGTERM)",
            "    submit(self, job)",
            "Decoders.submit = signalled",
            "sys.exit(main(sys.argv[2:]))",
        ]
    )
    out = tmp_path / "p"
    command = ["pack", dataset, "-o", out, "-j", 0, "--size", 24, "-q"]
    exit_code, _, complained = forked.run(child_env, "-c", code, "stop", *command)
    assert exit_code == 143, complained
    assert "decaf: stopping after the images in work" in complained
    assert "stopped after 8 of 14 images; they are kept in" in complained
    assert not out.exists()
    assert forked.run(child_env, "-c", code, "go on", *command)[0] == 0
    with Pack.open(out) as pack:
        pack.verify()

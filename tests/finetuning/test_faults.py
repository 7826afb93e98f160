"""Nothing is lost: killed fine-tunings end as if nothing had happened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import forked

pytestmark = pytest.mark.faults

SUPPORT = Path(__file__).parents[1] / "support"
# How many times a run is killed at a random moment.
KILLS = int(os.environ.get("DECAF_KILLS", "3"))
PATIENCE = 300.0 + 30 * KILLS


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_killed_at_any_moment_a_run_goes_on_to_the_same_bits(
    photographs: Path, weights_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    code, said, complained = forked.run(
        {**child_env, "OMP_NUM_THREADS": "1"},
        *(SUPPORT / "finetuning_probe.py", photographs, weights_path, tmp_path, KILLS),
        timeout=PATIENCE,
    )
    assert code == 0, complained[-3000:]
    seen: dict[str, int] = json.loads(said)
    assert seen["places"] + seen["finished"] >= 1

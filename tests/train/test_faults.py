"""Nothing is lost: killed runs end as if nothing had happened, full disks are told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import forked
import systems
from decaf.backbone.weights.load import load_weights

pytestmark = pytest.mark.faults

SUPPORT = Path(__file__).parents[1] / "support"
# How many times a run is killed at a random moment.
KILLS = int(os.environ.get("DECAF_KILLS", "4"))
PATIENCE = 300.0 + 30 * KILLS


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_killed_at_any_moment_a_run_goes_on_to_the_same_bits(
    pack_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    code, said, complained = forked.run(
        {**child_env, "OMP_NUM_THREADS": "1"},
        *(SUPPORT / "training_probe.py", pack_path, tmp_path, KILLS),
        timeout=PATIENCE,
    )
    assert code == 0, complained[-3000:]
    seen: dict[str, int] = json.loads(said)
    assert seen["places"] + seen["finished"] >= 1


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_run_can_go_on(
    pack_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    def run(out: Path) -> tuple[int, str]:
        what = ["train", str(pack_path), "-o", str(out), "--arch", "tiny", "--precision", "fp32"]
        how = ["--batch-size", "16", "--epochs", "4", "--device", "cpu", "--no-tensorboard", "-q"]
        program = SUPPORT / "tiny_network.py"
        code, _, complained = forked.run(child_env, program, *what, *how, "--resume")
        return code, complained

    with systems.small_disk(tmp_path / "disk", "2m") as disk:
        out = disk / "run"
        code, told = run(out)
        assert code == 0, told
        first = load_weights(out / "weights.safetensors").sha256
        for path in out.glob("*s/step-*"):
            if "000000004" not in path.name and "000000008" not in path.name:
                path.unlink()
        newest = out / "checkpoints/step-000000008.safetensors"
        size = newest.stat().st_size
        (out / "weights.safetensors").unlink()
        # The run believes that there is room, and then somebody else takes it.
        room = disk / "other"
        room.write_bytes(bytes(shutil.disk_usage(disk).free - size // 2))
        code, told = run(out)
        assert code == 2
        assert told.count("\n") == 1, told
        assert "checkpoints and weights take" in told
        assert "GB, and the disk has" in told
        assert newest.exists()
        room.unlink()
        code, told = run(out)
        assert code == 0, told
        assert load_weights(out / "weights.safetensors").sha256 == first

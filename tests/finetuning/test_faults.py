"""Nothing is lost: killed fine-tunings end as if nothing had happened; two processes are one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from decaf.backbone.weights.load import load_weights

pytestmark = pytest.mark.faults

SUPPORT = Path(__file__).parents[1] / "support"
# How many times a run is killed at a random moment.
KILLS = int(os.environ.get("DECAF_KILLS", "3"))
PATIENCE = 300.0 + 30 * KILLS


@pytest.mark.slow
def test_killed_at_any_moment_a_run_goes_on_to_the_same_bits(
    photographs: Path, weights_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "finetuning_probe.py"), str(photographs), str(weights_path),
         str(tmp_path), str(KILLS)],
        capture_output=True,
        env={**child_env, "OMP_NUM_THREADS": "1"},
        text=True,
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, int] = json.loads(done.stdout)
    assert seen["places"] + seen["finished"] >= 1


@pytest.mark.slow
def test_two_processes_make_the_network_of_one(
    photographs: Path, weights_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    def start(out: Path, **env: Any) -> subprocess.Popen[str]:
        how = ["--epochs", "2", "--lr", "1e-3", "--batch-size", "16", "--precision", "fp32"]
        how += ["--lighting", "0", "--device", "cpu", "-j", "0", "--json", "-q"]
        return subprocess.Popen(
            [sys.executable, str(SUPPORT / "tiny_network.py"), "finetune", str(photographs),
             "-o", str(out), "-w", str(weights_path), *how],
            env={**child_env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    both = [
        start(tmp_path / "two.safetensors", **world, MASTER_PORT=port, RANK=str(rank),
              LOCAL_RANK=str(rank))
        for rank in range(2)
    ]  # fmt: skip
    ends = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert ends[1][0] == ""
    alone = start(tmp_path / "one.safetensors")
    said, complained = alone.communicate(timeout=PATIENCE)
    assert alone.returncode == 0, complained
    found, expected = json.loads(ends[0][0]), json.loads(said)
    assert found["tuned"] == expected["tuned"]
    assert found["frozen"] == expected["frozen"]
    one, two = (load_weights(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert two.provenance["processes"] == 2
    for key, tensor in one.state.items():
        torch.testing.assert_close(two.state[key], tensor, rtol=1e-4, atol=1e-5)

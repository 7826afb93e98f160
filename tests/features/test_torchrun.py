"""Processes that share an extraction write the file that one would have written."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import decaf
from two_processes import end, start

ROWS = 60
PATIENCE = 120.0


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(5)
    for row in range(ROWS):
        pixels = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(root / f"{row:02d}.jpg")
    (root / "30.jpg").write_bytes(b"")
    return root


def extraction(folder: Path, out: Path, workers: int) -> list[str]:
    what = [str(folder), "-o", str(out), "-w", "random:0:alexnet-64", "-l", "pool5"]
    return ["extract", *what, "-b", "1", "-j", str(workers), "-q"]


def torchrun(env: dict[str, str], folder: Path, out: Path) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "decaf", *extraction(folder, out, 1)],
        env={**env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def content(path: Path) -> dict[str, object]:
    with decaf.open_features(path) as file:
        columns = {n: np.asarray(getattr(file, n)).tolist() for n in ("paths", "status", "labels")}
        return {**columns, "run": file.run, "pool5": file["pool5"][:].tobytes()}


def lines(out: Path, rank: int) -> int:
    try:
        manifest = out.with_name(out.name + ".parts") / f"manifest-{rank:05d}.txt"
        return manifest.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.faults
def test_a_run_shared_by_two_processes_one_of_which_is_killed_is_ended_by_one(
    photographs: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    whole, shared = tmp_path / "whole.h5", tmp_path / "shared.h5"
    decaf.extract(
        photographs,
        "pool5",
        out=whole,
        weights="random:0:alexnet-64",
        device="cpu",
        batch_size=1,
        on_error="record",
        workers=0,
    ).close()  # type: ignore[union-attr]
    agent = torchrun(child_env, photographs, shared)
    deadline = time.monotonic() + PATIENCE
    while not (lines(shared, 0) and lines(shared, 1)):
        assert agent.poll() is None, agent.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    family = psutil.Process(agent.pid).children(recursive=True)
    ranks = [p for p in family if p.ppid() == agent.pid]
    ranks[1].kill()
    agent.communicate(timeout=PATIENCE)
    assert agent.returncode != 0
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    assert not shared.exists()
    kept = lines(shared, 0) + lines(shared, 1)
    told: list[int] = []
    decaf.extract(
        photographs,
        "pool5",
        out=shared,
        weights="random:0:alexnet-64",
        device="cpu",
        batch_size=1,
        on_error="record",
        workers=0,
        progress=lambda done, total: told.append(done),
    ).close()  # type: ignore[union-attr]
    assert told[0] == 2 * kept
    assert content(shared) == content(whole)

    again = tmp_path / "again.h5"
    ends = end(start(child_env, "-m", "decaf", *extraction(photographs, again, 0)))
    assert [code for code, _, _ in ends] == [1, 1], ends
    assert sum(said.count("rows of pool5") for _, said, _ in ends) == 1
    assert content(again) == content(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.h5", "shared.h5", "whole.h5"]

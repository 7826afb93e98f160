"""Damage anywhere in a feature file is found, and never crashes or hangs the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

PROBE = Path(__file__).parent / "damage_probe.py"
COPIES = int(os.environ.get("DECAF_FUZZ", "300"))


def probe(path: Path, seed: int, env: dict[str, str]) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(PROBE), str(path), str(seed), str(COPIES)],
        capture_output=True,
        env=env,
        text=True,
        timeout=30 + COPIES / 10,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode} at {done.stderr[-2000:]}"
    seen: dict[str, int] = json.loads(done.stdout)
    assert sum(seen.values()) == COPIES
    return seen


@pytest.mark.slow
@pytest.mark.faults
def test_damage_is_refused_or_harmless(
    write_features: Callable[..., Path], tmp_path: Path, child_env: dict[str, str]
) -> None:
    seen = probe(write_features(tmp_path / "f.h5", rows=12), seed=1, env=child_env)
    assert seen["differed"] == 0
    assert seen["refused"] > COPIES // 2


@pytest.mark.slow
@pytest.mark.faults
def test_metadata_without_checksums_does_not_crash_the_reader(
    write_features: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    child_env: dict[str, str],
) -> None:
    """Files of HDF5's first format, which a stranger may choose: the library must survive them."""
    file = h5py.File
    monkeypatch.setattr(h5py, "File", lambda *how, libver: file(*how, libver="earliest"))
    path = write_features(tmp_path / "f.h5", rows=12)
    monkeypatch.undo()
    assert probe(path, seed=2, env=child_env)["refused"] > COPIES // 20

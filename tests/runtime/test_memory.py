"""Free memory, as the system tells it, and freed memory that is used again without its help."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from decaf.runtime import memory
from decaf.runtime.memory import available_memory

SCRIPT = """
import resource, sys
import numpy as np
from decaf.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
np.ones(2 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2 << 20)  # 16 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    environment = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.posix("limits")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept() -> None:
    assert faults("given back") > 20 * 1000
    assert faults("kept") < 2000


def test_what_is_free_is_what_the_system_says() -> None:
    result = available_memory()
    assert result is not None
    assert result <= 1.2 * psutil.virtual_memory().available


@pytest.mark.posix("proc")
def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_memory() == 5_120_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert available_memory() == 5_120_000
    (tmp_path / "memory.max").write_text("3000000\n")
    assert available_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("900000\n")
    assert available_memory() == 0


@pytest.mark.posix("proc")
def test_where_nothing_is_told_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_memory() is None

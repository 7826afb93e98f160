"""What is known of memory before a step is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from decaf.backbone.spec import architecture
from decaf.finetuning import step_memory as memory
from decaf.finetuning.settings import FinetuneSettings
from decaf.finetuning.step_memory import available_memory, step_memory


def test_what_is_free_is_what_the_system_says() -> None:
    found = available_memory()
    assert found is not None
    assert found <= 1.2 * psutil.virtual_memory().available


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


def test_where_nothing_is_told_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_memory() is None


def test_the_estimate_grows_with_what_is_kept() -> None:
    spec = architecture("alexnet-127")
    plain = FinetuneSettings(optimizer="sgd", batch_size=8).training(100, "fp32")
    parameters = 29_513_288 * 4
    # Values, gradients, momentum, the best.
    assert step_memory(spec, plain) > 4 * parameters
    assert step_memory(spec, plain) < 5 * parameters
    adam = replace(plain, optimizer="adamw")
    assert step_memory(spec, adam) - step_memory(spec, plain) == pytest.approx(parameters, rel=0.02)
    one, two = (step_memory(spec, replace(plain, batch_size=n)) for n in (1000, 2000))
    assert 1e6 < (two - one) / 1000 < 20e6  # an image

"""What a report of a fault says of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decaf.runtime.cores import available_cores
from decaf.runtime.machine import describe_machine, processor_features


def test_the_machine_is_described_in_json_values() -> None:
    machine = json.loads(json.dumps(describe_machine()))
    assert machine["cores"] == available_cores()
    assert machine["processor"]
    assert isinstance(machine["gpus"], list)


def test_features_are_those_of_the_system() -> None:
    info = Path("/proc/cpuinfo")
    if not info.exists() or "avx" not in info.read_text(encoding="utf-8"):
        pytest.skip("needs Linux on x86")
    flags = set(info.read_text(encoding="utf-8").split())
    names = {"avx2": "avx2", "avx512_f": "avx512f", "avx512_vnni": "avx512_vnni"}
    features = processor_features()
    assert {name: features[name] for name in names} == {
        name: flag in flags for name, flag in names.items()
    }

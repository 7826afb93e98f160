"""Damaged files of every kind that decaf reads are refused in one line, or read as they were.

``DECAF_FUZZ`` sets how many of each kind are tried; ``tests/mutation_probe.py`` is a script too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

COUNT = int(os.environ.get("DECAF_FUZZ", "20"))
KINDS = ("weights", "tuned", "head", "features", "pack", "checkpoint", "parts")


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    """The script, as a module."""
    path = Path(__file__).with_name("mutation_probe.py")
    spec = importlib.util.spec_from_file_location("mutation_probe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation_probe"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(probe: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    probe.make_files(made)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_or_read_as_it_was(
    kind: str, probe: ModuleType, folder: Path
) -> None:
    assert set(KINDS) == set(probe.READERS)
    ended, wrong = probe.probe(kind, COUNT, 7, folder)
    assert not wrong
    assert sum(ended.values()) == COUNT

"""Damaged files of every kind that decaf reads are refused in one line, or read as they were.

``DECAF_FUZZ`` sets how many of each kind are tried; ``tests/support/mutation_probe.py`` is a script
too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mutation_probe

COUNT = int(os.environ.get("DECAF_FUZZ", "20"))
KINDS = ("weights", "tuned", "head", "features", "pack", "checkpoint", "parts")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    mutation_probe.make_files(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_or_read_as_it_was(kind: str, folder: Path) -> None:
    assert set(KINDS) == set(mutation_probe.READERS)
    ended, wrong = mutation_probe.probe(kind, COUNT, 7, folder)
    assert not wrong
    assert sum(ended.values()) == COUNT

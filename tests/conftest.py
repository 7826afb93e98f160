"""Fixtures of all rooms: real photographs, where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import decaf

pytest_plugins = ["training_fixtures"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets: ``$DECAF_TEST_DATA``, or beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DECAF_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real photographs: {folder} is not there, $DECAF_TEST_DATA names another")
    return folder


@pytest.fixture(scope="session")
def child_env() -> dict[str, str]:
    """The environment in which a child process imports the decaf under test, installed or not."""
    root = Path(decaf.__file__).parents[1]
    beside = Path(__file__).parent
    paths = [
        root,
        beside / "support",
        beside.parent / "benchmarks",
        os.environ.get("PYTHONPATH", ""),
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path)}

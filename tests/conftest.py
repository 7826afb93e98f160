"""Fixtures of all rooms: real photographs, where there are any."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import decaf

pytest_plugins = ["training_fixtures"]

# How fast the machine is, and how busy, decides no property test.
settings.register_profile("decaf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("decaf")


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


@pytest.fixture
def matlab_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read MATLAB files, which the test has written itself, in this process: others start slowly.

    ``tests/storage/test_matlab.py`` is about the process that reads them elsewhere.
    """
    from scipy.io import loadmat

    from decaf.runtime.children import Ended
    from decaf.storage import matlab

    def run(command: list[str], data: bytes, out: Any, **_: Any) -> Ended:
        names = json.loads(command[3])
        try:
            found = loadmat(io.BytesIO(data), variable_names=names)
        except Exception as error:
            return Ended(1, str(error).encode())
        np.savez(out, **{name: matlab._plain(found[name]) for name in names if name in found})
        return Ended(0, b"")

    monkeypatch.setattr(matlab, "run_limited", run)

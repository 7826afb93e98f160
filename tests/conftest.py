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
import systems
from decaf.runtime.cores import available_cores

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Processes side by side share the cores, before torch is imported here and in what tests
    # start: threads that wait for one which has no core keep theirs from the others.
    cores = max(1, available_cores() // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))

pytest_plugins = ["training_fixtures"]
if os.environ.get("DECAF_TEST_FAKE_WINDOWS") and not systems.WINDOWS:
    raise RuntimeError("start python tests/support/fake_windows/windows.py -m pytest")

# How fast the machine is, and how busy, decides no property test.
settings.register_profile("decaf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("decaf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out on Windows what is about POSIX."""
    for item in items:
        for mark in item.iter_markers("posix"):
            if systems.lacks(mark.args[0]):
                reason = systems.POSIX[mark.args[0]]
                item.add_marker(pytest.mark.skip(reason=f"POSIX: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was left out for its system."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("POSIX: " in str(report.longrepr) for report in skipped)
    if systems.WINDOWS:
        terminalreporter.write_line(f"{count} tests about POSIX were left out")


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

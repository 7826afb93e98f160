from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from decaf.errors import ImageError, Stopped
from decaf.images import ImageRef
from harness.fisher_vectors.workers import Failure, Workers

PROBE = Path(__file__).with_name("processes_probe.py")


def task(row: int, ref: ImageRef) -> str:
    if row == 1:
        raise ImageError("empty", "no bytes")
    return ref.name.decode()


def test_without_processes_blocks_come_in_order() -> None:
    images = [ImageRef(name) for name in (b"a", b"b", b"c")]
    with Workers(0) as workers:
        result = list(workers.each_block(task, images, [[2, 1], [0]]))
    assert result == [(0, ["c", Failure("empty", "no bytes")]), (1, ["a"])]


def test_a_fault_that_is_not_the_image_s_is_raised() -> None:
    def faulty(row: int, ref: ImageRef) -> str:
        raise ZeroDivisionError(f"row {row}")

    with Workers(0) as workers, pytest.raises(ZeroDivisionError, match="row 0"):
        list(workers.each_block(faulty, [ImageRef(b"a")], [[0]]))


def test_work_that_is_to_stop_gives_what_was_begun() -> None:
    stop = threading.Event()
    images = [ImageRef(name) for name in (b"a", b"b", b"c")]
    result = []
    with Workers(0, stop) as workers, pytest.raises(Stopped):
        for number, _ in workers.each_block(task, images, [[0], [2], [0]]):
            result.append(number)
            if number == 1:
                stop.set()
    assert result == [0, 1]


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    "works",
    [pytest.param(["all:2"], marks=pytest.mark.posix("signals")), ["one:2", "one:1"]],
    ids=" ".join,
)
def test_processes_that_end(works: list[str], child_env: dict[str, str]) -> None:
    """A signal to all of them, as a shell sends it, ends the work.

    An image that kills the process that works on it is named, and the others have their results.
    """
    pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, PROBE, *works],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert "Traceback" not in done.stderr
    if works == ["all:2"]:
        assert done.returncode == 128 + signal.SIGTERM, done.stderr
        assert done.stdout == "stopped\n"
        return
    assert done.returncode == 0, done.stderr
    results: list[list[object]] = [[row, row + 1] for row in range(0, 12, 2)]
    results[2][0] = Failure("worker_died", "working on it ended its process, 2 times")
    assert done.stdout.splitlines() == [str(results)] * 2

from __future__ import annotations

import json
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


@pytest.mark.faults
def test_an_image_that_kills_its_process_is_told_and_no_other_is_lost(
    tmp_path: Path, child_env: dict[str, str]
) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    done = subprocess.run(
        [sys.executable, PROBE, tmp_path], env=child_env, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    expected = {str(row): [10 * row, f"image {row}"] for row in range(12)}
    assert found == expected | {"3": "worker_died", "5": "corrupt"}


def task(row: int, ref: ImageRef) -> str:
    if row == 1:
        raise ImageError("empty", "no bytes")
    return ref.name.decode()


def test_without_processes_blocks_come_in_order() -> None:
    images = [ImageRef(name) for name in (b"a", b"b", b"c")]
    with Workers(0) as workers:
        found = list(workers.each_block(task, images, [[2, 1], [0]]))
    assert found == [(0, ["c", Failure("empty", "no bytes")]), (1, ["a"])]


def test_a_fault_that_is_not_the_image_s_is_raised() -> None:
    def faulty(row: int, ref: ImageRef) -> str:
        raise ZeroDivisionError(f"row {row}")

    with Workers(0) as workers, pytest.raises(ZeroDivisionError, match="row 0"):
        list(workers.each_block(faulty, [ImageRef(b"a")], [[0]]))


def test_work_that_is_to_stop_gives_what_was_begun() -> None:
    stop = threading.Event()
    images = [ImageRef(name) for name in (b"a", b"b", b"c")]
    found = []
    with Workers(0, stop) as workers, pytest.raises(Stopped):
        for number, _ in workers.each_block(task, images, [[0], [2], [0]]):
            found.append(number)
            if number == 1:
                stop.set()
    assert found == [0, 1]


@pytest.mark.faults
@pytest.mark.parametrize("whom", ["all", "one"])
def test_a_signal_to_the_processes(whom: str, tmp_path: Path, child_env: dict[str, str]) -> None:
    """One that goes to all of them, as a shell sends it, ends the work; a lost process does not."""
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    done = subprocess.run(
        [sys.executable, PROBE, tmp_path, whom],
        env=child_env,
        capture_output=True,
        timeout=120,
        start_new_session=True,
    )
    if whom == "all":
        assert done.returncode == 128 + signal.SIGTERM, done.stderr.decode()
        assert done.stdout == b"stopped\n"
        assert b"Traceback" not in done.stderr
    else:
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout)["11"] == [110, "image 11"]


@pytest.mark.faults
def test_processes_that_cannot_begin_are_one_line(
    tmp_path: Path, child_env: dict[str, str]
) -> None:
    pytest.importorskip("cv2")
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from decaf.errors import DecafError\n"
        "from harness.fisher_vectors.workers import Workers\n"
        "from decaf.images import ImageRef\n"
        "try:\n"
        "    with Workers(1) as workers:\n"
        "        list(workers.each_block(print, [ImageRef(b'a')], [[0]]))\n"
        "except DecafError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=child_env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("Fisher vectors: the processes that are to work on images end as they")
    assert "__main__" in line

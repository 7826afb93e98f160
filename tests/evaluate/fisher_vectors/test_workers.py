from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from decaf.errors import ImageError
from decaf.evaluate.fisher_vectors.workers import Failure, Workers
from decaf.images.refs import ImageRef

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

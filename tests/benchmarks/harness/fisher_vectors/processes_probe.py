"""Works on blocks of images in processes, some of which end: ``processes_probe.py FOLDER [WHOM]``.

Prints what became of each as JSON. The processes import this script anew, as they do a user's.
Without WHOM a task fails in several ways. With "all" a task sends SIGTERM to the whole group of
processes; with "one" a process is killed once the first block is done.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from decaf.cli.exit_codes import stopped_by_signals
from decaf.errors import ImageError, Stopped
from decaf.images import ImageRef
from harness.fisher_vectors.workers import Failure, Workers

KILLS, KILLS_ONCE, BAD = 3, 4, 5


class Task:
    """Returns ten times an image's number, and the name of the image, for all but three of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, row: int, ref: ImageRef) -> tuple[int, str]:
        if row == BAD:
            raise ImageError("corrupt", "made so")
        once = self.folder / "killed"
        if row == KILLS or (row == KILLS_ONCE and not once.exists()):
            if row == KILLS_ONCE:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 10 * row, ref.name.decode()


class Peaceful:
    """Returns the same, but sends a signal to the group of processes at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, row: int, ref: ImageRef) -> tuple[int, str]:
        if row == self.at:
            os.killpg(0, signal.SIGTERM)
        return 10 * row, ref.name.decode()


def end_one() -> None:
    """Kill the first of the processes, and wait until it is gone."""
    process = multiprocessing.active_children()[0]
    process.kill()
    process.join()


def signalled(whom: str) -> None:
    images = [ImageRef(b"image %d" % row) for row in range(12)]
    with stopped_by_signals("stopping") as stop:
        found = {}
        try:
            with Workers(2, stop.event) as workers:
                task = Peaceful(4 if whom == "all" else -1)
                for number, results in workers.each_block(task, images, [[n] for n in range(12)]):
                    found[number] = results[0]
                    if whom == "one" and len(found) == 1:
                        end_one()
        except Stopped:
            print("stopped", flush=True)
            sys.exit(stop.exit_code)
    print(json.dumps(found))


def main() -> None:
    if len(sys.argv) > 2:
        return signalled(sys.argv[2])
    images = [ImageRef(b"image %d" % row) for row in range(12)]
    blocks = [[0, 1, 2], [3, 4, 5], [6], [7, 8], [9, 10, 11]]
    found = {}
    with Workers(2) as workers:
        for number, results in workers.each_block(Task(Path(sys.argv[1])), images, blocks):
            for row, result in zip(blocks[number], results, strict=True):
                found[row] = result.status if isinstance(result, Failure) else list(result)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

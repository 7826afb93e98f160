"""Works on blocks of images with a task that fails in several ways: ``processes_probe.py FOLDER``.

Prints what became of each as JSON. The processes import this script anew, as they do a user's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from decaf.errors import ImageError
from decaf.evaluate.fisher_vectors.workers import Failure, Workers
from decaf.images.refs import ImageRef

KILLS, KILLS_ONCE, BAD = 3, 4, 5


class Task:
    """Gives ten times an image's number, and the name of the image, for all but three of them."""

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


def main() -> None:
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

"""Encodes a folder of images in two processes: ``run_probe.py FOLDER CACHE``.

It kills itself (not its processes) once it has kept a block.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from harness.fisher_vectors import FisherVectorSettings, fisher_vectors_of_splits

SETTINGS = FisherVectorSettings(
    components=8, modes=4, vocabulary_descriptors=2000, scales=(1.0, 0.5), spatial="pyramid"
)


def rows_of(images: int) -> list[list[int]]:
    """Two splits: the even and the odd images."""
    return [list(range(start, images, 2)) for start in (0, 1)]


def die(done: int, total: int) -> None:
    if done:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    images = sorted(Path(sys.argv[1]).iterdir())
    fisher_vectors_of_splits(
        images,
        vocabulary_rows=rows_of(len(images)),
        settings=SETTINGS,
        workers=2,
        cache=sys.argv[2],
        progress=die,
    )


if __name__ == "__main__":
    main()

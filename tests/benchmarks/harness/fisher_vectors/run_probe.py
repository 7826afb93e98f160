"""Encodes a folder of images in two processes: ``run_probe.py FOLDER CACHE``.

It kills itself (not its processes) once it has kept a block.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import systems
from harness.fisher_vectors import FisherVectorSettings, fisher_vectors

SETTINGS = FisherVectorSettings(
    components=8, modes=4, vocabulary_descriptors=2000, scales=(1.0, 0.5)
)


def rows_of(images: int) -> list[np.ndarray]:
    """Two splits: the even and the odd images."""
    return [np.arange(start, images, 2) for start in (0, 1)]


def die(done: int, total: int) -> None:
    if done:
        systems.kill_itself()


def main() -> None:
    images = [os.fsencode(path) for path in sorted(Path(sys.argv[1]).iterdir())]
    fisher_vectors(
        images,
        [""] * len(images),
        rows_of(len(images)),
        settings=SETTINGS,
        workers=2,
        cache=sys.argv[2],
        progress=die,
    )


if __name__ == "__main__":
    main()

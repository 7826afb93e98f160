"""Damages a feature file in many places and reads each copy: ``damage_probe.py FILE SEED COUNT``.

Runs in a process of its own, so that a crash of the HDF5 library is seen as one. Each copy must
either be refused with a `FeatureFileError` or give the same as the whole file. Prints one line of
JSON: how many copies were refused, gave the same, or differed.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np

from decaf.errors import FeatureFileError
from decaf.features.store.opening import open_features

COLUMNS = (
    "paths",
    "labels",
    "status",
    "source_size",
    "content_sha256",
    "messages",
    "class_names",
    "status_names",
)


def read_all(path: Path) -> dict[str, object]:
    """Read everything that a user can reach."""
    with open_features(path) as file:
        found: dict[str, object] = {layer: file[layer][:].tobytes() for layer in file.layers}
        found |= {name: np.asarray(getattr(file, name)).tolist() for name in COLUMNS}
        found |= {"run": file.run, "attrs": file.attrs, "environment": file.environment}
        file.info()
    return found


def damaged(data: bytes, generator: random.Random) -> bytes:
    """Flip a bit, overwrite some bytes, or swap two stretches."""
    changed = bytearray(data)
    kind = generator.randrange(3)
    place = generator.randrange(len(data))
    if kind == 0:
        changed[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        length = generator.choice([1, 2, 4, 8, 16])
        # Not 255: Fletcher's sums are taken modulo 65535, to which a word of ones is one of zeros.
        value = bytes([generator.choice([0, generator.randrange(255)])])
        changed[place : place + length] = value * len(changed[place : place + length])
    else:
        other, length = generator.randrange(len(data)), generator.choice([4, 8, 64])
        first, second = changed[place : place + length], changed[other : other + length]
        if len(first) == len(second):
            changed[place : place + length], changed[other : other + length] = second, first
    return bytes(changed)


def main() -> None:
    """Read as many damaged copies as asked for."""
    source, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if sys.platform == "linux":
        import resource

        # What asks for more memory than a small file can need has believed a damaged size.
        resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    data, whole = source.read_bytes(), read_all(source)
    copy = source.with_name(f"damaged-{seed}.h5")
    seen = {"refused": 0, "same": 0, "differed": 0}
    for i in range(count):
        print(f"copy {i}", file=sys.stderr, flush=True)  # the last one named is the culprit
        copy.write_bytes(damaged(data, random.Random(f"{seed} {i}")))
        try:
            outcome = "same" if read_all(copy) == whole else "differed"
        except FeatureFileError:
            outcome = "refused"
        seen[outcome] += 1
    print(json.dumps(seen))


if __name__ == "__main__":
    main()

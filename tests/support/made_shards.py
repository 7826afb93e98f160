"""Small shards of images, a network for them, and parts compared as bytes."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

import tiny_network
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.safetensors_file import save_weights
from decaf.backbone.weights.state import Weights
from decaf.images.spec import named_preprocess

Members = Iterable[tuple[str, bytes]]


def write_network(path: Path) -> Path:
    """Write the smallest network of the family as a file that any process can load."""
    preprocess = named_preprocess("decaf", tiny_network.TINY.input_size)
    state = random_state(tiny_network.TINY, 3)
    save_weights(path, Weights.of("tiny", tiny_network.TINY, preprocess, state))
    return path


@functools.cache
def photograph(number: int) -> bytes:
    """A small JPEG, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).resize((60, 48)).save(data, "JPEG")
    return data.getvalue()


def samples_of(shard: int, count: int = 5, bad: int | None = 3) -> list[tuple[str, bytes]]:
    """The members of a webdataset's shard; one of the images is none."""
    members = []
    for number in range(count):
        key = f"{shard:03d}/{number:04d}"
        data = b"no image" if number == bad else photograph(1000 * shard + number)
        known = json.dumps({"width": 60, "about": f"né {number}"}).encode()
        members += [(f"{key}.jpg", data), (f"{key}.cls", str(number % 3).encode())]
        members += [(f"{key}.json", known), (f"{key}.txt", f"caption {number}".encode())]
    return members


def tar_bytes(members: Members) -> bytes:
    """Return a tar of members."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def write_shards(folder: Path, count: int = 3, **how: int | None) -> Path:
    """Write shards ``000.tar``, ``001.tar``, …; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(count):
        (folder / f"{shard:03d}.tar").write_bytes(tar_bytes(samples_of(shard, **how)))
    return folder


def part_bytes(folder: Path) -> Mapping[str, str]:
    """Return the hash of each part of a part set, by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.suffix in (".parquet", ".h5")
    }

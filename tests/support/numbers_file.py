"""The smallest file that is made of shards: for each image the square of its size, as JSON."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decaf.errors import FeatureFileError, Stopped
from decaf.images import collect
from decaf.runtime.processes import World
from decaf.storage.atomic import write_atomically
from decaf.storage.records import differences
from decaf.storage.resumable import ShardedFile, fill
from decaf.storage.shards import ShardDirectory
from decaf.storage.unfinished import changed_image


@dataclass
class Squares:
    """Consecutive rows of it."""

    start: int
    stop: int
    status: np.ndarray
    content_sha256: np.ndarray
    values: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        names = ("status", "content_sha256", "values")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, start: int, stop: int, arrays: dict[str, np.ndarray]) -> Squares:
        return cls(start, stop, **arrays)


class NumbersFile(ShardedFile[Squares]):
    """Squares plus an offset, which is its one setting; an image without a byte is a bad one."""

    noun, error, rows = "file of numbers", FeatureFileError, Squares

    def __init__(
        self,
        path: Path,
        folder: Path,
        offset: int = 0,
        *,
        shard_rows: int = 2,
        overwrite: bool = False,
        raise_bad: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        how: dict[str, Any] = {"overwrite": overwrite, "raise_bad": raise_bad, "stop": stop}
        super().__init__(path, collect(folder), **how)
        self.offset = offset
        self.shard_rows = shard_rows
        self.computed: list[int] = []

    def header(self) -> dict[str, Any]:
        return {"run": {"offset": self.offset}, "shard_rows": self.shard_rows}

    def compare(self) -> tuple[list[str], bool]:
        try:
            there = json.loads(self.path.read_bytes())
        except ValueError as error:
            raise FeatureFileError(f"{self.path}: {error}") from error
        digests = np.array([list(bytes.fromhex(each)) for each in there["sha256"]], np.uint8)
        changed = changed_image(self.images, range(len(self.images)), digests, self.check_stop)
        differing = differences(there["run"], {"offset": self.offset})
        return differing + ([changed] if changed else []), self.overwrite and there["bad"] > 0

    def compute(
        self, ranges: list[tuple[int, int]], shards: ShardDirectory[Squares]
    ) -> Generator[Squares, None, None]:
        assert self.images.refs is not None
        for start, stop in ranges:
            if self.stop is not None and self.stop.is_set():
                raise Stopped("stopped")
            data = [self.images.refs[row].load() for row in range(start, stop)]
            if self.raise_bad and b"" in data:
                raise FeatureFileError("an image is empty")
            self.computed += range(start, stop)
            digests = b"".join(hashlib.sha256(each).digest() for each in data)
            yield Squares(
                start,
                stop,
                np.array([not each for each in data], np.uint8),
                np.frombuffer(digests, np.uint8).reshape(-1, 32),
                np.array([len(each) ** 2 + self.offset for each in data]),
            )

    def assemble(self, shards: ShardDirectory[Squares]) -> None:
        rows = list(shards.all_rows(len(self.images)))
        whole = {
            "run": {"offset": self.offset},
            "bad": sum(int(each.status.sum()) for each in rows),
            "sha256": [digest.tobytes().hex() for each in rows for digest in each.content_sha256],
            "values": [int(value) for each in rows for value in each.values],
        }
        write_atomically(self.path, json.dumps(whole).encode())


def make(output: NumbersFile) -> list[int]:
    """Make the file, and return the rows that were computed for it."""
    fill(output, World(torch.device("cpu")))
    return output.computed

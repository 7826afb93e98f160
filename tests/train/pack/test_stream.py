"""From decoded images to shards: read in order where that counts, summed beside the lock."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decaf.images.listing import archives
from decaf.images.status import Outcome
from decaf.images.workers.decoders import Decoders
from decaf.images.workers.pool import Job
from decaf.train.pack import stream
from decaf.train.pack.sources import find_source
from decaf.train.pack.statistics import moments_of
from decaf.train.pack.stored_images import PackSettings
from decaf.train.pack.stream import stream_rows

SETTINGS = PackSettings(size=24)


class Backwards(Decoders):
    """Return the last results first, as processes may."""

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        found: list[tuple[Job, Outcome]] = []
        while self._here:
            found += super().poll(timeout, also)
        return found[::-1]


class Watched(gzip.GzipFile):
    """A stream that writes down where it is sent."""

    seen: list[list[int]]

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == os.SEEK_SET:  # the others are how it tells where it is
            self.places.append(offset)
        return super().seek(offset, whence)

    @classmethod
    def open(cls, path: bytes, mode: str) -> Watched:
        result = cls(path, mode)
        result.places = []
        cls.seen.append(result.places)
        return result

    places: list[int]


def test_a_compressed_tar_is_read_forwards_only(
    tmp_path: Path, jpeg_bytes: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(24):
        path = tmp_path / "d" / f"c{i % 2}" / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Every fifth is to be encoded anew, and one is bad.
        path.write_bytes(b"" if i == 7 else jpeg_bytes(i, 24, 24 + (i % 5 == 0)))
    source = find_source(shutil.make_archive(str(tmp_path / "d"), "gztar", tmp_path, "d"))
    Watched.seen = []
    with monkeypatch.context() as watching:
        watching.setitem(archives._OPENERS, "tar.gz", Watched.open)
        shards = list(
            stream_rows(
                source,
                [(0, 10), (10, 24)],
                pool=Backwards(source, 0, SETTINGS.spec, ten=False),
                settings=SETTINGS,
                train=24,
                threads=3,
                in_flight=9,
            )
        )
    # The decoder's and one other, whatever the number of threads.
    assert len(Watched.seen) == 2
    assert all(places == sorted(places) for places in Watched.seen)
    assert sum(int(shard.kept.sum()) for shard in shards) == 18
    assert source.refs is not None
    for shard in shards:
        ends = np.concatenate([[0], np.cumsum(shard.length)])
        for place in np.flatnonzero(shard.kept):
            data = source.refs[shard.start + int(place)].load()
            assert shard.data[ends[place] : ends[place + 1]].tobytes() == data


def test_pixels_are_summed_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    block = stream._Block(0, 1)
    held: list[bool] = []

    def watched(pixels: np.ndarray) -> Any:
        held.append(block.lock.locked())
        return moments_of(pixels)

    monkeypatch.setattr(stream, "moments_of", watched)
    monkeypatch.setattr("decaf.train.pack.statistics.moments_of", watched)
    pixels = np.full((1, 24, 24, 3), 7, np.uint8)
    outcome = Outcome("ok", "", 30, 30, bytes(32))
    stream._encode(block, Job(0, None, pixels), outcome, None, SETTINGS, counts=True)
    assert held == [False]
    assert block.rows.sums.channel_sum.tolist() == [7 * 24 * 24] * 3


def test_images_outside_of_train_take_no_room_for_a_mean_image() -> None:
    block = stream._Block(0, 1)
    pixels = np.full((1, 24, 24, 3), 7, np.uint8)
    outcome = Outcome("ok", "", 30, 30, bytes(32))
    stream._encode(block, Job(0, None, pixels), outcome, None, SETTINGS, counts=False)
    assert block.rows.sums.image_sum is None
    assert block.rows.sums.to_arrays()["image_sum"].size == 0

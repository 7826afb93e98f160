"""An extraction: bounded, in order, and the same rows whatever happens on the way."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import decaf.features.extraction as extraction_module
import systems
from decaf.backbone.model import Backbone, load_backbone
from decaf.errors import DecafError, ImageError, Stopped
from decaf.features.extraction import Extraction
from decaf.features.rows import Rows
from decaf.features.settings import RunSettings
from decaf.images import ImageList, collect
from decaf.images.status import NO_DIGEST, Outcome
from decaf.images.workers.pool import Job

Engine = Callable[[np.ndarray], dict[str, np.ndarray]]


class FakePool:
    """Answers in an order of its own, with the row's number as its pixels."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.closed = False
        self.jobs: deque[Job] = deque()
        self.bad = set(bad)
        self.most = 0
        self._generator = np.random.default_rng(6)

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
        result = []
        for _ in range(min(3, len(self.jobs))):
            self.jobs.rotate(int(self._generator.integers(100)))
            job = self.jobs.popleft()
            job.out[...] = 0
            job.out.reshape(-1)[:2] = divmod(job.index, 256)
            status = "corrupt" if job.index in self.bad else "ok"
            result.append((job, Outcome(status, "", 5, job.index, NO_DIGEST)))
        return result

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def number(crops: np.ndarray) -> dict[str, np.ndarray]:
    """Return the row's number, in both of two layers."""
    flat = crops.reshape(len(crops), -1)[:, :2].astype(np.float32)
    value = flat @ np.array([[256.0], [1.0]], np.float32)
    return {"fc6": value, "pool5": -value.reshape(-1, 1, 1, 1)}


@pytest.fixture(scope="module")
def images() -> ImageList:
    return collect(np.zeros((2000, 1, 1, 3), np.uint8))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("random:0:alexnet-64").with_preprocess({"resize_to": 2, "crop": 2})


@pytest.fixture
def make(
    images: ImageList, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Extraction]:
    """Return what makes an extraction of images that a pool makes up."""

    def make(pool: FakePool, engine: Engine, batch_size: int = 8) -> Extraction:
        monkeypatch.setattr(extraction_module, "Decoders", lambda *_, **__: pool)
        extraction = Extraction(
            images,
            backbone,
            RunSettings(("fc6", "pool5")),
            device=torch.device("cpu"),
            batch_size=batch_size,
            engine=engine,
        )
        extraction.threads, extraction.torch_threads = 2, 1
        return extraction

    return make


@pytest.fixture
def run(make: Callable[..., Extraction]) -> Callable[..., list[Rows]]:
    """Run an engine over all images, in blocks of 20 rows."""

    def run(pool: FakePool, engine: Engine, **rest: Any) -> list[Rows]:
        rest.setdefault("ranges", [(start, start + 20) for start in range(0, 2000, 20)])
        try:
            with make(pool, engine) as extraction:
                return list(extraction.rows(**rest))
        finally:
            assert pool.closed

    return run


def check(blocks: list[Rows], bad: Sequence[int] = ()) -> None:
    blocks = sorted(blocks, key=lambda rows: rows.start)
    assert [rows.start for rows in blocks] == list(range(0, 2000, 20))
    expected = np.arange(2000, dtype=np.float32)
    expected[list(bad)] = np.nan
    values = np.concatenate([rows.features["fc6"] for rows in blocks])[:, 0]
    np.testing.assert_array_equal(values, expected)
    maps = np.concatenate([rows.features["pool5"] for rows in blocks])
    assert maps.shape == (2000, 1, 1, 1)
    np.testing.assert_array_equal(maps.reshape(-1), -expected)
    status = np.concatenate([rows.status for rows in blocks])
    assert np.flatnonzero(status).tolist() == sorted(bad)
    sizes = np.concatenate([rows.source_size for rows in blocks])
    assert sizes[:, 1].tolist() == list(range(2000))


def test_what_is_in_flight_is_bounded_however_many_images_there_are(
    run: Callable[..., list[Rows]],
) -> None:
    lock = threading.Lock()
    at_once: list[int] = []
    running = 0

    def counting(crops: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        rows = number(crops)
        with lock:
            running -= 1
        return rows

    pool = FakePool()
    check(run(pool, counting))
    assert len(at_once) == 300  # 20 rows are batches of 8, 8 and 4
    assert max(at_once) <= 2
    assert pool.most <= (2 * 2 + 1) * 8


def test_bad_images_never_shift_their_neighbours(run: Callable[..., list[Rows]]) -> None:
    bad = [0, 7, 8, 19, 20, *range(40, 60), 1999]
    check(run(FakePool(bad), number), bad)


def test_a_bad_image_is_named_where_it_is_an_error(run: Callable[..., list[Rows]]) -> None:
    with pytest.raises(ImageError, match=r"\(image 77\).*corrupt.*on_error='record'"):
        run(FakePool([77]), number, raise_bad=True)


@pytest.mark.parametrize("limit", [7, 3, 1])
def test_a_batch_that_does_not_fit_gives_the_same_rows_in_pieces(
    run: Callable[..., list[Rows]], limit: int
) -> None:
    def tight(crops: np.ndarray) -> dict[str, np.ndarray]:
        if len(crops) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return number(crops)

    check(run(FakePool(), tight))


def test_an_engine_that_fails_ends_the_stream_with_its_error(
    run: Callable[..., list[Rows]],
) -> None:
    def broken(crops: np.ndarray) -> dict[str, np.ndarray]:
        raise MemoryError

    before = set(threading.enumerate())
    with pytest.raises(DecafError, match="not even one image fits"):
        run(FakePool(), broken)
    assert set(threading.enumerate()) == before


def test_a_pool_that_fails_leaves_no_thread_and_no_descriptor(
    run: Callable[..., list[Rows]],
) -> None:
    class Broken(FakePool):
        def poll(self, timeout: float, also: Sequence[Any] = ()) -> list[tuple[Job, Outcome]]:
            raise DecafError("the decoding processes die as they start")

    before = set(threading.enumerate()), systems.open_files()
    with pytest.raises(DecafError, match="die as they start"):
        run(Broken(), number)
    assert (set(threading.enumerate()), systems.open_files()) == before


def test_stopped_it_gives_out_what_it_had_begun(make: Callable[..., Extraction]) -> None:
    stop = threading.Event()
    given = []
    extraction = make(FakePool(), number)
    extraction.threads = 1
    with extraction, pytest.raises(Stopped):
        for rows in extraction.rows([(s, s + 20) for s in range(0, 2000, 20)], stop=stop):
            given.append(rows.start)
            stop.set()
    assert given == list(range(0, 20 * len(given), 20))
    assert 1 <= len(given) <= 4


def test_an_error_outside_ends_its_threads(make: Callable[..., Extraction]) -> None:
    pool = FakePool()
    gc.collect()  # what other tests left behind holds descriptors, too
    before = set(threading.enumerate()), systems.open_files(), torch.get_num_threads()
    with pytest.raises(KeyError), make(pool, number) as extraction:
        for _ in extraction.rows():
            raise KeyError
    assert pool.closed
    after = set(threading.enumerate()), systems.open_files(), torch.get_num_threads()
    assert after == before


def test_all_rows_are_put_together_batch_by_batch(make: Callable[..., Extraction]) -> None:
    told: list[tuple[int, int]] = []
    with make(FakePool([5]), number, batch_size=300) as extraction:
        assert extraction.ranges(0, 700) == [(0, 300), (300, 600), (600, 700)]
        rows = extraction.all_rows(progress=lambda done, total: told.append((done, total)))
    expected = np.arange(2000, dtype=np.float32)
    expected[5] = np.nan
    np.testing.assert_array_equal(rows.features["fc6"][:, 0], expected)
    assert rows.features["pool5"].shape == (2000, 1)
    assert np.flatnonzero(rows.status).tolist() == [5]
    assert told[0] == (0, 2000)
    assert told[-1] == (2000, 2000)


def test_rows_are_stored_in_the_type_asked_for(run: Callable[..., list[Rows]]) -> None:
    rows = run(FakePool([3]), number, ranges=[(0, 20)], dtype="float16")[0]
    assert rows.features["fc6"].dtype == np.float16
    assert np.isnan(rows.features["fc6"][3]).all()

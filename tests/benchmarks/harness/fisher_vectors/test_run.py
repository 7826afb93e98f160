"""Whole runs: rows for all images, vocabularies of training images alone, the cache."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import systems
from decaf.errors import InputError, OutputError, Stopped
from decaf.storage.lock import acquire
from harness.fisher_vectors import FisherVectors, FisherVectorSettings, fisher_vectors, run

PROBE = Path(__file__).with_name("run_probe.py")
COUNT = 100
BAD = 41
SMALL = FisherVectorSettings(components=8, modes=4, vocabulary_descriptors=2000, scales=(1.0, 0.5))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small pictures of two kinds, waves and noise, and a file that is none."""
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        random = np.random.default_rng(number)
        y, x = np.mgrid[0:36, 0:44]
        wave = np.sin(x / 3 + number) * np.cos(y / (2 + number % 2))
        pixels = 128 + 80 * wave + 20 * random.standard_normal((36, 44))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    (folder / f"{BAD:03d}.png").write_bytes(b"not an image")
    return sorted(folder.iterdir())


def computed(
    photos: Sequence[Path], cache: Path, *rows: Any, digests: Any = None, **more: Any
) -> FisherVectors:
    splits = [np.array(each) for each in rows or [range(0, COUNT, 2)]]
    given = {"settings": SMALL, "workers": 0, "progress": False, **more}
    files = [os.fsencode(photo) for photo in photos]
    return fisher_vectors(files, digests or [""] * len(files), splits, cache=cache, **given)


@pytest.fixture(scope="module")
def vectors(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return computed(photos, tmp_path_factory.mktemp("cache")).splits[0]


def test_every_image_has_a_row_of_norm_one_and_a_bad_one_nan(vectors: np.ndarray) -> None:
    assert vectors.shape == (COUNT, SMALL.width)
    assert vectors.dtype == np.float32
    good = np.arange(COUNT) != BAD
    np.testing.assert_allclose(np.linalg.norm(vectors[good], axis=1), 1, atol=1e-5)
    assert np.isnan(vectors[BAD]).all()


def test_vectors_tell_what_images_show(vectors: np.ndarray) -> None:
    """The nearest other image is of the same kind of wave; by chance half of them would be."""
    good = np.flatnonzero(np.arange(COUNT) != BAD)
    likeness = vectors[good] @ vectors[good].T - 9 * np.eye(len(good))
    nearest = good[likeness.argmax(axis=1)]
    assert (nearest % 2 == good % 2).mean() > 0.95


def test_a_vocabulary_is_of_its_own_images_alone(photos: list[Path], tmp_path: Path) -> None:
    """Whatever the test images show, the rows of training images are the same."""
    train = list(range(0, COUNT, 2))
    changed = list(photos)
    for row in range(1, COUNT, 2):
        changed[row] = tmp_path / f"{row}.png"
        noise = np.random.default_rng(row).integers(0, 256, (30, 60), dtype=np.uint8)
        Image.fromarray(noise).save(changed[row])
    before, after = (computed(each, tmp_path, train).splits[0] for each in (photos, changed))
    assert (before[train] == after[train]).all()
    assert (before[1] != after[1]).any()


@pytest.mark.slow
def test_splits_at_once_are_the_splits_one_by_one(photos: list[Path], tmp_path: Path) -> None:
    halves = [range(start, COUNT, 2) for start in (0, 1)]
    together = computed(photos, tmp_path, *halves)
    assert list(together.bad) == [BAD]
    status, message = together.bad[BAD]
    assert status == "unsupported"
    assert message
    for rows, of_split in zip(halves, together.splits, strict=True):
        np.testing.assert_array_equal(of_split, computed(photos, tmp_path, rows).splits[0])
    assert (together.splits[0][0] != together.splits[1][0]).any()


def test_a_second_run_computes_nothing(
    photos: list[Path], vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = computed(photos, tmp_path).splits[0]
    np.testing.assert_array_equal(first, vectors)
    first[0] = 0  # a copy's; the file stays
    monkeypatch.setattr(run, "Workers", None)
    again = computed(photos, tmp_path)
    np.testing.assert_array_equal(again.splits[0], vectors)
    assert list(again.bad) == [BAD]
    assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.glob("*/*.parts"))


@pytest.mark.parametrize("what", ["rows", "image", "settings"])
def test_what_was_made_otherwise_is_not_used(what: str, photos: list[Path], tmp_path: Path) -> None:
    def fingerprint(rows: tuple[int, ...] = (0, 1, 2), last: str = "d", modes: int = 4) -> str:
        made = FisherVectorSettings(components=8, modes=modes)
        digests = ["a", "b", "c", last]
        return computed(photos[:4], tmp_path, rows, digests=digests, settings=made).fingerprint

    before = fingerprint()
    assert fingerprint() == before
    changed: dict[str, dict[str, Any]] = {
        "rows": {"rows": (0, 1)},
        "image": {"last": "e"},
        "settings": {"modes": 3},
    }
    assert fingerprint(**changed[what]) != before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_run_goes_on_where_it_stood(
    photos: list[Path], tmp_path: Path, child_env: dict[str, str]
) -> None:
    spec = importlib.util.spec_from_file_location("run_probe", PROBE)
    assert spec is not None
    probe = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(probe)
    # Its processes hold the other end of the pipe: run returns when the last of them has ended.
    killed = subprocess.run(
        [sys.executable, PROBE, photos[0].parent, tmp_path],
        env=child_env,
        capture_output=True,
        timeout=200,
    )
    assert systems.was_killed(killed.returncode), killed.stderr.decode()
    kept = {path.name for path in tmp_path.glob("*/*")}
    assert {"vocabulary-0.npz", "vocabulary-1.npz"} <= kept
    assert len(list(tmp_path.glob("*/rows.npy.parts/*.shard"))) == 1

    seen: list[tuple[int, int]] = []
    rows, more = probe.rows_of(COUNT), {"settings": probe.SETTINGS}
    resumed = computed(
        photos, tmp_path, *rows, progress=lambda done, total: seen.append((done, total)), **more
    )
    assert seen[0][0] in (4, 32)  # the images of one block were done already
    assert seen[-1] == (COUNT, COUNT)
    undisturbed = computed(photos, tmp_path / "other", *rows, **more)
    assert resumed.bad == undisturbed.bad
    for one, other in zip(resumed.splits, undisturbed.splits, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_a_run_that_is_to_stop_keeps_what_is_done(
    photos: list[Path], vectors: np.ndarray, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="stopped after 0 of 100 images"):
        computed(photos, tmp_path, stop=stop)
    stop.clear()
    seen: list[int] = []

    def shown(done: int, _total: int) -> None:
        seen.append(done)
        if done:
            stop.set()

    with pytest.raises(Stopped, match=r"stopped after \d\d of 100 images; they are kept in"):
        computed(photos, tmp_path, stop=stop, progress=shown)
    done = seen[-1]
    assert done in (32, 64, 96)
    seen.clear()
    rest = computed(photos, tmp_path, progress=shown)
    assert seen[0] == done
    np.testing.assert_array_equal(rest.splits[0], vectors)


def test_two_runs_do_not_write_the_same(photos: list[Path], tmp_path: Path) -> None:
    computed(photos, tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "rows.npy").unlink()
    held = acquire(folder / "rows.npy.parts")
    try:
        with pytest.raises(OutputError, match="another run is writing here"):
            computed(photos, tmp_path)
    finally:
        os.close(held)


def test_images_that_nothing_can_be_learned_from(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 1 training images can be read"):
        computed(photos, tmp_path, [BAD])

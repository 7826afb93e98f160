"""The process that decodes the images of a call, and the processes between calls."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from PIL import Image

from decaf.images import ImageRef, collect
from decaf.images.spec import PreprocessSpec, named_preprocess
from decaf.images.status import Outcome
from decaf.images.workers import decoders
from decaf.images.workers.decoders import FEW, Decoders, is_plain, warm_decoders
from decaf.images.workers.pool import Job

SPEC = named_preprocess("decaf", 64)
CODE = """
import os, sys, time
import numpy as np
from decaf.images.workers.pool import Job
from decaf.images.workers.decoders import Decoders
from decaf.images import collect
from decaf.images.spec import named_preprocess

def prepared(name):
    images = collect([name], labels="none")
    with Decoders(images, 2, named_preprocess("decaf", 64), ten=False) as pool:
        pool.submit(Job(0, images.refs[0], np.zeros((1, 64, 64, 3), np.uint8)))
        while not (found := pool.poll(1.0)): pass
    return found[0][1].status
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
        for ending in ("png", "jpg", "tif"):
            Image.fromarray(pixels).save(root / f"{number}.{ending}")
    return root


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "cores_of_process", lambda: 2)


@pytest.fixture(autouse=True, scope="module")
def none_left() -> Iterator[None]:
    """See that in the end no process is left; between tests one may be kept, as between calls."""
    yield
    decoders._kept.close()
    assert not servers()


@pytest.fixture
def nothing_kept() -> None:
    decoders._kept.close()
    assert not servers()


def servers() -> list[int]:
    """Return the processes that decode, or start others; other tests leave other children."""
    return sorted(
        process.pid
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE
        and "decaf.images.workers.worker" in " ".join(process.cmdline())
    )


def prepared(
    paths: list[Path], *, workers: int | None = None, spec: PreprocessSpec = SPEC
) -> list[tuple[Outcome, np.ndarray]]:
    """Run one call's images through."""
    images = collect(paths, labels="none")
    assert images.refs is not None
    found: dict[int, tuple[Outcome, np.ndarray]] = {}
    with Decoders(images, workers, spec, ten=False) as pool:
        for row, ref in enumerate(images.refs):
            pool.submit(Job(row, ref, np.zeros((1, spec.crop, spec.crop, 3), np.uint8)))
        while len(found) < len(paths):
            for job, outcome in pool.poll(0.1):
                found[job.index] = outcome, job.out
    return [found[row] for row in range(len(paths))]


def test_no_source_stays_open_after_the_call(images: Path, tmp_path: Path) -> None:
    """On Windows nobody could replace it."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(images / "0.png", "0.png")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((1, 80, 90, 3), np.uint8)
    for name in ("a.tar.gz", "a.h5"):
        ((outcome, _),) = prepared([tmp_path / name], workers=0)
        assert outcome.status == "ok"
        held = {os.path.basename(each.path) for each in psutil.Process().open_files()}
        assert name not in held
        (tmp_path / name).unlink()


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.slow
@pytest.mark.posix("fork")
def test_few_plain_images_start_no_process_and_have_the_same_pixels(images: Path) -> None:
    paths = [*sorted(images.glob("*.png")), *sorted(images.glob("*.jpg")), images / "gone.png"]
    here = prepared(paths)
    assert not servers()
    there = prepared(paths, workers=2)
    assert servers()
    for (one, pixels), (other, expected) in zip(here, there, strict=True):
        assert one == other
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.slow
@pytest.mark.posix("fork")
def test_what_could_hang_a_decoder_is_given_to_a_process(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_plain(ImageRef(os.fsencode(images / "0.png")))
    assert not is_plain(ImageRef(os.fsencode(images / "0.tif")))
    assert is_plain(ImageRef(os.fsencode(images)))  # cannot be read at all
    result = prepared([images / "0.png", images / "0.tif", images / "1.png"])
    assert [outcome.status for outcome, _ in result] == ["ok"] * 3
    assert servers()
    for limit in ("MAX_PLAIN_PIXELS", "MAX_PLAIN_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(decoders, limit, 80 * 90 - 1)
            assert not is_plain(ImageRef(os.fsencode(images / "0.png")))


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_processes_wait_for_the_next_call(images: Path) -> None:
    many = sorted(images.glob("*.png")) * FEW
    first = prepared(many)
    kept = servers()
    assert len(kept) == 1
    for again in (prepared(many), prepared(many[: FEW + 1])):
        for (one, pixels), (other, expected) in zip(again, first, strict=False):
            assert one == other
            np.testing.assert_array_equal(pixels, expected)
    assert servers() == kept
    # Others that prepare images otherwise are forked from the same server.
    (_, pixels), *_ = prepared(many, spec=named_preprocess("as-is", 64))
    assert servers() == kept
    (_, pixels), *_ = prepared(many, spec=named_preprocess("shorter-side", 64))
    assert not np.array_equal(pixels, first[0][1])
    np.testing.assert_array_equal(prepared(many)[0][1], first[0][1])
    assert servers() == kept
    prepared(many, workers=1)  # as many as asked for, no more
    assert servers() != kept


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.posix("fork")
def test_a_server_started_ahead_is_the_one_that_is_used(images: Path) -> None:
    many = collect(sorted(images.glob("*.jpg")) * FEW, labels="none")
    warm_decoders(many, None)
    (server,) = servers()
    with Decoders(many, None, SPEC, ten=False):
        assert servers() == [server]
    assert servers() == [server]
    decoders._kept.close()
    for listed, workers in ((many, 0), (collect(images / "0.png", labels="none"), None)):
        warm_decoders(listed, workers)
        with Decoders(listed, workers, SPEC, ten=False):
            assert not servers()


@pytest.mark.slow
def test_names_are_those_of_the_folder_of_the_call(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    (ours, _), *_ = prepared([Path("0.png"), Path("1.png")], workers=2)
    monkeypatch.chdir(tmp_path)
    Path("1.png").write_bytes(b"")
    (gone, _), *_ = prepared([Path("0.png"), Path("1.png")], workers=2)
    assert (ours.status, gone.status) == ("ok", "missing")


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_no_file_stays_open_between_calls(images: Path, tmp_path: Path) -> None:
    """One that was replaced is read anew, and others may write to it."""
    path = tmp_path / "stimuli.h5"
    for grey in (50, 200):
        with h5py.File(path, "w") as file:
            file["images"] = np.full((2, 64, 64, 3), grey, np.uint8)
        stack = collect(path, labels="none")
        assert stack.refs is not None
        with Decoders(stack, 1, SPEC, ten=False) as pool:
            pool.submit(Job(0, stack.refs[0], out := np.zeros((1, 64, 64, 3), np.uint8)))
            while not (found := pool.poll(1.0)):
                pass
        assert found[0][1].status == "ok"
        assert (out == grey).all()
        (server,) = servers()
        psutil.wait_procs(psutil.Process(server).children(), timeout=60)
        assert not psutil.Process(server).children()


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_a_pool_that_is_at_work_is_not_kept(images: Path) -> None:
    listed = collect(images / "0.png", labels="none")
    assert listed.refs is not None
    with Decoders(listed, 1, SPEC, ten=False) as pool:
        pool.submit(Job(0, listed.refs[0], np.zeros((1, 64, 64, 3), np.uint8)))
    assert not servers()
    assert prepared([images / "0.png"], workers=2)[0][0].status == "ok"


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_a_server_that_died_meanwhile_is_started_anew(images: Path) -> None:
    prepared([images / "0.png"], workers=2)
    (server,) = servers()
    psutil.Process(server).kill()
    assert prepared([images / "0.png"], workers=2)[0][0].status == "ok"


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_threads_have_pools_of_their_own_and_one_is_kept(images: Path) -> None:
    statuses: list[str] = []

    def call() -> None:
        for _ in range(2):
            result = prepared(sorted(images.glob("*.jpg")), workers=2)
            statuses.extend(outcome.status for outcome, _ in result)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == ["ok"] * 16
    assert len(servers()) == 1


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_a_forked_process_leaves_the_processes_of_its_parent_alone(images: Path) -> None:
    code = CODE + (
        "name = sys.argv[1]\n"
        "assert prepared(name) == 'ok'\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert prepared(name) == 'ok'\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert prepared(name) == 'ok'\n"
        "print('done')\n"
    )
    arguments = [sys.executable, "-W", "error", "-c", code, str(images / "0.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.slow
def test_processes_end_with_the_one_that_kept_them(images: Path) -> None:
    code = CODE + (
        "import psutil\n"
        "prepared(sys.argv[1])\n"
        "print(*(p.pid for p in psutil.Process().children(recursive=True)), flush=True)\n"
        "if sys.argv[2] == 'wait': time.sleep(60)\n"
    )
    for how in ("exit", "wait"):
        arguments = [sys.executable, "-c", code, str(images / "0.png"), how]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            family = [int(pid) for pid in process.stdout.readline().split()]
            assert family
            if how == "wait":
                process.kill()
        there = []
        for pid in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
                there.append(psutil.Process(pid))
        assert not psutil.wait_procs(there, timeout=60)[1]

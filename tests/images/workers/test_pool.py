"""The decoding processes: killed, halted or hung, they give every image its own pixels."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import decaf
import systems
from decaf.errors import DecafError
from decaf.images import ImageRef, collect
from decaf.images.spec import PreprocessSpec, named_preprocess
from decaf.images.status import Outcome
from decaf.images.workers import starting
from decaf.images.workers.decoders import Decoders, _kept
from decaf.images.workers.pool import Child, DecodePool, Job
from decaf.images.workers.starting import Started

SPEC: PreprocessSpec = named_preprocess("decaf", 64)
# Where nothing is forked each process loads its libraries anew.
PATIENCE = 240.0 if systems.WINDOWS else 60.0

# What a decoder may do to its process, told by the name of the image it opens.
SITECUSTOMIZE = """
import os, sys, time
import systems

def watch(event, args):
    if event == "open" and isinstance(args[0], bytes):
        if b"killer" in args[0]:
            systems.kill_itself()
        if b"sleeper" in args[0]:
            open(os.path.join(os.path.dirname(__file__), f"asleep-{os.getpid()}"), "w").close()
            while True:
                time.sleep(60)

sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    paths = []
    for number in range(24):
        pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        paths.append(folder / f"{number:02d}.jpg")
        Image.fromarray(pixels).resize((400, 300)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def pixels(photographs: list[Path]) -> list[np.ndarray]:
    """The crop of each photograph, decoded in this process."""
    with Decoders(collect(photographs), 0, SPEC, ten=False) as here:
        result = prepared(here, jobs_of(photographs))
    assert {outcome.status for _, outcome in result.values()} == {"ok"}
    return [result[row][0].out for row in sorted(result)]


@pytest.fixture(autouse=True, scope="module")
def none_kept() -> None:
    """End the processes that earlier tests have left to the next call."""
    _kept.close()


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images of certain names kill or hang the processes that open them."""
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    support = Path(systems.__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(support)]))


def jobs_of(paths: list[Path]) -> list[Job]:
    return [
        Job(row, ImageRef(os.fsencode(path)), np.full((1, 64, 64, 3), 7, np.uint8))
        for row, path in enumerate(paths)
    ]


def prepared(
    pool: DecodePool | Decoders,
    jobs: list[Job],
    meanwhile: Callable[[int], None] = lambda done: None,
) -> dict[int, tuple[Job, Outcome]]:
    """Run all jobs through a pool; `meanwhile` is called with the number done after each poll."""
    found: dict[int, tuple[Job, Outcome]] = {}
    for job in jobs:
        pool.submit(job)
    deadline = time.monotonic() + PATIENCE
    while len(found) < len(jobs):
        assert time.monotonic() < deadline, f"only {sorted(found)} came back"
        for job, outcome in pool.poll(0.05):
            assert job.index not in found
            found[job.index] = job, outcome
        meanwhile(len(found))
    return found


@contextlib.contextmanager
def pool_of(workers: int, **rest: float) -> Iterator[DecodePool]:
    pool = DecodePool(workers, **rest)
    try:
        pool.configure(SPEC, ten=False)
        yield pool
    finally:
        pool.close()
    assert not decoders(), "close() left processes behind"


def decoders(parent: int | None = None) -> list[psutil.Process]:
    """Return the server and its workers, those that are still running.

    Other tests may have left children of other kinds, such as a resource tracker.
    """
    alive = []
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            decodes = "decaf.images.workers" in " ".join(process.cmdline())
            if decodes and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# An image whose process dies three times is given up: of what kills workers, two blows at most.
@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    "plan",
    [{3: "worker", 6: "terminate", 9: "workers", 14: "server"}, {3: "all", 12: "worker"}],
    ids=["one after the other", "all at once"],
)
def test_processes_that_are_killed_again_and_again_lose_nothing(
    photographs: list[Path], pixels: list[np.ndarray], plan: dict[int, str]
) -> None:
    plan = dict(plan)

    def strike(done: int) -> None:
        due = [moment for moment in plan if moment <= done]
        for moment in due:
            blow = plan.pop(moment)
            result = decoders()
            server = [p for p in result if p.ppid() == os.getpid()]
            workers = [p for p in result if p not in server] or result
            if blow == "terminate":  # as a Ctrl-C does, or `timeout`: not theirs to answer
                if not systems.WINDOWS:
                    send(result, signal.SIGINT)
                    send(result, signal.SIGTERM)
                continue
            victims = {"worker": workers[:1], "workers": workers, "server": server, "all": result}
            kill(victims[blow])

    with pool_of(2) as pool:
        result = prepared(pool, jobs_of(photographs), strike)
    assert not plan
    for row, (job, outcome) in result.items():
        assert outcome.status == "ok"
        np.testing.assert_array_equal(job.out, pixels[row])


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.usefixtures("poisoned")
def test_an_image_that_kills_or_hangs_its_process_is_told_from_its_neighbours(
    photographs: list[Path], pixels: list[np.ndarray], tmp_path: Path
) -> None:
    paths = list(photographs)
    for row, name in ((2, "killer"), (3, "killer too"), (11, "sleeper"), (23, "last killer")):
        paths[row] = tmp_path / f"{name}.jpg"
        paths[row].write_bytes(photographs[row].read_bytes())
    halted: list[int] = []

    def halt(done: int) -> None:
        if done > 13 and not halted:
            # One that still loads its libraries has more time.
            ready = {child.pid for child in pool._children}
            workers = [process for process in decoders() if process.pid in ready]
            for process in workers[:1]:
                halted.append(process.pid)
                process.suspend()

    with pool_of(2, timeout=1.0) as pool:
        result = prepared(pool, jobs_of(paths), halt)
    assert halted
    bad = {row: outcome for row, (_, outcome) in result.items() if outcome.status != "ok"}
    assert {row: outcome.status for row, outcome in bad.items()} == {
        2: "worker_died",
        3: "worker_died",
        11: "timeout",
        23: "worker_died",
    }
    assert bad[2].message == "decoding ended its process, 3 times"
    assert bad[11].message == "decoding took longer than 1 s, twice"
    for row, (job, _) in result.items():
        np.testing.assert_array_equal(job.out, 0 if row in bad else pixels[row])


@pytest.mark.faults
def test_a_server_that_cannot_start_is_an_error_and_not_an_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: list[Path]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pool_of(2) as pool, pytest.raises(DecafError, match=r"die as they start.*`workers=0`"):
        prepared(pool, jobs_of(photographs))


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.posix("fork")
@pytest.mark.usefixtures("poisoned")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Not even one that is stuck in the middle of a decoder."""
    code = (
        "import sys, numpy\n"
        "from decaf.images.workers.pool import DecodePool, Job\n"
        "from decaf.images import ImageRef\n"
        "from decaf.images.spec import named_preprocess\n"
        "pool = DecodePool(2)\n"
        "pool.configure(named_preprocess('decaf', 64), ten=False)\n"
        "out = numpy.zeros((1, 64, 64, 3), numpy.uint8)\n"
        "pool.submit(Job(0, ImageRef(b'sleeper'), out))\n"
        "while True: pool.poll(1.0)\n"
    )
    search = os.pathsep.join([str(Path(__file__).parents[3]), os.environ["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": search}
    )
    try:
        until(lambda: list(tmp_path.glob("asleep-*")), "no worker came to the image")
        until(lambda: len(decoders(parent.pid)) == 3, "the other worker was not started")
        family = decoders(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert len(gone) == 3
    assert not alive


def answer(index: int, status: str = "ok", digest: bytes = bytes(32)) -> bytes:
    return marshal.dumps((index, status, b"", 90, 70, digest))


@pytest.fixture
def ends() -> Iterator[tuple[Child, Connection]]:
    """A child with one job, and the end of its line that the process would hold."""
    ours, process = Pipe()
    child = Child(Started(ours), b"{}")
    process.send_bytes(marshal.dumps(("hello", 0x7FFFFFFF)))
    assert child.take() is None
    child.give(jobs_of([Path("a.jpg")])[0])
    yield child, process
    child.close()
    process.close()


def test_an_answer_brings_the_pixels_of_its_job(ends: tuple[Child, Connection]) -> None:
    child, process = ends
    process.send_bytes(answer(0))
    process.send_bytes(bytes(range(192)) * 64)
    taken = child.take()
    assert taken is not None
    job, outcome = taken
    assert (outcome.status, outcome.width, outcome.height) == ("ok", 90, 70)
    assert job.out.tobytes() == bytes(range(192)) * 64
    assert not child.jobs


@pytest.mark.parametrize(
    "messages",
    [
        [answer(1)],  # another image's
        [answer(0), b"too few pixels"],
        [marshal.dumps(("nonsense", 1))],
        [marshal.dumps(5)],
        [b"\xff\xfe"],
        [b"x" * 100_000],
    ],
    ids=["wrong image", "few pixels", "short", "number", "no marshal", "huge"],
)
def test_answers_that_make_no_sense_are_refused(
    ends: tuple[Child, Connection], messages: list[bytes]
) -> None:
    child, process = ends
    for message in messages:
        process.send_bytes(message)
    with pytest.raises((EOFError, OSError, ValueError)):
        child.take()
    assert len(child.jobs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "after", ["header", pytest.param("half a header", marks=pytest.mark.posix("halves"))]
)
def test_an_answer_that_stops_in_its_middle_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr(starting, "STALL", 1)
    ours, process = Pipe()
    child = Child(Started(ours), b"{}")
    child.give(jobs_of([Path("a.jpg")])[0])
    process.send_bytes(marshal.dumps(("hello", 0x7FFFFFFF)))
    child.take()
    if after == "header":
        process.send_bytes(answer(0))
    else:
        process._send(b"\x00\x00\x00\x10half")  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError):
        child.take()
    child.close()
    process.close()


@pytest.mark.slow
def test_no_module_of_the_current_folder_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of images may come from a stranger, with a module among them."""
    for name in ("json", "marshal", "decaf", "torch", "signal"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w')\n")
    Image.new("RGB", (80, 80)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    rows = decaf.extract("a.png", "conv1", weights="random:0:alexnet-64", workers=1)
    assert len(rows) == 1
    assert not (tmp_path / "imported").exists()

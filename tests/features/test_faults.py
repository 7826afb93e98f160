"""Nothing is lost: killed processes, full disks, second writers, changed by no row."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import decaf
import forked
import systems
from decaf.images.status import STATUS_NAMES

pytestmark = pytest.mark.faults

# How many times a real command is killed at a random moment.
KILLS = int(os.environ.get("DECAF_KILLS", "4"))
PATIENCE = 90.0
ROWS = 60
BAD = {7: "empty", 8: "unsupported", 40: "corrupt"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(3)
    for row in range(ROWS):
        pixels = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(root / f"{row:02d}.jpg")
    (root / "07.jpg").write_bytes(b"")
    (root / "08.jpg").write_bytes(b"<html>not found</html>")
    (root / "40.jpg").write_bytes((root / "41.jpg").read_bytes()[:1500])
    return root


def arguments(folder: Path, out: Path, workers: int = 0) -> list[str]:
    what = [str(folder), "-o", str(out), "-w", "random:0:alexnet-64", "-l", "fc6", "-l", "pool5"]
    return ["extract", *what, "-b", "2", "-j", str(workers), "--device", "cpu", "--quiet"]


class Command:
    """``decaf extract`` as a process of its own."""

    def __init__(self, env: dict[str, str], *args: str, file_size: int | None = None) -> None:
        self.process = forked.start(env, "-m", "decaf", *args, file_size=file_size)
        self._family: set[psutil.Process] = set()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something, or for the end of the process."""
        deadline = time.monotonic() + PATIENCE
        while not condition() and self.process.poll() is None:
            assert time.monotonic() < deadline
            self.look()
            time.sleep(0.005)

    def look(self) -> None:
        """Remember the processes that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self.process.pid).children(recursive=True))

    def end(self) -> tuple[int, str, str]:
        """Wait for it, and see that it leaves no process behind."""
        code = self.process.wait(PATIENCE)
        _, alive = psutil.wait_procs(list(self._family), timeout=PATIENCE)
        assert not alive
        return code, *self.process.communicate()


def run(env: dict[str, str], *args: str, file_size: int | None = None) -> tuple[int, str, str]:
    return Command(env, *args, file_size=file_size).end()


@pytest.fixture(scope="module")
def undisturbed(
    photographs: Path, child_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "f.h5"
    code, _, complained = run(child_env, *arguments(photographs, out, workers=2))
    assert code == 1, complained
    result = content(out)
    assert {row: STATUS_NAMES[code] for row, code in enumerate(result["status"]) if code} == BAD
    return result


def content(path: Path) -> dict[str, Any]:
    """Read all of a feature file that does not depend on when it was made."""
    with decaf.open_features(path) as file:
        names = ("paths", "labels", "status", "messages", "source_size", "content_sha256")
        columns = {name: np.asarray(getattr(file, name)).tolist() for name in names}
        return {**columns, "run": file.run, **{n: file[n][:].tobytes() for n in file.layers}}


def finished(out: Path) -> int:
    """Return how many shards are on the disk for good."""
    try:
        return (out.with_name(out.name + ".parts") / "manifest-00000.txt").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_killed_at_any_moment_a_command_can_be_given_again(
    photographs: Path, undisturbed: dict[str, Any], tmp_path: Path, child_env: dict[str, str]
) -> None:
    generator = random.Random(time.time_ns())
    out = tmp_path / "f.h5"
    killed = 0
    while killed < KILLS:
        # As a rule when some shards more are there, else some time into the start.
        aim = finished(out) + generator.randrange(1, 5)
        late = time.monotonic() + generator.uniform(0, 1)
        # With processes that decode, which must end too, and without.
        victim = Command(child_env, *arguments(photographs, out, workers=killed % 2 * 2))
        by_time = generator.random() < 0.3
        victim.until(lambda: time.monotonic() > late if by_time else finished(out) >= aim)  # noqa: B023
        victim.process.kill()
        code, _, complained = victim.end()
        killed += 1
        if code == 1:  # it was done before
            assert content(out) == undisturbed
            out.unlink()
        else:
            assert systems.was_killed(code), complained
    code, said, complained = run(child_env, *arguments(photographs, out))
    assert code == 1, complained
    assert "3 images could not be read" in said
    assert content(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


@pytest.mark.slow
def test_a_full_disk_is_told_and_what_was_finished_is_kept(
    photographs: Path, undisturbed: dict[str, Any], tmp_path: Path, child_env: dict[str, str]
) -> None:
    """First it fills up under the shards, then under the file that is made of them."""
    row_bytes = len(undisturbed["fc6"] + undisturbed["pool5"]) // ROWS
    shards = ROWS * row_bytes // 1024
    with systems.small_disk(tmp_path / "disk", f"{shards // 2}k") as disk:
        out = disk / "f.h5"
        told = []
        for size in (shards // 2, shards + shards // 2):
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)
            code, _, complained = run(child_env, *arguments(photographs, out))
            assert code == 2, complained
            assert complained.count("\n") == 1
            assert complained.startswith(f"decaf: {out}: cannot be written: the disk is full; ")
            assert not out.exists()
            assert not out.with_name("f.h5.decaf-tmp").exists()
            told.append(complained)
        assert "finished images are kept in" in told[0]
        assert f"all {ROWS} images are kept in" in told[1]
        assert finished(out) == ROWS // 4
        subprocess.run(["mount", "-o", f"remount,size={4 * shards}k", str(disk)], check=True)
        assert run(child_env, *arguments(photographs, out))[0] == 1
        assert content(out) == undisturbed


@pytest.mark.slow
def test_a_limit_on_file_sizes_is_told(
    photographs: Path, undisturbed: dict[str, Any], tmp_path: Path, child_env: dict[str, str]
) -> None:
    out = tmp_path / "f.h5"
    for size, kept in ((40_000, "finished images"), (800_000, f"all {ROWS} images")):
        code, _, complained = run(child_env, *arguments(photographs, out), file_size=size)
        assert code == 2, complained
        assert complained.count("\n") == 1
        assert "cannot be written: File too large; " in complained
        assert kept in complained
        assert not out.exists()
    assert run(child_env, *arguments(photographs, out))[0] == 1
    assert content(out) == undisturbed


@pytest.mark.slow
def test_of_two_runs_at_once_one_is_refused(
    photographs: Path, undisturbed: dict[str, Any], tmp_path: Path, child_env: dict[str, str]
) -> None:
    out = tmp_path / "f.h5"
    command = arguments(photographs, out)
    both = [Command(child_env, *command), Command(child_env, *command)]
    ends = [one.end() for one in both]
    codes = sorted(code for code, _, _ in ends)
    assert codes in ([1, 2], [1, 1]), ends  # the second may come when the first has ended
    for code, _, complained in ends:
        if code == 2:
            text = f"decaf: {out}.parts: another run is writing here (process "
            assert complained.startswith((text, text.replace("process ", "it has just begun")))
            assert complained.count("\n") == 1
    assert content(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


@pytest.mark.slow
def test_the_lock_names_who_holds_it_and_ends_with_them(
    photographs: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    from decaf.errors import OutputError

    out = tmp_path / "f.h5"
    victim = Command(child_env, *arguments(photographs, out))
    victim.until(lambda: finished(out))
    psutil.Process(victim.process.pid).suspend()
    weights = "random:0:alexnet-64"
    with pytest.raises(OutputError, match=rf"\(process {victim.process.pid} on \S+\); wait for it"):
        decaf.extract(photographs, ["fc6", "pool5"], out=out, weights=weights, workers=0)
    victim.process.kill()
    assert systems.was_killed(victim.end()[0])
    file = decaf.extract(
        photographs, ["fc6", "pool5"], out=out, weights=weights, workers=0, on_error="record"
    )
    file.close()  # type: ignore[union-attr]

"""The same bytes whatever runs the tasks, in whatever order, and whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import forked
import made_shards
from decaf.errors import SettingError
from decaf.scale import ShardStatus, engines, shard_status
from made_shards import part_bytes
from two_processes import end, start

pytestmark = pytest.mark.faults

SHARDS = 6
# How many times a real command is killed at a random moment; `kill_harness.py` does it many times.
KILLS = int(os.environ.get("DECAF_KILLS", "4"))

Extract = Callable[..., ShardStatus]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_shards.write_shards(tmp_path_factory.mktemp("many"), SHARDS)


@pytest.fixture(scope="module")
def expected(many: Path, extract: Extract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part set that a plain loop makes undisturbed."""
    out = tmp_path_factory.mktemp("expected") / "parts"
    extract(f"{many}/*.tar", out)
    return out


@pytest.fixture
def out(expected: Path, tmp_path: Path) -> Path:
    """A folder for a part set that is begun at the same time as `expected`."""
    (tmp_path / "parts").mkdir()
    shutil.copy(expected / "run.json", tmp_path / "parts/run.json")
    return tmp_path / "parts"


@pytest.fixture
def arguments(many: Path, network: str) -> Callable[..., list[str]]:
    """Arguments of ``decaf extract``."""

    def make(out: Path, *more: str) -> list[str]:
        what = [f"{many}/{{000..{SHARDS - 1:03d}}}.tar", "-o", f"{out}/", "-w", network]
        return ["extract", *what, "-l", "fc7", "-j", "0", "--device", "cpu", "-q", *more]

    return make


@pytest.fixture
def env(child_env: dict[str, str]) -> dict[str, str]:
    return {**child_env, "OMP_NUM_THREADS": "1"}


def test_torchrun_makes_the_same_bytes(
    env: dict[str, str], arguments: Callable[..., list[str]], out: Path, expected: Path
) -> None:
    ended = end(start(env, "-m", "decaf", *arguments(out)))
    assert [code for code, _, _ in ended] == [1, 1], ended  # some images are bad
    assert f"{out}/: 6 of 6 parts done" in ended[0][1]
    assert ended[1][1] == ""
    assert part_bytes(out) == part_bytes(expected)


def test_more_threads_and_processes_make_the_same_bytes(
    many: Path, extract: Extract, out: Path, expected: Path
) -> None:
    import torch

    torch.set_num_threads(3)
    try:
        extract(f"{many}/*.tar", out, workers=2)
    finally:
        torch.set_num_threads(1)
    assert part_bytes(out) == part_bytes(expected)


def reached(out: Path, parts: int, process: forked.Forked) -> bool:
    """Tell whether so many parts are there, or the process has ended."""
    return len(part_bytes(out)) >= parts or process.poll() is not None


def test_killed_at_random_a_run_ends_with_the_same_bytes(
    env: dict[str, str], arguments: Callable[..., list[str]], out: Path, expected: Path
) -> None:
    generator = random.Random(0)
    for kill in range(KILLS):
        process = forked.start(env, "-m", "decaf", *arguments(out))
        # By what it has done, since how fast it is depends on the machine.
        parts = generator.randrange(SHARDS)
        forked.until(partial(reached, out, parts, process))
        for _ in range(generator.randrange(2000)):
            os.getpid()
        process.kill()
        process.wait()
        there = part_bytes(out)
        # What there is, is whole, and is what it would have been.
        assert there.items() <= part_bytes(expected).items(), kill
    code, said, complained = forked.run(env, "-m", "decaf", *arguments(out))
    assert (code, complained) == (1, ""), said
    assert part_bytes(out) == part_bytes(expected)
    status = shard_status(out)
    assert (status.rows, status.bad) == (5 * SHARDS, {"unsupported": SHARDS})
    left = {path.name for path in out.iterdir()} - part_bytes(out).keys()
    assert left <= {"run.json", "shards", "records"}, left


def test_two_commands_at_once_make_the_same_bytes(
    env: dict[str, str], arguments: Callable[..., list[str]], out: Path, expected: Path
) -> None:
    both = [forked.start(env, "-m", "decaf", *arguments(out)) for _ in range(2)]
    ended = [(process.wait(), *process.communicate()) for process in both]
    assert [code for code, _, _ in ended] == [1, 1], ended
    assert part_bytes(out) == part_bytes(expected)


def test_without_ray_it_is_told(
    many: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SettingError, match=r"needs Ray: pip install 'decaf-features\[ray\]'"):
        extract(f"{many}/*.tar", tmp_path / "parts", engine="ray")


class FakeRay:
    """The resources of a cluster, as Ray tells them."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self._nodes = nodes

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self._nodes]


@pytest.mark.parametrize(
    ("nodes", "settings", "room"),
    [
        ([{"CPU": 2.0}], {}, (1, 2, 0)),
        ([{"CPU": 16.0}, {"CPU": 9.0}], {}, (6, 4, 0)),
        ([{"CPU": 16.0}], {"actor_cores": 1}, (16, 1, 0)),
        ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}], {}, (5, 4, 1)),
        ([{"CPU": 64.0}], {"actors": 3}, (3, 4, 0)),
    ],
)
def test_actors_fit_the_cluster(
    nodes: list[dict[str, float]], settings: dict[str, int], room: tuple[int, int, int]
) -> None:
    chosen = engines.ScaleSettings(engine="ray", **settings)
    assert engines._room(FakeRay(*nodes), chosen, 1000) == room
    assert engines._room(FakeRay(*nodes), chosen, 1)[0] == 1


def test_an_actor_that_fits_nowhere_is_refused() -> None:
    settings = engines.ScaleSettings(engine="ray", actor_cores=9)
    with pytest.raises(SettingError, match=r"no machine of the cluster has as many; .* has 8"):
        engines._room(FakeRay({"CPU": 8.0}, {"CPU": 4.0}), settings, 10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray of two cores on this machine."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's workers stand back behind all else, and on a busy machine never get their turn.
    os.environ.setdefault("RAY_worker_niceness", "0")
    path = os.environ.get("PYTHONPATH", "")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=128 << 20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_makes_the_same_bytes(
    cluster: Any, many: Path, extract: Extract, out: Path, expected: Path
) -> None:
    status = extract(f"{many}/*.tar", out, engine="ray", actors=2, actor_cores=1)
    assert status.complete
    assert part_bytes(out) == part_bytes(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_goes_on_where_actors_are_killed(
    cluster: Any, many: Path, extract: Extract, out: Path, expected: Path
) -> None:
    import psutil

    killed = []

    def progress(done: int, _total: int) -> None:
        if done in (1, 3):
            for process in psutil.Process().children(recursive=True):
                if process.name().startswith("ray::_Actor"):
                    process.kill()
                    killed.append(process.pid)
                    return

    status = extract(f"{many}/*.tar", out, engine="ray", actors=1, actor_cores=1, progress=progress)
    assert killed
    assert status.complete
    assert part_bytes(out) == part_bytes(expected)

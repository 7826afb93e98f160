"""Messages between the processes of a run, and the error where one of them has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist

from decaf.errors import DecafError, SettingError
from decaf.runtime.cores import available_cores, cores_of_process, local_rank, local_world_size
from decaf.runtime.processes import World, world_of_run
from two_processes import end, start

CPU = torch.device("cpu")
PROBE = """
import sys
import torch
import torch.distributed as dist
from decaf.errors import DecafError, OutputError
from decaf.runtime.processes import world_of_run

def refuse():
    raise OutputError("the disk is full")

if sys.argv[1] == "begun":
    dist.init_process_group("gloo")
with world_of_run("cpu", go_on="begin again") as world:
    print(world.rank, world.size, world.chief)
    print(world.share(f"of rank {world.rank}"))
    print(world.on_chief(lambda: f"made by {world.rank}"))
    print(world.any([world.rank == 1, False]), world.total(torch.ones(2)).tolist())
    own = {"a": torch.arange(3), "b": torch.tensor(0.5)} if world.chief else None
    print({key: value.tolist() for key, value in world.share_tensors(own).items()})
    try:
        world.on_chief(refuse)
    except OutputError as error:
        print(error)
    world.wait()
    sys.stdout.flush()
    if not world.chief:
        import os
        os._exit(3)
    try:
        world.wait()
    except DecafError as error:
        print(error)
assert dist.is_initialized() == (sys.argv[1] == "begun")
"""


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with world_of_run("cpu") as world:
        assert (world.rank, world.size, world.chief) == (0, 1, True)
        assert world.share("value") == "value"
        assert world.any([True, False]) == [True, False]
        assert world.total(torch.ones(2)).tolist() == [1, 1]
        with pytest.raises(SettingError, match="nothing"):
            world.share(SettingError("nothing"))
        assert world.on_chief(lambda: "made") == "made"
        tensors = {"a": torch.ones(2)}
        assert world.share_tensors(tensors) is tensors
        world.wait()
        with pytest.raises(RuntimeError, match="gloo"), world.peer_errors():
            raise RuntimeError("gloo: no other process can have ended")
    assert local_world_size() == 1
    assert local_rank() is None
    assert not World(CPU, 1, 2).chief


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("group", ["begun", "none"])
def test_two_processes_share_what_rank_0_has(child_env: dict[str, str], group: str) -> None:
    told = end(start(child_env, "-c", PROBE, group))
    assert [code for code, _, _ in told] == [0, 3], told
    shared = ["[True, False] [2.0, 2.0]", "{'a': [0, 1, 2], 'b': 0.5}", "the disk is full"]
    assert told[1][1].splitlines() == ["1 2 False", "of rank 0", "None", *shared]
    lost = "another process of this run has ended; begin again"
    assert told[0][1].splitlines() == ["0 2 True", "of rank 0", "made by 0", *shared, lost]


def test_a_process_that_has_gone_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")

    for name in ("broadcast_object_list", "barrier", "all_reduce"):
        monkeypatch.setattr(dist, name, closed)
    together = World(CPU, 0, 2, go_on="begin again")
    exchanges: list[Callable[[], object]] = [
        lambda: together.share(True),
        together.wait,
        lambda: together.any([True]),
        lambda: together.total(torch.ones(1)),
    ]
    for exchange in exchanges:
        with pytest.raises(DecafError, match="another process of this run has ended; begin again"):
            exchange()


def test_only_errors_of_lost_connections_are_renamed() -> None:
    together = World(CPU, 0, 2)
    for text in (
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer",
        "NCCL communicator was aborted on rank 1",
    ):
        with (
            pytest.raises(DecafError, match="another process of this run has ended"),
            together.peer_errors(),
        ):
            raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shapes"), together.peer_errors():
        raise RuntimeError("shapes cannot be multiplied")


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingError, match="RANK, MASTER_ADDR, MASTER_PORT"), world_of_run("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(SettingError, match="WORLD_SIZE is 'many'"), world_of_run("cpu"):
        pass
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    assert local_world_size() == 1


def test_a_process_knows_its_number_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert local_rank() is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert local_rank() == 1


def test_processes_share_the_processors_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert cores_of_process() == available_cores() >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "10000")
    assert cores_of_process() == 1

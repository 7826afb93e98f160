"""Commands run as two processes, as torchrun runs them."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import forked


def start(env: Mapping[str, str], *args: object) -> list[forked.Forked]:
    """Start a command as two processes, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    world |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return [
        forked.start({**env, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)}, *args)
        for rank in range(2)
    ]


def end(processes: list[forked.Forked]) -> list[tuple[int, str, str]]:
    """Wait for them, and return exit code, stdout and stderr of each."""
    return [(process.wait(), *process.communicate()) for process in processes]

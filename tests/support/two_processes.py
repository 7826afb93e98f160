"""Commands run as two processes, as torchrun runs them."""

from __future__ import annotations

import socket
import subprocess
import sys

PATIENCE = 240.0


def start(env: dict[str, str], *args: object) -> list[subprocess.Popen[str]]:
    """Start a command as two processes, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    world |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, args)],
            env={**env, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def end(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for them, and give exit code, stdout and stderr of each."""
    found = []
    for process in processes:
        said, complained = process.communicate(timeout=PATIENCE)
        found.append((process.returncode, said, complained))
    return found

"""The processors and threads that a piece of work gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "available_cores",
    "cores_of_process",
    "local_rank",
    "local_world_size",
    "one_thread",
    "share_out",
]


def available_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_world_size() -> int:
    """Return how many processes of the run share this machine, from torchrun's environment."""
    try:
        return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    except ValueError:
        return 1


def local_rank() -> int | None:
    """Return the number of this process on its machine; None where it is the only one."""
    number = os.environ.get("LOCAL_RANK", "")
    return int(number) if local_world_size() > 1 and number.isdecimal() else None


def cores_of_process() -> int:
    """Return the share of this process in the processors: all, but under torchrun."""
    return max(1, available_cores() // local_world_size())


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Let torch compute in one thread, and put the number back.

    Threads that share an operation of microseconds gain nothing, and on a busy machine each waits
    until the other is scheduled: a factor of 20 was seen on thousands of small Choleskys.

    Parameters
    ----------
    wanted : bool
        Whether to; otherwise nothing happens.
    """
    import torch

    before = torch.get_num_threads()
    if not wanted or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def share_out(
    function: Callable[[int], object], items: Sequence[int], device: torch.device, *, small: bool
) -> None:
    """Call a function for every item, on a CPU in as many threads as torch has.

    In each of the threads torch computes with one thread.

    Parameters
    ----------
    function : callable
        It takes an item; no other call may read or write what it writes.
    items : sequence of int
    device : torch.device
        Where the function computes.
    small : bool
        Whether an item is too little for several threads.
    """
    import torch

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) < threads:
        with one_thread(small):
            for item in items:
                function(item)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(function, items):
            pass

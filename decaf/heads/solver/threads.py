"""One thread where more would only wait for each other, and work shared out in whole pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["one_thread", "share_out"]


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Let torch compute in one thread, and put the number back.

    Threads that share an operation of microseconds gain nothing, and on a busy machine each waits
    until the other is scheduled: a factor of 20 was seen on thousands of small Choleskys.

    Parameters
    ----------
    wanted : bool
        Otherwise nothing happens.
    """
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
    """Call a function for every item, on a CPU in as many threads as torch has, one torch in each.

    Parameters
    ----------
    function : callable
        It has an item's work to itself: what it writes no other call reads or writes.
    items : sequence of int
    device : torch.device
        Where the function computes.
    small : bool
        Whether an item is too little for several threads.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) < threads:
        with one_thread(small):
            for item in items:
                function(item)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(function, items):
            pass

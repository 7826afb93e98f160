"""One thread where more would only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


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

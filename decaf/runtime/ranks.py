"""Sharing an extraction over the processes of ``torchrun``.

The processes meet three times: when rank 0 has made or taken up the directory of shards, when all
have done their share, and when rank 0 has made the file. In between they share nothing but the
directory, so any number of them can resume what any other number began.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from decaf.errors import DecafError, SettingError

__all__ = ["Ranks", "local_rank", "local_world_size", "ranks_of_run"]

# How long a rank waits for the others: ranks with slow disks or large images may lag by hours, and
# torchrun ends everybody at once where one of them dies.
PATIENCE = timedelta(days=7)


class Ranks:
    """The processes that share a run; here, the only one.

    Attributes
    ----------
    rank, world : int
        Number of this process, and of all of them.
    """

    rank = 0
    world = 1

    def share(self, value: Any) -> Any:
        """Return the value that rank 0 has, everywhere.

        Raises
        ------
        DecafError
            Where rank 0 shared an exception, with its text.
        """
        return value

    def wait(self) -> None:
        """Wait for all processes to come this far.

        Raises
        ------
        DecafError
            Where one of them has ended instead.
        """


class _Torchrun(Ranks):
    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist = dist
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()
        # A group of our own: the user's may be NCCL, and its patience short.
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE)

    def share(self, value: Any) -> Any:
        box = [value if self.rank == 0 else None]
        with _meeting():
            self._dist.broadcast_object_list(box, src=0, group=self._group)
        if isinstance(box[0], BaseException) and self.rank != 0:
            raise DecafError(f"rank 0: {box[0]}")
        return box[0]

    def wait(self) -> None:
        with _meeting():
            self._dist.barrier(group=self._group)

    def close(self) -> None:
        self._dist.destroy_process_group(self._group)


@contextmanager
def _meeting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's, where a line to another process was closed
        raise DecafError(
            "another process of this run has ended; finished rows are kept: "
            "run the same command again to go on"
        ) from error


def local_world_size() -> int:
    """Return how many processes of the run share this machine, from torchrun's environment."""
    try:
        return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    except ValueError:
        return 1


def local_rank() -> int | None:
    """Return the number of this process among them; None where it has the machine to itself."""
    number = os.environ.get("LOCAL_RANK", "")
    return int(number) if local_world_size() > 1 and number.isdecimal() else None


@contextmanager
def ranks_of_run() -> Iterator[Ranks]:
    """Meet the other processes of a ``torchrun``, if this one was started by it.

    Raises
    ------
    SettingError
        Where torchrun's environment is there in part only.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if not world.isdecimal():
        raise SettingError(f"WORLD_SIZE is {world!r}: start with torchrun, or unset WORLD_SIZE")
    if int(world) < 2:
        yield Ranks()
        return
    missing = [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise SettingError(
            f"WORLD_SIZE is set, but {', '.join(missing)} is not: start with torchrun, "
            "or unset WORLD_SIZE"
        )
    import torch.distributed as dist

    began = not dist.is_initialized()
    if began:
        dist.init_process_group("gloo", timeout=PATIENCE)
    ranks = _Torchrun()
    try:
        yield ranks
    finally:
        ranks.close()
        if began:
            dist.destroy_process_group()

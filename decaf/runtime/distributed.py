"""The processes that train together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from decaf.errors import DecafError, SettingError
from decaf.runtime.device import choose_device
from decaf.runtime.ranks import PATIENCE, local_rank

__all__ = ["World", "meeting", "world_of_run"]

_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe")


class World:
    """All processes of a run.

    Parameters
    ----------
    device : torch.device
        Of this process.
    rank, size : int
        Number of this process, and of all.

    Attributes
    ----------
    chief : bool
        Whether this process writes and reports.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device = device
        self.rank = rank
        self.size = size
        self.chief = rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place."""
        if self.size > 1:
            with meeting():
                dist.all_reduce(values)
        return values

    def any(self, flags: list[bool]) -> list[bool]:
        """Tell for each flag whether any process has raised it."""
        if self.size == 1:
            return flags
        box = torch.tensor(flags, dtype=torch.int32, device=self.device)
        with meeting():
            dist.all_reduce(box, dist.ReduceOp.MAX)
        return [bool(flag) for flag in box.tolist()]

    def share(self, value: object) -> object:
        """Return the value that rank 0 has, everywhere; its exception is raised everywhere.

        Raises
        ------
        DecafError
            Where rank 0 shared one.
        """
        if self.size > 1:
            box = [value if self.chief else None]
            with meeting():
                dist.broadcast_object_list(box, src=0, device=self.device)
            value = box[0]
        if isinstance(value, BaseException):
            raise value
        return value

    def share_tensors(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Return the tensors that rank 0 has, everywhere, on the CPU."""
        shapes = None
        if tensors is not None:
            shapes = {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
        shared: Any = self.share(shapes)
        if self.size == 1:
            assert tensors is not None
            return tensors
        found = {}
        for key, (dtype, shape) in shared.items():
            box = torch.empty(shape, dtype=dtype, device=self.device)
            if tensors is not None:
                box.copy_(tensors[key])
            with meeting():
                dist.broadcast(box, src=0)
            found[key] = box.cpu()
        return found


@contextmanager
def meeting() -> Iterator[None]:
    """Say clearly what it means where a line to another process was closed.

    Raises
    ------
    DecafError
    """
    try:
        yield
    except RuntimeError as error:
        # gloo's errors have no type of their own; others (memory, shapes) are not to be renamed.
        lost = isinstance(error, dist.DistError) or _LOST.search(str(error))
        if not lost:
            raise
        raise DecafError(
            "another process of this run has ended; go on from the last checkpoint with --resume"
        ) from error


@contextmanager
def world_of_run(device: str) -> Iterator[World]:
    """Meet the other processes of a ``torchrun``, if this one was started by it.

    GPUs talk through NCCL, CPUs through gloo.

    Parameters
    ----------
    device : str
        As for `decaf.runtime.device.choose_device`.

    Raises
    ------
    SettingError
        Where torchrun's environment is there in part only, or there is no such device.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal():
        raise SettingError(f"WORLD_SIZE is {size!r}: start with torchrun, or unset WORLD_SIZE")
    chosen = choose_device(device, local_rank=local_rank())
    if int(size) < 2:
        yield World(chosen)
        return
    missing = [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise SettingError(
            f"WORLD_SIZE is set, but {', '.join(missing)} is not: start with torchrun, "
            "or unset WORLD_SIZE"
        )
    began = not dist.is_initialized()
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if began:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        if began:
            dist.destroy_process_group()

"""The processes of a ``torchrun`` that share a run: rank 0 decides and writes, all of them compute.

The processes of an extraction wait for each other three times: when rank 0 has made or taken up the
directory of shards, when all have done their share, and when rank 0 has made the file. Those of a
training wait at every step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from decaf.errors import DecafError, SettingError
from decaf.runtime.cores import local_rank
from decaf.runtime.device import choose_device

__all__ = ["World", "world_of_run"]

# How long a rank waits for the others: ranks with slow disks or large images may lag by hours, and
# torchrun ends everybody at once where one of them dies.
LONGEST_WAIT = timedelta(days=7)

_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe")
_FROM_CHECKPOINT = "go on from the last checkpoint with `resume=True`"

Value = TypeVar("Value")


class World:
    """All processes of a run.

    Parameters
    ----------
    device : torch.device
        Device of this process.
    rank, size : int
        Number of this process, and of all.
    group : torch.distributed.ProcessGroup, optional
        Group through which they talk; the default one of torch otherwise.
    go_on : str
        Remedy after another process has ended, for the message.

    Attributes
    ----------
    chief : bool
        Whether this process writes and reports.
    """

    def __init__(
        self,
        device: torch.device,
        rank: int = 0,
        size: int = 1,
        *,
        group: Any = None,
        go_on: str = _FROM_CHECKPOINT,
    ) -> None:
        self.device = device
        self.rank = rank
        self.size = size
        self.chief = rank == 0
        self._group = group
        self._go_on = go_on

    @contextmanager
    def peer_errors(self) -> Iterator[None]:
        """Raise an error that says so where the connection to another process was closed.

        Raises
        ------
        DecafError
            Where another process has ended.
        """
        try:
            yield
        except RuntimeError as error:
            # gloo's errors have no type of their own; others (memory, shapes) are not to be
            # renamed.
            lost = isinstance(error, dist.DistError) or _LOST.search(str(error))
            if self.size == 1 or not lost:
                raise
            raise DecafError(f"another process of this run has ended; {self._go_on}") from error

    def wait(self) -> None:
        """Wait for all processes to come this far."""
        if self.size > 1:
            with self.peer_errors():
                dist.barrier(group=self._group)

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place.

        Parameters
        ----------
        values : Tensor
            On the device of this process.
        """
        if self.size > 1:
            with self.peer_errors():
                dist.all_reduce(values, group=self._group)
        return values

    def any(self, flags: list[bool]) -> list[bool]:
        """Tell for each flag whether any process has raised it.

        Parameters
        ----------
        flags : list of bool
            As many in every process.
        """
        if self.size == 1:
            return flags
        box = torch.tensor(flags, dtype=torch.int32, device=self.device)
        with self.peer_errors():
            dist.all_reduce(box, dist.ReduceOp.MAX, group=self._group)
        return [bool(flag) for flag in box.tolist()]

    def share(self, value: Value) -> Value:
        """Return the value that rank 0 has, everywhere; its exception is raised everywhere.

        Parameters
        ----------
        value : object
            A value that pickle can write; that of other ranks does not matter.

        Raises
        ------
        DecafError
            Where rank 0 shared one.
        """
        if self.size > 1:
            box: list[Any] = [value if self.chief else None]
            with self.peer_errors():
                dist.broadcast_object_list(box, src=0, group=self._group, device=self.device)
            value = box[0]
        if isinstance(value, BaseException):
            raise value
        return value

    def share_tensors(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Return the tensors that rank 0 has, everywhere, on the CPU.

        Parameters
        ----------
        tensors : dict of Tensor, optional
            Those of rank 0; those of other ranks do not matter.
        """
        if self.size == 1:
            assert tensors is not None
            return tensors
        shapes = None
        if tensors is not None:
            shapes = {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
        shared = {}
        for key, (dtype, shape) in (self.share(shapes) or {}).items():
            box = torch.empty(shape, dtype=dtype, device=self.device)
            if tensors is not None:
                box.copy_(tensors[key])
            with self.peer_errors():
                dist.broadcast(box, src=0, group=self._group)
            shared[key] = box.cpu()
        return shared

    def on_chief(self, body: Callable[[], Value]) -> Value | None:
        """Do something on rank 0 alone; what goes wrong there is raised everywhere.

        Parameters
        ----------
        body : callable
            Without arguments.

        Returns
        -------
        object
            Value of `body`; None in other processes.
        """
        value: Value | None = None
        problem: Exception | None = None
        if self.chief:
            try:
                value = body()
            except Exception as error:
                problem = error
        self.share(problem)
        return value


@contextmanager
def world_of_run(device: str, *, go_on: str = _FROM_CHECKPOINT) -> Iterator[World]:
    """Join the other processes of a ``torchrun``, if this one was started by it.

    GPUs talk through NCCL, CPUs through gloo.

    Parameters
    ----------
    device : str
        As for `decaf.runtime.device.choose_device`.
    go_on : str
        Remedy after another process has ended, for the message.

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
        yield World(chosen, go_on=go_on)
        return
    missing = [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise SettingError(
            f"WORLD_SIZE is set, but {', '.join(missing)} is not: start with torchrun, "
            "or unset WORLD_SIZE"
        )
    if chosen.type == "mps":
        raise SettingError(
            "`device` 'mps': Apple's GPU is one, and no processes of torchrun share it; start one "
            "process without torchrun, or use `device='cpu'`"
        )
    group, began = None, not dist.is_initialized()
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if began:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    elif chosen.type == "cpu":
        # A group of our own: that of the user may be NCCL, and end after minutes of waiting.
        group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    try:
        yield World(chosen, dist.get_rank(), dist.get_world_size(), group=group, go_on=go_on)
    finally:
        if began:
            dist.destroy_process_group()
        elif group is not None:
            dist.destroy_process_group(group)

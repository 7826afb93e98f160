"""The device that runs the network: its choice, its abilities, and its lack of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from decaf.errors import SettingError

__all__ = [
    "bf16_is_native",
    "choose_device",
    "device_name",
    "float64_device",
    "give_back_memory",
    "is_out_of_memory",
    "sent_to",
    "strict_float32",
]

# A lack of memory as torch's CPU allocator, CUDA itself (pinning memory), cuBLAS and cuDNN tell it;
# torch's allocator on a GPU has an exception of its own.
_FULL = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def choose_device(device: str, *, local_rank: int | None = None) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda:1"``, ``"mps"`` or such into a device that is there.

    Parameters
    ----------
    device : str
        ``"auto"`` is a GPU where there is one for CUDA. Apple's (``"mps"``) is asked for by name,
        and proves itself before it is used; see `decaf.runtime.agreement.check_device`.
    local_rank : int, optional
        Number of this process among those on this machine that share a run: where no GPU is named,
        they take turns at those there are. By default it is the one that torch uses at present.

    Returns
    -------
    torch.device
        A GPU with its number: the one that torch uses at present may differ between threads.

    Raises
    ------
    SettingError
        Where the device is unknown or not present.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise SettingError(
            f"`device` {device!r} is not one torch knows; use auto, cpu, cuda or mps"
        ) from error
    if chosen.type == "cpu":
        return chosen
    if chosen.type == "mps":
        if not torch.backends.mps.is_available():
            raise SettingError(
                f"`device` {device!r}: torch sees no GPU of Apple's here; use `device='cpu'`"
            )
        if chosen.index:
            raise SettingError(f"`device` {device!r}: there is one such GPU, number 0")
        return torch.device("mps", 0)
    if chosen.type != "cuda":
        raise SettingError(f"`device` {device!r} is not supported; use auto, cpu, cuda or mps")
    if not torch.cuda.is_available():
        raise SettingError(f"`device` {device!r}: torch sees no GPU here; use `device='cpu'`")
    count = torch.cuda.device_count()
    if chosen.index is None:
        number = torch.cuda.current_device() if local_rank is None else local_rank % count
        return torch.device("cuda", number)
    if chosen.index >= count:
        raise SettingError(f"`device` {device!r}: there are {count} GPUs, counted from 0")
    return chosen


def bf16_is_native(device: torch.device) -> bool:
    """Tell whether the device computes in bfloat16 natively (not by emulation).

    Parameters
    ----------
    device : torch.device
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":  # the first generations of Apple's emulate it, and none tells
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _cpu_has_bf16()


def _cpu_has_bf16() -> bool:
    # oneDNN says yes from AVX-512 without the bf16 instructions on, where it emulates them.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if probe is not None and probe():
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any("bf16" in name and bool(value) for name, value in capabilities.items())


def device_name(device: torch.device) -> str | None:
    """Return what a GPU is called; None for a CPU.

    Parameters
    ----------
    device : torch.device
    """
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return "Apple's GPU, by Metal" if device.type == "mps" else None


def float64_device(device: torch.device) -> torch.device:
    """Return where a device's float64 arithmetic takes place: on the CPU for Apple's GPU.

    Parameters
    ----------
    device : torch.device
    """
    return torch.device("cpu") if device.type == "mps" else device


def sent_to(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """Bring a tensor of the CPU to a device, without waiting for what a GPU is doing.

    Parameters
    ----------
    device : torch.device
    tensor : Tensor
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def give_back_memory() -> None:
    """Have torch's allocators of GPUs give back what they keep for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def strict_float32(device: torch.device) -> Iterator[None]:
    """Keep TF32 out of float32 arithmetic on a GPU, and put the user's settings back after.

    Other devices have no TF32, and nothing is changed for them.

    torch's older switches (``allow_tf32``) are not used: they raise an error where a user has set
    the newer ones, while the newer ones work in both cases.

    Parameters
    ----------
    device : torch.device
    """
    if device.type != "cuda":
        yield
        return
    # torch puts an object with more attributes in the place of this module.
    cudnn: Any = torch.backends.cudnn
    switches = (torch.backends.cuda.matmul, cudnn.conv)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that a batch did not fit.

    Parameters
    ----------
    error : BaseException
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FULL)

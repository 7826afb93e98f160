"""The machine that decaf runs on: system, processor, memory and GPUs, as reports name them."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decaf.runtime.cores import available_cores
from decaf.runtime.memory import available_memory

__all__ = ["describe_machine", "processor", "processor_features"]

# What torch's kernels for float32, bfloat16 and 8-bit numbers ask of a processor.
_FEATURES = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "neon",
    "sve",
    "bf16",
)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def processor_features() -> dict[str, bool]:
    """Return which instructions for fast networks the processor has, as far as torch tells.

    Returns
    -------
    dict of str to bool
        AVX2, AVX-512, VNNI, AMX and bfloat16 on x86; Neon, SVE and bfloat16 on ARM.
    """
    import torch

    # Not in every version of torch that decaf takes.
    capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    told = capabilities()
    return {name: bool(told[name]) for name in _FEATURES if name in told}


def describe_machine() -> dict[str, Any]:
    """Return what a report of a fault says of the machine.

    Returns
    -------
    dict
        JSON values: system, processor and its features, the kernels that torch takes, cores,
        threads, bytes of memory (None where the system does not tell), GPUs for CUDA, and
        Apple's (None where there is none).
    """
    import torch

    return {
        "system": platform.platform(),
        "processor": processor(),
        "features": processor_features(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "available_memory": available_memory(),
        "cuda": torch.version.cuda,
        "gpus": [_gpu(number) for number in range(torch.cuda.device_count())],
        "apple_gpu": _apple_gpu(),
    }


def _apple_gpu() -> dict[str, Any] | None:
    """Describe Apple's GPU, where torch can use one: the memory that it recommends at most."""
    import torch

    if not torch.backends.mps.is_available():
        return None
    return {"memory": torch.mps.recommended_max_memory()}


def _gpu(number: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(number)
    return {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
    }

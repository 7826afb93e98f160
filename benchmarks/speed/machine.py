"""What a measurement was taken on."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from decaf.runtime.cores import available_cores

__all__ = ["describe"]


def describe(gpu: str | None = None) -> dict[str, Any]:
    """Return date, processor, cores, GPU and versions; `gpu` is the one that is measured."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), model
        )
    there = "not used" if torch.cuda.is_available() else "none was at hand"
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "cores": available_cores(),
        "gpu": gpu or there,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("torch", "torchvision", "pillow", "numpy", "h5py")},
    }

"""When, where and with what a report was made."""

from __future__ import annotations

import datetime
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import decaf
from decaf.runtime.cores import available_cores

__all__ = ["machine", "now", "peak_memory", "versions"]


def now() -> str:
    """Return the time, as ISO 8601 with its zone."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine() -> str:
    """Return the processor and the accelerator in words."""
    import torch

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [ln for ln in info.read_text().splitlines() if ln.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{available_cores()} cores of {processor}, {gpu}"


def versions() -> dict[str, str]:
    """Return the versions of decaf, Python and the libraries that results depend on."""
    names = ("torch", "torchvision", "scikit-learn", "numpy")
    own = {"decaf": decaf.__version__, "python": platform.python_version()}
    return {**own, **{name: version(name) for name in names}}


def peak_memory() -> int:
    """Return the largest resident size of this process, in bytes; decoding processes are apart."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak

"""The memory of the process: what is left, and what it keeps for itself."""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

__all__ = ["available_memory", "keep_freed_memory", "peak_memory"]

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")

# Parameters of mallopt (malloc.h), and the greatest value that glibc takes for the second.
_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: no mappings, of which M_MMAP_THRESHOLD would leave those above 32 MB
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD
    (-2, 256 << 20),  # M_TOP_PAD: how much more than needed is asked of the system
)


def available_memory() -> int | None:
    """Return the bytes that this process may still take; None where the system does not tell.

    On Linux it is the least of what that calls available and of what a container's limit leaves.
    """
    if sys.platform != "linux":
        import psutil

        return int(psutil.virtual_memory().available)
    limits = []
    try:
        for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(1024 * int(line.split()[1]))
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((_CGROUP / "memory.current").read_text(encoding="utf-8"))
        limits.append(max(0, limit - used))
    except (OSError, ValueError):  # no limit reads "max"
        pass
    return min(limits, default=None)


def peak_memory() -> int:
    """Return the largest resident size that this process has had, in bytes."""
    if _STATUS.exists():
        # What getrusage tells survives an exec, and so is the parent's peak where that was higher.
        lines = dict(
            line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines()
        )
        return 1024 * int(lines["VmHWM"].split()[0])
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, for the whole process.

    By default every activation of some megabytes is a new mapping: the system fills it with zeros
    page by page, and takes it back some milliseconds later. On a CPU that took a third of a step
    of 8 images, and a tenth of one of 64; of 256 images of 160 pixels, whose maps are above the 32
    MB at which glibc maps whatever it is told, a fifth. Memory at the peak grows by some per cent;
    between steps it is not given back. For programs of their own, such as `decaf train`, not for
    libraries.

    Returns
    -------
    bool
        Whether it was done; False where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in _SETTINGS)

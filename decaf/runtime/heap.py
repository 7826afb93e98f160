"""Memory that training frees and soon wants again: kept, not given back to the system."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

# Parameters of mallopt (malloc.h), and the greatest values that glibc takes for the first two.
_SETTINGS = (
    (-3, 32 << 20),  # M_MMAP_THRESHOLD
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD
    (-2, 256 << 20),  # M_TOP_PAD: how much more than needed is asked of the system
)


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, for the whole process.

    By default every activation of some megabytes is a new mapping: the system fills it with zeros
    page by page, and takes it back some milliseconds later. On a CPU that took a third of a step
    of 8 images, and a tenth of one of 64. Memory at the peak stays what it was; between steps it is
    not given back. For programs of their own, such as `decaf train`, not for libraries.

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

"""What a command exits with, and the line that goes with it.

0 done; 1 done, some images recorded as bad; 2 not done, for a reason that is told; 130 and 143
stopped by a signal. Where nobody reads the output any more (``decaf predict … | head``) nothing is
left to be done: that is 0 too.
"""

from __future__ import annotations

import errno
import os

from decaf.cli.text import in_flags
from decaf.errors import DecafError

__all__ = ["DONE", "INTERRUPTED", "NOT_DONE", "reason_of"]

DONE = 0
NOT_DONE = 2
INTERRUPTED = 130

# How torch, its allocators and the loader of libraries word that there is no memory left.
_NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "can't start new thread",
)


def reason_of(error: Exception, flags: set[str]) -> str | None:
    """Return the line that tells why a command has failed; None for a defect of decaf.

    Parameters
    ----------
    error : Exception
    flags : set of str
        Those that the command has.

    Examples
    --------
    >>> reason_of(MemoryError(), {"--batch-size"})
    'memory ran out; make --batch-size smaller, or give the process more memory'
    """
    if isinstance(error, DecafError):
        return in_flags(str(error))
    if _is_out_of_memory(error):
        said = " ".join(str(error).split())[:200]
        smaller = " and ".join(f for f in ("--batch-size", "--workers") if f in flags)
        remedy = (
            "give the process more memory (2 GB, and 4 GB of addresses where `ulimit -v` is set)"
        )
        if not isinstance(error, ImportError) and smaller:
            remedy = f"make {smaller} smaller, or give the process more memory"
        return f"memory ran out{f' ({said})' if said else ''}; {remedy}"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    said = str(error).lower()
    kinds = (RuntimeError, ImportError)  # torch's own is a RuntimeError
    return isinstance(error, kinds) and any(words in said for words in _NO_MEMORY)

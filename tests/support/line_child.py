"""What `tests/runtime/test_children.py` has children do."""

from __future__ import annotations

import os
import signal
import sys
import time

from decaf.runtime.children import open_line


def echo(argument: str) -> None:
    """Say what a signal of the terminal would find, then repeat what comes in."""
    line = open_line(argument)
    blocked = ""
    if sys.platform != "win32":
        blocked = ",".join(sorted(s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    line.send_bytes(f"{os.environ['OMP_NUM_THREADS']} {blocked}".encode())
    try:
        while True:
            line.send_bytes(line.recv_bytes())
    except EOFError:
        pass


def grow(argument: str) -> None:
    """Take as many bytes as standard input says, then write what came of it."""
    wanted = int(sys.stdin.buffer.read())
    try:
        taken = bytearray(wanted)
        taken[:: 1 << 12] = b"x" * len(range(0, wanted, 1 << 12))
        time.sleep(float(argument))
        sys.stdout.write("taken")
    except MemoryError:
        sys.exit(3)


def spin(argument: str) -> None:
    """Compute for ever."""
    while True:
        pass

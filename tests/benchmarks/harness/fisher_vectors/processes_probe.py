"""Works on images in processes, which a signal ends: ``processes_probe.py (all|one):COUNT…``.

At the fifth image a process sends SIGTERM to the whole group of processes, or kills itself. One
such work is done after the other, in COUNT processes; each prints its results.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

import systems
from decaf.cli.exit_codes import stopped_by_signals
from decaf.errors import Stopped
from decaf.images import ImageRef
from harness.fisher_vectors.workers import Workers


@dataclass
class Task:
    """Returns an image's number."""

    whom: str

    def __call__(self, row: int, ref: ImageRef) -> int:
        if row == 4 and self.whom == "all":
            os.killpg(0, signal.SIGTERM)
        elif row == 4 and self.whom == "one":
            systems.kill_itself()
        return row


def main() -> None:
    images = [ImageRef(b"image %d" % row) for row in range(12)]
    blocks = [[row, row + 1] for row in range(0, 12, 2)]
    with stopped_by_signals("stopping") as stop:
        try:
            for work in sys.argv[1:]:
                whom, count = work.split(":")
                with Workers(int(count), stop.event) as workers:
                    results = dict(workers.each_block(Task(whom), images, blocks))
                    print([results[number] for number in range(len(blocks))])
        except Stopped:
            print("stopped", flush=True)
            sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()

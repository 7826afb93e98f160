"""Breaks packing at each of its writes in turn: ``fault_probe.py FOLDER OUT EVERY MODE…``.

A MODE is ``kill`` (SIGKILL instead of the call), ``torn`` (SIGKILL in the middle of it), or the
name of an error that the call fails with, such as ``ENOSPC``. After each, the same call runs
undisturbed, and must give the file that it gives when nothing ever happened, to the byte. Of all
calls every EVERY-th is tried. Prints a line of JSON for each MODE: the number of calls, and for
each that was tried how many images the second run found done.

It forks a process for each try, which saves loading torch for each; it runs in a process of its
own, so that there are no threads to fork from.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import torch

from decaf.errors import OutputError
from decaf.train.pack import build
from decaf.train.pack.reader import Pack

CALLS = (
    *((os, name) for name in ("mkdir", "ftruncate", "pwrite", "write", "fsync", "replace")),
    *((os, name) for name in ("posix_fallocate", "unlink", "rmdir")),
    (h5py.Dataset, "__setitem__"),
    (h5py.File, "close"),
)

count = 0


class Clock:
    """A moment that is always the same."""

    @staticmethod
    def now(_zone: object) -> Clock:
        return Clock()

    def isoformat(self, timespec: str) -> str:
        return "2026-01-02T03:04:05+00:00"


def patched(call: Callable[..., Any], name: str, at: int, mode: str) -> Callable[..., Any]:
    """Give a call that does its work until it is the `at`-th of all that were patched."""

    @functools.wraps(call)
    def counted(*args: Any, **rest: Any) -> Any:
        global count
        if name == "close" and args[0].mode == "r":
            return call(*args, **rest)
        count += 1
        if count != at:
            return call(*args, **rest)
        if mode not in ("kill", "torn"):
            raise OSError(getattr(errno, mode), os.strerror(getattr(errno, mode)))
        if mode == "torn" and name == "write":
            call(args[0], bytes(args[1])[: len(args[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    return counted


def pack(folder: Path, out: Path) -> int:
    """Pack as a user would; give how many images were done before."""
    told: list[int] = []
    made = build.make_pack(
        folder,
        out,
        size=8,
        workers=0,
        on_error="record",
        progress=lambda done, total: told.append(done),
    )
    with made:
        return told[0] if told else sum(len(split) for split in made.splits.values())


def in_child(body: Callable[[], int]) -> int:
    """Run something in a fork; give what it returns (below 100), or minus the signal it died of."""
    child = os.fork()
    if child == 0:
        code = 101
        try:
            code = body()
        except OutputError as error:
            text = str(error)
            code = 100
            if "\n" in text or not text.endswith("run the same command again"):
                print(text, file=sys.stderr, flush=True)
                code = 102
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Break it everywhere."""
    folder, out, every = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    build.SHARD_ROWS = (4, 4)
    build.datetime = Clock
    assert in_child(lambda: pack(folder, out)) == 0
    expected = out.read_bytes()
    with Pack.open(out) as made:
        images = len(made.bad) + sum(len(split) for split in made.splits.values())
    out.unlink()

    for mode in sys.argv[4:]:
        break_everywhere(folder, out, mode, every, expected, images)


def break_everywhere(
    folder: Path, out: Path, mode: str, every: int, expected: bytes, images: int
) -> None:
    """Break every so manieth call, and see what the next run makes of what is left."""

    def disturbed(at: int) -> int:
        for holder, name in CALLS:
            setattr(holder, name, patched(getattr(holder, name), name, at, mode))
        pack(folder, out)
        return 99 if count < at else 0

    found: dict[int, int] = {}
    for at in itertools.count(1, every):
        code = in_child(lambda at=at: disturbed(at))
        if code == 99:
            out.unlink()
            break
        # An error while the leftovers are cleaned away does not matter.
        assert code == -signal.SIGKILL or (mode not in ("kill", "torn") and code in (0, 100)), (
            f"call {at}: {code}"
        )
        assert not out.exists() or out.read_bytes() == expected, f"call {at}: not complete"
        done = in_child(lambda: pack(folder, out))
        assert 0 <= done <= images, f"call {at}: the second run ended with {done}"
        if code != 0:
            found[at] = done
        assert out.read_bytes() == expected, f"call {at}: another pack"
        left = sorted(path.name for path in out.parent.iterdir())
        assert left == [out.name], f"call {at}: {left}"
        out.unlink()
    print(json.dumps({"calls": at - 1, "found": found}))


if __name__ == "__main__":
    main()

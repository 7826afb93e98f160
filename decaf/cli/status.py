"""``decaf status``: how far a part set is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from decaf.cli.terminal import show
from decaf.runtime.progress import duration
from decaf.runtime.wording import byte_size, counted

if TYPE_CHECKING:
    from decaf.scale import ShardStatus

__all__ = ["HELP", "configure", "run", "status_lines"]

HELP = "show how far the parts of shards are: done, failed, left, images a second"

EPILOG = """\
Exit codes: 0 every shard has a part; 1 some are left or have failed; 2 there is no part set.
"""

SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf status``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "out", metavar="PREFIX/", help="the folder or URL that `decaf extract` writes parts to"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print how far it is; return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import dataclasses
    import json

    import decaf.scale

    status = decaf.scale.shard_status(args.out)
    if args.json:
        print(json.dumps({**dataclasses.asdict(status), "left": status.left}))
    else:
        show(*status_lines(status))
    return 0 if status.complete else 1


def status_lines(status: ShardStatus) -> Iterator[str]:
    """Word how far a part set is.

    Parameters
    ----------
    status : ShardStatus
    """
    yield (
        f"{status.url}: {status.done} of {counted(status.shards, 'part')} done, "
        f"{len(status.failed)} failed, "
        f"{status.left} left"
    )
    yield f"  rows          {status.rows}, {byte_size(status.bytes)}"
    for name, count in status.bad.items():
        yield f"  {name:<13} {count}"
    if status.images_per_second:
        yield f"  images/s      {status.images_per_second:.1f}, in the last hour of work"
    if status.left:
        left = "not known yet" if status.seconds_left is None else duration(status.seconds_left)
        yield f"  time left     {left}"
    for shard, reason in list(status.failed.items())[:SHOWN]:
        yield f"  failed: {shard}: {reason}"
    if len(status.failed) > SHOWN:
        yield f"  … and {len(status.failed) - SHOWN} more; --json lists them all"

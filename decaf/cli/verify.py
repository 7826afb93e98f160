"""``decaf verify``: prove a feature file against its checksums, weights and images."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from decaf.cli.terminal import show
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf import Verification

__all__ = ["HELP", "configure", "run"]

HELP = "read a feature file or part set through, and compute sampled rows anew to compare"

EPILOG = """\
Exit codes: 0 all compared rows agree; 1 they agree, but some sampled images are gone or changed
and could not be compared; 2 the file is damaged, or rows differ.
"""

SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf verify``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "file", metavar="F.h5|PREFIX/", help="the feature file, or the folder or URL of a part set"
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="SRC",
        help="where the images are now, if they moved: the same sources in the same order",
    )
    parser.add_argument(
        "--rows", type=int, default=32, metavar="N", help="rows to compute anew (default: 32)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the draw of rows (default: 0)"
    )
    parser.add_argument("-w", "--weights", help="where the weights are now, if they moved")
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, mps"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify, print the result, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import dataclasses
    import json

    import decaf
    from decaf.images import is_kind

    if args.file.endswith(("/", os.sep)) or "://" in args.file or is_kind(args.file, "part-set"):
        return _verify_parts(args)
    result = decaf.verify(
        args.file,
        rows=args.rows,
        seed=args.seed,
        weights=args.weights,
        images=args.images or None,
        device=args.device,
    )
    if args.json:
        print(json.dumps({"path": args.file, "ok": result.ok, **dataclasses.asdict(result)}))
    else:
        agree = "checksums agree"
        if result.changed:
            agree = f"not what was written: {', '.join(result.changed)}"
        show(f"{args.file}: {counted(result.rows, 'row')} read, {agree}")
        worst = ", ".join(
            f"{layer} {value:.1e} (allowed: {result.tolerance[layer]:.0e})"
            for layer, value in result.worst.items()
        )
        if result.compared:
            show(
                f"{counted(result.compared, 'row')} computed anew: largest {result.measure} {worst}"
            )
        for row, layer, difference in result.failed[:SHOWN]:
            show(f"  row {row} differs in {layer}: {result.measure} {difference:.1e}")
        for row, reason in result.unavailable[:SHOWN]:
            show(f"  row {row} was not compared: {reason}")
        for note in result.notes:
            show(f"  note: {note}")
        show(_verdict(result))
    if not result.ok:
        return 2
    return 1 if result.unavailable else 0


def _verify_parts(args: argparse.Namespace) -> int:
    """Verify a part set, print the result, return the exit code."""
    import dataclasses
    import json

    import decaf.scale

    if args.images:
        raise decaf.SettingError(
            f"`images` {args.images[0]!r}: the parts of {args.file} know their shards; leave it out"
        )
    result = decaf.scale.verify_parts(
        args.file, rows=args.rows, seed=args.seed, weights=args.weights, device=args.device
    )
    if args.json:
        print(json.dumps({"path": args.file, "ok": result.ok, **dataclasses.asdict(result)}))
    else:
        damaged = len(result.damaged)
        agree = f"{damaged} damaged" if damaged else "checksums agree"
        show(
            f"{args.file}: {counted(result.parts, 'part')} of {counted(result.rows, 'row')} "
            f"read, {agree}"
        )
        if result.missing:
            show(
                f"  {counted(len(result.missing), 'part', 'are')} not there, the first of "
                f"{result.missing[0]}"
            )
        worst = ", ".join(
            f"{layer} {value:.1e} (allowed: {result.tolerance[layer]:.0e})"
            for layer, value in result.worst.items()
        )
        if result.compared:
            show(
                f"{counted(result.compared, 'row')} computed anew: largest {result.measure} {worst}"
            )
        for name, reason in list(result.damaged.items())[:SHOWN]:
            show(f"  {name}: {reason}")
        for name, row, layer, difference in result.failed[:SHOWN]:
            show(f"  {name}, row {row} differs in {layer}: {result.measure} {difference:.1e}")
        for name, reason in list(result.unavailable.items())[:SHOWN]:
            show(f"  {name}: not compared: {reason}")
        for note in result.notes:
            show(f"  note: {note}")
        show("verified" if result.ok else "NOT VERIFIED")
    if not result.ok:
        return 2
    return 1 if result.unavailable or result.missing else 0


def _verdict(result: Verification) -> str:
    failed, unavailable, compared = len(result.failed), len(result.unavailable), result.compared
    if failed:
        return f"NOT VERIFIED: {counted(failed, 'value', 'differ')}"
    if result.changed:
        return "NOT VERIFIED: the file has been changed since it was written"
    if unavailable:
        return (
            f"verified in part: {counted(compared, 'row', 'agree')}, {unavailable} could not be "
            "compared"
        )
    return (
        f"verified: the features of {counted(compared, 'row')} agree"
        if compared
        else "verified: no row was compared"
    )

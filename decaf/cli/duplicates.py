"""``decaf duplicates``: copies among the images of a feature file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from decaf.cli.arguments import add_report
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.exploration import Duplicates

__all__ = ["HELP", "configure", "run"]

HELP = "find copies among the images of a feature file"

EPILOG = """\
examples:
  decaf duplicates photos.h5
  decaf duplicates photos.h5 -o groups.csv && decaf fit photos.h5 -o photos.head \\
      --groups groups.csv:group
  decaf duplicates photos.h5 --csv > pairs.csv

Copies have the same bytes, or show the same picture: recompressed, resized, mirrored or cropped a
little. Candidates are near by their features, and the grey levels of both images decide. Exit
codes: 0 done; 1 done, and some images are gone or have changed, and could not be compared; 2 not
done, the line on stderr says why.
"""

SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf duplicates``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("features", metavar="F.h5", help="the feature file")
    parser.add_argument(
        "-o",
        "--out",
        metavar="GROUPS.csv",
        help="write the groups there, with the columns path and group, for --groups of other "
        "commands",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace GROUPS.csv")
    parser.add_argument(
        "-l", "--layer", metavar="LAYER", help="layer to compare (default: fc7, fc6 or pool5)"
    )
    parser.add_argument(
        "--cosine",
        type=float,
        metavar="X",
        help="smallest cosine of images that are compared (default: by the layer)",
    )
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare the images themselves (default), or go by their features alone",
    )
    parser.add_argument("--csv", action="store_true", help="print all pairs as CSV")
    parser.add_argument(
        "--raw-text",
        action="store_true",
        help="in CSV, write names as they are; by default an apostrophe stands before those that a "
        "spreadsheet would take for a formula",
    )
    add_report(parser, "pairs")


def run(args: argparse.Namespace) -> int:
    """Find copies, print them, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    with stopped_by_signals("stopping after the pairs in work") as stop:
        result = decaf.duplicates(
            args.features,
            layer=args.layer,
            cosine=args.cosine,
            images=args.images,
            out=args.out,
            overwrite=args.overwrite,
            progress=not args.quiet,
            stop=stop.event,
        )
    if args.json:
        print(json.dumps(result.to_record()))
    elif args.csv:
        table = result.pairs_table(raw_text=args.raw_text)
        if sys.stdout.isatty():
            show(*table.splitlines())
        else:
            sys.stdout.write(table)
    else:
        show(*_lines(result, args.out))
    return 1 if result.unseen else 0


def _lines(result: Duplicates, out: str | None) -> Iterator[str]:
    for pair in result.pairs[:SHOWN]:
        where = [
            name
            for name, there in (
                ("two classes", pair.across_classes),
                ("two splits", pair.across_splits),
            )
            if there
        ]
        crossing = f" (in {' and '.join(where)})" if where else ""
        first, second = result.name(pair.first), result.name(pair.second)
        yield f"{pair.kind}{crossing}: {first}  {second}"
    if len(result.pairs) > SHOWN:
        yield f"… and {len(result.pairs) - SHOWN} more (--csv prints all)"
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.counts.items() if count)
    checked = int(result.ok.sum())
    yield (
        f"{result.features}: {counted(checked, 'image')}, {counted(len(result.pairs), 'pair')} of "
        f"copies" + (f" ({kinds})" if kinds else "")
    )
    for name, what in (("across_classes", "classes"), ("across_splits", "splits")):
        count = sum(getattr(pair, name) for pair in result.pairs)
        if count:
            yield f"{counted(count, 'pair')} across {what}"
    if result.refused:
        yield f"{counted(result.refused, 'pair')} alike by {result.layer} alone: other pictures"
    if result.left_out:
        yield f"{counted(result.left_out, 'row')} without features left out"
    if result.unseen:
        row, reason = result.unseen[0]
        yield (
            f"{counted(len(result.unseen), 'image')} could not be compared, the first is "
            f"{result.name(row)}: {reason}"
        )
    if out is not None:
        yield f"{out}: groups, {counted(result.copies, 'image')} with an earlier copy"

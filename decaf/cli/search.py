"""``decaf search``: the images of a feature file that are most like some images."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from decaf.cli.arguments import add_device, add_report, add_workers, compute_of
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show, tell
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.exploration import SearchResult

__all__ = ["HELP", "configure", "run"]

HELP = "find the images of a feature file that are most like some images"

EPILOG = """\
examples:
  decaf search photos.h5 IMG_0815.jpg
  decaf search photos.h5 new/ --layer fc7 -k 5 --csv > near.csv
  decaf search photos.h5 IMG_0815.jpg -o near.html

Cosines of the layer with every row, exactly. An image of the file is looked up there; others are
computed with the file's own weights and settings. Exit codes: 0 done; 1 done, and some queries
could not be read; 2 not done, the line on stderr says why.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf search``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("features", metavar="F.h5", help="the feature file")
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="IMG",
        help="image, folder, glob, archive or list; where it is not there any more, the name of an "
        "image of F.h5",
    )
    parser.add_argument(
        "-l", "--layer", metavar="LAYER", help="layer to compare (default: the last of F.h5)"
    )
    parser.add_argument("-k", type=int, default=9, metavar="K", help="images for each (default: 9)")
    parser.add_argument("-w", "--weights", help="where the weights of F.h5 are now, if they moved")
    parser.add_argument(
        "-o", "--out", metavar="PAGE.html", help="write a page there that shows the images"
    )
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show the images on the page (default), or their names alone",
    )
    parser.add_argument("--csv", action="store_true", help="print the matches as CSV")
    parser.add_argument(
        "--raw-text",
        action="store_true",
        help="in CSV, write names as they are; by default an apostrophe stands before those that a "
        "spreadsheet would take for a formula",
    )
    parser.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="images a forward pass (default: auto)"
    )
    add_workers(parser)
    add_device(parser)
    add_report(parser, "matches")


def run(args: argparse.Namespace) -> int:
    """Search, print the matches, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    with stopped_by_signals("stopping after the images in work") as stop:
        result = decaf.search(
            args.features,
            args.queries,
            layer=args.layer,
            k=args.k,
            weights=args.weights,
            batch_size=args.batch_size,
            out=args.out,
            images=args.images,
            compute=compute_of(args, stop),
        )
    if args.json:
        print(json.dumps(dataclasses.asdict(result)))
    elif args.csv:
        table = result.to_csv(raw_text=args.raw_text)
        if sys.stdout.isatty():
            show(*table.splitlines())
        else:
            sys.stdout.write(table)
    else:
        show(*_lines(result))
        if args.out is not None:
            show(f"page: {args.out}")
    if result.left_out and not (args.json or args.quiet):
        tell(f"{args.features}: {counted(result.left_out, 'row')} without features left out")
    return 1 if result.bad else 0


def _lines(result: SearchResult) -> Iterator[str]:
    for each in result.answers:
        yield f"{each.path}: nearest of {counted(result.searched, 'image')} by {result.layer}"
        if each.message:
            yield f"  {each.message}" + ("" if each.status == "ok" else f" ({each.status})")
        for match in each.matches:
            name = f"  {match.class_name}" if match.class_name else ""
            yield f"  {match.cosine:.3f}  {match.path}{name}"

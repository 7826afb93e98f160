"""``decaf summary``: the layer table of an architecture, or of the network in a weights file."""

from __future__ import annotations

import argparse
import json

from decaf.cli.terminal import show

__all__ = ["HELP", "configure", "run"]

HELP = "print the layer table of a network: shapes, parameters, multiply-adds, receptive fields"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf summary``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "network",
        metavar="ARCH|WEIGHTS",
        nargs="?",
        default="alexnet-2012",
        help="an architecture, such as alexnet-2012 (the default), alexnet, alexnet-127 or "
        "alexnet-64; or weights as of extract -w",
    )
    parser.add_argument(
        "--input-size",
        type=int,
        metavar="N",
        help="height and width of the input in pixels (default: the architecture's own)",
    )
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--markdown", action="store_true", help="print a Markdown table")
    style.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        The exit code, 0.
    """
    import decaf
    from decaf.backbone import summary_markdown, summary_text

    summary = decaf.summarise(args.network, args.input_size)
    if args.json:
        print(json.dumps(summary.to_dict(), indent=2))
        return 0
    show(*(summary_markdown if args.markdown else summary_text)(summary).split("\n"))
    if summary.weights:
        show("", f"weights {summary.weights['name']}, SHA-256 {summary.weights['sha256']}")
    return 0

"""``decaf export``: a layer of a feature file in the formats of other tools."""

from __future__ import annotations

import argparse
import json

from decaf.cli.text import printable

__all__ = ["HELP", "configure", "run"]

HELP = "write a layer of a feature file as .npy, .csv or .mat"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf export``."""
    parser.add_argument("file", metavar="F.h5", help="a feature file")
    parser.add_argument(
        "-o",
        "--out",
        metavar="X",
        required=True,
        help="file to write; its ending is the format: .npy (with X.rows.csv), .csv or .mat",
    )
    parser.add_argument("-l", "--layer", help="layer to write, where the file holds several")
    parser.add_argument("--ok-only", action="store_true", help="leave out the rows of bad images")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Export a layer and say what was written."""
    from decaf.features.store.export import export_features
    from decaf.features.store.file import open_features

    with open_features(args.file) as file:
        done = export_features(
            file, args.out, layer=args.layer, ok_only=args.ok_only, overwrite=args.overwrite
        )
    files = [str(path) for path in done.files]
    if args.json:
        report = {"files": files, "layer": done.layer, "shape": done.shape, "dtype": done.dtype}
        print(json.dumps(report, indent=2))
    else:
        shape = " × ".join(str(n) for n in done.shape)
        print(f"{done.layer}, {shape} {done.dtype}: {', '.join(map(printable, files))}")
    return 0

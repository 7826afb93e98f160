"""``decaf explore``: one page on which to look at images as the network sees them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_crops,
    add_listing,
    add_network,
    add_report,
    compute_of,
    in_flags,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.progress import duration
from decaf.runtime.wording import byte_size, counted

if TYPE_CHECKING:
    from decaf import Explored

__all__ = ["HELP", "configure", "run"]

HELP = "make a page on which to look at images as the network sees them"

EPILOG = """\
examples:
  decaf explore photos.h5 -o photos.html
  decaf explore photos/ -o photos.html --keep-features photos.h5
  decaf explore photos.h5 -o photos.html --head photos.head    its mistakes, wrong labels, units

The page is one file that opens from disk and asks nothing of a network: maps of the layers with
how far each point can be trusted, thumbnails, the nearest images of any, near copies, outliers. Of
features the images are looked for where they were; one that has changed since is refused, and
--no-images makes the page without thumbnails.

Exit codes: 0 done; 1 done, and some images could not be read; 2 not done, the line on stderr says
why; 130 and 143 stopped by a signal.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf explore``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "source",
        nargs="+",
        metavar="F.h5|SRC",
        help="a feature file; or images as `decaf extract` takes them",
    )
    parser.add_argument("-o", "--out", required=True, metavar="PAGE.html", help="page to write")
    parser.add_argument(
        "--head",
        metavar="HEAD",
        help="a head of `decaf fit` for such features: adds its mistakes on images held out, "
        "likely wrong labels, and the units that tell one class from another",
    )
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show thumbnails (default)",
    )
    parser.add_argument(
        "-l",
        "--layers",
        action="append",
        metavar="LAYER",
        help="layer to map, may be given several times (default: pool5, fc6 and fc7, those that "
        "F.h5 holds)",
    )
    parser.add_argument(
        "--method",
        default="auto",
        choices=("auto", "opentsne", "tsne", "umap", "pca"),
        help="what makes the maps: openTSNE, scikit-learn's t-SNE, UMAP, or principal components "
        "(default: openTSNE where it is installed, else scikit-learn's)",
    )
    parser.add_argument("--perplexity", type=float, default=30.0, metavar="X", help="default: 30")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all random draws (default: 0)"
    )
    parser.add_argument(
        "--most-points", type=int, metavar="N", help="show so many images at most (default: 50000)"
    )
    parser.add_argument(
        "--most-thumbnails",
        type=int,
        metavar="N",
        help="of more images only those that are listed have thumbnails (default: 5000)",
    )
    parser.add_argument(
        "-w",
        "--weights",
        help=f"imagenet, random:SEED, {DEFAULT_WEIGHTS} (default), or a weights file; not with "
        "F.h5",
    )
    add_crops(parser, None)
    parser.add_argument(
        "--keep-features", metavar="F.h5", help="keep the features of SRC in this file"
    )
    add_network(parser, precision=None)
    add_listing(parser, bad="list it", groups="kept together where images are held out", none="")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the kept F.h5 where it differs"
    )
    add_report(parser, "result")


def run(args: argparse.Namespace) -> int:
    """Make the page, print what it holds, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import json

    import decaf

    with stopped_by_signals("stopping, no page is written") as stop:
        done = decaf.explore(
            args.source[0] if len(args.source) == 1 else args.source,
            args.out,
            head=args.head,
            images=args.images,
            keep_features=args.keep_features,
            overwrite=args.overwrite,
            settings=settings_of(args, decaf.ExploreSettings),
            listing=settings_of(args, decaf.ListingSettings),
            network=settings_of(args, decaf.NetworkSettings, preprocess=preprocess_of(args)),
            compute=compute_of(args, stop),
        )
    if args.json:
        print(json.dumps(done.to_record(), indent=2))
    else:
        show(*(in_flags(line, args.parser) for line in _lines(done)))
    return 1 if done.bad else 0


def _lines(done: Explored) -> Iterator[str]:
    layers = ", ".join(
        layer if trust != trust else f"{layer} ({100 * trust:.0f} % of neighbours kept)"
        for layer, trust in done.trust.items()
    )
    yield (
        f"{done.path}: {counted(done.shown, 'image')}, {counted(done.thumbnails, 'thumbnail')}, "
        f"{byte_size(done.bytes)}, made in {duration(done.seconds)}"
    )
    yield f"maps of {layers}"
    if done.accuracy is not None:
        yield f"the head, on images held out: {100 * done.accuracy:.1f} % right"
    if done.bad:
        yield f"{counted(done.bad, 'image')} could not be read: the page lists them with reasons"
    for note in done.notes:
        yield f"note: {note}"

"""``decaf summary``: the layer table of an architecture, or of the network in a weights file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from decaf.cli.terminal import show

if TYPE_CHECKING:
    from decaf.backbone.spec import ArchSpec

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
        help="alexnet-2012 (the default), alexnet or alexnet-64; or weights as of extract -w",
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
    from decaf.backbone.summary import summarise, summary_markdown, summary_text

    spec, weights = _find(args.network)
    summary = summarise(spec, args.input_size)
    if args.json:
        whole = {**summary.to_dict(), "spec": spec.to_dict(), "weights": weights}
        print(json.dumps(whole, indent=2))
        return 0
    show((summary_markdown if args.markdown else summary_text)(summary))
    if weights:
        show(f"\nweights {weights['name']}, SHA-256 {weights['sha256']}")
    return 0


def _find(name: str) -> tuple[ArchSpec, dict[str, Any] | None]:
    """Return the spec of an architecture, or of weights with what is known of those."""
    from decaf.backbone.spec import ARCHITECTURES
    from decaf.errors import WeightsError

    if name in ARCHITECTURES:
        return ARCHITECTURES[name], None
    # Only here is torch loaded: the table of an architecture needs arithmetic alone.
    from decaf.backbone.weights.load import load_weights

    try:
        weights = load_weights(name)
    except WeightsError as error:
        if name.isidentifier() or name.startswith("alex"):
            names = ", ".join(ARCHITECTURES)
            raise WeightsError(f"{error} Architectures are {names}.") from None
        raise
    return weights.spec, {
        "name": weights.name,
        "sha256": weights.sha256,
        "preprocess": weights.preprocess.to_dict(),
        "class_names": list(weights.class_names),
        "metrics": weights.metrics,
        "provenance": weights.provenance,
    }

"""``decaf compare``: why two feature files differ, and by how much."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decaf.cli.terminal import show
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.exploration import Comparison, LayerComparison

__all__ = ["HELP", "configure", "run"]

HELP = "say why two feature files differ, and by how much"

EPILOG = """\
Images are matched by their content. Of the same images: the cosine between their two rows; linear
CKA (Kornblith et al. 2019), 1 for features that differ by a rotation and a scale; the share of the
ten nearest images that are the same; and the images that moved most.
"""

SHOWN = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf compare``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("a", metavar="A.h5", help="a feature file")
    parser.add_argument("b", metavar="B.h5", help="another one, of the same images")
    parser.add_argument(
        "-l", "--layer", metavar="LAYER", help="layer to compare (default: all that both hold)"
    )
    parser.add_argument(
        "-k", type=int, default=10, metavar="K", help="nearest images that are compared"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=4000,
        metavar="N",
        help="images that CKA and the nearest are computed of, at most (default: 4000)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, print the result, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    result = decaf.compare(args.a, args.b, layer=args.layer, k=args.k, rows=args.rows)
    if args.json:
        print(json.dumps(_without_nan(dataclasses.asdict(result))))
    else:
        show(*_lines(result))
    return 0


def _without_nan(value: Any) -> Any:
    """Return JSON values, in which null stands for what is not defined."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _lines(result: Comparison) -> Iterator[str]:
    yield f"A is {result.a}"
    yield f"B is {result.b}"
    for name, one, other in result.settings:
        yield f"  {name}: {one} in A, {other} in B"
    if not result.settings:
        yield "  made with the same settings"
    matched = result.matched
    parts = [f"{counted(matched.same, 'image')} in both"]
    parts += [f"{matched.renamed} of another name"] if matched.renamed else []
    parts += [f"{matched.changed} changed"] if matched.changed else []
    parts += [f"{matched.only_a} only in A"] if matched.only_a else []
    parts += [f"{matched.only_b} only in B"] if matched.only_b else []
    parts += [f"{matched.bad} without features"] if matched.bad else []
    yield ", ".join(parts)
    for side, layers in (("A", result.only_a), ("B", result.only_b)):
        if layers:
            yield f"only in {side}: {', '.join(layers)}"
    for layer in result.layers:
        yield from _layer_lines(layer)


def _layer_lines(layer: LayerComparison) -> Iterator[str]:
    parts = []
    if layer.cosine is not None:
        c = layer.cosine
        parts.append(
            f"cosine {c['mean']:.4f} (median {c['median']:.4f}, smallest {c['smallest']:.4f})"
        )
    if not math.isnan(layer.cka):
        parts.append(f"CKA {layer.cka:.4f}")
    if not math.isnan(layer.neighbours):
        parts.append(f"{100 * layer.neighbours:.1f} % of the {layer.k} nearest are the same")
    yield f"{layer.layer}: {', '.join(parts) or 'nothing to compare'}"
    moved = [each for each in layer.moved if round(each[1], 4) < 1]
    for name, value in moved[:SHOWN]:
        yield f"  {value:.4f}  {name}"

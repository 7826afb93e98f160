"""``decaf visualize``: the filters of a network, and the patches that its units answer to."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_network,
    add_report,
    allow_words_after_flags,
    compute_of,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf import Visualization

__all__ = ["HELP", "configure", "run"]

HELP = "show the filters of a network, or the patches of images that its units answer to"

EPILOG = """\
examples:
  decaf visualize imagenet-distilled -o filters.png            the filters of conv1
  decaf visualize imagenet-distilled photos/ -o units.png      9 patches for each of 16 units
  decaf visualize model.safetensors photos/ --layer conv3 --units all -o units.html
  decaf visualize imagenet photos/ --layer conv5 --units 1,5,9-12 --importance occlusion -o u.html

All units of a layer have their patches after one pass over the images. Each patch is what the unit
sees at its strongest position, at most one of an image; units of fc6, fc7 and fc8 see whole images.
Exit codes: 0 done; 1 done, and some images could not be read (they are left out); 2 not done, the
line on stderr says why; 130 and 143 stopped by a signal, with nothing written.
"""

_DEAD_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf visualize``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "weights",
        metavar="W",
        help=f"imagenet, random:SEED, {DEFAULT_WEIGHTS}, or a weights file",
    )
    parser.add_argument(
        "images", nargs="*", metavar="SRC", help="images, as for `decaf extract`; none: filters"
    )
    allow_words_after_flags(parser)
    parser.add_argument(
        "-o", "--out", required=True, metavar="X.png|PAGE.html", help="the file to write"
    )
    parser.add_argument(
        "-l", "--layer", help="layer of the units (default: conv5); `decaf summary` lists them"
    )
    parser.add_argument(
        "--units",
        type=_units,
        metavar="1,5,9-12|all",
        help="numbers of the units, from 0 on (default: the first 16)",
    )
    parser.add_argument("--top", type=int, metavar="K", help="patches a unit (default: 9)")
    parser.add_argument(
        "--importance",
        choices=("occlusion", "gradient", "gradient-times-input"),
        help="show below each patch which pixels mattered: those that cost most when a grey square "
        "covers them, or the derivative with respect to each pixel (times the pixel)",
    )
    add_network(parser, precision=None)
    parser.add_argument(
        "--on-error",
        default="record",
        choices=("raise", "record"),
        help="at an image that cannot be read: stop, or leave it out and go on (default)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    add_report(parser, "patches")


def _units(text: str) -> list[int] | str:
    """Read ``1,5,9-12`` or ``all``."""
    if text == "all":
        return text
    units: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first]
        if not all(each.isdecimal() and len(each) < 6 for each in numbers):
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 1,5,9-12, or all")
        if int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: {part.strip()} ends before it begins")
        units += range(int(first), int(last or first) + 1)
    return units


def run(args: argparse.Namespace) -> int:
    """Write the picture or page, print what it shows, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    with stopped_by_signals("stopping") as stop:
        shown = decaf.visualize(
            args.weights,
            args.images or None,
            out=args.out,
            layer=args.layer,
            units=args.units,
            top=args.top,
            importance=args.importance,
            overwrite=args.overwrite,
            on_error=args.on_error,
            network=settings_of(
                args,
                decaf.NetworkSettings,
                ("weights", "crops"),
                preprocess=preprocess_of(args),
            ),
            compute=compute_of(args, stop),
        )
    if args.json:
        print(json.dumps(shown.to_dict(), indent=2))
    else:
        show(*_summary(shown, args.out))
    return 1 if shown.found is not None and shown.found.bad else 0


def _summary(shown: Visualization, out: str) -> list[str]:
    found = shown.found
    if found is None:
        return [f"{out}: the {shown.units} filters of {shown.layer}"]
    units = counted(shown.units_in_layer, "unit")
    some = "all" if shown.units == shown.units_in_layer else f"{shown.units} of"
    images = counted(len(found.images), "image")
    lines = [f"{out}: patches of {images} for {some} {units} of {shown.layer}"]
    if dead := found.dead:
        numbers = ", ".join(map(str, dead[:_DEAD_SHOWN])) + ", …" * (len(dead) > _DEAD_SHOWN)
        lines.append(f"{counted(len(dead), 'unit')} silent in all images: {numbers}")
    if found.bad:
        first = found.bad[0]
        lines.append(
            f"{counted(len(found.bad), 'image')} could not be read; the first is {first.name}: "
            f"{first.message} ({first.status})"
        )
    return lines

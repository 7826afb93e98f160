"""``decaf localise``: images and their boxes to a regression of boxes."""

from __future__ import annotations

import argparse
from typing import Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_device,
    add_listing,
    add_preprocess,
    add_report,
    add_settings,
    add_workers,
    compute_of,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.wording import counted

__all__ = ["HELP", "configure", "run"]

HELP = "learn to predict the box of the object in an image, from annotated images"

EPILOG = """\
examples:
  decaf localise tiny-imagenet-200/train --boxes tiny-imagenet-200/train -o boxes.safetensors
  decaf localise photographs/ --boxes boxes.csv -o boxes.safetensors --per-class
  decaf evaluate imagenet-distilled val/ --boxes boxes/ --localiser boxes.safetensors

Boxes are ILSVRC's or PASCAL VOC's .xml, Tiny-ImageNet's _boxes.txt or val_annotations.txt,
localization.txt with image_sizes.txt, or a table with columns path, xmin, ymin, xmax and ymax. The
features are computed once and kept in memory. Exit codes: 0 done; 2 not done, the line on stderr
says why; 130 and 143 stopped by a signal, with nothing written.
"""

# What is said of the images held out: figures of the report.
_FIGURES = {
    "error": "boxes missed",
    "whole_image": "by the whole image",
    "mean_box": "by the mean box",
    "centre_box": "by a centre box",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf localise``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    from decaf import LocaliserSettings

    parser.add_argument("images", metavar="SRC", help="images, as for `decaf extract`")
    parser.add_argument("--boxes", required=True, metavar="BOXES", help="their boxes; see below")
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT.safetensors", help="file to write"
    )
    parser.add_argument(
        "-w",
        "--weights",
        help=f"imagenet, random:SEED, {DEFAULT_WEIGHTS} (default), or a weights file",
    )
    add_settings(parser.add_argument_group("settings"), LocaliserSettings)
    add_listing(parser, bad="leave it out", boxes=False)
    add_preprocess(parser)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="arithmetic of the network (default: fp32)"
    )
    add_workers(parser)
    add_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.safetensors")
    add_report(parser, "report")


def run(args: argparse.Namespace) -> int:
    """Learn boxes, print how well they are found, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import json

    import decaf

    with stopped_by_signals("stopping") as stop:
        localiser = decaf.localise(
            args.images,
            args.boxes,
            out=args.out,
            overwrite=args.overwrite,
            settings=settings_of(args, decaf.LocaliserSettings),
            listing=settings_of(args, decaf.ListingSettings),
            network=settings_of(
                args,
                decaf.NetworkSettings,
                ("crops", "batch_size"),
                preprocess=preprocess_of(args),
            ),
            compute=compute_of(args, stop),
        )
    report: dict[str, Any] = localiser.report
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    lines = [f"{args.out}: boxes learnt from {counted(report['images'], 'image')}"]
    if "error" in report:
        lines.append(f"  on {report['held_out']} of them held out")
        lines += [f"  {text:<22}{report[name]:.2f} %" for name, text in _FIGURES.items()]
    show(*lines)
    return 0

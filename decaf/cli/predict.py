"""``decaf predict``: images to the names of their classes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_boxes,
    add_device,
    add_preprocess,
    add_workers,
    allow_words_after_flags,
    preprocess_of,
    setting_values,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show, tell
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.classify import WrittenPredictions

__all__ = ["HELP", "configure", "run"]

HELP = "name the classes of images"

EPILOG = """\
examples:
  decaf predict IMG_0815.jpg                      what the packaged network sees
  decaf predict photos.head new/ IMG_0815.jpg
  decaf predict photos.head new/ -o answers.csv
  decaf predict photos.head new/ --top 1 --format json | jq .
  decaf predict photos.safetensors new/           a network's own classes
  decaf predict animals.head camera/ --crops-from megadetector.json --margin 0.1

CSV has the columns path, status, message, class_1, probability_1, class_2, … Every image has its
line, in order; one that cannot be read says why in status and message. Exit codes: 0 done; 1 done,
and some images could not be read; 2 not done, the line on stderr says why; 130 and 143 stopped by a
signal.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf predict``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.usage = "%(prog)s [-h] [options] [MODEL] IMAGE [IMAGE ...]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="MODEL, IMAGE",
        help="MODEL, where it is given, comes first: a head, as `decaf fit` writes it; or a "
        "network (a name, or a weights file such as `decaf finetune` writes), whose own classes "
        f"are the answers (default: {DEFAULT_WEIGHTS}). IMAGE: image, folder, glob, archive, list "
        "of paths, or - for a list on standard input; or a feature file",
    )
    allow_words_after_flags(parser)
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="classes an image (default: 5)"
    )
    parser.add_argument(
        "--format",
        choices=("text", "csv", "json"),
        help="default: by the ending of -o FILE; else text on a terminal, csv elsewhere",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="write there, not to standard output: .csv, .json or .txt",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE, if it is text")
    parser.add_argument(
        "--raw-text",
        action="store_true",
        help="in CSV, write names as they are; by default an apostrophe stands before those that a "
        "spreadsheet would take for a formula",
    )
    parser.add_argument(
        "-w",
        "--weights",
        metavar="FILE",
        help="the weights that a head was fitted on, where they are not where they were",
    )
    parser.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="images a forward pass (default: auto)"
    )
    add_boxes(parser)
    add_preprocess(parser)
    add_workers(parser)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Predict, print line by line, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf
    from decaf.classify import model_and_images

    model, sources = model_and_images(args.words)
    images: Any = sources[0] if len(sources) == 1 else sources
    boxes = setting_values(args, decaf.ListingSettings)
    if boxes:
        images = decaf.collect(images, labels="none", **boxes)
    # A bar and lines of text on one terminal would be in each other's way.
    apart = args.out is not None or not sys.stdout.isatty()
    with stopped_by_signals("stopping after the images in work") as stop:
        written = decaf.write_predictions(
            images,
            model,
            out=args.out,
            format=args.format,
            top=args.top,
            weights=args.weights,
            preprocess=preprocess_of(args),
            raw_text=args.raw_text,
            overwrite=args.overwrite,
            device=args.device,
            batch_size=args.batch_size,
            workers=args.workers,
            progress=apart and not args.quiet,
            stop=stop.event,
        )
    if args.out is not None or (written.format == "text" and written.images > 1):
        show(_summary(written, args.out))
    elif written.bad:
        tell(f"{written.bad} of {counted(written.images, 'image')} could not be read")
    return 1 if written.bad else 0


def _summary(written: WrittenPredictions, out: str | None) -> str:
    most = written.classes.most_common(10)
    others = written.classes.total() - sum(count for _, count in most)
    parts = [f"{count} {name}" for name, count in most]
    parts += [f"{counted(others, 'other')}"] if others else []
    parts += [f"{written.bad} could not be read"] if written.bad else []
    prefix = "" if out is None else f"{out}: "
    return f"{prefix}{counted(written.images, 'image')}: {', '.join(parts)}"

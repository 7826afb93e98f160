"""Arguments that mean the same in several commands."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = [
    "add_device",
    "add_forward_pass",
    "add_groups",
    "add_labels",
    "add_layout",
    "add_min_images",
    "add_on_error",
    "add_preprocess",
    "add_report",
    "add_workers",
    "preprocess_of",
]


def add_forward_pass(parser: argparse.ArgumentParser, *, precision: str | None = "fp32") -> None:
    """Add how the network is computed: ``--precision``, with its default, and ``--batch-size``."""
    parser.add_argument(
        "--precision",
        default=precision,
        choices=("fp32", "bf16"),
        help="arithmetic of the network: fp32 (default), or bf16, the fast one where the processor "
        "has it",
    )
    parser.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="images a forward pass (default: auto)"
    )


_PREPROCESS = ("resize", "resize_to", "crop", "mean", "std")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """Add how images become the network's input; `preprocess_of` reads the flags."""
    group = parser.add_argument_group(
        "preprocessing", "what is not given is as the weights have it; `decaf info` shows it"
    )
    group.add_argument(
        "--resize",
        choices=("warp", "shorter-side", "none"),
        help="to a square whatever the aspect ratio, or the shorter side; none takes images pixel "
        "for pixel, and refuses those that have not the size of the crop (or of --resize-to)",
    )
    group.add_argument("--resize-to", type=int, metavar="N", help="side after the resize, pixels")
    group.add_argument(
        "--crop",
        type=int,
        metavar="N",
        help="side of the crop that the network sees; its own by default, and for the layers after "
        "the maps any other only where its pooling is adaptive (`decaf summary`)",
    )
    for name, what in (("mean", "subtracted from"), ("std", "then divided into")):
        group.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{what} the pixels, once the weights have scaled them (most weights: to 0 to 1)",
        )


def preprocess_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the fields that the flags of `add_preprocess` name; None where there are none."""
    fields = {name: getattr(args, name) for name in _PREPROCESS}
    return {name: value for name, value in fields.items() if value is not None} or None


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, the decoding processes."""
    parser.add_argument(
        "-j",
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one a core, or none for few images; 0: decode in the "
        "main process)",
    )


def add_labels(parser: argparse.ArgumentParser | argparse._ArgumentGroup, none: str = "") -> None:
    """Add ``--labels``; `none` adds the choice of none, and says what it is."""
    parser.add_argument(
        "--labels",
        default="folder",
        metavar="folder|none|FILE" if none else "folder|FILE",
        help="classes from the first folder below SRC (default), or of a table its labels; or a "
        f"file with a label a line, or a table with path and label (FILE:PATH,LABEL names its "
        f"columns); an empty cell is no label{none}",
    )


def add_layout(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--layout``, how folders called as splits are taken."""
    parser.add_argument(
        "--layout",
        default="auto",
        choices=("auto", "splits", "classes"),
        help="whether folders called train, val or test are splits, with the classes in them, or "
        "classes themselves (default: auto, by what lies in them and beside them)",
    )


def add_groups(parser: argparse.ArgumentParser | argparse._ArgumentGroup, use: str) -> None:
    """Add ``--groups``, which images belong together; `use` says what for."""
    parser.add_argument(
        "--groups",
        metavar="FILE:COLUMN|path:REGEX|folder|time:60s",
        help=f"images that belong together (an animal, a burst, a site), {use}: by the column of a "
        "table, by the first group of a regular expression on the path, by the folder that they "
        "lie in (folder:2, the one above), or by capture times that follow within a span",
    )


def add_min_images(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--min-images``."""
    parser.add_argument(
        "--min-images",
        type=int,
        metavar="N",
        help="leave out classes with fewer training images, with a word (default: those with fewer "
        "than are needed: two where some are held out, else one)",
    )


def add_on_error(parser: argparse.ArgumentParser | argparse._ArgumentGroup, otherwise: str) -> None:
    """Add ``--on-error``; `otherwise` says what is done with a bad image that is recorded."""
    parser.add_argument(
        "--on-error",
        default="record",
        choices=("raise", "record"),
        help=f"at an image that cannot be read: stop, or {otherwise} and go on (default)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1"
    )


def add_report(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json``, which prints `what` as JSON, and ``--quiet``."""
    parser.add_argument("--json", action="store_true", help=f"print the {what} as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")

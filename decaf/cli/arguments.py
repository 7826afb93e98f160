"""Arguments that mean the same in several commands."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = [
    "add_device",
    "add_forward_pass",
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
            help=f"{what} the pixels, which the weights scale, by most to 0 to 1",
        )


def preprocess_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Give the fields that the flags of `add_preprocess` name; None where there are none."""
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


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1"
    )


def add_report(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json``, which prints `what` as JSON, and ``--quiet``."""
    parser.add_argument("--json", action="store_true", help=f"print the {what} as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")

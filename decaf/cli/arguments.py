"""Arguments that mean the same in several commands."""

from __future__ import annotations

import argparse

__all__ = ["add_device", "add_forward_pass", "add_report", "add_workers"]


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


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, the decoding processes."""
    parser.add_argument(
        "-j",
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one a core; 0: decode in the main process)",
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

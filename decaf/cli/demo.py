"""``decaf demo``: a page of this machine, on which photographs are shown to a network."""

from __future__ import annotations

import argparse
import os
import sys

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import add_device, add_preprocess, add_workers, preprocess_of
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show, tell

__all__ = ["HELP", "configure", "run"]

HELP = "show photographs to a network, on a page in the browser"

EPILOG = """\
examples:
  decaf demo                            what the packaged network sees
  decaf demo photos.head                a head, as `decaf fit` writes it
  decaf demo photos.head --features photos.h5 --patches photos/
  decaf demo photos.safetensors --port 8000 --no-browser

The page is for this machine alone: the address that is printed holds a random token, without which
nothing answers. Photographs stay in memory, each until it is answered. From another machine,
forward the same port: ssh -L 8000:127.0.0.1:8000 HOST. The server is that of pip install
'decaf-features[demo]'.
Exit codes: 2 not done, the line on stderr says why; 130 and 143 closed by Ctrl-C or a signal.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf demo``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_WEIGHTS,
        metavar="MODEL",
        help="a head, as `decaf fit` writes it; or a network (a name, or a weights file such as "
        f"`decaf finetune` writes), whose own classes are the answers (default: {DEFAULT_WEIGHTS})",
    )
    parser.add_argument(
        "--features", metavar="F.h5", help="show the nearest images of this feature file, too"
    )
    parser.add_argument(
        "-l",
        "--layer",
        metavar="LAYER",
        help="layer of the features (default: the last that the file holds)",
    )
    parser.add_argument(
        "--patches",
        metavar="SRC",
        help="show the strongest units, too, with the patches of these images that excite them "
        "most: a folder, archive, list or feature file; they pass through the network first",
    )
    parser.add_argument(
        "--patch-layer",
        default="conv5",
        metavar="LAYER",
        help="layer of the units (default: conv5)",
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port (default: one that is free)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address alone")
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="classes a photograph (default: 5)"
    )
    parser.add_argument(
        "-w",
        "--weights",
        metavar="FILE",
        help="the weights that a head was fitted on, where they are not where they were",
    )
    parser.add_argument(
        "-k",
        "--neighbours",
        type=int,
        default=9,
        metavar="K",
        help="nearest images a photograph (default: 9)",
    )
    add_preprocess(parser)
    add_workers(parser)
    add_device(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Serve the page until a signal closes it.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    def ready(address: str) -> None:
        show(address)
        sys.stdout.flush()
        if not args.no_browser and _has_windows():
            import webbrowser

            webbrowser.open(address)
        tell("Ctrl-C closes the page")

    with stopped_by_signals("closing the page") as stop:
        decaf.serve_demo(
            args.model,
            features=args.features,
            layer=args.layer,
            patches=args.patches,
            patch_layer=args.patch_layer,
            weights=args.weights,
            preprocess=preprocess_of(args),
            ready=ready,
            port=args.port,
            top=args.top,
            neighbours=args.neighbours,
            device=args.device,
            workers=args.workers,
            progress=not args.quiet,
            stop=stop.event,
        )
    return 0


def _has_windows() -> bool:
    """Tell whether a browser would open a window, and not take the terminal."""
    named = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in named)

"""``decaf doctor``: what decaf is installed on, whether it works, and what a bug report needs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from decaf.cli.arguments import add_device
from decaf.cli.terminal import show
from decaf.runtime.wording import byte_size, counted

if TYPE_CHECKING:
    import decaf

__all__ = ["HELP", "configure", "run"]

HELP = "check the installation, and print what a bug report needs"

EPILOG = """\
Ten generated images are decoded and go through the packaged network; what comes out is compared
with what came out where decaf was made. Exit codes: 0 decaf works; 1 it does not, and the last
lines say what differs; 2 nothing was checked, the line on stderr says why.
"""

BROKEN = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf doctor``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what is found; return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    installation = decaf.check_installation(device=args.device)
    if args.json:
        print(json.dumps(installation.to_dict(), indent=2))
    else:
        # Nothing, or the root, in containers; and where nobody knows it, "~" itself.
        home = os.path.expanduser("~").rstrip("/")
        for name, value in _facts(installation):
            show(f"{name:<28}{value.replace(f'{home}/', '~/') if home else value}")
    return 0 if installation.ok else BROKEN


def _facts(found: decaf.Installation) -> Iterator[tuple[str, str]]:
    yield "decaf", f"{found.decaf} in {found.folder}"
    for name, version in found.versions.items():
        yield name, version or "not installed"
    yield from _machine_facts(found.machine)
    for extra, libraries in found.extras.items():
        absent = [name for name, version in libraries.items() if version is None]
        there = [f"{name} {version}" for name, version in libraries.items() if version]
        yield f"extra {extra}", "; ".join(there + [f"no {name}" for name in absent])
    for name, weights in found.weights.items():
        where = f" in {weights['path']}" if "path" in weights else ""
        yield f"weights {name}", weights.get("error") or f"SHA-256 {weights['sha256']}{where}"
    for use, folder in found.folders.items():
        writable = "writable" if folder["writable"] else "NOT writable"
        yield use, f"{folder['path']}: {writable}, {byte_size(folder['free'])} free"
    yield from _self_test_facts("self-test", found.self_test)
    if found.apple_test is not None:
        yield from _self_test_facts("self-test on Apple's GPU", found.apple_test)


def _machine_facts(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "error" in machine:
        yield "torch", f"cannot be loaded: {machine['error']}"
        return
    yield "system", machine["system"]
    yield "processor", machine["processor"]
    features = machine["features"]
    there = ", ".join(name for name, has in features.items() if has) or "none known"
    absent = ", ".join(name for name, has in features.items() if not has)
    yield "instructions", there + (f"; not {absent}" if absent else "")
    yield "torch's kernels", machine["kernels"]
    yield "cores, threads", f"{machine['cores']}, {machine['threads']}"
    memory = machine["available_memory"]
    yield "free memory", "unknown" if memory is None else byte_size(memory)
    for gpu in machine["gpus"]:
        yield "GPU", f"{gpu['name']}, {byte_size(gpu['memory'])}, capability {gpu['capability']}"
    if machine["apple_gpu"]:
        memory = byte_size(machine["apple_gpu"]["memory"])
        yield "GPU", f"Apple's, {memory}: used with --device mps"
    elif not machine["gpus"]:
        cuda = machine["cuda"]
        yield "GPU", "none that torch sees" + (f" (built for CUDA {cuda})" if cuda else "")


def _self_test_facts(name: str, test: Any) -> Iterator[tuple[str, str]]:
    if test.error:
        yield name, f"FAILED: {test.error}"
        return
    largest = max(image.difference for image in test.images)
    verdict = "ok" if test.ok else "FAILED"
    images = counted(len(test.images), "image")
    yield name, f"{verdict}: {images}, largest difference {largest:.1g}"
    for image in test.images:
        if not image.ok:
            pixels = "as expected" if image.pixels else "NOT those expected"
            yield f"  {image.name}", f"pixels {pixels}, difference {image.difference:.1g}"

"""``decaf import``: weights of torchvision and Caffe as a weights file of decaf."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from decaf.cli.terminal import show
from decaf.runtime.wording import byte_size, counted

__all__ = ["HELP", "configure", "run"]

HELP = "turn weights of torchvision (.pth) or Caffe (.caffemodel) into a weights file of decaf"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf import``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "source",
        metavar="SRC",
        help="torchvision's AlexNet (.pth, .pt), a network of Caffe (.caffemodel), or weights of "
        "decaf (.safetensors) to be stored otherwise",
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT.safetensors", required=True, help="file to write"
    )
    parser.add_argument(
        "--mean",
        metavar="MEANFILE|R,G,B",
        help="for a network of Caffe: its mean image (.binaryproto), or mean colour of 0 to 255",
    )
    parser.add_argument(
        "--arch",
        help="refuse what has not the sizes of this architecture (alexnet-2012, alexnet, …)",
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with the name of a class on each line, such as Caffe's synset_words.txt",
    )
    parser.add_argument(
        "--dtype",
        metavar="TYPE|TENSOR=TYPE,…",
        default="float32",
        help="how to store: float32 (default), float16, bfloat16; int8 or codebook3 … codebook6 "
        "for all weight matrices, or for single ones as in fc6.weight=codebook4,fc7.weight=int8",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Convert the weights, print what was written, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    done = decaf.import_weights(
        args.source,
        args.out,
        mean=_mean(args.mean),
        arch=args.arch,
        class_names=args.class_names,
        dtype=_dtype(args.dtype),
        overwrite=args.overwrite,
    )
    written, errors = done.weights, done.relative_errors
    if args.json:
        report = {
            "file": args.out,
            "bytes": done.bytes,
            "sha256": written.sha256,
            "arch": written.spec.to_dict(),
            "preprocess": written.preprocess.to_dict(),
            "classes": written.spec.classes,
            "class_names": bool(written.class_names),
            "provenance": written.provenance,
            "relative_errors": errors,
        }
        print(json.dumps(report, indent=2))
        return 0
    parameters = sum(tensor.numel() for tensor in written.state.values())
    show(
        f"{args.out}: {written.spec.name}, {parameters:,} parameters, "
        f"{counted(written.spec.classes, 'class')}"
        f"{'' if written.class_names else ' without names'}, "
        f"{byte_size(done.bytes)}"
    )
    show(f"SHA-256 {written.sha256}")
    if errors:
        worst = max(errors, key=errors.__getitem__)
        show(
            f"rounded: {len(errors)} of {len(written.state)} tensors, relative error at most "
            f"{errors[worst]:.2g} ({worst})"
        )
    return 0


def _dtype(text: str) -> str | Mapping[str, str]:
    from decaf.errors import SettingError

    if "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    chosen = {key: encoding for key, _, encoding in pairs}
    if len(chosen) < len(pairs) or not all(equals for _, equals, _ in pairs):
        raise SettingError(f"--dtype {text}: expected TENSOR=TYPE,TENSOR=TYPE,… with each once")
    return chosen


def _mean(text: str | None) -> str | list[float] | None:
    """Tell a colour from a file: a colour is numbers with commas between them."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers if len(numbers) > 1 else text

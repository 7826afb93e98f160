"""``decaf export``: a layer of a feature file, or a network, in the formats of other tools."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from decaf.cli.arguments import setting_values
from decaf.cli.terminal import show
from decaf.errors import SettingError
from decaf.runtime.wording import byte_size, counted

__all__ = ["HELP", "configure", "run"]

HELP = (
    "write a feature file as .npy, .csv, .npz, .mat, .parquet or .faiss, a network as .onnx or .pt2"
)

EPILOG = """\
examples:
  decaf export photos.h5 -o photos.npy -l fc6
  decaf export photos.h5 -o photos.mat                      all layers, paths, labels, classes
  decaf export photos.h5 -o photos.parquet --map --thumbnails 96
  decaf export photos.h5 -o photos.faiss -l fc7             an index whose ids are row numbers
  decaf export model.safetensors -o model.onnx              image in, probabilities out
  decaf export imagenet -o features.onnx -l fc6 -l fc7      image in, features out

A layer that is alone in a .npz or .mat is called `features` there, several have their own names.
In a .mat the axes stand in the order that `decaf info` shows, images first; MATLAB's h5read
reverses those of the feature file itself. Labels count from 0, and -1 is none: in MATLAB the class
of image i is class_names{label(i) + 1}.

The .parquet is for Embedding Atlas (embedding-atlas photos.parquet --vector vector, or --x x --y y
with --neighbors neighbours; with --image image too, after --ok-only) and FiftyOne: path, class,
status, map, nearest images, picture, vector.

A network takes uint8 pixels (N, height, width, 3), RGB, resized and cropped, and normalises them
itself; how they are to be prepared, and the class names, are in its metadata. An ONNX model is
compared with the network where ONNX Runtime is installed (pip install 'decaf-features[onnx]').
"""

FEATURE_ENDINGS = (".npy", ".csv", ".npz", ".mat")
TABLE_ENDINGS = (".parquet", ".faiss")
MODEL_ENDINGS = (".onnx", ".pt2")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf export``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "source",
        metavar="F.h5|MODEL",
        help="a feature file; or a network: the name of weights, or their file",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="X",
        required=True,
        help="file to write; its ending is the format: of features .npy (with X.rows.csv) or .csv, "
        "one layer, as .parquet and .faiss; .npz or .mat, any number; of a network .onnx or .pt2 "
        "(torch.export)",
    )
    parser.add_argument(
        "-l",
        "--layer",
        action="append",
        help="layer to write, may be repeated (default: all that a feature file holds; of a "
        "network prob)",
    )
    parser.add_argument("--ok-only", action="store_true", help="leave out the rows of bad images")
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail where the ONNX model cannot be compared with the network",
    )
    parser.add_argument(
        "--raw-text",
        action="store_true",
        help="in .csv, write names as they are; by default an apostrophe stands before those that "
        "a spreadsheet would take for a formula",
    )
    group = parser.add_argument_group("of a .parquet")
    group.add_argument("--map", action="store_true", help="place the images on a plane: x and y")
    group.add_argument(
        "--thumbnails", type=int, metavar="N", help="pictures of the images, N pixels high"
    )
    group.add_argument(
        "--neighbours", type=int, metavar="K", help="nearest images of each (default: 10; 0: none)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Export, print what was written, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    ending = Path(args.out).suffix.lower()
    if ending in MODEL_ENDINGS:
        return _export_model(args)
    for name in ("map", "thumbnails", "neighbours"):
        if getattr(args, name) not in (None, False) and ending != ".parquet":
            raise SettingError(f"{args.out}: --{name} is for .parquet")
    if ending in TABLE_ENDINGS:
        return _export_table(args, ending)
    if ending in FEATURE_ENDINGS:
        return _export_features(args)
    raise SettingError(
        f"{args.out}: cannot tell the format from the ending {ending!r}; use one of "
        f"{', '.join(FEATURE_ENDINGS + TABLE_ENDINGS)} (features), "
        f"{', '.join(MODEL_ENDINGS)} (a network)"
    )


def _export_features(args: argparse.Namespace) -> int:
    import decaf

    if args.check:
        raise SettingError("--check is for networks")
    done = decaf.export_features(
        args.source,
        args.out,
        layer=args.layer,
        ok_only=args.ok_only,
        raw_text=args.raw_text,
        overwrite=args.overwrite,
    )
    files = [str(path) for path in done.files]
    if args.json:
        report = {"files": files, "layers": done.layers, "dtype": done.dtype, "bad": done.bad}
        print(json.dumps(report, indent=2))
    else:
        layers = "; ".join(f"{name}, {_times(shape)}" for name, shape in done.layers.items())
        show(f"{layers} {done.dtype}: {', '.join(files)}")
        if done.bad:
            kept = "left out" if args.ok_only else "written as NaN (--ok-only leaves them out)"
            show(f"{counted(done.bad, 'row')} of images that could not be read: {kept}")
    return 0


def _export_table(args: argparse.Namespace, ending: str) -> int:
    import decaf

    if args.check:
        raise SettingError("--check is for networks")
    if args.layer and len(args.layer) > 1:
        raise SettingError(f"{args.out}: takes one layer, got {', '.join(args.layer)}")
    layer = args.layer[0] if args.layer else None
    if ending == ".faiss":
        done = decaf.export_index(args.source, args.out, layer=layer, overwrite=args.overwrite)
    else:
        done = decaf.export_table(
            args.source,
            args.out,
            layer=layer,
            overwrite=args.overwrite,
            **setting_values(args, decaf.TableSettings),
        )
    if args.json:
        print(json.dumps({**dataclasses.asdict(done), "path": str(done.path)}))
        return 0
    columns = f", with {', '.join(done.columns)}" if done.columns else ""
    show(f"{done.path}: {counted(done.rows, 'row')} of {done.layer}, {done.dimensions}{columns}")
    if done.bad:
        kept = "left out" if args.ok_only or ending == ".faiss" else "without features"
        show(f"{counted(done.bad, 'row')} of images that could not be read: {kept}")
    if done.gone:
        show(f"{counted(done.gone, 'image')} not at their place any more: without a picture")
    return 0


def _export_model(args: argparse.Namespace) -> int:
    if args.ok_only:
        raise SettingError("--ok-only is for feature files")
    import decaf

    done = decaf.export_model(
        args.source,
        args.out,
        layers=args.layer or "prob",
        check=True if args.check else None,
        overwrite=args.overwrite,
    )
    side = done.weights.spec.input_size
    agreement = done.agreement
    if args.json:
        report = {
            "file": str(done.path),
            "bytes": done.bytes,
            "weights": done.weights.name,
            "sha256": done.weights.sha256,
            "input": ["N", side, side, 3],
            "layers": {layer: ["N", *shape] for layer, shape in done.layers.items()},
            "class_names": list(done.weights.class_names),
            "preprocess": done.weights.preprocess.to_dict(),
            "checked_with": agreement and agreement.program,
            "relative_errors": agreement and agreement.relative_errors,
        }
        print(json.dumps(report, indent=2))
        return 0
    outputs = ", ".join(f"{layer} N × {_times(shape)}" for layer, shape in done.layers.items())
    show(
        f"{args.out}: {done.weights.name}, {byte_size(done.bytes)}; "
        f"images uint8 N × {side} × {side} × 3 to {outputs}"
    )
    if agreement is None:
        show("not checked: ONNX Runtime is not installed (pip install 'decaf-features[onnx]')")
    else:
        show(f"{agreement.program} agrees: largest relative error {agreement.worst:.1e}")
    return 0


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

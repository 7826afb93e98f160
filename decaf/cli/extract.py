"""``decaf extract``: images to a feature file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_crops,
    add_listing,
    add_network,
    add_report,
    compute_of,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.status import status_lines
from decaf.cli.terminal import is_chief, show
from decaf.runtime.wording import counted

__all__ = ["HELP", "configure", "run"]

HELP = "compute the features of images and write them to an HDF5 file, or of shards to parts"

EPILOG = """\
examples:
  decaf extract photos/ -o photos.h5 -w imagenet -l fc6 -l fc7
  decaf extract 'scans/**/*.tif' -o scans.h5 -w random:0 --labels none
  find . -name '*.jpg' -print0 | decaf extract - -o all.h5 -w imagenet
  decaf extract camera/ -o boxes.h5 --crops-from megadetector.json --margin 0.1
  decaf extract 's3://photos/{000000..000999}.tar' -o s3://features/fc7/ --engine ray -l fc7

Where the output ends in a slash, or --engine is given, SRC are shards (tars of webdataset, tars,
zips, Parquet files with a column of images, lists of paths or URLs), and each becomes a part in the
folder or prefix; `decaf status` tells how far that is.

An interrupted run is resumed by the same command. Exit codes: 0 done; 1 done, and some images
could not be read (their rows are NaN, `decaf info` names the first of them); 2 not done, the line
on stderr says why; 130 and 143 stopped by a signal. Whatever ends a run, finished rows are kept.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf extract``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "images",
        nargs="+",
        metavar="SRC",
        help="image, folder, glob, tar or zip archive, list of paths (.txt, .lst, @FILE), table "
        "(.csv, .tsv), array of images (.npy, .h5, .h5:DATASET), or - for a list on standard input",
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="F.h5|PREFIX/",
        help="the file to write, or the folder or URL for the parts of shards",
    )
    parser.add_argument(
        "-l",
        "--layer",
        action="append",
        metavar="LAYER",
        help="layer to extract, may be given several times (default: fc6); `decaf summary` lists "
        "them, NAME_pre is the value before the ReLU",
    )
    parser.add_argument(
        "-w",
        "--weights",
        default=DEFAULT_WEIGHTS,
        help=f"imagenet, random:SEED, {DEFAULT_WEIGHTS} (default), or a weights file",
    )
    add_crops(parser, "center")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float16"),
        help="how rows are stored (default: float32)",
    )
    add_network(parser)
    add_listing(
        parser, bad="keep its row as NaN", groups="kept as a column of F.h5", none="; or none"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace F.h5 where it differs from this run, or lacks images",
    )
    add_report(parser, "summary")
    shards = parser.add_argument_group("shards", "for -o PREFIX/; --overwrite begins anew")
    shards.add_argument(
        "--format", choices=("parquet", "h5"), help="format of the parts (default: parquet)"
    )
    shards.add_argument(
        "--engine",
        choices=("local", "torchrun", "ray"),
        help="what runs the tasks: a plain loop, the processes of torchrun, or the actors of a Ray "
        "cluster (default: torchrun in one, else local)",
    )
    shards.add_argument("--actors", type=int, metavar="N", help="actors of Ray (default: auto)")
    shards.add_argument(
        "--actor-cores", type=int, metavar="N", help="cores of each (default: 4, or all of fewer)"
    )
    shards.add_argument(
        "--shard-images",
        type=int,
        metavar="N",
        help="lines of a list of images that are one shard (default: 10000)",
    )


def run(args: argparse.Namespace) -> int:
    """Extract, print a summary, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    if args.engine is not None or args.out.endswith(("/", os.sep)) or "://" in args.out:
        return _run_shards(args)
    _refuse_flags(
        args,
        "only parts have: end the output in a slash",
        ("format", "actors", "actor_cores", "shard_images"),
    )
    import json
    import time

    import decaf

    chief = is_chief()
    began = time.monotonic()
    with stopped_by_signals("stopping after the rows in work") as stop:
        file = decaf.extract(
            decaf.collect(args.images, settings_of(args, decaf.ListingSettings)),
            args.layer or ["fc6"],
            out=args.out,
            weights=args.weights,
            preprocess=preprocess_of(args),
            crops=args.crops,
            precision=args.precision,
            dtype=args.dtype,
            device=args.device,
            batch_size=args.batch_size,
            workers=args.workers,
            on_error=args.on_error,
            overwrite=args.overwrite,
            progress=not args.quiet and chief,
            stop=stop.event,
        )
    assert isinstance(file, decaf.FeatureFile)
    with file:
        info = file.info()
        info["seconds"] = round(time.monotonic() - began, 3)
        bad = len(file) - int(file.ok.sum())
        if chief:
            print(json.dumps(info)) if args.json else show(*_summary(info, bad, args.splits))
    return 1 if bad else 0


def _run_shards(args: argparse.Namespace) -> int:
    """Make a part of each shard, print how far that is, return the exit code."""
    import dataclasses
    import json
    import os

    import decaf.scale
    from decaf.errors import SettingError

    wrong = [name for name, usual in _OF_FILES.items() if getattr(args, name) != usual]
    if wrong:
        named = ", ".join(f"`{name}`" for name in wrong)
        raise SettingError(
            f"{named}: not for shards, whose labels come with the samples and whose bad images are "
            "recorded"
        )
    if args.engine is None:
        args.engine = "local" if os.environ.get("WORLD_SIZE", "1") == "1" else "torchrun"
    args.preprocess = preprocess_of(args)
    with stopped_by_signals("stopping; the parts in work are dropped") as stop:
        status = decaf.scale.extract_shards(
            args.images,
            args.out,
            args.layer or ["fc6"],
            dtype=args.dtype,
            overwrite=args.overwrite,
            scale=settings_of(args, decaf.scale.ScaleSettings),
            network=settings_of(args, decaf.NetworkSettings),
            compute=compute_of(args, stop),
        )
    if is_chief():
        if args.json:
            print(json.dumps(dataclasses.asdict(status)))
        else:
            show(*status_lines(status))
    return 0 if status.complete and not status.bad else 1


# Flags that shards have no use for, and their defaults.
_OF_FILES = {
    "labels": "folder",
    "layout": "auto",
    "groups": None,
    "splits": None,
    "crops_from": None,
    "margin": None,
    "min_confidence": None,
    "categories": None,
    "on_error": "record",
}


def _refuse_flags(args: argparse.Namespace, why: str, names: Sequence[str]) -> None:
    from decaf.errors import SettingError

    given = [f"`{name}`" for name in names if getattr(args, name) is not None]
    if given:
        raise SettingError(f"{', '.join(given)}: {why}")


def _summary(info: dict[str, Any], bad: int, asked: str | None) -> Iterator[str]:
    shapes = ", ".join(
        f"{name} {'×'.join(str(side) for side in layer['shape'])}"
        for name, layer in info["layers"].items()
    )
    yield f"{info['path']}: {counted(info['rows'], 'row')} of {shapes}"
    if info["splits"]:
        counts = ", ".join(f"{name or 'in none'} {n}" for name, n in info["splits"].items())
        if asked or any(source["kind"] == "table" for source in info["environment"]["sources"]):
            yield f"splits, by the table: {counts}"
        else:
            yield f"splits, by their folders: {counts} (--layout classes takes them for classes)"
    if info["boxes"]:
        yield f"{info['boxes']} boxes, cut out of their images"
    if info["groups"]:
        yield f"groups: {info['groups']}"
    if info["labelled"] and info["labelled"] != info["rows"]:
        yield f"{counted(info['rows'] - info['labelled'], 'image', 'have')} no label"
    preprocess = info["run"]["preprocess"]
    side = preprocess["crop"]
    if info["size"] == [side, side] and preprocess["resize"] != "none":
        yield (
            f"all images have the network's own {side}×{side} pixels, and were resized to "
            f"{preprocess['resize_to']} and cropped; --resize none takes them pixel for pixel"
        )
    if bad:
        yield f"{counted(bad, 'image')} could not be read, see `decaf info {info['path']}`"

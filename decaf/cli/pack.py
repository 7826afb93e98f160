"""``decaf pack``: a data set to a training pack."""

from __future__ import annotations

import argparse
from typing import Any

from decaf.cli.arguments import add_listing, add_report, add_workers, compute_of, settings_of
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import show
from decaf.runtime.wording import byte_size, counted

__all__ = ["HELP", "configure", "run"]

HELP = "turn a data set into a training pack: one file, its images cut to size"

EPILOG = """\
examples:
  decaf pack imagenette/ -o imagenette.pack
  decaf pack tiny-imagenet-200/ -o tiny.pack
  decaf pack ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \\
      --devkit ILSVRC2012_devkit_t12.tar.gz -o imagenet.pack
  decaf pack photos/ -o photos.pack --split-val 0.1 --size 128
  decaf pack 's3://photos/train-{000..099}.tar' --val 's3://photos/val-*.tar' -o photos.pack

An interrupted run is resumed by the same command. Exit codes: 0 done; 1 done, and some images could
not be read (they are left out and written down in the pack); 2 not done, the line on stderr says
why; 130 and 143 stopped by a signal. Whatever ends a run, finished images are kept.
"""

SHOWN_BAD = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf pack``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "source",
        metavar="SRC",
        help="folder, tar or zip: a folder for each class, or train and val with these, or "
        "Tiny-ImageNet's layout; or ILSVRC2012_img_train.tar, or a folder with this and the "
        "others; or URLs or a pattern of the tars of a webdataset, with the classes of .cls",
    )
    parser.add_argument("-o", "--out", required=True, metavar="PACK", help="the file to write")
    parser.add_argument(
        "--val", metavar="SRC", help="where the validation images are, if they are elsewhere"
    )
    parser.add_argument(
        "--devkit",
        metavar="TAR",
        help="ImageNet's development kit, which has the classes of ImageNet's validation images",
    )
    parser.add_argument(
        "--split-val",
        type=float,
        metavar="FRACTION",
        help="take this share of each class's training images for validation",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of that draw (default: 0)"
    )
    add_listing(parser, bad="leave it out", groups="never divided by --split-val", min_images=True)
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="side of the images in pixels (default: 256; 64 for Tiny-ImageNet's layout)",
    )
    parser.add_argument(
        "--resize",
        default="shorter-side",
        choices=("shorter-side", "warp", "none"),
        help="make the shorter side N and cut out the centre (default), or make all of it square; "
        "none: images have N × N pixels already",
    )
    parser.add_argument(
        "--encoding",
        default="jpeg",
        choices=("jpeg", "raw"),
        help="store JPEGs (default), or raw pixels, which take six times the room",
    )
    parser.add_argument(
        "--quality", type=int, default=92, metavar="Q", help="quality of the JPEGs (default: 92)"
    )
    add_workers(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace PACK where it differs from this run"
    )
    add_report(parser, "summary")


def run(args: argparse.Namespace) -> int:
    """Pack, print a summary, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import json
    import time
    from functools import partial

    import decaf.scale
    from decaf.images import path_text

    began = time.monotonic()
    shards = decaf.scale.are_shards(args.source)
    if shards and args.devkit is not None:
        raise decaf.SettingError("`devkit` is of ImageNet's own tars; shards have their classes")
    with stopped_by_signals("stopping after the images in work") as stop:
        pack = (
            decaf.scale.pack_shards if shards else partial(decaf.make_pack, devkit=args.devkit)
        )(
            args.source,
            args.out,
            val=args.val,
            split_val=args.split_val,
            seed=args.seed,
            overwrite=args.overwrite,
            settings=settings_of(args, decaf.PackSettings),
            listing=settings_of(args, decaf.ListingSettings),
            compute=compute_of(args, stop),
        )
    with pack:
        info = pack.info()
        info["seconds"] = round(time.monotonic() - began, 3)
        info["bad"] = [
            {
                "split": split,
                "name": path_text(name),
                "status": status,
                "message": message,
            }
            for split, name, status, message in pack.bad
        ]
    print(json.dumps(info)) if args.json else show(*_summary(info))
    return 1 if info["bad"] else 0


def _summary(info: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{name} {split['images']}" for name, split in info["splits"].items())
    side = info["size"]
    images = "image" if sum(split["images"] for split in info["splits"].values()) == 1 else "images"
    what = f"{splits} {images} of {counted(info['classes'], 'class')}, {side} × {side} "
    what += info["encoding"]
    lines = [f"{info['path']}: {what}, {byte_size(info['bytes'])}"]
    if kept := sum(split["kept"] for split in info["splits"].values()):
        lines.append(f"  {counted(kept, 'JPEG')} had the size already, kept untouched")
    for name in ("mean", "std"):
        lines.append(f"  {name:<5}" + " ".join(f"{value:.4f}" for value in info[name]))
    bad = info["bad"]
    if bad:
        lines.append(f"  {counted(len(bad), 'image')} could not be read, left out:")
        lines += [
            f"    {entry['split']}: {entry['name']}: {entry['message']}"
            for entry in bad[:SHOWN_BAD]
        ]
        if len(bad) > SHOWN_BAD:
            lines.append(f"    … and {len(bad) - SHOWN_BAD} more; --json lists them all")
    return lines

"""ILSVRC's result tables: networks alone, averaged, and continued from a larger label set.

    python benchmarks/imagenet.py imagenet.pack --pretrain larger.pack --out DIR
    python benchmarks/imagenet.py --quick --out DIR

The tables of Krizhevsky, Sutskever and Hinton 2012 on any pack of `decaf pack`: five networks that
differ in their seeds, alone and averaged; two that were trained on LARGER.pack first and then
continued on PACK, and all seven averaged; with the centre crop and the ten-crop, top-1 and top-5
error, beside the published numbers. The recipe is the paper's; every setting of decaf train is a
flag that changes it for all networks. DIR gets the networks, in DIR/networks, and the report. What
is trained or evaluated already is not done again, also where `decaf train` has trained it: a run
that was stopped goes on with the same command, and the report has the commands for a cluster.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from arguments import run_script, script_parser
from command_line import apart_from_full, file_name, folder, shown_command
from decaf.cli.arguments import add_settings, setting_values
from decaf.errors import SettingError
from decaf.storage import disk_errors
from decaf.train import PRESETS, Pack, TrainSettings, preset
from harness.ilsvrc import ImageNetSettings, excerpt, made_up, run_imagenet
from harness.ilsvrc.quick import CLASSES, LARGER_CLASSES

# Arguments that leave out a part of what is trained, where they are not at their default.
_LESS = ("networks", "pretrained", "epochs", "pretrain_epochs")
_OTHERWISE = ("preset",)

# Defaults, and what --quick has in their place.
USUAL: dict[str, Any] = {"preset": "alexnet-2012", "networks": 5, "pretrained": 2}
QUICK: dict[str, Any] = {
    "preset": "small",
    "networks": 2,
    "pretrained": 1,
    "arch": "alexnet-64",
    "resize_to": 72,
    "epochs": 1.5,
    "pretrain_epochs": 1.0,
    "batch_size": 32,
}


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    if args.quick:
        parser.set_defaults(**QUICK)
        args = parser.parse_args()
    if args.pack is None and not args.quick:
        parser.error("PACK is missing, made by `decaf pack`; --quick goes without")
    return run_script(args.out, lambda begin: run_imagenet(begin(_settings(parser, args))))


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__, argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("pack", nargs="?", type=Path, metavar="PACK", help="made by `decaf pack`")
    add("--pretrain", type=Path, metavar="LARGER.pack", help="for the rows with a star")
    add("--out", type=Path, required=True, metavar="DIR", help="for the networks and the report")
    add(
        "--quick",
        action="store_true",
        help="few small networks on an excerpt of the packs, or on made-up images, in under two "
        "minutes",
    )
    add("--networks", type=int, metavar="N", help="trained on PACK alone (default: %(default)s)")
    add("--pretrained", type=int, metavar="N", help="begun on LARGER.pack (default: %(default)s)")
    add("--pretrain-epochs", type=float, metavar="X", help="on LARGER.pack (default: --epochs)")
    add("--preset", help=f"{', '.join(PRESETS)} (default: %(default)s)")
    add("--cache", type=Path, metavar="DIR", help="for finished evaluations (default: in --out)")
    add("-d", "--device", default="auto", help="(default: %(default)s)")
    add("-j", "--workers", type=int, metavar="N", help="decoding threads (default: one a core)")
    group = parser.add_argument_group("settings of all networks", "by default those of the preset")
    add_settings(group, TrainSettings, _OTHERWISE)
    parser.set_defaults(**USUAL)
    return parser


def _settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> ImageNetSettings:
    if args.networks < 1 or args.pretrained < 0:
        raise SettingError("--networks must be 1 or more, and --pretrained 0 or more")
    recipe = preset(args.preset, **setting_values(args, TrainSettings, _OTHERWISE))
    without = () if args.pretrain or args.quick else ("pretrain",)
    apart = apart_from_full(parser, args, less=_LESS, alike=("pack", "pretrain"), without=without)
    pack, larger = _quick_packs(args) if args.quick else (args.pack, args.pretrain)
    shown = {"--out": folder, "--pretrain": file_name, "--cache": None}
    return ImageNetSettings(
        name=f"imagenet{apart[0]}",
        title=apart[1],
        layers=("fc7",),
        device=args.device,
        workers=args.workers,
        cache=args.cache or args.out / "cache",
        command=shown_command(shown, positional=file_name),
        pack=pack,
        larger=larger if args.pretrained else None,
        recipe=recipe,
        pretrain_epochs=args.pretrain_epochs,
        networks=args.networks,
        pretrained=args.pretrained,
    )


def _quick_packs(args: argparse.Namespace) -> tuple[Path, Path | None]:
    """Make the small packs: excerpts of those that are given, or of made-up images."""
    with disk_errors(args.out, "nothing was computed"):
        args.out.mkdir(parents=True, exist_ok=True)
    pairs = [(args.pack, CLASSES), (args.pretrain, LARGER_CLASSES)]
    made: list[Path | None] = []
    for given, classes in pairs:
        if given is None and args.pack is not None:
            made.append(None)
            continue
        path = args.out / f"{'made-up' if given is None else given.stem}-{classes}-classes.pack"
        if given is None:
            made_up(path, classes)
        else:
            with Pack.open(given) as whole:
                excerpt(whole, path, classes)
        made.append(path)
    pack, larger = made
    assert pack is not None
    return pack, larger


if __name__ == "__main__":
    sys.exit(main())

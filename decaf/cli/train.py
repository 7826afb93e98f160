"""``decaf train``: a pack to a trained network."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any

from decaf.cli.arguments import add_device, add_report
from decaf.cli.log_lines import log_lines
from decaf.cli.setting_flags import add_settings, setting_values
from decaf.cli.stop import stopped_by_signals
from decaf.cli.text import printable

__all__ = ["HELP", "configure", "run"]

HELP = "train a network on a training pack"

# Settings that have a flag of their own above.
_OTHERWISE = ("preset",)

EPILOG = """\
examples:
  decaf train imagenet.pack -o runs/alexnet --preset alexnet-2012
  decaf train imagenet.pack -o runs/modern --arch alexnet --epochs 60 --batch-size 1024 --lr 0.2
  torchrun --nproc-per-node 8 -m decaf train imagenet.pack -o runs/modern --batch-size 1024

The folder of the run gets run.json (all settings), log.csv, tensorboard/, checkpoints/,
weights.safetensors after every validation, and curves.png at the end. A run that was stopped or
killed goes on with the same command and --resume. Exit codes: 0 done; 2 not done, the line on
stderr says why; 130 and 143 stopped by a signal, with a checkpoint.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from decaf.train.recipe import PRESETS, TrainSettings

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pack", metavar="PACK", help="made by `decaf pack`")
    parser.add_argument("-o", "--out", required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--val", metavar="PACK", help="validate on the images of another pack")
    parser.add_argument(
        "--preset", default="modern", help=f"{', '.join(PRESETS)} (default: modern)"
    )
    parser.add_argument(
        "--init-from",
        metavar="WEIGHTS",
        help="weights to start from; fc8 begins anew where the classes are others",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    add_device(parser)
    parser.add_argument("-j", "--workers", type=int, metavar="N", help="decoding threads")
    add_settings(
        parser.add_argument_group("settings", "by default those of the preset"),
        TrainSettings,
        _OTHERWISE,
    )
    rhythm = parser.add_argument_group("saving and telling")
    rhythm.add_argument("--checkpoint-minutes", type=float, default=10.0, metavar="M")
    rhythm.add_argument("--checkpoint-steps", type=int, metavar="N")
    rhythm.add_argument("--keep", type=int, default=3, metavar="N", help="checkpoints to keep")
    rhythm.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    rhythm.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write TensorBoard's events (default: where it is installed)",
    )
    add_report(parser, "result")


def run(args: argparse.Namespace) -> int:
    """Train, print a summary, give the exit code."""
    import json

    from decaf.errors import Stopped
    from decaf.train.heap import keep_freed_memory
    from decaf.train.recipe import TrainSettings, preset
    from decaf.train.run import train

    keep_freed_memory()
    chief = os.environ.get("RANK", "0") == "0"
    settings = preset(args.preset, **setting_values(args, TrainSettings, _OTHERWISE))
    with stopped_by_signals("stopping after this step") as stop, log_lines(chief):
        try:
            result = train(
                args.pack,
                args.out,
                settings,
                val=args.val,
                init_from=args.init_from,
                resume=args.resume,
                device=args.device,
                workers=args.workers,
                checkpoint_minutes=args.checkpoint_minutes,
                checkpoint_steps=args.checkpoint_steps,
                keep=args.keep,
                log_every=args.log_every,
                tensorboard=args.tensorboard,
                progress=not args.quiet and chief,
                stop=stop.event,
            )
        except Stopped as error:
            if chief:
                print(f"decaf: {error}", file=sys.stderr)
            return stop.exit_code
    if chief:
        plain = dataclasses.asdict(result)
        plain |= {"folder": str(result.folder), "weights": str(result.weights)}
        print(json.dumps(plain) if args.json else _summary(plain))
    return 0


def _summary(result: dict[str, Any]) -> str:
    text = (
        f"{printable(result['weights'])}: {result['epochs']:g} epochs in "
        f"{result['seconds'] / 60:.1f} minutes"
    )
    found = result["validation"]
    if found is not None:
        text += (
            f"; on {found['images']} validation images top-1 error {found['top1_error']:.2f} %, "
            f"top-5 error {found['top5_error']:.2f} %"
        )
    return text

"""``decaf train``: a pack to a trained network."""

from __future__ import annotations

import argparse
import threading
from typing import TYPE_CHECKING, Any

from decaf.cli.arguments import add_device, add_report
from decaf.cli.setting_flags import add_settings, setting_values
from decaf.cli.training_run import add_saving, is_chief, run_training, time_taken

if TYPE_CHECKING:
    from decaf.train.session import TrainResult

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
    from decaf.train.presets import PRESETS
    from decaf.train.recipe import TrainSettings

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
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint, with the same settings; --epochs may be more",
    )
    add_device(parser)
    parser.add_argument("-j", "--workers", type=int, metavar="N", help="decoding threads")
    add_settings(
        parser.add_argument_group("settings", "by default those of the preset"),
        TrainSettings,
        _OTHERWISE,
    )
    add_saving(parser)
    add_report(parser, "result")


def run(args: argparse.Namespace) -> int:
    """Train, print a summary, give the exit code."""
    from decaf.train.presets import preset
    from decaf.train.recipe import TrainSettings
    from decaf.train.run import train

    settings = preset(args.preset, **setting_values(args, TrainSettings, _OTHERWISE))

    def work(stop: threading.Event) -> TrainResult:
        return train(
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
            progress=not args.quiet and is_chief(),
            stop=stop,
        )

    return run_training(args, work, _summary)


def _summary(result: dict[str, Any]) -> str:
    text = time_taken(result)
    found = result["validation"]
    if found is not None:
        text += f"; on {found['images']} validation images top-1 error {found['top1_error']:.2f} %"
        if found["top5_error"] is not None:
            text += f", top-5 error {found['top5_error']:.2f} %"
    return text

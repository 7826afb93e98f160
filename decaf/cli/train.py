"""``decaf train``: a pack to a trained network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from decaf.cli.arguments import add_training, compute_of, setting_values, settings_of
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import print_training
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.train import Validation

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
    """Add the arguments of ``decaf train``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    from decaf.train import PRESETS, TrainSettings

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
    about = "by default those of the preset"
    add_training(parser, ("settings", about, TrainSettings, _OTHERWISE))


def run(args: argparse.Namespace) -> int:
    """Train, print a summary, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf
    from decaf.runtime.memory import keep_freed_memory
    from decaf.train import preset

    keep_freed_memory()
    values = setting_values(args, decaf.TrainSettings, _OTHERWISE)
    with stopped_by_signals("stopping after this step") as stop:
        result = decaf.train_network(
            args.pack,
            args.out,
            preset(args.preset, **values),
            val=args.val,
            init_from=args.init_from,
            saving=settings_of(args, decaf.SavingSettings),
            compute=compute_of(args, stop),
        )
    print_training(result, _errors, as_json=args.json)
    return 0


def _errors(validation: Validation) -> str:
    images, top1, top5 = validation.images, validation.top1_error, validation.top5_error
    text = f"on {counted(images, 'validation image')} top-1 error {top1:.2f} %"
    return text if top5 is None else f"{text}, top-5 error {top5:.2f} %"

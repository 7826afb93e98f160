"""``decaf finetune``: a folder of images and a network to a network for them."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.cli.arguments import (
    add_device,
    add_listing,
    add_preprocess,
    add_report,
    add_settings,
    compute_of,
    preprocess_of,
    settings_of,
)
from decaf.cli.exit_codes import stopped_by_signals
from decaf.cli.terminal import is_chief, show
from decaf.runtime.wording import counted

__all__ = ["HELP", "configure", "run"]

HELP = "adapt a whole network to a folder of images"

EPILOG = """\
examples:
  decaf finetune photos/ -o photos.safetensors
  decaf finetune photos/train --val photos/val -o photos.safetensors -w imagenet --freeze conv3
  decaf finetune photos/ -o photos.safetensors --class-weights balanced --save-head photos.head
  decaf predict photos.safetensors IMG_0815.jpg

TRAIN is a folder or archive with a folder for each class (or these below train and val), a list of
images, or a pack made by `decaf pack`. First a logistic regression is fitted to the frozen fc7, and
tried on the validation images; then all layers are trained, and both are compared. What was trained
is kept if it names more validation images rightly, and its calibrated loss is lower by more than a
standard error of the difference; else MODEL is the frozen network with the head on it (not with
--start new). MODEL is a weights file, which every command takes; MODEL.md describes it, and
MODEL.finetune/ holds the log and the curves. A run that was stopped or killed goes on with the same
command and --resume.
Exit codes: 0 done; 1 done, and some images could not be read; 2 not done, the line on stderr says
why; 130 and 143 stopped by a signal, with what was finished.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf finetune``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    from decaf.finetuning import FinetuneSettings

    parser.add_argument("train", metavar="TRAIN", help="training images, in classes")
    parser.add_argument(
        "-o", "--out", required=True, metavar="MODEL", help="weights file to write (.safetensors)"
    )
    parser.add_argument(
        "-w",
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="W",
        help=f"network to start from: a name or a file (default: {DEFAULT_WEIGHTS})",
    )
    images = parser.add_argument_group("images")
    images.add_argument("--val", metavar="VAL", help="validation images, of classes of TRAIN")
    images.add_argument(
        "--val-fraction",
        type=float,
        metavar="X",
        help="share of each class that is drawn for validation, where there are no such images "
        "(default: 0.2)",
    )
    add_listing(
        images,
        bad="leave it out",
        groups="never in training and validation both",
        min_images=True,
        val_labels=True,
    )
    images.add_argument(
        "-j", "--workers", type=int, metavar="N", help="decoding threads (default: one a core)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--save-head", metavar="HEAD", help="write the frozen head too, for decaf predict"
    )
    output.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was stopped, or begin where there is none; for a finished "
        "one, print the result again",
    )
    output.add_argument(
        "--overwrite",
        action="store_true",
        help="begin anew, and replace MODEL when the new one is there",
    )
    output.add_argument("--keep", action="store_true", help="keep the pack and the checkpoints")
    output.add_argument(
        "--checkpoint-minutes", type=float, default=2.0, metavar="M", help="(default: 2)"
    )
    output.add_argument("--checkpoint-steps", type=int, metavar="N")
    add_preprocess(parser)
    add_device(parser)
    add_settings(parser.add_argument_group("settings"), FinetuneSettings)
    add_report(parser, "result")
    parser.set_defaults(news=True)  # each stage is logged as it begins


def run(args: argparse.Namespace) -> int:
    """Fine-tune, print a summary, return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf
    from decaf.runtime.memory import keep_freed_memory

    keep_freed_memory()
    chief = is_chief()
    with stopped_by_signals("stopping after this step") as stop:
        result = decaf.finetune(
            args.train,
            args.val,
            out=args.out,
            save_head=args.save_head,
            overwrite=args.overwrite,
            keep=args.keep,
            settings=settings_of(args, decaf.FinetuneSettings),
            listing=settings_of(args, decaf.ListingSettings),
            network=settings_of(
                args,
                decaf.NetworkSettings,
                ("precision", "batch_size"),
                preprocess=preprocess_of(args),
            ),
            saving=settings_of(args, decaf.SavingSettings, ("keep",)),
            compute=compute_of(args, stop),
        )
    if chief:
        plain = result.to_dict()
        print(json.dumps(plain)) if args.json else show(*_summary(plain, args.save_head))
    return 1 if result.bad else 0


def _summary(result: dict[str, Any], head: str | None) -> list[str]:
    from decaf.runtime.progress import duration

    train = sum(each["train"] for each in result["classes"])
    what = (
        f"{counted(len(result['classes']), 'class')}, {counted(train, 'training image')}, "
        f"{counted(result['epochs'], 'epoch')}"
    )
    validation = counted(result["frozen"]["images"], "validation image")
    by_groups = ", by groups" if "independent" in result["frozen"] else ""
    lines = [
        f"{result['path']}: {what} in {duration(result['seconds'])}",
        f"  on {validation}   accuracy   95 % interval{by_groups}",
        *(f"    {name:24}{_row(each)}" for name, each in result["compared"].items()),
        f"  {result['verdict']}",
    ]
    if not result["better"] and not result["is_start"]:
        name = shlex.quote(str(Path(result["path"]).with_suffix(".head")))
        lines.append(
            f"  the same command with --resume --save-head {name} writes the head"
            if head is None
            else f"  the head is in {head}"
        )
    bad = result["bad"]
    if bad:
        names = ", ".join(each["name"] for each in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        lines.append(f"  {counted(len(bad), 'image')} could not be read, left out: {names}{more}")
    return lines


def _row(accuracy: dict[str, Any]) -> str:
    low, high = accuracy["interval"]
    return f"    {accuracy['percent']:5.1f} %    {low:.1f} to {high:.1f} %"

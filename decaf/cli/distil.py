"""``decaf distil``: photographs and a teacher to a trained network."""

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

HELP = "train a network to answer as another does, on photographs without labels"

# What a teacher leaves no choice of, and what has a flag of its own.
_OTHERWISE = (
    *("preset", "label_smoothing", "crop", "lighting", "pixels", "mean"),
    *("class_weights", "sampling"),
)

EPILOG = """\
examples:
  decaf distil photos/ --teacher efficientnet-lite0.onnx -o runs/student
  decaf distil photos/ more.pack --shares 1 0.5 --teacher resnet.onnx --card resnet.json -o runs/a
  decaf distil photos/ --teacher big/weights.safetensors -o runs/b --epochs 50 --grow-from 128

An ONNX teacher needs a card: a JSON file beside it, of the same name, with "preprocess" and
"class_names". Folders are packed, and answers kept, in RUN.cache, which may be removed afterwards.
The folder of the run is that of `decaf train`; its errors are disagreements with the teacher. A run
that was stopped or killed goes on with the same command and --resume. Exit codes: 0 done; 2 not
done, the line on stderr says why; 130 and 143 stopped by a signal, with a checkpoint.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf distil``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    from decaf.train import DistilSettings, TrainSettings

    parser.add_argument(
        "photographs", metavar="PHOTOGRAPHS", nargs="+", help="folders, archives, or packs"
    )
    parser.add_argument(
        "--teacher",
        required=True,
        metavar="MODEL",
        help="an ONNX file, or weights: a name, or a file of decaf",
    )
    parser.add_argument("-o", "--out", required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--card", metavar="JSON", help="preprocessing and classes of the teacher")
    parser.add_argument(
        "--engine",
        choices=("auto", "openvino", "onnxruntime"),
        default="auto",
        help="program that runs an ONNX file (default: OpenVINO where it is installed)",
    )
    parser.add_argument(
        "--teacher-precision",
        choices=("fp32", "bf16"),
        help="its arithmetic (default: bf16 where OpenVINO and the processor have it)",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        type=float,
        metavar="X",
        help="how often an image of each of PHOTOGRAPHS is shown, in proportion (default: alike)",
    )
    parser.add_argument("--cache", metavar="DIR", help="for packs and answers (default: RUN.cache)")
    parser.add_argument("--init-from", metavar="WEIGHTS", help="weights to start from")
    about = "by default as in the preset 'distil'"
    add_training(
        parser,
        ("the teaching", None, DistilSettings, ()),
        ("the training", about, TrainSettings, _OTHERWISE),
    )


def run(args: argparse.Namespace) -> int:
    """Distil, print a summary, return the exit code.

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
        result = decaf.distil(
            args.photographs,
            args.teacher,
            args.out,
            preset("distil", **values),
            settings_of(args, decaf.DistilSettings),
            shares=args.shares,
            cache=args.cache,
            init_from=args.init_from,
            loading=settings_of(args, decaf.TeacherSettings),
            saving=settings_of(args, decaf.SavingSettings),
            compute=compute_of(args, stop),
        )
    print_training(result, _agreement, as_json=args.json)
    return 0


def _agreement(validation: Validation) -> str:
    images, top1, top5 = validation.images, validation.top1_error, validation.top5_error
    text = (
        f"of {counted(images, 'held-out image')} it gives {100 - top1:.1f} % the teacher's class "
        "first"
    )
    return text if top5 is None else f"{text}, {100 - top5:.1f} % among five"

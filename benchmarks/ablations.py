"""The ablations of Krizhevsky, Sutskever & Hinton 2012, made anew on little data.

    python benchmarks/ablations.py --cifar cifar-10/ --images imagenette/

ReLU beside tanh: epochs until a network of four layers has a training error of 25 % on CIFAR-10,
each with the best learning rate of a grid (the paper's figure 1). And the 2012 network for images
of 64 pixels, trained with all its parts and without each: local response normalisation,
overlapping pooling, dropout, the change of colours, random crops, mirroring, and two towers.

CIFAR-10 is a folder of PNG files, train/CLASS (or a pack of 32 pixels); the other images a folder
with train and val, or a pack. Where there is a GPU, its time of a step stands beside the CPU's.
Every run is kept when it is done: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from arguments import Begin, Measured, add_machine_options, run_script, script_parser
from command_line import apart_from_full, folder, shown_command
from decaf.errors import InputError
from decaf.runtime.device import choose_device
from decaf.runtime.machine import processor
from harness.ablation import (
    ActivationSettings,
    SwitchSettings,
    compare_activations,
    make_report,
    step_times,
    train_switches,
)
from harness.protocol.run import ProtocolSettings

NAME = "ablations"
# Arguments that leave out a part of the results.
_LESS = (
    "quick",
    "part",
    "seeds",
    "epochs",
    "per_class",
    "test_per_class",
    "cifar_epochs",
    "rates",
    "switches",
)
# What --quick does of each part.
QUICK_ACTIVATIONS: dict[str, Any] = {"rates": (0.01,), "seeds": 2, "epochs": 4, "per_class": 200}
QUICK_SWITCHES: dict[str, Any] = {
    "seeds": 2,
    "epochs": 1.0,
    "per_class": 13,
    "test_per_class": 10,
}


def main() -> int:
    parser = _parser()
    args = parser.parse_args()

    def measured(begin: Begin) -> Measured:
        activation, switch = _activation_settings(args), _switch_settings(args)
        run = begin(_settings(parser, args))
        activations = switches = None
        if activation is not None:
            with run.timed("ReLU and tanh"):
                activations = compare_activations(run, activation)
        if switch is not None:
            with run.timed("with and without"):
                switches = train_switches(run, switch)
        times = step_times(choose_device(args.device), processor())
        return make_report(run, activations, switches, times), None

    return run_script(args.out, measured)


def _activation_settings(args: argparse.Namespace) -> ActivationSettings | None:
    if args.part == "switches":
        return None
    own: dict[str, Any] = {
        "rates": tuple(args.rates),
        "seeds": args.seeds,
        "epochs": args.cifar_epochs,
    }
    own |= QUICK_ACTIVATIONS if args.quick else {}
    return ActivationSettings(_there(args.cifar, "--cifar"), **own)


def _switch_settings(args: argparse.Namespace) -> SwitchSettings | None:
    if args.part == "activation":
        return None
    own: dict[str, Any] = {
        "seeds": args.seeds,
        "epochs": args.epochs,
        "per_class": args.per_class or None,
        "test_per_class": args.test_per_class or None,
    }
    own |= QUICK_SWITCHES if args.quick else {}
    return SwitchSettings(
        _there(args.images, "--images"),
        lr=args.lr,
        precision=args.precision,
        switches=tuple(args.switches or ()),
        **own,
    )


def _there(path: Path | None, option: str) -> Path:
    if path is None:
        raise InputError(f"{option} is missing; --part measures one of the two parts alone")
    if not path.exists():
        raise InputError(f"{option} {path}: is not there")
    return path


def _settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> ProtocolSettings:
    end, title = apart_from_full(parser, args, less=_LESS, alike=("cifar", "images"))
    shown = {"--cifar": folder, "--images": folder, "--out": None, "--cache": None}
    return ProtocolSettings(
        name=f"{NAME}{end}",
        layers=(),
        device=args.device,
        workers=args.workers,
        cache=args.cache,
        recompute=args.recompute,
        command=shown_command(shown),
        title=title,
    )


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--cifar", type=Path, metavar="DIR|PACK", help="CIFAR-10, for ReLU and tanh")
    add("--images", type=Path, metavar="DIR|PACK", help="images for the other ablations")
    add(
        "--part", choices=("both", "activation", "switches"), default="both", help="(default: both)"
    )
    add("--quick", action="store_true", help="few images and epochs, in under two minutes")
    add("--seeds", type=int, default=3, metavar="N", help="of every comparison (default: 3)")
    add(
        "--rates",
        type=float,
        nargs="+",
        default=[0.01, 0.03, 0.003],
        metavar="R",
        help="learning rates for ReLU and tanh (default: 0.01 0.03 0.003)",
    )
    add("--cifar-epochs", type=int, default=40, metavar="N", help="at most (default: 40)")
    add("--epochs", type=float, default=15.0, metavar="N", help="with and without (default: 15)")
    add("--lr", type=float, default=3e-4, metavar="R", help="with and without (default: 0.0003)")
    add(
        "--per-class",
        type=int,
        default=200,
        metavar="N",
        help="training images of each class that a seed draws, 0 for all (default: 200)",
    )
    add(
        "--test-per-class",
        type=int,
        default=200,
        metavar="N",
        help="test images of each class, 0 for all (default: 200)",
    )
    add(
        "--switches",
        nargs="+",
        metavar="S",
        help="some of lrn overlap dropout lighting crop mirror towers (default: all)",
    )
    add(
        "--precision",
        default="bf16",
        choices=("fp32", "bf16"),
        help="with and without (default: bf16)",
    )
    add_machine_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

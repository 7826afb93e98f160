"""The time that fine-tuning takes besides its steps.

    python benchmarks/speed/finetuning.py PHOTOGRAPHS

PHOTOGRAPHS is a folder with a folder for each class. They are packed and divided as by
`decaf finetune` with its defaults, and the packaged weights are trained. Compared are the bare
forward pass, backward pass and update on a batch that is there already, the trainer's step on the
same, and steps fed from the pack: decoded, cut, mirrored, lit and normalised. They take turns, and
ratios are taken round by round, so that they hold when the machine's speed drifts. A validation is
timed in each round too: there is one an epoch, or fewer. The result goes to ``--json`` (and as
Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from machine import describe, described, parser_of, table_row, tell
from steps import BareStep, seconds_of, spread

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import load_weights
from decaf.finetuning.data import divided, find_images
from decaf.finetuning.settings import VAL_FRACTION, FinetuneSettings
from decaf.runtime.cores import available_cores
from decaf.runtime.device import bf16_is_native, choose_device
from decaf.runtime.memory import keep_freed_memory
from decaf.runtime.processes import World
from decaf.runtime.settings import ComputeSettings
from decaf.train.feed import Feed
from decaf.train.pack.build import make_pack
from decaf.train.step import DTYPES
from decaf.train.training_run import SavingSettings, TrainingData, TrainingRun
from decaf.train.validate import validate

BARE, STEP, LOOP = "bare step", "trainer's step", "steps fed from the pack"

_row = partial(table_row, width=26)


def main() -> None:
    args = _arguments()
    keep_freed_memory()  # as the command does
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decaf-speed-")))
        report = _measure(args, folder, stack)
    tell(report, "Speed of fine-tuning", _table(report), args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "finetune_speed")
    parser.add_argument("photographs", type=Path, help="folder with a folder for each class")
    parser.add_argument("--rounds", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="a round (default: %(default)s)")
    return parser.parse_args()


def _measure(args: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    device = choose_device("auto")
    weights = load_weights(DEFAULT_WEIGHTS)
    size, resize = weights.preprocess.resize_to, weights.preprocess.resize
    source = find_images(args.photographs)
    pack = make_pack(source, folder / "data.pack", size=size, encoding="raw", resize=resize)
    stack.callback(pack.close)
    data = divided(pack, None, VAL_FRACTION, 0)
    precision = "bf16" if bf16_is_native(device) else "fp32"
    settings = FinetuneSettings().training(len(data.train), precision)
    run = TrainingRun(
        TrainingData(pack, data.train, data.val),
        folder / "run",
        settings,
        World(device),
        saving=SavingSettings(),
        compute=ComputeSettings(),
        begun=weights,
    )
    stack.callback(run.close)
    trainer, spec = run.trainer, run.spec
    bare = BareStep(
        spec,
        settings.batch_size,
        device,
        optimizer=settings.optimizer,
        state={key: tensor.clone() for key, tensor in trainer.outcome().items()},
        dtype=DTYPES[precision],
    )
    feed = Feed(
        data.train,
        settings,
        side=pack.size,
        pca=pack.pca,
        normaliser=run.normaliser,
        crop=spec.input_size,
        device=device,
        workers=available_cores(),
    )
    seconds: dict[str, list[float]] = {BARE: [], STEP: [], LOOP: [], "validation": []}
    for number in range(args.rounds + 1):
        print(f"round {number} of {args.rounds}", file=sys.stderr, flush=True)
        # One batch more than is timed: the first waits for the threads to start.
        first, last = number * (args.steps + 1), (number + 1) * (args.steps + 1)
        with feed.batches(first, last) as batches:
            batch = next(batches)
            trainer.take(batch)
            fed = seconds_of(trainer, batches, device)
        durations = {
            BARE: seconds_of(bare, repeat(batch, args.steps), device),
            STEP: seconds_of(trainer, repeat(batch, args.steps), device),
            LOOP: fed,
        }
        began = time.perf_counter()
        validate(
            trainer.predict,
            data.val,
            run.preprocess,
            run.normaliser,
            run.world,
            workers=available_cores(),
        )
        durations["validation"] = time.perf_counter() - began
        for name, value in durations.items():
            if number:  # the first round chooses algorithms and fills caches
                seconds[name].append(value)
    if not (math.isfinite(float(bare.loss)) and trainer.is_finite()):
        sys.exit("the loss went astray; what was timed was no training")
    images = args.steps * settings.batch_size
    steps: dict[str, Any] = {}
    for name in (BARE, STEP, LOOP):
        ratios = [one / other for one, other in zip(seconds[name], seconds[BARE], strict=True)]
        steps[name] = {
            **spread([images / value for value in seconds[name]]),
            "overhead_percent": round(100 * (statistics.median(ratios) - 1), 1),
        }
    of_epoch = feed.steps_per_epoch / args.steps
    shares = [
        one / (other * of_epoch)
        for one, other in zip(seconds["validation"], seconds[BARE], strict=True)
    ]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "machine": describe(gpu),
        "command": f"python benchmarks/speed/finetuning.py PHOTOGRAPHS --rounds {args.rounds} "
        f"--steps {args.steps}",
        "images": {"training": len(data.train), "validation": len(data.val)},
        "batch_size": settings.batch_size,
        "precision": precision,
        "steps": steps,
        "validation_percent_of_epoch": round(100 * statistics.median(shares), 1),
    }


def _table(report: dict[str, Any]) -> str:
    images = report["images"]
    counts = f"{images['training']} training images, {images['validation']} for validation"
    lines = [
        described(report["machine"]),
        f"{counts}; batch of {report['batch_size']}, {report['precision']}",
        "",
        _row("", "images/s", "slowest", "fastest", "overhead"),
    ]
    for name, step in report["steps"].items():
        cells = [f"{step[key]:.1f}" for key in ("images_per_s", "slowest", "fastest")]
        lines.append(_row(name, *cells, f"{step['overhead_percent']:.1f} %"))
    share = f"{report['validation_percent_of_epoch']:.1f} %"
    lines += ["", f"a validation takes {share} of the bare steps of an epoch"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""How the defaults of `decaf finetune` were chosen: recipes on several data sets, of few images.

    python benchmarks/finetune_defaults.py pacs=PACS/photo imagenette=imagenette/train \\
        -o benchmarks/results/finetune_defaults.json

Each set is a folder of classes. Of each class some images are drawn by seed for training and
validation (a fifth), and others for the test. A recipe is one of `RECIPES`: what differs from the
defaults that the program has. A run that is interrupted goes on where it was: the JSON is written
after every training.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from command_line import report_file, say_full_run, shown_command
from decaf.backbone.model import Backbone
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import Weights, load_weights
from decaf.finetuning.frozen_head import FrozenHead, fit_frozen_head, layer_values
from decaf.finetuning.settings import FinetuneSettings
from decaf.images import ImageList, collect
from decaf.images.listing.draws import draw_order
from decaf.runtime.device import bf16_is_native
from decaf.runtime.processes import World
from decaf.runtime.settings import ComputeSettings
from decaf.storage import write_atomically
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import source_of
from decaf.train.train_network import train_to_end
from decaf.train.training_run import SavingSettings, TrainingData, TrainingRun
from harness.protocol.splits import salt_of
from speed.machine import describe

# What each recipe changes.
RECIPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "start new": {"start": "new"},
    "start new, head 5 epochs": {"start": "new", "head_epochs": 5.0},
    "lr 3e-5": {"lr": 3e-5},
    "lr 3e-4": {"lr": 3e-4},
    "lr 1e-5": {"lr": 1e-5},
    "lr 3e-5, freeze conv3": {"lr": 3e-5, "freeze": "conv3"},
    "lr 3e-5, average": {"lr": 3e-5, "average": 0.99},
    "lr 3e-5, epochs 15": {"lr": 3e-5, "epochs": 15.0},
    "fc8 x 1": {"lr_by_layer": ""},
    "dropout 0": {"dropout": 0.0},
    "freeze conv3": {"freeze": "conv3"},
    "freeze conv5": {"freeze": "conv5"},
    "sgd 1e-3": {"optimizer": "sgd", "lr": 1e-3, "weight_decay": 5e-4},
    "sgd 3e-3": {"optimizer": "sgd", "lr": 3e-3, "weight_decay": 5e-4},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "crop area 0.6": {"crop_area": (0.6, 1.0)},
    "batch 16": {"batch_size": 16},
    "epochs 60": {"epochs": 60.0},
}


def drawn(folder: Path, count: int, seed: int) -> ImageList:
    """Draw so many images of each class.

    Parameters
    ----------
    folder : Path
    count : int
        How many of each class.
    seed : int
    """
    images = collect(folder)
    images = images.part(None if images.splits is None else "train")
    images = images.take(np.flatnonzero(images.labels >= 0))
    orders = draw_order(images.labels, images.names, salt=salt_of(seed, 0))
    rows = np.concatenate([order[:count] for order in orders])
    return images.take(rows)


class Task:
    """A data set divided by a seed, with its frozen head.

    Parameters
    ----------
    pack : Pack
        The data set.
    begun : Weights
        Weights to begin with.
    world : World
    seed : int
        Seed of the division.
    args : Namespace
        Arguments of the script.
    """

    def __init__(
        self, pack: Pack, begun: Weights, world: World, seed: int, args: argparse.Namespace
    ) -> None:
        self.pack, self.begun, self.world, self.threads = pack, begun, world, args.threads
        whole = pack.images("train")
        # In the order in which they were drawn.
        place = np.empty(len(whole), np.int64)
        for label in np.unique(whole.labels):
            rows = np.flatnonzero(whole.labels == label)
            place[rows] = np.arange(len(rows))
        for_val = round(0.2 * args.per_class)
        self.val = whole.take(np.flatnonzero(place < for_val))
        train = (place >= for_val) & (place < args.per_class)
        self.train = whole.take(np.flatnonzero(train))
        self.test = whole.take(np.flatnonzero(place >= args.per_class))
        began = time.monotonic()
        self.head: FrozenHead
        self.head, fitted = fit_frozen_head(
            begun,
            self.train,
            self.val,
            balanced=False,
            seed=seed,
            device=world.device,
            workers=args.threads,
        )
        self.head_seconds = time.monotonic() - began
        self.frozen = 100 * float(np.mean(fitted.predict(self._values(begun, "fc7"))
                                          == self.test.labels))  # fmt: skip

    def _values(self, weights: Weights, layer: str) -> np.ndarray:
        backbone = Backbone(weights).to(self.world.device)
        return layer_values(backbone, layer, self.test, self.threads)

    def run(self, settings: FinetuneSettings) -> dict[str, float]:
        """Train by a recipe, and test what it keeps.

        Parameters
        ----------
        settings : FinetuneSettings
        """
        precision = "bf16" if bf16_is_native(self.world.device) else "fp32"
        training = settings.training(len(self.train), precision)
        start = (self.head.coef, self.head.intercept) if settings.start == "head" else None
        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(
                TrainingData(self.pack, self.train, self.val),
                Path(folder) / "run",
                training,
                self.world,
                saving=SavingSettings(
                    at_validation=False, checkpoint_minutes=1e6, tensorboard=False
                ),
                compute=ComputeSettings(workers=self.threads, progress=False),
                begun=self.begun,
                head=start,
            )
            try:
                run.begin()
                result = train_to_end(run)
            finally:
                run.close()
            weights = load_weights(result.weights)
            # What the recipe makes in the end, whatever validation chose: with few images for
            # validation the state to begin with is often chosen, which says nothing of a recipe.
            last = replace(weights, state=run.trainer.result().folded())
        last_right = self._values(last, "fc8").argmax(1) == self.test.labels
        right = self._values(weights, "fc8").argmax(1) == self.test.labels
        assert result.validation is not None
        return {
            "test": 100 * float(right.mean()),
            "last": 100 * float(last_right.mean()),
            "validation": 100 - result.validation.top1_error,
            "frozen_validation": 100 * float(self.head.trial.right.mean()),
            "seconds": result.seconds,
        }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all recipes that are asked for, going on with what is there.

    Parameters
    ----------
    args : Namespace
    """
    out = args.out
    # What a run that was stopped has left: no record of the full run until that is complete.
    unfinished = out.with_name(f"{out.stem}.unfinished.json")
    begun_with = next((path for path in (unfinished, out) if path.exists()), None)
    record: dict[str, Any] = (
        json.loads(begun_with.read_text(encoding="utf-8")) if begun_with else {"runs": []}
    )
    done = {(r["set"], r["seed"], r["recipe"], json.dumps(r["changes"])) for r in record["runs"]}
    begun = load_weights(args.weights)
    world = World(torch.device(args.device))
    work = Path(tempfile.mkdtemp())
    try:
        for seed in range(args.seeds):
            for name, folder in args.sets:
                wanted = [
                    recipe
                    for recipe in args.recipes
                    if (name, seed, recipe, json.dumps(RECIPES[recipe])) not in done
                ]
                if not wanted:
                    continue
                path, spec = work / f"{name}-{seed}.pack", begun.preprocess
                part = drawn(folder, args.per_class + args.test_per_class, seed)
                source = source_of(name, "drawn", {"train": part})
                make_pack(source, path, size=spec.resize_to, encoding="raw", resize=spec.resize,
                          workers=0).close()  # fmt: skip
                with Pack.open(path) as pack:
                    task = Task(pack, begun, world, seed, args)
                    for recipe in wanted:
                        changes = RECIPES[recipe]
                        settings = FinetuneSettings(**{"seed": seed, **changes})
                        row = {"set": name, "seed": seed, "recipe": recipe, "changes": changes,
                               "train": len(task.train), "tested": len(task.test),
                               "frozen": task.frozen, "head_seconds": task.head_seconds,
                               **task.run(settings)}  # fmt: skip
                        record["runs"].append(row)
                        write_atomically(unfinished, json.dumps(record, indent=1).encode())
                        told = ", ".join(f"{k} {row[k]:.1f}" for k in ("frozen", "test", "last"))
                        print(f"{name} {seed} {recipe}: {told}", flush=True)
                path.unlink()
    finally:
        shutil.rmtree(work)
    record |= {"machine": describe(), "weights": begun.name, "sha256": begun.sha256,
              "defaults": FinetuneSettings().to_dict(), "command": _command()}  # fmt: skip
    write_atomically(out, json.dumps(record, indent=1).encode())
    unfinished.unlink(missing_ok=True)
    return record


def report(record: dict[str, Any]) -> str:
    """Return a page: test accuracy of each recipe by data set, kept and last.

    Parameters
    ----------
    record : dict
        As `measure` returns it.
    """
    runs, machine = record["runs"], record["machine"]
    sets = list(dict.fromkeys(r["set"] for r in runs))
    recipes = [name for name in RECIPES if any(r["recipe"] == name for r in runs)]
    train, tested = (" to ".join(map(str, sorted({min(counts), max(counts)})))
                     for counts in ([r[k] for r in runs] for k in ("train", "tested")))  # fmt: skip
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    about = (
        "Right of the test images in percent, mean ± standard deviation over seeds, from the "
        f"weights {record['weights']}: {train} training images, {tested} test images. Of the state "
        "with the best validation, which is kept, and that of the frozen network if none is "
        'better; "gain, last" is of the state at the end, over the frozen network.'
    )
    lines = ["# How the defaults of fine-tuning were chosen", "", f"`{record['command']}`", "",
             about,
             "", "| recipe | " + " | ".join(sets) + " | gain, kept | gain, last | seconds |",
             "|---|" + "---|" * (len(sets) + 3)]  # fmt: skip

    def mean(values: list[float]) -> str:
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    frozen = [
        mean([*{r["seed"]: r["frozen"] for r in runs if r["set"] == name}.values()])
        for name in sets
    ]
    lines.append("| frozen fc7 + logistic regression | " + " | ".join(frozen) + " | | | |")
    for recipe in recipes:
        own = [r for r in runs if r["recipe"] == recipe]
        cells = [mean([r["test"] for r in own if r["set"] == n] or [math.nan]) for n in sets]
        kept, last = (statistics.mean(r[k] - r["frozen"] for r in own) for k in ("test", "last"))
        seconds = statistics.mean(r["seconds"] for r in own)
        lines.append(f"| {recipe} | {' | '.join(cells)} | {kept:+.1f} | {last:+.1f} | "
                     f"{seconds:.0f} |")  # fmt: skip
    where = f"{machine['date']}, {machine['cores']} cores of {machine['processor']}"
    lines += ["", f"{where}, GPU: {machine['gpu']}; {versions}"]
    return "\n".join(lines)


def _command() -> str:
    return shown_command(
        {"-o": None, "--out": None, "--recipes": str, "--threads": None},
        several=("--recipes",),
        positional=lambda word: f"{word.partition('=')[0]}=DIR" if "=" in word else word,
    )


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="+", type=_named, metavar="NAME=FOLDER")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=25)
    parser.add_argument("--test-per-class", type=int, default=70)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    say_full_run(parser, "finetune_defaults", alike=("threads", "weights"))
    args = parser.parse_args()
    args.out = report_file(args.out, args)
    return args


def main() -> int:
    """Measure and print."""
    args = _arguments()
    record = measure(args)
    text = report(record)
    args.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

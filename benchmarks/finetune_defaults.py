"""How the defaults of `decaf finetune` were chosen: recipes on several small data sets.

    python benchmarks/finetune_defaults.py DATA -o benchmarks/results/finetune_defaults.json

DATA is a folder with the small data sets (``pacs-mini`` and others). Of each set 30 %
of each class are drawn for the test, by seed; of the rest 20 % are for validation, as the command
does. A recipe is one of `RECIPES`: what differs from the defaults. A run that is interrupted goes
on where it was: the JSON is written after every training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decaf.backbone.device import bf16_is_native
from decaf.backbone.network import AlexNet
from decaf.backbone.weights import Weights, load_weights
from decaf.features.disk import write_atomically
from decaf.train.distributed import World
from decaf.train.finetuning.data import PickedSplit
from decaf.train.finetuning.frozen import FrozenHead, fit_frozen_head, layer_values
from decaf.train.finetuning.settings import FinetuneSettings
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.session import Rhythm, TrainingRun

SETS = {
    "pacs-photo": "pacs-mini/photo",
    "scene15": "scene15-mini/train",
    "imagenette": "imagenette-mini/train",
    "caltech101": "caltech101-mini/101_ObjectCategories",
    "pacs-sketch": "pacs-mini/sketch",
}

# What each recipe changes.
RECIPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "start new": {"start": "new"},
    "start new, head 5 epochs": {"start": "new", "head_epochs": 5.0},
    "lr 3e-5": {"lr": 3e-5},
    "lr 3e-4": {"lr": 3e-4},
    "lr 1e-5": {"lr": 1e-5},
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


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw a share of each class: (N,) bool."""
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        drawn[rows[: max(1, round(share * len(rows)))]] = True
    return drawn


class Task:
    """A data set divided by a seed, with its frozen head."""

    def __init__(self, pack: Pack, begun: Weights, world: World, seed: int, threads: int) -> None:
        self.pack, self.begun, self.world, self.threads = pack, begun, world, threads
        whole = pack.splits["train"]
        test = stratified(whole.labels, 0.3, seed)
        rest = np.flatnonzero(~test)
        val = stratified(whole.labels[rest], 0.2, seed + 1000)
        self.train = PickedSplit(whole, rest[~val])
        self.val = PickedSplit(whole, rest[val])
        self.test = PickedSplit(whole, np.flatnonzero(test))
        began = time.monotonic()
        self.head: FrozenHead
        self.head, fitted = fit_frozen_head(
            begun,
            self.train,
            self.val,
            begun.preprocess,
            begun.mean_image,
            balanced=False,
            seed=seed,
            device=world.device,
            workers=threads,
        )
        self.head_seconds = time.monotonic() - began
        self.frozen = 100 * float(np.mean(fitted.predict(self._values(begun, "fc7"))
                                          == self.test.labels))  # fmt: skip

    def _values(self, weights: Weights, layer: str) -> np.ndarray:
        network = AlexNet(weights.spec)
        network.load_state_dict(weights.state)
        return layer_values(
            network.to(self.world.device),
            layer,
            self.test,
            weights.preprocess,
            weights.mean_image,
            self.world.device,
            self.threads,
        )

    def run(self, settings: FinetuneSettings) -> dict[str, float]:
        """Train by a recipe, and test what it keeps."""
        precision = "bf16" if bf16_is_native(self.world.device) else "fp32"
        training = settings.training(len(self.train), precision)
        start = (self.head.coef, self.head.intercept) if settings.start == "head" else None
        with tempfile.TemporaryDirectory() as folder:
            run = TrainingRun(
                self.pack,
                self.val,
                Path(folder) / "run",
                training,
                self.world,
                rhythm=Rhythm(at_validation=False, checkpoint_minutes=1e6),
                init_from=self.begun,
                workers=self.threads,
                split=self.train,
                head=start,
            )
            try:
                run.begin(resume=False)
                found = run.go(tensorboard=False, progress=False, stop=_never())
            finally:
                run.close()
            weights = load_weights(found.weights)
        right = self._values(weights, "fc8").argmax(1) == self.test.labels
        assert found.validation is not None
        return {
            "test": 100 * float(right.mean()),
            "validation": 100 - found.validation.top1_error,
            "frozen_validation": 100 * float(self.head.right.mean()),
            "seconds": found.seconds,
        }


def _never() -> Any:
    import threading

    return threading.Event()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all recipes that are asked for, going on with what is there."""
    out = Path(args.out)
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"runs": []}
    done = {(r["set"], r["seed"], r["recipe"], json.dumps(r["changes"])) for r in found["runs"]}
    begun = load_weights(args.weights)
    world = World(torch.device(args.device))
    work = Path(tempfile.mkdtemp())
    try:
        for seed in range(args.seeds):
            for name in args.sets:
                wanted = [
                    recipe
                    for recipe in args.recipes
                    if (name, seed, recipe, json.dumps(RECIPES[recipe])) not in done
                ]
                if not wanted:
                    continue
                path = work / f"{name}.pack"
                if not path.exists():
                    spec = begun.preprocess
                    make_pack(Path(args.data) / SETS[name], path, size=spec.resize_to,
                              encoding="raw", resize=spec.resize, workers=0).close()  # fmt: skip
                with Pack.open(path) as pack:
                    task = Task(pack, begun, world, seed, args.threads)
                    for recipe in wanted:
                        changes = RECIPES[recipe]
                        settings = FinetuneSettings(**{"seed": seed, **changes})
                        row = {"set": name, "seed": seed, "recipe": recipe, "changes": changes,
                               "train": len(task.train), "frozen": task.frozen,
                               "head_seconds": task.head_seconds,
                               **task.run(settings)}  # fmt: skip
                        found["runs"].append(row)
                        write_atomically(out, json.dumps(found, indent=1).encode())
                        print(f"{name} {seed} {recipe}: frozen {row['frozen']:.1f}, tuned "
                              f"{row['test']:.1f}, {row['seconds']:.0f} s", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(work)
    found |= {"torch": str(torch.__version__), "weights": begun.name, "sha256": begun.sha256,
              "defaults": FinetuneSettings().to_dict()}  # fmt: skip
    write_atomically(out, json.dumps(found, indent=1).encode())
    return found


def report(found: dict[str, Any]) -> str:
    """Give a table: the mean gain of each recipe over the frozen head, by data set."""
    runs = found["runs"]
    sets = [name for name in SETS if any(r["set"] == name for r in runs)]
    recipes = [name for name in RECIPES if any(r["recipe"] == name for r in runs)]
    lines = ["| recipe | " + " | ".join(sets) + " | mean gain |",
             "|---|" + "---|" * (len(sets) + 1)]  # fmt: skip

    def mean(values: list[float]) -> str:
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    frozen = [
        mean([*{r["seed"]: r["frozen"] for r in runs if r["set"] == name}.values()])
        for name in sets
    ]
    lines.append("| frozen fc7 + logistic regression | " + " | ".join(frozen) + " | |")
    for recipe in recipes:
        cells, gains = [], []
        for name in sets:
            own = [r for r in runs if r["set"] == name and r["recipe"] == recipe]
            cells.append(mean([r["test"] for r in own]) if own else "")
            gains += [r["test"] - r["frozen"] for r in own]
        lines.append(f"| {recipe} | {' | '.join(cells)} | {statistics.mean(gains):+.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="tiny-imagenet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    found = measure(args)
    text = report(found)
    Path(args.out).with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())

"""When does fine-tuning pay? Frozen features beside the whole network, trained.

    python benchmarks/fine_tuning.py caltech101=DIR scene15=DIR pacs-photo=DIR/photo imagenette=DIR

Each set is a folder of classes, of which so many images of each class are drawn by seed for
training, and the others are the test: 30 of Caltech-101, 100 of 15-Scene, 10, 50 and all of
Imagenette's training images (tested on its validation images), and four fifths of any other set.
``NAME=DIR:10,50,all`` says otherwise. Four ways of learning are compared on the same images:
logistic regression on the frozen fc7, and `decaf.finetune` with its defaults, both from the
packaged weights and from random ones. What is chosen, C and the state of the weights to keep, is
chosen on the fifth of the training images that `decaf.finetune` puts aside.

Every run is a process of its own, so that its memory can be told, and is kept when it is done: a
run of this script that was stopped goes on, and the seeds are gone through one after the other.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import decaf
from command_line import report_folder, shown_command, told_apart
from datasets import Dataset, read_caltech101, read_class_folders, read_scene15
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.exploration.page import Cell, Column, Lines, Row, Section, Series, Table, Text
from decaf.finetuning.settings import FinetuneSettings
from decaf.heads import load_head
from decaf.images.listing.draws import draw_order
from decaf.runtime.memory import keep_freed_memory, peak_memory
from decaf.storage import write_atomically
from harness.protocol.feature_cache import cached_features
from harness.protocol.splits import salt_of
from report import BenchmarkReport, write_report
from speed.machine import describe

NAME = "fine_tuning"

READERS: dict[str, Callable[[Path], Dataset]] = {
    "caltech101": read_caltech101,
    "scene15": read_scene15,
}
SIZES = {"caltech101": "30", "scene15": "100", "imagenette": "10,50,all"}
SETS = ("caltech101", "scene15", "pacs-photo", "imagenette")  # of the full report
SEEDS = 3
STARTS = ("packaged", "random")
ALL = 0  # in place of a number of images
# Sets whose training images are among those that the packaged weights were made from.
KNOWN = ("imagenette",)
WAYS = (
    ("frozen", "packaged", "frozen fc7 + head"),
    ("tuned", "packaged", "fine-tuned"),
    ("frozen", "random", "random, frozen"),
    ("tuned", "random", "random, trained"),
)


@dataclass(frozen=True)
class Job:
    """One run: a set, how many images of each class, a seed, and weights to begin with.

    Parameters
    ----------
    name, folder : str
        Name of the set, and its folder.
    per_class : int
        Training images of each class; 0 for all.
    seed : int
    start : str
        Name of the weights.
    """

    name: str
    folder: str
    per_class: int
    seed: int
    start: str

    @property
    def weights(self) -> str:
        """The weights to begin with."""
        return DEFAULT_WEIGHTS if self.start == "packaged" else f"random:{self.seed}:alexnet"

    @property
    def key(self) -> list[Any]:
        """What tells the run from all others: other packaged weights are another run."""
        return [self.name, self.per_class, self.seed, self.start, self.weights]


def main() -> int:
    args = _arguments()
    apart = _apart_from_full(args)
    out = report_folder(args.out, apart[0])
    record = out / f"{NAME}.runs.json"
    done: list[dict[str, Any]] = (
        json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    )
    known = {json.dumps(run["key"]) for run in done}
    jobs = [
        Job(name, str(folder), size, seed, start)
        for seed in range(args.seeds)
        for start in (STARTS if args.start is None else (args.start,))
        for name, folder, sizes in args.sets
        for size in sizes
    ]
    left = [job for job in jobs if json.dumps(job.key) not in known]
    out.mkdir(parents=True, exist_ok=True)
    for number, job in enumerate(left, 1):
        run = _apart(job, args.cache)
        done.append(run)
        write_atomically(record, json.dumps(done, indent=1).encode())
        print(
            f"{number}/{len(left)} {job.name} {_size(job.per_class)} seed {job.seed} {job.start}: "
            f"frozen {run['frozen']:.1f}, tuned {run['tuned']:.1f} %, "
            f"{run['seconds']:.0f} s, {run['peak_memory'] / 2**30:.1f} GiB",
            file=sys.stderr,
            flush=True,
        )
    wanted = {json.dumps(job.key) for job in jobs}
    runs = [run for run in done if json.dumps(run["key"]) in wanted]
    command = shown_command({"--out": None, "--cache": None}, positional=_shown_set)
    for path in write_report(make_report(runs, command, apart=apart), out):
        print(f"wrote {path}")
    return 0


def _arguments() -> argparse.Namespace:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=head[0], epilog=head[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", type=_set, metavar="NAME=DIR[:N,…]")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="(default: %(default)s)")
    parser.add_argument(
        "--start",
        choices=STARTS,
        help="weights to begin with (default: both, a seed's packaged ones before its random ones)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for the report (default: benchmarks/results, of a run that is not the full one "
        "benchmarks/other_runs)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="for features")
    return parser.parse_args()


def _set(text: str) -> tuple[str, Path, list[int]]:
    name, equals, rest = text.partition("=")
    folder, colon, sizes = rest.rpartition(":")
    if not colon:
        folder, sizes = rest, SIZES.get(name, "all")
    if not name or not equals or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=DIR, DIR a folder")
    return name, Path(folder), [_images(size) for size in sizes.split(",")]


def _images(text: str) -> int:
    if text == "all":
        return ALL
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of images a class, or all")
    return int(text)


def _apart_from_full(args: argparse.Namespace) -> tuple[str, str]:
    """Return the ends of the name and title of a report that has not all sets, sizes and seeds."""
    given = {name: sizes for name, _, sizes in args.sets}
    less = [f"without {name}" for name in SETS if name not in given]
    other: list[str] = []
    for name, sizes in given.items():
        usual = [_images(size) for size in SIZES.get(name, "all").split(",")]
        words = f"{name} {','.join(map(_size, sizes))}"
        if name not in SETS:
            other.append(words)
        elif sizes != usual:
            (other if set(usual) <= set(sizes) else less).append(words)
    if args.seeds != SEEDS:
        (other if args.seeds > SEEDS else less).append(f"--seeds {args.seeds}")
    if args.start is not None:
        less.append(f"--start {args.start}")
    return told_apart([*less, *other], partial=bool(less))


def _apart(job: Job, cache: Path | None) -> dict[str, Any]:
    """Run a job in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_one, job, cache).result()


def run_one(job: Job, cache: Path | None) -> dict[str, Any]:
    """Fine-tune once, and test what came of it and the frozen head.

    Parameters
    ----------
    job : Job
    cache : Path or None
        For the features of the frozen network.
    """
    warnings.simplefilter("ignore")
    keep_freed_memory()  # as the command does
    train, test = drawn(job)
    names = np.array(train.class_names)
    with tempfile.TemporaryDirectory() as folder:
        model, head = Path(folder, "model.safetensors"), Path(folder, "frozen.head")
        began = time.perf_counter()
        result = decaf.finetune(
            list(train.files),
            labels=[str(names[label]) for label in train.labels],
            out=model,
            weights=job.weights,
            settings=FinetuneSettings(
                seed=job.seed, start="head" if job.start == "packaged" else "new"
            ),
            save_head=head,
            progress=False,
        )
        seconds = time.perf_counter() - began
        peak = peak_memory()
        features = cached_features(test, ["fc7"], weights=job.weights, cache=cache)
        rows = features.matrix("fc7", np.arange(len(test)))
        saved = load_head(head)
        frozen = np.array(saved.class_names)[saved.estimator.predict(rows)]
        logits = np.asarray(decaf.extract(list(test.files), "fc8", weights=model))
        tuned = np.array([name for name, _, _ in result.classes])[logits.argmax(1)]
    truth = np.array(test.class_names)[test.labels]
    steps = int(max(row["step"] for row in result.history))
    return {
        "key": job.key,
        "train": int(sum(count for _, count, _ in result.classes)),
        "val": result.tuned.images,
        "test": len(test),
        "classes": len(names),
        "frozen": _mean_per_class(frozen, truth),
        "tuned": _mean_per_class(tuned, truth),
        "frozen_val": result.frozen.percent,
        "tuned_val": result.tuned.percent,
        "better_on_val": result.better,
        "passed_over": result.passed_over is not None,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "batch_size": result.batch_size,
        "steps": steps,
        "seconds": seconds,
        "peak_memory": peak,
        "machine": describe(),
    }


def drawn(job: Job) -> tuple[Dataset, Dataset]:
    """Draw the training images; the others are the test.

    Parameters
    ----------
    job : Job
        An Imagenette folder has its test images beside, below ``val``.
    """
    folder = Path(job.folder)
    beside = None
    if job.name in READERS:
        whole = READERS[job.name](folder)
    elif (folder / "train").is_dir() and (folder / "val").is_dir():
        whole = read_class_folders(folder / "train", name=job.name)
        beside = read_class_folders(folder / "val", name=job.name)
    else:
        whole = read_class_folders(folder, name=job.name)
    kept = []
    for rows in draw_order(whole.labels, whole.names, salt=salt_of(job.seed, 0)):
        most = len(rows) if beside is not None else len(rows) - max(1, round(len(rows) / 5))
        kept.append(rows[: min(most, job.per_class or most)])
    train = np.concatenate(kept)
    others = np.setdiff1d(np.arange(len(whole)), train)
    return whole.take(train), whole.take(others) if beside is None else beside


def _mean_per_class(answers: np.ndarray, truth: np.ndarray) -> float:
    return 100 * float(np.mean([np.mean(answers[truth == name] == name) for name in set(truth)]))


def make_report(
    runs: Sequence[dict[str, Any]], command: str, *, apart: tuple[str, str] = ("", "")
) -> BenchmarkReport:
    """Make the table, the plot and what they say.

    Parameters
    ----------
    runs : sequence of dict
        Results of `run_one`.
    command : str
    apart : (str, str)
        End of the report's name and title.
    """
    tasks = list(dict.fromkeys((run["key"][0], run["key"][1]) for run in runs))
    most = len({run["key"][2] for run in runs})
    ways = _ways(runs)
    rows, costs = [], []
    for name, size in tasks:
        own = [run for run in runs if run["key"][:2] == [name, size]]
        first = own[0]
        title = f"{name}, {_size(size)} a class" if size else f"{name}, all"
        seeds = len({run["key"][2] for run in own})
        if seeds < most:
            title += f" ({seeds} seeds)" if seeds > 1 else " (1 seed)"
        cells = [_cell(_values(own, way, start)) for way, start, _ in ways]
        pairs = [run["tuned"] - run["frozen"] for run in own if run["key"][3] == "packaged"]
        rows.append(Row(title, (*cells, _cell(pairs))))
        costs.append(
            Row(
                title,
                (
                    f"{first['train']:,} + {first['val']:,}",
                    f"{first['test']:,}",
                    f"{first['epochs']:.3g}",
                    Cell(statistics.median(run["seconds"] / 60 for run in own)),
                    Cell(max(run["peak_memory"] / 2**30 for run in own)),
                ),
            )
        )
    headers = ("training + validation images", "test", "epochs", "minutes", "memory, GiB")
    table = Table(
        "Mean per-class accuracy on the test images",
        (*(Column(title) for _, _, title in ways), Column("gain of fine-tuning")),
        tuple(rows),
        row_header="Set",
        best="none",
        caption=("Mean ± standard deviation over seeds" if most > 1 else "One seed")
        + ", in percent; each seed draws images, folds, "
        "batches and random weights. Gain: fine-tuned less frozen, from the packaged weights, seed "
        "by seed. Random weights are trained as briefly as the packaged ones, which is far from "
        "enough for them: the column says what the packaged weights are worth to the same effort, "
        "not what training from nothing can reach.",
    )
    cost = Table(
        "What a run costs",
        tuple(Column(title) for title in headers),
        tuple(costs),
        row_header="Set",
        unit="",
        best="none",
        caption="Of decaf.finetune, the frozen head included: the median of a row's runs, from "
        "packaged and random weights, and the greatest peak memory of them.",
    )
    known = [name for name in KNOWN if any(name == each for each, _ in tasks)]
    sections: list[Section] = [table, *map(_known, known), *_plots(runs, tasks), cost]
    machine = runs[0]["machine"]
    return BenchmarkReport(
        name=f"{NAME}{apart[0]}",
        title=f"Fine-tuning beside frozen features{apart[1]}",
        what="Logistic regression on the frozen fc7 and decaf.finetune with its defaults, from the "
        "packaged weights and from random ones, on images drawn by seed. C and the state of the "
        "weights to keep are chosen on a fifth of the training images; the test images have no "
        "part in it.",
        sections=tuple(sections),
        headline=_headline(runs),
        command=command,
        date=machine["date"],
        machine=f"{machine['cores']} cores of {machine['processor']}, GPU: {machine['gpu']}",
        versions={"decaf": decaf.__version__, **machine["versions"]},
        peak_memory=max(run["peak_memory"] for run in runs),
        appendix=(_choice(runs),),
    )


def _plots(runs: Sequence[dict[str, Any]], tasks: Sequence[tuple[str, int]]) -> list[Section]:
    """Draw accuracy against training images where a set has several sizes."""
    plots: list[Section] = []
    for name in dict.fromkeys(name for name, _ in tasks):
        sizes = [size for each, size in tasks if each == name]
        if len(sizes) < 2:
            continue
        series = []
        for way, start, title in _ways(runs):
            points = []
            for size in sizes:
                own = [run for run in runs if run["key"][:2] == [name, size]]
                images = (own[0]["train"] + own[0]["val"]) / own[0]["classes"]
                values = _values(own, way, start)
                spread = statistics.stdev(values) if len(values) > 1 else None
                points.append((round(images), statistics.mean(values), spread))
            x, mean, std = zip(*sorted(points), strict=True)
            series.append(Series(title, x, mean, std if None not in std else ()))
        plots.append(
            Lines(
                f"More training images, {name}",
                tuple(series),
                x_label="training images a class",
                y_label="mean per-class accuracy",
                log_x=True,
            )
        )
    return plots


def _known(name: str) -> Text:
    return Text(
        f"What the packaged weights know of {name}",
        f"They were trained on the training images of {name} too (not on its test images). So the "
        "frozen features tell the images of the table's training and validation sets apart better "
        "than new ones, and what is chosen on such a validation set says less of these.",
    )


def _choice(runs: Sequence[dict[str, Any]]) -> Text:
    """Say how often training was better on validation, and then on the test."""
    own = [run for run in runs if run["key"][3] == "packaged"]
    chosen = [run for run in own if run["better_on_val"]]
    right = [run for run in chosen if run["tuned"] > run["frozen"]]
    over = sum(run["passed_over"] for run in own)
    return Text(
        "Did validation choose rightly?",
        f"Of {len(own)} runs from the packaged weights {len(chosen)} kept what was trained, which "
        "names more validation images than the frozen head, and at a loss lower by more than its "
        f"standard error; in {len(right)} of these it names more test images too (as the mean over "
        f"classes). In {over} it named more validation images without that, and was passed over. "
        f"In all but the {len(chosen)} the frozen network with its head is what was kept, and "
        "tested as fine-tuned. That the loss has to be lower was decided after a first table of "
        "seeds 0 to 2, where the number of images alone had decided: there the test images had a "
        "part in the choice of the rule.",
    )


def _headline(runs: Sequence[dict[str, Any]]) -> str:
    own = [run for run in runs if run["key"][3] == "packaged"]
    gains = [run["tuned"] - run["frozen"] for run in own]
    if not gains:
        return "random weights only"
    return (
        f"fine-tuning moves accuracy by {min(gains):+.1f} to {max(gains):+.1f} points "
        f"({statistics.mean(gains):+.1f} on average over {len(gains)} runs)"
    )


def _ways(runs: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the ways of learning whose weights were begun with."""
    starts = {run["key"][3] for run in runs}
    return [way for way in WAYS if way[1] in starts]


def _values(runs: Sequence[dict[str, Any]], way: str, start: str) -> list[float]:
    return [run[way] for run in runs if run["key"][3] == start]


def _cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell()
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.mean(values), spread, len(values))


def _size(per_class: int) -> str:
    return "all" if per_class == ALL else str(per_class)


def _shown_set(text: str) -> str:
    """Show a set without its folder."""
    name, _, rest = text.partition("=")
    _, colon, sizes = rest.rpartition(":")
    return f"{name}=DIR{colon}{sizes if colon else ''}" if rest else text


if __name__ == "__main__":
    sys.exit(main())

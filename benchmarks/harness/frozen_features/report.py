"""The report of a benchmark: from the answers of heads to numbers, tables, curves and pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.exploration.page import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    Lines,
    Row,
    Section,
    Series,
    Table,
)
from harness.frozen_features.heads import Task
from harness.frozen_features.published import PUBLISHED, Published, departures
from harness.protocol.outcomes import mean_and_std, result_cell
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, SplitRecord

__all__ = ["FIXED_C", "Measured", "make_report"]

# For one training image a class there is nothing to validate a C on.
FIXED_C = 1.0

_PAIRS = 8
_IMAGES = 4


@dataclass(frozen=True, eq=False)
class Measured:
    """The measurements of a run, for its report.

    Attributes
    ----------
    dataset : Dataset
        Without the images that could not be read.
    tasks : mapping of str to list of Task
        The main tables by the names of their networks, in order.
    baselines : list of Task
    points : list of (training images a class, list of Task)
        The curves.
    splits : list of SplitRecord
    made_by : str
        How the splits came about.
    cached : list of str
        The files of features in the cache.
    unread : int
        How many images could not be read.
    settings : mapping of str to str
        How it was measured.
    further : tuple of Section
        Sections of the benchmark's own, after the main tables.
    """

    dataset: Dataset
    tasks: Mapping[str, list[Task]]
    baselines: list[Task]
    points: list[tuple[int, list[Task]]]
    splits: list[SplitRecord]
    made_by: str
    cached: list[str]
    unread: int
    settings: Mapping[str, str]
    further: tuple[Section, ...] = ()


def make_report(measured: Measured, run: BenchmarkRun[Any]) -> BenchmarkReport:
    """Put the report together.

    Parameters
    ----------
    measured : Measured
    run : BenchmarkRun
    """
    dataset = measured.dataset
    published, protocol_notes = _published(measured)
    best = _best_by_validation(next(iter(measured.tasks.values())))
    mean, std = mean_and_std(best.accuracies())
    spread = "" if std is None else f" ± {std:.1f}"
    # Features that were given are in the table of each network.
    every = dict.fromkeys(task for each in measured.tasks.values() for task in each)
    every |= dict.fromkeys(measured.baselines)
    of_curves = [task for _, each in measured.points for task in each]
    listed = {
        "data": Path(dataset.root).name,
        "splits": measured.made_by,
        **measured.settings,
        "features in the cache": ", ".join(measured.cached),
    }
    if dataset.origin is not None:
        listed["reference of the data"] = dataset.origin.reference
    return run.report(
        f"{dataset.name}: linear classifiers on features",
        _what(measured),
        f"{best.head.name} on {_features(best)}: {mean:.1f}{spread} %",
        (
            *(_main_table(name, measured, published) for name in measured.tasks),
            *_others_table(measured.baselines, published),
            *measured.further,
            *_curves(measured),
            _class_bars(best, dataset),
            _hardest_confusions(best, dataset),
            ConfusionMatrix(
                "Confusion matrix",
                dataset.class_names,
                confusion_counts(best, dataset).tolist(),
                f"{_described(best)}; rows are the true classes.",
            ),
        ),
        splits=measured.splits,
        settings=listed,
        notes=(*dataset.notes, *protocol_notes, *run.notes, *_remarks([*every, *of_curves])),
        appendix=(
            *(
                _results_table(f"Accuracy over all test images, {name}", tasks, per_class=False)
                for name, tasks in measured.tasks.items()
            ),
            _chosen_table([*every]),
        ),
    )


def _published(measured: Measured) -> tuple[Published, tuple[str, ...]]:
    """Return the published numbers that ours can stand beside, and why none do."""
    published = PUBLISHED.get(measured.dataset.name)
    if published is None:
        return Published(), ()
    splits = next(iter(measured.tasks.values()))[0].splits
    differing = departures(published.protocol, measured.dataset, splits, unread=measured.unread)
    if not differing:
        return published, ()
    note = f"no published numbers stand here, for their protocol is another: {'; '.join(differing)}"
    return Published(), (note,)


def _best_by_validation(tasks: Sequence[Task]) -> Task:
    """Choose the task whose searches did best on held-out training rows, averaged over splits.

    Nothing is chosen by test accuracy, the result of the headline neither. The first of several
    that did as well, and the first of all where there was no search.
    """

    def score(task: Task) -> float:
        known = [o.validation for o in task.outcomes if o.validation is not None]
        return float(np.mean(known)) if known else -1.0

    return max(tasks, key=score)


def _what(measured: Measured) -> str:
    dataset, splits = measured.dataset, measured.splits

    def span(numbers: set[int]) -> str:
        low, high = min(numbers), max(numbers)
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    return (
        f"Linear classifiers on frozen features of {dataset.name}: {len(dataset.class_names)} "
        f"classes, {span({s.n_train for s in splits})} training images and "
        f"{span({s.n_test for s in splits})} test images in "
        f"{f'each of {len(splits)} splits' if len(splits) > 1 else 'one split'}. C is chosen by "
        "cross-validation among the training images of each split, and so is the result above, "
        "of all in its table; the test images have no part in either."
    )


def _main_table(name: str, measured: Measured, published: Published) -> Table:
    caption = "Accuracy on one split, in percent."
    if len(measured.splits) > 1:
        caption = "Mean ± standard deviation (n - 1) over the splits, in percent."
    if published.scores:
        caption += f" The published features were {published.features}."
    title = f"Mean per-class accuracy, {name}"
    return _results_table(title, measured.tasks[name], published, caption=caption)


def _results_table(
    title: str,
    tasks: Sequence[Task],
    published: Published | None = None,
    *,
    per_class: bool = True,
    caption: str = "",
) -> Table:
    """Make the table of heads (rows) and layers (columns), published numbers beside it."""
    layers = list(dict.fromkeys(task.layer for task in tasks))
    # In the order of the layer that has most: not every head is fitted to every layer.
    of_layers = [[task.head for task in tasks if task.layer == layer] for layer in layers]
    of_layers.sort(key=len, reverse=True)
    heads = list(dict.fromkeys(head for some in of_layers for head in some))
    scores = {} if published is None else published.scores
    cited = [layer for layer in layers if any(key[0] == layer for key in scores)]
    columns = [Column(layer) for layer in layers]
    columns += [Column(layer, source=published.source) for layer in cited if published]
    by_place = {(task.head, task.layer): task for task in tasks}
    rows = []
    for head in heads:
        own = [by_place.get((head, layer)) for layer in layers]
        theirs = [scores.get((layer, head.kind, head.dropout > 0), (None,)) for layer in cited]
        cells = [Cell() if task is None else _cell(task, per_class=per_class) for task in own]
        rows.append(Row(head.name, (*cells, *(Cell(*score) for score in theirs))))
    return Table(
        title,
        tuple(columns),
        tuple(rows),
        row_header="Head",
        caption=caption,
        collapsed=not per_class,
    )


def _cell(task: Task, *, per_class: bool = True) -> Cell:
    return result_cell(task.accuracies(per_class=per_class), task.outcomes)


def _others_table(baselines: Sequence[Task], published: Published) -> list[Table]:
    """Make the table of baselines measured here and of other methods' published results."""
    if not baselines and not published.others:
        return []
    columns = [Column("Accuracy")]
    if published.others:
        columns.append(Column("Accuracy", source="the paper named in the row"))
    rows = [Row(task.title, (_cell(task), Cell())[: len(columns)]) for task in baselines]
    rows += [
        Row(f"{method} ({source})", (Cell(), Cell(mean)))
        for method, mean, source in published.others
    ]
    return [
        Table(
            "Baselines, and other methods",
            tuple(columns),
            tuple(rows),
            row_header="Method",
            best="none",
            caption="Mean per-class accuracy; the baselines are measured here, on the same splits.",
        )
    ]


def _curves(measured: Measured) -> list[Lines]:
    """Make the curves of accuracy against the number of training images a class."""
    if not measured.points:
        return []
    caption = (
        "A smaller training set is part of each larger one; all are tested on the same images."
    )
    if measured.points[0][0] == 1:
        caption += f" With one image there is nothing to choose C on; there it is {FIXED_C:g}."
    series: dict[str, list[tuple[float, float, float | None]]] = {}
    for size, tasks in measured.points:
        for task in tasks:
            point = (float(size), *mean_and_std(task.accuracies()))
            series.setdefault(f"{task.layer}, {task.head.name}", []).append(point)
    drawn = []
    for name, points in series.items():
        x, means, stds = zip(*points, strict=True)
        drawn.append(Series(name, x, means, stds))
    return [
        Lines(
            f"More training images, {next(iter(measured.tasks))}",
            tuple(drawn),
            x_label="training images a class",
            y_label="mean per-class accuracy",
            caption=caption,
        )
    ]


def _class_bars(task: Task, dataset: Dataset) -> Bars:
    """List each class's accuracy, mean ± standard deviation over the splits."""
    classes = len(dataset.class_names)
    right, images = np.zeros((2, len(task.outcomes), classes), np.int64)
    for number, outcome in enumerate(task.outcomes):
        right[number, : len(outcome.right)] = outcome.right
        images[number, : len(outcome.images)] = outcome.images
    bars = []
    for label, name in enumerate(dataset.class_names):
        tested = images[:, label] > 0
        shares = 100 * right[tested, label] / images[tested, label]
        mean, std = mean_and_std(shares) if len(shares) else (None, None)
        bars.append(Bar(name, mean, std, int(images[:, label].sum())))
    caption = f"{_described(task)}."
    return Bars("Class by class", tuple(bars), n_label="test images", caption=caption)


def confusion_counts(task: Task, dataset: Dataset) -> npt.NDArray[np.int64]:
    """Count the answers by true class (row) and given class (column), summed over the splits.

    Parameters
    ----------
    task : Task
    dataset : Dataset

    Returns
    -------
    array of int64, shape (classes, classes)
    """
    classes = len(dataset.class_names)
    counts = np.zeros((classes, classes), np.int64)
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        np.add.at(counts, (dataset.labels[split.test], np.array(outcome.predictions)), 1)
    return counts


def _hardest_confusions(task: Task, dataset: Dataset) -> Confusions:
    """List the pairs of classes that are confused most, with images.

    Each pair has the images that the head was surest of, wrongly, and beside them images of the
    class that they were taken for. Pairs are ordered by the share of the class's test images.
    """
    names, train = dataset.class_names, task.splits[0].train
    counts = confusion_counts(task, dataset)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    totals = counts.sum(axis=1)
    share = wrong / np.maximum(totals, 1)[:, None]
    order = np.argsort(-share, axis=None, kind="stable")[:_PAIRS]
    pairs = []
    for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[true, given]:
            break
        examples = train[dataset.labels[train] == given]
        pairs.append(
            Confusion(
                names[true],
                names[given],
                int(wrong[true, given]),
                of=int(totals[true]),
                images=_paths(dataset, _surest(task, dataset, int(true), int(given))),
                examples=_paths(dataset, examples.tolist()),
            )
        )
    return Confusions("Hardest confusions", tuple(pairs), f"{_described(task)}.")


def _surest(task: Task, dataset: Dataset, true: int, given: int) -> list[int]:
    """Return the rows of a class that were taken for another, the surest answers first."""
    leads: dict[int, float] = {}
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        for row, answer, lead in zip(split.test, outcome.predictions, outcome.lead, strict=True):
            if answer == given and dataset.labels[row] == true:
                leads[int(row)] = max(lead, leads.get(int(row), 0.0))
    return sorted(leads, key=lambda row: (-leads[row], row))


def _paths(dataset: Dataset, rows: Sequence[int]) -> tuple[str, ...]:
    """Return where the first of some images lie below the folder of the data set."""
    files = dataset.files
    return tuple(os.path.relpath(os.fsdecode(files[row]), dataset.root) for row in rows[:_IMAGES])


def _described(task: Task) -> str:
    splits = f"{len(task.splits)} splits" if len(task.splits) > 1 else task.splits[0].name
    return f"{task.head.name} on {_features(task)}, test images of {splits}"


def _features(task: Task) -> str:
    return f"{task.layer} of {task.group}" if task.group else task.layer


def _chosen_table(tasks: Sequence[Task]) -> Table:
    """Make the table of what was chosen: C on each split, and how long search and fit took."""
    rows = []
    for task in tasks:
        known = [100 * o.validation for o in task.outcomes if o.validation is not None]
        validation = Cell(*mean_and_std(known), n=len(known)) if known else Cell()
        Cs = ", ".join(f"{outcome.C:.6g}" for outcome in task.outcomes)
        seconds = sum(outcome.seconds for outcome in task.outcomes)
        rows.append(Row(task.title, (Cs, validation, f"{seconds:.1f} s")))
    return Table(
        "C as chosen on each split, accuracy on the held-out training images, time",
        (Column("C"), Column("validation"), Column("search and fit")),
        tuple(rows),
        row_header="Features, layer, head",
        best="none",
        collapsed=True,
    )


def _remarks(tasks: Sequence[Task]) -> list[str]:
    """Say what a reader must know of fits that did not converge and searches that ended badly."""
    cells = [(task.title, outcome) for task in tasks for outcome in task.outcomes]
    kinds = {
        "fits did not converge": [t for t, o in cells if not o.converged],
        "searches had fits that did not converge": [t for t, o in cells if not o.search_converged],
        "searches for C ended at the border of the values tried": [
            t for t, o in cells if o.at_border
        ],
    }
    lines = []
    for what, titles in kinds.items():
        if titles:
            where = Counter(titles)
            some = "; ".join(f"{title} ({count})" for title, count in where.most_common(6))
            more = f" and {len(where) - 6} more" if len(where) > 6 else ""
            lines.append(f"{len(titles)} of {len(cells)} {what}: {some}{more}")
    return lines

"""From the answers of heads to numbers, and from numbers to the sections of a report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.heads.metrics import mean_per_class_accuracy
from harness.frozen_features.published import Published
from harness.protocol.measure import Outcome, Task
from harness.protocol.splits import Split
from report import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    Lines,
    Row,
    Series,
    Table,
)

__all__ = [
    "accuracies",
    "best_by_validation",
    "class_bars",
    "confusion_counts",
    "confusion_matrix",
    "curve",
    "hardest_confusions",
    "mean_and_std",
    "others_table",
    "remarks",
    "results_table",
    "settings_table",
]

_PAIRS = 8
_IMAGES = 4


def accuracies(
    task: Task, labels: npt.NDArray[np.int64], *, per_class: bool
) -> npt.NDArray[np.float64]:
    """Return the accuracy of a task on each of its splits, in percent.

    Parameters
    ----------
    task : Task
    labels : array of int64, shape (N,)
        Labels of the data set.
    per_class : bool
        The mean over the classes of each one's accuracy; otherwise the share of all test images.

    Returns
    -------
    array of float64, shape (splits,)
    """
    shares = []
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        truth = labels[split.test]
        right = np.array(outcome.predictions) == truth
        if per_class:
            classes = int(truth.max()) + 1
            hits = np.bincount(truth[right], minlength=classes)
            shares.append(mean_per_class_accuracy(hits, np.bincount(truth, minlength=classes)))
        else:
            shares.append(float(right.mean()))
    return 100 * np.array(shares)


def mean_and_std(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """Return mean and standard deviation of a sample (n - 1 in the denominator).

    Parameters
    ----------
    values : sequence of float

    Examples
    --------
    >>> mean_and_std([1.0, 2.0, 3.0])
    (2.0, 1.0)
    >>> mean_and_std([4.0])
    (4.0, None)
    """
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def best_by_validation(tasks: Sequence[Task]) -> Task:
    """Choose the task whose searches did best on held-out training rows, averaged over splits.

    Nothing is chosen by test accuracy, the result of the headline neither. The first of several
    that did as well, and the first of all where there was no search.

    Parameters
    ----------
    tasks : sequence of Task
    """

    def score(task: Task) -> float:
        known = [o.validation for o in task.outcomes if o.validation is not None]
        return float(np.mean(known)) if known else -1.0

    return max(tasks, key=score)


def results_table(
    title: str,
    tasks: Sequence[Task],
    labels: npt.NDArray[np.int64],
    published: Published | None = None,
    *,
    per_class: bool,
    caption: str = "",
    collapsed: bool = False,
) -> Table:
    """Make the table of heads (rows) and layers (columns), published numbers beside it.

    Parameters
    ----------
    title : str
    tasks : sequence of Task
        Tasks of one group.
    labels : array of int64
    published : Published, optional
    per_class : bool
        As in `accuracies`.
    caption : str
    collapsed : bool
    """
    layers = list(dict.fromkeys(task.layer for task in tasks))
    # In the order of the layer that has most: not every head is fitted to every layer.
    of_layers = [[task.head for task in tasks if task.layer == layer] for layer in layers]
    of_layers.sort(key=len, reverse=True)
    heads = list(dict.fromkeys(head for some in of_layers for head in some))
    known = dict(published.scores) if published is not None else {}
    cited = [layer for layer in layers if any(key[0] == layer for key in known)]
    columns = [Column(layer) for layer in layers]
    if published is not None:
        columns += [Column(layer, source=published.source) for layer in cited]
    by_place = {(task.head, task.layer): task for task in tasks}
    rows = []
    for head in heads:
        cells: list[Cell | str] = []
        for layer in layers:
            task = by_place.get((head, layer))
            cells.append(Cell() if task is None else _cell(task, labels, per_class=per_class))
        for layer in cited:
            mean, std = known.get((layer, head.kind, head.dropout > 0), (None, None))
            cells.append(Cell(mean, std))
        rows.append(Row(head.name, tuple(cells)))
    return Table(
        title, tuple(columns), tuple(rows), row_header="Head", caption=caption, collapsed=collapsed
    )


def _cell(task: Task, labels: npt.NDArray[np.int64], *, per_class: bool) -> Cell:
    mean, std = mean_and_std(accuracies(task, labels, per_class=per_class))
    bad = sum(not outcome.converged for outcome in task.outcomes)
    note = f"{bad} of {len(task.outcomes)} fits did not converge" if bad else ""
    return Cell(mean, std, n=len(task.outcomes), note=note)


def others_table(
    title: str,
    tasks: Sequence[Task],
    labels: npt.NDArray[np.int64],
    published: Published,
    *,
    per_class: bool,
    caption: str = "",
) -> Table | None:
    """Make the table of baselines measured here and of other methods' published results.

    Parameters
    ----------
    title : str
    tasks : sequence of Task
    labels : array of int64
        Labels of the data set.
    published : Published
    per_class : bool
        Whether the mean over the classes of each one's accuracy is taken.
    caption : str

    Returns
    -------
    Table or None
        None where there are neither.
    """
    if not tasks and not published.others:
        return None
    columns = [Column("Accuracy")]
    if published.others:
        columns.append(Column("Accuracy", source="the paper named in the row"))
    rows = [
        Row(
            f"{task.group}, {task.layer}, {task.head.name}",
            (_cell(task, labels, per_class=per_class), Cell())[: len(columns)],
        )
        for task in tasks
    ]
    rows += [
        Row(f"{method} ({source})", (Cell(), Cell(mean)))
        for method, mean, source in published.others
    ]
    return Table(
        title, tuple(columns), tuple(rows), row_header="Method", best="none", caption=caption
    )


def settings_table(tasks: Sequence[Task]) -> Table:
    """Make the table of what was chosen: C on each split, and how long search and fit took.

    Parameters
    ----------
    tasks : sequence of Task
    """
    rows = []
    for task in tasks:
        seconds = [outcome.seconds for outcome in task.outcomes]
        known = [100 * o.validation for o in task.outcomes if o.validation is not None]
        validation = Cell(*mean_and_std(known), n=len(known)) if known else Cell()
        rows.append(
            Row(
                ", ".join(filter(None, (task.group, task.layer, task.head.name))),
                (
                    ", ".join(f"{outcome.C:.6g}" for outcome in task.outcomes),
                    validation,
                    f"{sum(seconds):.1f} s",
                ),
            )
        )
    return Table(
        "C as chosen on each split, accuracy on the held-out training images, time",
        (Column("C"), Column("validation"), Column("search and fit")),
        tuple(rows),
        row_header="Features, layer, head",
        best="none",
        collapsed=True,
    )


def curve(
    title: str,
    points: Sequence[tuple[int, Sequence[Task]]],
    labels: npt.NDArray[np.int64],
    *,
    per_class: bool,
    caption: str = "",
) -> Lines:
    """Make the curves of accuracy against the number of training images a class.

    Parameters
    ----------
    title : str
    points : sequence of (training images a class, tasks)
    labels : array of int64
    per_class : bool
    caption : str
    """
    series: dict[str, tuple[list[float], list[float], list[float | None]]] = {}
    for size, tasks in points:
        for task in tasks:
            mean, std = mean_and_std(accuracies(task, labels, per_class=per_class))
            x, means, stds = series.setdefault(f"{task.layer}, {task.head.name}", ([], [], []))
            x.append(size)
            means.append(mean)
            stds.append(std)
    drawn = tuple(Series(name, tuple(x), tuple(m), tuple(s)) for name, (x, m, s) in series.items())
    return Lines(
        title,
        drawn,
        x_label="training images a class",
        y_label="mean per-class accuracy" if per_class else "accuracy",
        caption=caption,
    )


def confusion_counts(
    task: Task, labels: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """Count the answers by true class (row) and given class (column), summed over the splits.

    Parameters
    ----------
    task : Task
    labels : array of int64
    classes : int
        How many classes there are.

    Returns
    -------
    array of int64, shape (classes, classes)
    """
    counts = np.zeros((classes, classes), np.int64)
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        np.add.at(counts, (labels[split.test], np.array(outcome.predictions)), 1)
    return counts


def confusion_matrix(title: str, task: Task, dataset: Dataset) -> ConfusionMatrix:
    """Make the confusion matrix of a task.

    Parameters
    ----------
    title : str
    task : Task
    dataset : Dataset
    """
    counts = confusion_counts(task, dataset.labels, len(dataset.class_names))
    caption = f"{_of(task)}; rows are the true classes."
    return ConfusionMatrix(title, dataset.class_names, counts.tolist(), caption)


def class_bars(title: str, task: Task, dataset: Dataset) -> Bars:
    """Make the list of each class's accuracy, mean ± standard deviation over the splits.

    Parameters
    ----------
    title : str
    task : Task
    dataset : Dataset
    """
    classes = len(dataset.class_names)
    shares = []
    tested = np.zeros(classes, np.int64)
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        truth = dataset.labels[split.test]
        right = np.array(outcome.predictions) == truth
        images = np.bincount(truth, minlength=classes)
        tested += images
        with np.errstate(invalid="ignore"):
            shares.append(100 * np.bincount(truth[right], minlength=classes) / images)
    bars = []
    for label, name in enumerate(dataset.class_names):
        known = [share[label] for share in shares if not np.isnan(share[label])]
        mean, std = mean_and_std(known) if known else (None, None)
        bars.append(Bar(name, mean, std, int(tested[label])))
    return Bars(title, tuple(bars), n_label="test images", caption=f"{_of(task)}.")


def hardest_confusions(title: str, task: Task, dataset: Dataset) -> Confusions:
    """Make the list of the pairs of classes that are confused most, with images.

    Each pair has the images that the head was surest of, wrongly, and beside them images of the
    class that they were taken for. Pairs are ordered by the share of the class's test images.

    Parameters
    ----------
    title : str
    task : Task
    dataset : Dataset
    """
    names = dataset.class_names
    counts = confusion_counts(task, dataset.labels, len(names))
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    totals = counts.sum(axis=1)
    share = wrong / np.maximum(totals, 1)[:, None]
    order = np.argsort(-share, axis=None, kind="stable")[:_PAIRS]
    pairs = []
    for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[true, given]:
            break
        pairs.append(
            Confusion(
                names[true],
                names[given],
                int(wrong[true, given]),
                of=int(totals[true]),
                images=_surest(task, dataset, int(true), int(given)),
                examples=_below(dataset, task.splits[0].train, int(given)),
            )
        )
    caption = f"{_of(task)}."
    return Confusions(title, tuple(pairs), caption)


def _surest(task: Task, dataset: Dataset, true: int, given: int) -> tuple[str, ...]:
    leads: dict[int, float] = {}
    for split, outcome in zip(task.splits, task.outcomes, strict=True):
        for row, answer, lead in zip(split.test, outcome.predictions, outcome.lead, strict=True):
            if answer == given and dataset.labels[row] == true:
                leads[int(row)] = max(lead, leads.get(int(row), 0.0))
    chosen = sorted(leads, key=lambda row: (-leads[row], row))[:_IMAGES]
    return tuple(_relative(dataset, row) for row in chosen)


def _below(dataset: Dataset, rows: npt.NDArray[np.int64], label: int) -> tuple[str, ...]:
    own = rows[dataset.labels[rows] == label][:_IMAGES]
    return tuple(_relative(dataset, int(row)) for row in own)


def _relative(dataset: Dataset, row: int) -> str:
    return os.path.relpath(os.fsdecode(dataset.files[row]), dataset.root)


def remarks(tasks: Sequence[Task]) -> list[str]:
    """Say what a reader must know of fits that did not converge and searches that ended badly.

    Parameters
    ----------
    tasks : sequence of Task
    """
    lines = []
    cells: list[tuple[str, Split, Outcome]] = [
        (", ".join(filter(None, (task.group, task.layer, task.head.name))), split, outcome)
        for task in tasks
        for split, outcome in zip(task.splits, task.outcomes, strict=True)
    ]
    for what, bad in (
        ("fits did not converge", [c for c in cells if not c[2].converged]),
        (
            "searches had fits that did not converge",
            [c for c in cells if not c[2].search_converged],
        ),
        (
            "searches for C ended at the border of the values tried",
            [c for c in cells if c[2].at_border],
        ),
    ):
        if bad:
            where = Counter(name for name, _, _ in bad)
            some = "; ".join(f"{name} ({count})" for name, count in where.most_common(6))
            more = f" and {len(where) - 6} more" if len(where) > 6 else ""
            lines.append(f"{len(bad)} of {len(cells)} {what}: {some}{more}")
    return lines


def _of(task: Task) -> str:
    splits = f"{len(task.splits)} splits" if len(task.splits) > 1 else task.splits[0].name
    features = f"{task.layer} of {task.group}" if task.group else task.layer
    return f"{task.head.name} on {features}, test images of {splits}"

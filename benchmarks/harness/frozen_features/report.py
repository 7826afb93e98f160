"""The report of a benchmark: sections from what was measured, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.dataset import Dataset
from harness.frozen_features import sections as parts
from harness.frozen_features.published import PUBLISHED, Published, departures
from harness.frozen_features.settings import BenchmarkSettings
from harness.protocol.measure import Task
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, Section, SplitRecord

__all__ = ["Measured", "make_report"]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a run found, for its report.

    Attributes
    ----------
    dataset : Dataset
        Without the images that could not be read.
    tasks : mapping of weights to list of Task
        The main tables, in order.
    baselines : list of Task
    points : list of (training images a class, list of Task)
        The curves.
    splits : list of SplitRecord
    made_by : str
        How the splits came about.
    cached : list of str
        The files of features in the cache.
    fixed_C : float
        C of the heads with one training image a class.
    unread : int
        How many images could not be read.
    """

    dataset: Dataset
    tasks: Mapping[str, list[Task]]
    baselines: list[Task]
    points: list[tuple[int, list[Task]]]
    splits: list[SplitRecord]
    made_by: str
    cached: list[str]
    fixed_C: float
    unread: int


def make_report(measured: Measured, run: BenchmarkRun[BenchmarkSettings]) -> BenchmarkReport:
    """Put the report together.

    Parameters
    ----------
    measured : Measured
    run : BenchmarkRun
    """
    dataset, labels = measured.dataset, measured.dataset.labels
    published, protocol_notes = _published(measured)
    best = parts.best_by_validation(next(iter(measured.tasks.values())))
    which = f"{best.head.name} on {best.layer} of {best.group}"
    mean, std = parts.mean_and_std(parts.accuracies(best, labels, per_class=True))
    spread = "" if std is None else f" ± {std:.1f}"
    every = [task for each in measured.tasks.values() for task in each] + measured.baselines
    of_curves = [task for _, each in measured.points for task in each]
    remarks = parts.remarks([*every, *of_curves])
    return run.report(
        f"{dataset.name}: linear classifiers on features",
        _what(measured),
        f"{which}: {mean:.1f}{spread} %",
        (
            *_main_tables(measured, published, run.names),
            *_curves(measured, run),
            parts.class_bars("Class by class", best, dataset),
            parts.hardest_confusions("Hardest confusions", best, dataset),
            parts.confusion_matrix("Confusion matrix", best, dataset),
        ),
        splits=measured.splits,
        settings=_settings(measured, run.settings),
        notes=(*dataset.notes, *protocol_notes, *run.notes, *remarks),
        appendix=(*_plain_tables(measured, run.names), parts.settings_table(every)),
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


def _main_tables(
    measured: Measured, published: Published, names: Mapping[str, str]
) -> list[Section]:
    labels = measured.dataset.labels
    caption = "Accuracy on one split, in percent."
    if len(measured.splits) > 1:
        caption = "Mean ± standard deviation (n - 1) over the splits, in percent."
    if published.scores:
        caption += f" The published features were {published.features}."
    tables: list[Section] = [
        parts.results_table(
            f"Mean per-class accuracy, {names[name]}",
            tasks,
            labels,
            published if published.scores else None,
            per_class=True,
            caption=caption,
        )
        for name, tasks in measured.tasks.items()
    ]
    others = parts.others_table(
        "Baselines, and other methods",
        measured.baselines,
        labels,
        published,
        per_class=True,
        caption="Mean per-class accuracy; the baselines are measured here, on the same splits.",
    )
    return tables if others is None else [*tables, others]


def _plain_tables(measured: Measured, names: Mapping[str, str]) -> list[Section]:
    return [
        parts.results_table(
            f"Accuracy over all test images, {names[name]}",
            tasks,
            measured.dataset.labels,
            per_class=False,
            collapsed=True,
        )
        for name, tasks in measured.tasks.items()
    ]


def _curves(measured: Measured, run: BenchmarkRun[BenchmarkSettings]) -> list[Section]:
    if not measured.points:
        return []
    caption = (
        "A smaller training set is part of each larger one; all are tested on the same images."
    )
    if measured.points[0][0] == 1:
        caption += (
            f" With one image there is nothing to choose C on; there it is {measured.fixed_C:g}."
        )
    title = f"More training images, {run.names[run.settings.weights[0]]}"
    return [
        parts.curve(
            title, measured.points, measured.dataset.labels, per_class=True, caption=caption
        )
    ]


def _what(measured: Measured) -> str:
    dataset, splits = measured.dataset, measured.splits
    return (
        f"Linear classifiers on frozen features of {dataset.name}: {len(dataset.class_names)} "
        f"classes, {_span({s.n_train for s in splits})} training images and "
        f"{_span({s.n_test for s in splits})} test images in "
        f"{f'each of {len(splits)} splits' if len(splits) > 1 else 'one split'}. C is chosen by "
        "cross-validation among the training images of each split, and so is the result above, "
        "of all in its table; the test images have no part in either."
    )


def _settings(measured: Measured, settings: BenchmarkSettings) -> dict[str, str]:
    head = settings.heads[0]
    listed = {
        "data": Path(measured.dataset.root).name,
        "splits": measured.made_by,
        "layers": ", ".join(settings.layers),
        "crops": settings.crops,
        "precision": settings.precision,
        "scaling": head.scale,
        "logistic regression": head.multi_class,
        "loss of the SVM": head.loss,
        "solver": head.solver,
        "folds of the search for C": str(head.folds),
        "features in the cache": ", ".join(measured.cached),
    }
    if measured.dataset.origin is not None:
        listed["reference of the data"] = measured.dataset.origin.reference
    return listed


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"

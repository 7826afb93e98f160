"""Numbers from answers, counted by hand and against scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from datasets.dataset import Dataset, make_dataset
from decaf.exploration.page import Cell
from harness.frozen_features import report as module
from harness.frozen_features.heads import HeadOutcome, HeadSettings, Task
from harness.frozen_features.published import PUBLISHED
from harness.protocol.outcomes import counts_by_class
from harness.protocol.splits import Split
from report import table_text

SVM = HeadSettings("SVM", "svm")
DROPPED = HeadSettings("SVM with dropout", "svm", dropout=0.5)


@pytest.fixture
def dataset() -> Dataset:
    counts = {"ant": 3, "bee": 5, "cat": 8}
    images = [
        (f"{name}/{n}".encode(), f"/d/{name}/{n}".encode(), name)
        for name, count in counts.items()
        for n in range(count)
    ]
    return make_dataset("Caltech-101", b"/d", images)


def outcome_of(
    dataset: Dataset, split: Split, answers: Sequence[int], lead: Sequence[float], **more: Any
) -> HeadOutcome:
    return HeadOutcome(
        **counts_by_class(np.array(answers), dataset.labels[split.test], 3),
        predictions=tuple(answers),
        lead=tuple(lead),
        **{"C": 2.0, **more},
    )


def task_of(dataset: Dataset, seed: int = 0, layer: str = "fc6", **more: Any) -> Task:
    """Random answers to the even rows, then to the odd ones."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(dataset))
    splits = [Split(f"split {k}", rows[rows % 2 != k], rows[rows % 2 == k]) for k in (0, 1)]
    outcomes = []
    for split in splits:
        answers = random.integers(0, 3, len(split.test))
        lead = np.where(answers == dataset.labels[split.test], 0, random.random(len(answers)))
        outcomes.append(outcome_of(dataset, split, answers.tolist(), lead.tolist(), **more))
    return Task("net", layer, SVM, tuple(splits), tuple(outcomes))


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_those_of_scikit_learn(dataset: Dataset, seed: int) -> None:
    task = task_of(dataset, seed)
    pairs = [
        (dataset.labels[split.test], np.array(outcome.predictions))
        for split, outcome in zip(task.splits, task.outcomes, strict=True)
    ]
    plain = task.accuracies(per_class=False)
    per_class = task.accuracies()
    np.testing.assert_allclose(plain, [100 * accuracy_score(*pair) for pair in pairs])
    np.testing.assert_allclose(per_class, [100 * balanced_accuracy_score(*p) for p in pairs])
    total = sum(confusion_matrix(*pair, labels=[0, 1, 2]) for pair in pairs)
    assert module.confusion_counts(task, dataset).tolist() == total.tolist()


def test_the_table_puts_published_numbers_beside_ours(dataset: Dataset) -> None:
    one, other = task_of(dataset), task_of(dataset, 1)
    tasks = [one, Task("net", "fc6", DROPPED, other.splits, other.outcomes)]
    made = module._results_table("t", tasks, PUBLISHED["Caltech-101"])
    assert [(c.name, c.source) for c in made.columns] == [
        ("fc6", ""),
        ("fc6", "Donahue et al. 2014, sec. 4.1"),
    ]
    (ours, theirs), (_, dropped) = (row.cells for row in made.rows)
    values = one.accuracies()
    assert ours == Cell(values.mean(), values.std(ddof=1), 2)
    assert (theirs, dropped) == (Cell(84.77, 1.2), Cell(86.91, 0.7))
    text = table_text(made)
    assert "fc6 [1]" in text
    assert "84.8 ± 1.2" in text
    assert "[1] published: Donahue et al. 2014, sec. 4.1" in text


def test_heads_keep_their_order_where_a_layer_lacks_some(dataset: Dataset) -> None:
    plain, other = task_of(dataset), HeadSettings("LogReg", "logreg")
    tasks = [
        Task("net", layer, head, plain.splits, plain.outcomes)
        for layer, heads in (("pool5", (SVM, other)), ("fc6", (SVM, DROPPED, other)))
        for head in heads
    ]
    made = module._results_table("t", tasks)
    assert [row.name for row in made.rows] == ["SVM", "SVM with dropout", "LogReg"]
    assert made.rows[1].cells[0] == Cell()


def test_the_published_tables_are_those_of_the_papers() -> None:
    caltech = PUBLISHED["Caltech-101"].scores
    assert caltech["pool5", "logreg", False] == (63.29, 6.6)
    assert caltech["fc7", "logreg", False] == (84.87, 0.6)
    assert ("pool5", "svm", True) not in caltech
    assert PUBLISHED["SUN-397"].scores["fc7", "svm", False] == (40.66, 0.3)
    assert PUBLISHED["15-Scene"].others[0][1] == 84.23


def test_the_headline_is_chosen_by_validation_not_by_test(dataset: Dataset) -> None:
    tasks = [task_of(dataset, seed, validation=value) for seed, value in enumerate((0.6, 0.7, 0.7))]
    assert module._best_by_validation(tasks) is tasks[1]
    assert module._best_by_validation([task_of(dataset)]).head is SVM


def test_confusions_with_the_surest_images_first(dataset: Dataset) -> None:
    cats = np.flatnonzero(dataset.labels == 2)
    rest = np.flatnonzero(dataset.labels != 2)
    split = Split("s", rest, cats)
    answers, lead = (0, 0, 0, 0, 0, 1, 2, 2), (0.1, 0.5, 0.3, 0.9, 0.2, 0.4, 0.0, 0.0)
    outcome = outcome_of(dataset, split, answers, lead)
    made = module._hardest_confusions(Task("", "fc6", SVM, (split,), (outcome,)), dataset)
    first, second = made.pairs
    assert (first.true, first.predicted, first.count, first.of) == ("cat", "ant", 5, 8)
    assert first.images == ("cat/3", "cat/1", "cat/2", "cat/4")
    assert first.examples == ("ant/0", "ant/1", "ant/2")
    assert (second.predicted, second.count) == ("bee", 1)


def test_what_went_wrong_is_said(dataset: Dataset) -> None:
    good = task_of(dataset)
    assert module._remarks([good]) == []
    bad = task_of(dataset, converged=False, at_border=True)
    assert module._remarks([good, bad]) == [
        "2 of 4 fits did not converge: net, fc6, SVM (2)",
        "2 of 4 searches for C ended at the border of the values tried: net, fc6, SVM (2)",
    ]
    made = module._results_table("t", [bad])
    cell = made.rows[0].cells[0]
    assert isinstance(cell, Cell)
    assert cell.note == "2 of 2 fits did not converge"


def test_classes_without_test_images_have_no_accuracy(dataset: Dataset) -> None:
    ants = np.flatnonzero(dataset.labels == 0)
    rest = np.flatnonzero(dataset.labels != 0)
    split = Split("s", rest, ants)
    outcome = outcome_of(dataset, split, (0, 1, 0), (0.0, 1.0, 0.0))
    task = Task("", "fc6", SVM, (split,), (outcome,))
    bars = module._class_bars(task, dataset).bars
    assert [(bar.name, bar.n) for bar in bars] == [("ant", 3), ("bee", 0), ("cat", 0)]
    assert bars[0].mean == pytest.approx(200 / 3)
    assert bars[1].mean is None
    assert task.accuracies() == pytest.approx([200 / 3])

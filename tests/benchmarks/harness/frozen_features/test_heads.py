"""Heads see training rows alone, and what they answer is what scikit-learn would."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from datasets.dataset import Dataset, make_dataset
from decaf.errors import FeatureFileError, SettingError, Stopped
from harness.frozen_features import heads as module
from harness.frozen_features.heads import HeadOutcome, HeadSettings, Task, measure, run_head
from harness.protocol.run import BenchmarkRun, ProtocolSettings
from harness.protocol.splits import Split, draw_splits

CLASSES, EACH = 4, 12
HEADS = (
    HeadSettings("LogReg", "logreg", Cs=(0.1, 1.0, 10.0), folds=3),
    HeadSettings("SVM", "svm", Cs=(0.1, 1.0, 10.0), folds=3),
)


class Blobs:
    """Overlapping clouds of points, one a class."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        centres = random.standard_normal((CLASSES, 8))
        noise = random.standard_normal((CLASSES * EACH, 8))
        self.rows = (np.repeat(centres, EACH, axis=0) + 0.9 * noise).astype(np.float32)
        self.read = 0

    def matrix(self, layer: str, _split: int, rows: Any) -> Any:
        self.read += 1
        return self.rows[rows] * (2 if layer == "fc7" else 1)


@pytest.fixture
def dataset() -> Dataset:
    images = [
        (b"c%d/%02d" % (c, n), b"/d/c%d/%02d" % (c, n), f"c{c}")
        for c in range(CLASSES)
        for n in range(EACH)
    ]
    return make_dataset("blobs", b"/d", images)


@pytest.fixture
def splits(dataset: Dataset) -> tuple[Split, ...]:
    return draw_splits(dataset, 8, n_splits=2)


def chosen(outcome: HeadOutcome) -> Any:
    return outcome.C, outcome.validation, outcome.tried, outcome.predictions


class Measure:
    """Measures in one folder, a run each time."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.lines: list[str] = []

    def __call__(
        self,
        features: Blobs,
        splits: Sequence[Split],
        heads: Sequence[tuple[str, HeadSettings]] = [("fc6", head) for head in HEADS],
        *,
        fingerprint: str = "blobs",
        recompute: bool = False,
        stop: Any = None,
    ) -> list[Task]:
        settings = ProtocolSettings(
            name="blobs", layers=(), cache=self.folder, device="cpu", recompute=recompute
        )
        run = BenchmarkRun(settings, self.folder, tell=self.lines.append, stop=stop)
        return measure(run, self.dataset, splits, heads, features.matrix, fingerprint=fingerprint)


@pytest.fixture
def measured(dataset: Dataset, tmp_path: Path) -> Measure:
    return Measure(dataset, tmp_path)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_test_labels_have_no_part_in_anything(
    head: HeadSettings, dataset: Dataset, splits: tuple[Split, ...]
) -> None:
    X, y = Blobs().rows, dataset.labels
    train, test = splits[0].train, splits[0].test
    one = run_head(head, X[train], y[train], X[test], y[test])
    shuffled = np.random.default_rng(1).permutation(y[test])
    other = run_head(head, X[train], y[train], X[test], shuffled)
    assert chosen(one) == chosen(other)
    assert one.lead != other.lead  # which says how wrong an answer is


def test_test_rows_have_no_part_in_what_is_chosen(
    dataset: Dataset, splits: tuple[Split, ...]
) -> None:
    X, y = Blobs().rows, dataset.labels
    train, test = splits[0].train, splits[0].test
    one = run_head(HEADS[1], X[train], y[train], X[test], y[test])
    other = run_head(HEADS[1], X[train], y[train], 1000 * X[test] + 5, y[test])
    assert chosen(one)[:3] == chosen(other)[:3]


def test_answers_are_those_of_scikit_learn(dataset: Dataset, splits: tuple[Split, ...]) -> None:
    X, y = Blobs().rows, dataset.labels
    train, test = splits[0].train, splits[0].test
    result = run_head(
        HeadSettings("SVM", "svm", C=0.7, scale="none"), X[train], y[train], X[test], y[test]
    )
    reference = LinearSVC(C=0.7, dual=True, tol=1e-8, max_iter=100_000).fit(X[train], y[train])
    assert result.predictions == tuple(reference.predict(X[test]).tolist())
    scores = reference.decision_function(X[test])
    lead = scores.max(axis=1) - scores[np.arange(len(test)), y[test]]
    np.testing.assert_allclose(result.lead, lead, atol=2e-3)
    assert (result.C, result.validation, result.tried) == (0.7, None, ())


def test_cells_in_order_and_from_the_store(
    measured: Measure, splits: tuple[Split, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = [(layer, head) for layer in ("fc6", "fc7") for head in HEADS]
    first = measured(Blobs(), splits, heads)
    assert [(task.layer, task.head) for task in first] == heads
    told = [line for line in measured.lines if "/8 " in line]
    assert len(told) == 8
    assert "8/8 fc7 SVM, split 1:" in told[-1]
    assert told[0].endswith(" left")
    monkeypatch.setattr(module, "run_head", None)  # the store has everything
    features = Blobs()
    again = measured(features, splits, heads)
    assert features.read == 0
    assert [task.outcomes for task in again] == [task.outcomes for task in first]
    assert measured.lines[-1].endswith("from the cache")
    with pytest.raises(TypeError):
        measured(Blobs(), splits, heads, recompute=True)


def test_what_determines_a_result_is_its_key(
    dataset: Dataset,
    measured: Measure,
    splits: tuple[Split, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def count(head: HeadSettings, *_: Any, **__: Any) -> HeadOutcome:
        calls.append(head.name)
        return HeadOutcome(right=(1,), images=(2,), predictions=(0,), lead=(0.0,))

    monkeypatch.setattr(module, "run_head", count)

    def call(head: HeadSettings, split: Split, fingerprint: str = "blobs") -> int:
        measured(Blobs(), [split], [("fc6", head)], fingerprint=fingerprint)
        return len(calls)

    svm, split = HEADS[1], splits[0]
    assert call(svm, split) == 1
    assert call(svm, split) == 1
    assert call(replace(svm, name="another name"), split) == 1
    assert call(replace(svm, dropout=0.5), split) == 2
    assert call(replace(svm, Cs=None), split) == 3
    assert call(svm, splits[1]) == 4
    assert call(svm, split.first(7, dataset.labels)) == 5
    assert call(svm, split, fingerprint="other images") == 6


def test_a_run_that_is_stopped_goes_on(
    measured: Measure, splits: tuple[Split, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    stop = threading.Event()

    def count(*args: Any, **kwargs: Any) -> HeadOutcome:
        fitted.append(args[0].name)
        if len(fitted) == 3:
            stop.set()
        return run_head(*args, **kwargs)

    monkeypatch.setattr(module, "run_head", count)
    with pytest.raises(Stopped, match="the same command goes on"):
        measured(Blobs(), splits, stop=stop)
    measured(Blobs(), splits)
    assert fitted == ["LogReg", "SVM", "LogReg", "SVM"]


def test_rows_that_are_nan(measured: Measure, splits: tuple[Split, ...]) -> None:
    features = Blobs()
    features.rows[splits[0].test[3]] = np.nan
    with pytest.raises(FeatureFileError, match=r"1 of 16 test rows hold NaN.* row 3;"):
        measured(features, splits[:1])


def test_a_search_that_ends_at_its_border_and_a_fit_that_does_not_converge_are_told(
    dataset: Dataset, splits: tuple[Split, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = Blobs().rows, dataset.labels
    train, test = splits[0].train, splits[0].test
    low = replace(HEADS[0], Cs=(1e-12, 1e-9, 1e-2))
    result = run_head(low, X[train], y[train], X[test], y[test])
    assert result.at_border
    make = HeadSettings.make

    def hasty(self: HeadSettings, **more: Any) -> Any:
        return make(self, **more).set_params(max_iter=1)

    monkeypatch.setattr(HeadSettings, "make", hasty)
    settings = replace(HEADS[0], C=1e3)
    assert not run_head(settings, X[train], y[train], X[test], y[test]).converged


def test_two_classes() -> None:
    X = np.array([[0.0], [0.2], [0.8], [1.0], [0.1], [0.9]], np.float32)
    y = np.array([0, 0, 1, 1, 0, 0])
    result = run_head(HeadSettings("SVM", "svm", C=100.0), X[:4], y[:4], X[4:], y[4:])
    assert result.predictions == (0, 1)
    assert result.lead[0] == 0
    assert result.lead[1] > 0


def test_an_unknown_head() -> None:
    with pytest.raises(SettingError, match="head 'forest' is not one of logreg, svm"):
        HeadSettings("Forest", "forest")


def test_a_search_takes_two_folds() -> None:
    with pytest.raises(SettingError, match="folds 1: must be a whole number from 2 on"):
        HeadSettings("SVM", "svm", folds=1)
    assert HeadSettings("SVM", "svm", folds=1, C=1.0).make().C == 1.0

"""Fits on pairs of domains: no test label is seen, right answers are counted, results are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.domains import DomainSet
from decaf.errors import FeatureFileError, InputError, SettingError, Stopped
from harness.adaptation import measure as module
from harness.adaptation.measure import (
    FeatureColumn,
    Outcome,
    measure_column,
    run_method,
)
from harness.adaptation.methods import METHODS, MethodSettings, methods_of
from harness.protocol.result_store import ResultStore

PAIR = (("amazon", "webcam"),)
SETTINGS = ("supervised", "unsupervised")


def methods_in(setting: str, methods: Sequence[MethodSettings]) -> list[MethodSettings]:
    return [m for m in methods if setting == "supervised" or not m.needs_labels]


@pytest.fixture(scope="module")
def column(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> FeatureColumn:
    return make_column(make_domains())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "method"),
    [(each, m) for each in SETTINGS for m in methods_in(each, METHODS)],
    ids=lambda value: getattr(value, "key", value),
)
def test_no_label_of_a_test_image_changes_anything(
    column: FeatureColumn, setting: str, method: MethodSettings
) -> None:
    """Labels of the test images are shuffled: the same C, dimension and answers come out.

    Without labels of the target, those of its labelled images do not count either.
    """
    rows, labels = column.read(), column.domains.labels
    split = column.splits[0].of_pair(*PAIR[0])
    hidden = split.test
    if setting == "unsupervised":
        hidden = np.concatenate([split.test, split.labelled])
    shuffled = labels.copy()
    shuffled[hidden] = np.random.default_rng(0).permutation(shuffled[hidden])
    assert not np.array_equal(shuffled, labels)
    one, other = (run_method(method, rows, each, split, setting) for each in (labels, shuffled))
    np.testing.assert_array_equal(one.predictions, other.predictions)
    assert (one.C, one.dim) == (other.C, other.dim)
    assert one.predictions.shape == split.test.shape


def test_the_test_rows_labels_never_reach_the_estimator(
    column: FeatureColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, ...]] = []

    class Spy:
        def fit(self, *arrays: Any, **_more: Any) -> None:
            given.append(arrays)

        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.zeros(len(X), np.int64)

    monkeypatch.setattr(MethodSettings, "make", lambda *_args, **_more: Spy())
    rows, labels = column.read(), column.domains.labels
    split = column.splits[0].of_pair(*PAIR[0])
    for setting in SETTINGS:
        run_method(METHODS[0], rows, labels, split, setting)
    (Xs, ys, Xt, yt), (_, _, unlabelled, none) = given
    np.testing.assert_array_equal(Xs, rows[split.source])
    np.testing.assert_array_equal(ys, labels[split.source])
    target = column.domains.rows_of("webcam")  # in one order, whichever are labelled
    np.testing.assert_array_equal(Xt, rows[target])
    known = np.isin(target, split.labelled)
    np.testing.assert_array_equal(yt[known], labels[target[known]])
    assert known.sum() == 9
    assert (yt[~known] == -1).all()
    np.testing.assert_array_equal(unlabelled, Xt)
    assert none is None


def test_right_answers_are_counted_by_class(column: FeatureColumn) -> None:
    (fit,) = measure_column(
        replace(column, splits=column.splits[:1]),
        lambda _: methods_of(["svm-st"]),
        PAIR,
        ("supervised",),
    )
    split = column.splits[0].of_pair(*PAIR[0])
    labels = column.domains.labels
    answers = run_method(fit.method, column.read(), labels, split, "supervised")
    right = answers.predictions == labels[split.test]
    assert fit.outcome.accuracy == pytest.approx(100 * right.mean())
    shares = [right[labels[split.test] == label].mean() for label in range(3)]
    assert fit.outcome.mean_per_class == pytest.approx(100 * np.mean(shares))
    assert fit.outcome.images == (9, 9, 9)
    assert fit.outcome.C == answers.C


def test_accuracies_of_classes_of_different_size() -> None:
    outcome = Outcome(right=(1, 3, 0), images=(1, 6, 0), answers="")
    assert outcome.accuracy == pytest.approx(400 / 7)
    assert outcome.mean_per_class == pytest.approx(75)


@pytest.mark.slow
def test_finished_results_are_kept_and_repeat(column: FeatureColumn, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    rows = methods_of(["svm-s", "svm-t", "gfk-1nn"])
    told: list[str] = []
    both = (*PAIR, ("webcam", "amazon"))

    def run(**more: Any) -> list[Outcome]:
        fits = measure_column(
            column,
            lambda setting: methods_in(setting, rows),
            both,
            SETTINGS,
            store=store,
            tell=told.append,
            **more,
        )
        return [fit.outcome for fit in fits]

    first = run()
    # 2 pairs × 2 splits × (3 + 2 rows), of which the source alone is fitted once for both settings.
    assert len(first) == 20
    assert len(list(tmp_path.iterdir())) == 16
    # How long it may take, a line for each fit as it ends, and one for each pair and split.
    assert re.fullmatch(r"fc6: 16 to be fitted, about .* by their sizes", told[0])
    line = r"fc6 amazon → webcam, split 0, supervised, SVM \(S\): [\d.]+ % right, .*, about .* left"
    assert re.fullmatch(line, told[1])
    assert ["results, " in line for line in told[1:6]] == [False] * 4 + [True]
    assert sum("% right" in line and "results, " not in line for line in told) == 16
    assert "4 fitted" in told[5]
    told.clear()
    assert run() == first
    assert all("from the cache" in line for line in told)
    told.clear()
    again = run(recompute=True)
    assert [o.answers for o in again] == [o.answers for o in first]
    assert "4 fitted" in told[5]


@pytest.mark.slow
def test_what_is_remembered_between_fits_changes_no_answer(column: FeatureColumn) -> None:
    both = (*PAIR, ("webcam", "amazon"))
    fits = measure_column(column, lambda each: methods_in(each, METHODS), both, SETTINGS, C=1.0)
    rows, labels = column.read(), column.domains.labels
    for fit in fits:
        split = column.splits[fit.split].of_pair(*fit.pair)
        alone = run_method(fit.method, rows, labels, split, fit.setting, C=1.0)
        right = (alone.predictions == labels[split.test]).sum()
        assert abs(sum(fit.outcome.right) - right) <= 1, (fit.method.key, fit.setting)


@pytest.mark.slow
def test_pairs_of_one_target_come_together(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> None:
    column = make_column(make_domains(("a", "b", "c"), 8), n_splits=2)
    pairs = column.domains.pairs
    fits = measure_column(column, lambda _: methods_of(["svm-s"]), pairs, ("supervised",))
    targets = [fit.pair[1] for fit in fits]
    assert targets == ["b"] * 4 + ["c"] * 4 + ["a"] * 4
    assert {(fit.pair, fit.split) for fit in fits} == {(p, n) for p in pairs for n in range(2)}


def test_the_target_alone_is_fitted_once_for_all_sources(
    make_domains: Callable[..., DomainSet],
    make_column: Callable[..., FeatureColumn],
    tmp_path: Path,
) -> None:
    column = make_column(make_domains(("a", "b", "c"), 8), n_splits=1)
    pairs = (("a", "c"), ("b", "c"))
    told: list[str] = []
    fits = measure_column(
        column,
        lambda _: methods_of(["svm-t"]),
        pairs,
        ("supervised",),
        store=ResultStore(tmp_path),
        tell=told.append,
    )
    assert fits[0].outcome == fits[1].outcome
    assert told[0].startswith("fc6: 1 to be fitted, about ")
    assert "1 fitted" in told[2]
    assert "from the cache" in told[3]


def test_the_key_holds_all_that_determines_a_result(
    column: FeatureColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(which: FeatureColumn = column, **change: Any) -> str:
        place: dict[str, Any] = {
            "setting": "supervised",
            "method": methods_of(["gfk-svm"])[0],
            "pair": PAIR[0],
            "number": 0,
            "C": "cv",
            "seed": 0,
        }
        return module._Task(which, **{**place, **change}).name

    plain = key()
    assert key() == plain
    assert key(replace(column, fingerprint="0")) != plain
    assert key(replace(column, name="fc7")) != plain
    assert key(setting="unsupervised") != plain
    assert key(method=methods_of(["gfk-1nn"])[0]) != plain
    assert key(pair=("webcam", "amazon")) != plain
    assert key(number=1) != plain
    assert key(C=1.0) != plain
    assert key(seed=1) != plain
    monkeypatch.setattr(module, "versions", lambda *_: {"adapt": "other"})
    assert key() != plain


def test_a_stop_keeps_what_is_finished(column: FeatureColumn, tmp_path: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="the same command goes on"):
        measure_column(
            column,
            lambda _: methods_of(["svm-s", "svm-st", "logreg-s"]),
            PAIR,
            ("supervised",),
            store=ResultStore(tmp_path),
            stopped=lambda: next(asked),
        )
    assert len(list(tmp_path.iterdir())) == 2


def test_a_row_of_nan_is_named(column: FeatureColumn) -> None:
    rows = column.read().copy()
    rows[5, 2] = np.nan
    with pytest.raises(FeatureFileError, match=r"fc6: 1 of 72 rows .* is amazon/ant/005\.jpg"):
        measure_column(
            replace(column, read=lambda: rows),
            lambda _: methods_of(["svm-s"]),
            PAIR,
            ("supervised",),
        )


def test_what_a_method_refuses_is_told_with_its_place(column: FeatureColumn) -> None:
    method = MethodSettings("big", "GFK of 99", "GFK", {"head": "1nn", "dim": 99})
    with pytest.raises(
        InputError, match=r"^fc6, amazon → webcam, split 0, supervised, GFK of 99: "
    ):
        measure_column(column, lambda _: [method], PAIR, ("supervised",))


def test_unknown_methods() -> None:
    with pytest.raises(SettingError, match="methods magic: not of logreg-s, svm-s, logreg-t"):
        methods_of(["svm-s", "magic"])

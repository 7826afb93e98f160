"""Fits on pairs of domains: no test label is seen, right answers are counted, results are kept."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.domains import DomainSet
from decaf.errors import FeatureFileError, InputError, SettingError, Stopped
from harness.adaptation import AdaptationSettings
from harness.adaptation import measure as module
from harness.adaptation.measure import FeatureColumn, MethodOutcome, Place, Task, run_method
from harness.adaptation.methods import METHODS, MethodSettings, methods_of
from harness.protocol.outcomes import Outcome
from harness.protocol.run import BenchmarkRun

PAIR = (("amazon", "webcam"),)
SETTINGS = ("supervised", "unsupervised")


class Measure:
    """Measures in one folder, a run each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []

    def __call__(
        self,
        column: FeatureColumn,
        methods: Sequence[MethodSettings],
        pairs: Sequence[tuple[str, str]] = PAIR,
        settings: tuple[str, ...] = ("supervised",),
        *,
        stop: threading.Event | None = None,
        **more: Any,
    ) -> list[tuple[Place, MethodOutcome]]:
        self.lines.clear()
        made = AdaptationSettings(
            name="da", methods=tuple(methods), settings=settings, cache=self.folder, **more
        )
        run = BenchmarkRun(made, self.folder, tell=self.lines.append, stop=stop)
        del self.lines[0]  # where the cache is
        return module.measure(run, column, pairs)

    @property
    def stored(self) -> int:
        return len(list((self.folder / "results").iterdir()))


@pytest.fixture
def measured(tmp_path: Path) -> Measure:
    return Measure(tmp_path)


@pytest.fixture(scope="module")
def column(
    make_domains: Callable[..., DomainSet], make_column: Callable[..., FeatureColumn]
) -> FeatureColumn:
    return make_column(make_domains())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "method"),
    [(each, m) for each in SETTINGS for m in METHODS if each == SETTINGS[0] or not m.needs_labels],
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
    (answers, one), (others, other) = (
        run_method(method, rows, each, split, setting) for each in (labels, shuffled)
    )
    np.testing.assert_array_equal(answers, others)
    assert (one.C, one.dim) == (other.C, other.dim)
    assert answers.shape == split.test.shape


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


def test_right_answers_are_counted_by_class(column: FeatureColumn, measured: Measure) -> None:
    one = replace(column, splits=column.splits[:1])
    ((place, outcome),) = measured(one, methods_of(["svm-st"]))
    assert place == ("fc6", "supervised", "svm-st", PAIR[0])
    split = column.splits[0].of_pair(*PAIR[0])
    labels = column.domains.labels
    (method,) = methods_of(["svm-st"])
    answers, alone = run_method(method, column.read(), labels, split, "supervised")
    right = answers == labels[split.test]
    assert outcome.accuracy == pytest.approx(100 * right.mean())
    shares = [right[labels[split.test] == label].mean() for label in range(3)]
    assert outcome.mean_per_class == pytest.approx(100 * np.mean(shares))
    assert outcome.images == (9, 9, 9)
    assert outcome.C == alone.C


def test_accuracies_of_classes_of_different_size() -> None:
    outcome = Outcome(right=(1, 3, 0), images=(1, 6, 0))
    assert outcome.accuracy == pytest.approx(400 / 7)
    assert outcome.mean_per_class == pytest.approx(75)


@pytest.mark.slow
def test_finished_results_are_kept_and_repeat(column: FeatureColumn, measured: Measure) -> None:
    rows = methods_of(["svm-s", "svm-t", "gfk-1nn"])
    both = (*PAIR, ("webcam", "amazon"))
    first = measured(column, rows, both, SETTINGS)
    # 2 pairs × 2 splits × (3 + 2 rows), of which the source alone is fitted once for both settings.
    assert len(first) == 20
    assert measured.stored == 16
    # How long it may take, and a line for each fit as it ends.
    told, *lines = measured.lines
    assert re.fullmatch(r"16 fits to be made, about .* by their sizes", told)
    line = (
        r"1/20 fc6 amazon → webcam, split 0, supervised, SVM \(S\): [\d.]+ % right, C .*, "
        "about .* left"
    )
    assert re.fullmatch(line, lines[0])
    assert len(lines) == 20
    assert sum("from the cache" in line for line in lines) == 4
    assert measured(column, rows, both, SETTINGS) == first
    assert all("from the cache" in line for line in measured.lines)
    again = measured(column, rows, both, SETTINGS, recompute=True)
    assert [o.answers for _, o in again] == [o.answers for _, o in first]
    assert sum("from the cache" in line for line in measured.lines) == 4


@pytest.mark.slow
def test_what_is_remembered_between_fits_changes_no_answer(
    column: FeatureColumn, measured: Measure
) -> None:
    both = (*PAIR, ("webcam", "amazon"))
    fits = measured(column, METHODS, both, SETTINGS, C=1.0)
    rows, labels = column.read(), column.domains.labels
    by_key = {method.key: method for method in METHODS}
    seen: Counter[Place] = Counter()
    for place, outcome in fits:
        split = column.splits[seen[place]].of_pair(*place.pair)
        seen[place] += 1
        _, alone = run_method(by_key[place.method], rows, labels, split, place.setting, C=1.0)
        assert abs(sum(outcome.right) - sum(alone.right)) <= 1, place


@pytest.mark.slow
def test_pairs_of_one_target_come_together(
    make_domains: Callable[..., DomainSet],
    make_column: Callable[..., FeatureColumn],
    measured: Measure,
) -> None:
    column = make_column(make_domains(("a", "b", "c"), 8), n_splits=2)
    pairs = column.domains.pairs
    places = [place for place, _ in measured(column, methods_of(["svm-s"]), pairs)]
    assert [place.pair[1] for place in places] == ["b"] * 4 + ["c"] * 4 + ["a"] * 4
    assert Counter(place.pair for place in places) == dict.fromkeys(pairs, 2)


def test_the_target_alone_is_fitted_once_for_all_sources(
    make_domains: Callable[..., DomainSet],
    make_column: Callable[..., FeatureColumn],
    measured: Measure,
) -> None:
    column = make_column(make_domains(("a", "b", "c"), 8), n_splits=1)
    (_, one), (_, other) = measured(column, methods_of(["svm-t"]), (("a", "c"), ("b", "c")))
    assert one == other
    assert measured.lines[0].startswith("1 fits to be made, about ")
    assert ["from the cache" in line for line in measured.lines[1:]] == [False, True]


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
        return json.dumps(Task(which, **{**place, **change}).key, sort_keys=True)

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


def test_a_stop_keeps_what_is_finished(
    column: FeatureColumn, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    made: list[str] = []

    def count(method: MethodSettings, *args: Any, **more: Any) -> Any:
        made.append(method.key)
        if len(made) == 2:
            stop.set()
        return run_method(method, *args, **more)

    monkeypatch.setattr(module, "run_method", count)
    with pytest.raises(Stopped, match="the same command goes on"):
        measured(column, methods_of(["svm-s", "svm-st", "logreg-s"]), stop=stop)
    assert measured.stored == 2


def test_a_row_of_nan_is_named(column: FeatureColumn, measured: Measure) -> None:
    rows = column.read().copy()
    rows[5, 2] = np.nan
    with pytest.raises(FeatureFileError, match=r"fc6: 1 of 72 rows .* is amazon/ant/005\.jpg"):
        measured(replace(column, read=lambda: rows), methods_of(["svm-s"]))


def test_what_a_method_refuses_is_told_with_its_place(
    column: FeatureColumn, measured: Measure
) -> None:
    method = MethodSettings("big", "GFK of 99", "GFK", {"head": "1nn", "dim": 99})
    with pytest.raises(InputError, match=r"^fc6 amazon → webcam, split 0, supervised, GFK of 99: "):
        measured(column, [method])


def test_unknown_methods() -> None:
    with pytest.raises(SettingError, match="methods magic: not of logreg-s, svm-s, logreg-t"):
        methods_of(["svm-s", "magic"])

"""Methods × pairs × splits on one kind of features; each fit is kept as it is finished.

What is known of a target image without a label is its features, and nothing else: the classes of
the test images serve to count right answers when all is decided.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

import decaf.adapt
import decaf.heads
from datasets.domains import DomainSet
from decaf.adapt.algebra.kept_decompositions import Memory, recalled
from decaf.errors import DecafError, FeatureFileError, InputError, Stopped
from decaf.runtime.progress import duration
from harness.adaptation.methods import MethodSettings
from harness.adaptation.splits import DomainSplit, PairSplit
from harness.protocol.result_store import ResultStore, images_digest, versions

__all__ = ["Answers", "FeatureColumn", "Fit", "Outcome", "measure_column", "run_method"]

Rows = npt.NDArray[np.int64]
Features = npt.NDArray[np.float32]

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")

# What stands for no label among the target's.
_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class FeatureColumn:
    """One kind of features, a column of the tables.

    Attributes
    ----------
    name : str
        Name of the column: ``"fc6"``, ``"SURF_L10"``.
    group : str
        What the features are of, such as the weights' name; empty where it goes without saying.
    domains : DomainSet
    splits : tuple of DomainSplit
    fingerprint : str
        Changes with any row.
    read : callable
        Gives the features of all images, (N, D) float32, in the order of the data set.
    """

    name: str
    group: str
    domains: DomainSet
    splits: tuple[DomainSplit, ...]
    fingerprint: str
    read: Callable[[], Features]

    @property
    def title(self) -> str:
        """The name with its group."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, eq=False)
class Answers:
    """What one method answered on one split of a pair.

    Attributes
    ----------
    predictions : array of int64
        The label given to each test image.
    C : float or None
        C of the head, where it has one.
    dim : int or None
        Dimensions of the subspace, where there is one.
    converged : bool
    messages : tuple of str
        Other warnings, each once.
    seconds : float
        For fit and prediction.
    """

    predictions: Rows
    C: float | None
    dim: int | None
    converged: bool
    messages: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What is kept of the answers of one method on one split of a pair.

    Attributes
    ----------
    right, images : tuple of int
        For each class how many test images were answered right, and how many there are.
    answers : str
        SHA-256 of the answers, by which runs can be compared.
    C, dim, converged, messages, seconds
        As in `Answers`.
    """

    right: tuple[int, ...]
    images: tuple[int, ...]
    answers: str
    C: float | None = None
    dim: int | None = None
    converged: bool = True
    messages: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of all test images that were answered right, in percent."""
        return 100 * sum(self.right) / sum(self.images)

    @property
    def mean_per_class(self) -> float:
        """Mean over the classes of the share that was answered right, in percent."""
        shares = [r / n for r, n in zip(self.right, self.images, strict=True) if n]
        return 100 * sum(shares) / len(shares)


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit in its place in the tables."""

    column: FeatureColumn
    setting: str
    method: MethodSettings
    pair: tuple[str, str]
    split: int
    outcome: Outcome


def run_method(
    method: MethodSettings,
    features: Features,
    labels: Rows,
    split: PairSplit,
    setting: str,
    *,
    C: float | str = "cv",
    seed: int = 0,
    memory: Memory | None = None,
) -> Answers:
    """Fit a method to a split of a pair and have it answer the test images.

    Parameters
    ----------
    method : MethodSettings
    features : array of float32, shape (N, D)
        Features of all images.
    labels : array of int64, shape (N,)
        Those of `split.source` are used, and in the supervised setting those of `split.labelled`.
    split : PairSplit
    setting : {"supervised", "unsupervised"}
    C : float or "cv"
    seed : int
    memory : Memory, optional
        Remembers what several fits to the same rows share.

    Returns
    -------
    Answers

    Raises
    ------
    DecafError
        As the method.
    """
    # In one order for all splits: what depends on them alone is the same for all.
    target = np.sort(np.concatenate([split.labelled, split.test]))
    yt = None
    if setting == "supervised":
        yt = np.full(len(target), _UNKNOWN, np.int64)
        yt[np.searchsorted(target, split.labelled)] = labels[split.labelled]
    estimator = method.make(C=C, seed=seed)
    Xs, Xt = (
        recalled(memory, "rows", partial(features.__getitem__, rows), features, rows)
        for rows in (split.source, target)
    )
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        # All are part of the outcome, and reported with it.
        warnings.simplefilter("always")
        estimator.fit(Xs, labels[split.source], Xt, yt, memory=memory)
        predictions = np.asarray(estimator.predict(Xt), np.int64)
    seconds = time.perf_counter() - began
    predictions = predictions[np.searchsorted(target, split.test)]
    stuck = [each for each in told if issubclass(each.category, ConvergenceWarning)]
    others = Counter(each.category.__name__ for each in told if each not in stuck)
    known_C, dim = getattr(estimator, "C_", None), getattr(estimator, "dim_", None)
    return Answers(
        predictions,
        C=None if known_C is None else float(known_C),
        dim=None if dim is None else int(dim),
        converged=not stuck and bool(np.all(getattr(estimator, "converged_", True))),
        messages=tuple(sorted(others)),
        seconds=seconds,
    )


def measure_column(
    column: FeatureColumn,
    methods: Callable[[str], Sequence[MethodSettings]],
    pairs: Sequence[tuple[str, str]],
    settings: Sequence[str],
    *,
    C: float | str = "cv",
    seed: int = 0,
    store: ResultStore | None = None,
    recompute: bool = False,
    tell: Callable[[str], Any] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> list[Fit]:
    """Run methods on all pairs and splits with one kind of features.

    Parameters
    ----------
    column : FeatureColumn
    methods : callable
        Gives the methods of a setting.
    pairs : sequence of (source, target)
    settings : sequence of {"supervised", "unsupervised"}
    C, seed
        As in `run_method`.
    store : ResultStore, optional
        Takes what is finished, and gives what an earlier run finished.
    recompute : bool
        Do not take from the store what an earlier run finished.
    tell : callable, optional
        Called with how long it may take, with a line for each fit as it ends, and one for each pair
        and split.
    stopped : callable, optional
        Asked before each fit whether to end.

    Returns
    -------
    list of Fit

    Raises
    ------
    Stopped
        Where `stopped` said so; what is finished is in the store.
    FeatureFileError
        If a row holds NaN or infinity.
    InputError
        Where a method cannot be fitted; names the pair, the split and the method.
    """
    features = _Once(column)
    # Target by target: what depends on the target's rows alone is remembered from fit to fit.
    targets = list(dict.fromkeys(target for _, target in pairs))
    ordered = sorted(pairs, key=lambda pair: targets.index(pair[1]))
    places = [
        [
            _Task(column, setting, method, pair, number, C, seed)
            for setting in settings
            for method in methods(setting)
        ]
        for pair in ordered
        for number in range(len(column.splits))
    ]
    made: dict[str, Outcome] = {}
    left: dict[str, _Task] = {}
    # Some are wanted twice: a head on the source alone is the same in both settings.
    for task in (task for place in places for task in place if task.name not in made):
        outcome = None if store is None or recompute else store.get(task.key, Outcome)
        if outcome is None:
            left[task.name] = task
        else:
            made[task.name] = outcome
    every_fit = []
    say = tell or (lambda _line: None)
    memory = Memory()
    pace = _Pace([task.size(features().shape[1]) for task in left.values()] if left else [])
    if left:
        about = duration(pace.left())
        say(f"{column.title}: {len(left)} to be fitted, about {about} by their sizes")
    for done, place in enumerate(places, 1):
        fits, fresh = [], 0
        for task in place:
            if stopped is not None and stopped():
                raise Stopped("stopped; finished results are kept: the same command goes on")
            if task.name not in made:
                outcome = made[task.name] = task.outcome(features(), memory)
                fresh += 1
                if store is not None:
                    store.put(task.key, outcome)
                pace.step()
                more = f", about {duration(pace.left())} left" if pace.sizes else ""
                say(
                    f"{task.title}, {task.setting}, {task.method.name}: "
                    f"{outcome.accuracy:.1f} % right, {duration(outcome.seconds)}{more}"
                )
            fits.append(task.fit(made[task.name]))
        every_fit += fits
        say(f"{done}/{len(places)} {_line(fits, fresh)}")
    return every_fit


class _Pace:
    """How long what is left may take: at first by its size, then by what took how long so far.

    Parameters
    ----------
    sizes : list of float
        Seconds that each fit takes on two cores, roughly.
    """

    def __init__(self, sizes: list[float]) -> None:
        self.sizes = sizes
        self._done = 0.0
        self._began = time.perf_counter()

    def step(self) -> None:
        """Note that the next fit is done."""
        self._done += self.sizes.pop(0)

    def left(self) -> float:
        """Return seconds."""
        rate = (time.perf_counter() - self._began) / self._done if self._done else 1.0
        return rate * sum(self.sizes)


def _line(fits: Sequence[Fit], fresh: int) -> str:
    first = fits[0]
    accuracies = [fit.outcome.accuracy for fit in fits]
    text = (
        f"{first.column.title} {first.pair[0]} → {first.pair[1]}, "
        f"{first.column.splits[first.split].name}: {len(fits)} results, {min(accuracies):.1f} to "
        f"{max(accuracies):.1f} % right"
    )
    seconds = sum(fit.outcome.seconds for fit in fits)
    text += f", {fresh} fitted, {seconds:.1f} s" if fresh else ", from the cache"
    stuck = sum(not fit.outcome.converged for fit in fits)
    return text + (f", {stuck} NOT CONVERGED" if stuck else "")


@dataclass(frozen=True, eq=False)
class _Task:
    """A fit to be made."""

    column: FeatureColumn
    setting: str
    method: MethodSettings
    pair: tuple[str, str]
    number: int
    C: float | str
    seed: int

    @functools.cached_property
    def split(self) -> PairSplit:
        return self.column.splits[self.number].of_pair(*self.pair)

    @property
    def title(self) -> str:
        return f"{self.column.title} {' → '.join(self.pair)}, {self.split.name}"

    def fit(self, outcome: Outcome) -> Fit:
        """Put an outcome in its place in the tables."""
        return Fit(self.column, self.setting, self.method, self.pair, self.number, outcome)

    def size(self, width: int) -> float:
        """Return about how many seconds it takes on two cores, from Office-31's and PACS's."""
        split, classes = self.split, len(self.column.domains.class_names)
        sources = 0 if self.method.uses == "target" else len(split.source)
        return 1.7e-7 * classes * sources**2 + 6e-8 * len(split.test) * width

    @functools.cached_property
    def name(self) -> str:
        """The key as text."""
        return json.dumps(self.key, sort_keys=True)

    @functools.cached_property
    def key(self) -> dict[str, Any]:
        """Return all that determines the outcome. What the method does not use is left out of it.

        So a head on the target alone is fitted once for all sources, and one on the source alone
        once for both settings.
        """
        parts = {"test": self.split.test, "labelled": self.split.labelled}
        if self.method.uses != "target":
            parts["source"] = self.split.source
        dataset = self.column.domains
        return {
            "features": self.column.fingerprint,
            "column": self.column.name,
            "method": self.method.record(C=self.C, seed=self.seed),
            "setting": "any" if self.method.uses == "source" else self.setting,
            "split": {what: images_digest(dataset, rows) for what, rows in parts.items()},
            "versions": versions(LIBRARIES, decaf.adapt, decaf.heads),
        }

    def outcome(self, features: Features, memory: Memory) -> Outcome:
        """Fit, and count the right answers."""
        dataset, split = self.column.domains, self.split
        try:
            answers = run_method(
                self.method,
                features,
                dataset.labels,
                split,
                self.setting,
                C=self.C,
                seed=self.seed,
                memory=memory,
            )
        except DecafError as error:
            pair = " → ".join(self.pair)
            raise InputError(
                f"{self.column.title}, {pair}, {split.name}, {self.setting}, {self.method.name}: "
                f"{error}"
            ) from error
        return _counted(answers, dataset.labels[split.test], len(dataset.class_names))


def _counted(answers: Answers, truth: Rows, classes: int) -> Outcome:
    right = answers.predictions == truth
    return Outcome(
        right=tuple(np.bincount(truth[right], minlength=classes).tolist()),
        images=tuple(np.bincount(truth, minlength=classes).tolist()),
        answers=hashlib.sha256(answers.predictions.tobytes()).hexdigest(),
        C=answers.C,
        dim=answers.dim,
        converged=answers.converged,
        messages=answers.messages,
        seconds=round(answers.seconds, 4),
    )


class _Once:
    """The features of a column, read when a fit first needs them."""

    def __init__(self, column: FeatureColumn) -> None:
        self._column = column
        self._rows: Features | None = None

    def __call__(self) -> Features:
        if self._rows is None:
            rows = self._column.read()
            bad = ~np.isfinite(rows).all(axis=1)
            if bad.any():
                name = self._column.domains.names[int(bad.argmax())]
                raise FeatureFileError(
                    f"{self._column.title}: {int(bad.sum())} of {len(rows)} rows hold NaN or "
                    f"infinity, the first is {name.decode('utf-8', 'backslashreplace')}"
                )
            self._rows = rows.view()
            self._rows.flags.writeable = False
        return self._rows

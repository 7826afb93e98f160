"""Methods × pairs × splits on one kind of features.

What is known of a target image without a label is its features, and nothing else: the classes of
the test images serve to count right answers when all is decided.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

import decaf.adapt
import decaf.heads
from datasets.domains import DomainSet
from decaf.adapt.algebra.fit_cache import Memory, recalled
from decaf.errors import DecafError, FeatureFileError, InputError
from harness.adaptation.methods import MethodSettings
from harness.adaptation.settings import AdaptationSettings
from harness.adaptation.splits import DomainSplit, PairSplit
from harness.protocol.outcomes import Fit, Outcome, counts_by_class
from harness.protocol.result_store import images_digest, versions
from harness.protocol.run import BenchmarkRun

__all__ = ["FeatureColumn", "MethodOutcome", "Pair", "Place", "Task", "measure", "run_method"]

Rows = npt.NDArray[np.int64]
Features = npt.NDArray[np.float32]
Pair = tuple[str, str]

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
        Source of the features, such as the weights' name; empty where it goes without saying.
    domains : DomainSet
    splits : tuple of DomainSplit
    fingerprint : str
        Changes with any row.
    read : callable
        Returns the features of all images, (N, D) float32, in the order of the data set.
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


@dataclass(frozen=True, kw_only=True)
class MethodOutcome(Outcome):
    """The outcome of one method on one split of a pair; more in `Outcome`.

    Attributes
    ----------
    dim : int or None
        Dimensions of the subspace, where there is one.
    messages : tuple of str
        Warnings other than of convergence, each once.
    """

    dim: int | None = None
    messages: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where outcomes stand in the tables: title of the column, key of the method."""

    column: str
    setting: str
    method: str
    pair: Pair


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
) -> tuple[Rows, MethodOutcome]:
    """Fit a method to a split of a pair and have it answer the test images.

    Parameters
    ----------
    method : MethodSettings
    features : array of float32, shape (N, D)
        Features of all images.
    labels : array of int64, shape (N,)
        Those of `split.source` are used, and in the supervised setting those of `split.labelled`;
        by those of `split.test` right answers are counted.
    split : PairSplit
    setting : {"supervised", "unsupervised"}
    C : float or "cv"
    seed : int
    memory : Memory, optional
        Remembers what several fits to the same rows share.

    Returns
    -------
    predictions : array of int64
        The label given to each test image.
    outcome : MethodOutcome

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
    others = {each.category.__name__ for each in told if each not in stuck}
    known_C, dim = getattr(estimator, "C_", None), getattr(estimator, "dim_", None)
    return predictions, MethodOutcome(
        **counts_by_class(predictions, labels[split.test], int(labels.max()) + 1),
        C=None if known_C is None else float(known_C),
        dim=None if dim is None else int(dim),
        converged=not stuck and bool(np.all(getattr(estimator, "converged_", True))),
        messages=tuple(sorted(others)),
        seconds=round(seconds, 4),
    )


def measure(
    run: BenchmarkRun[AdaptationSettings], column: FeatureColumn, pairs: Sequence[Pair]
) -> list[tuple[Place, MethodOutcome]]:
    """Run the methods on pairs and splits with one kind of features.

    Parameters
    ----------
    run : BenchmarkRun
    column : FeatureColumn
    pairs : sequence of (source, target)

    Returns
    -------
    list of (Place, MethodOutcome)
        Target by target; of one place in the order of the splits.

    Raises
    ------
    Stopped
        Where the run is to end early; what is finished is in its store.
    FeatureFileError
        If a row holds NaN or infinity.
    InputError
        Where a method cannot be fitted; names the pair, the split and the method.
    """
    settings = run.settings
    # What depends on the target's rows alone is remembered from fit to fit.
    targets = list(dict.fromkeys(target for _, target in pairs))
    tasks = [
        Task(column, setting, method, pair, number, settings.C, settings.seed)
        for pair in sorted(pairs, key=lambda pair: targets.index(pair[1]))
        for number in range(len(column.splits))
        for setting in settings.settings
        for method in settings.methods_in(setting)
    ]
    features, memory = _finite_rows(column), Memory()
    fits = [
        Fit(
            task.title,
            task.key,
            partial(task.outcome, features, memory),
            task.seconds(features.shape[1]),
        )
        for task in tasks
    ]
    outcomes = run.outcomes(fits, MethodOutcome)
    return [(task.place, outcome) for task, outcome in zip(tasks, outcomes, strict=True)]


def _finite_rows(column: FeatureColumn) -> Features:
    """Read the features of a column, and refuse them where a row is not finite."""
    features = column.read().view()
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        name = column.domains.names[int(bad.argmax())]
        raise FeatureFileError(
            f"{column.title}: {int(bad.sum())} of {len(features)} rows hold NaN or "
            f"infinity, the first is {name.decode('utf-8', 'backslashreplace')}"
        )
    features.flags.writeable = False
    return features


@dataclass(frozen=True, eq=False)
class Task:
    """A method on one split of a pair.

    Attributes
    ----------
    column : FeatureColumn
    setting : {"supervised", "unsupervised"}
    method : MethodSettings
    pair : (source, target)
    number : int
        Which split.
    C : float or "cv"
    seed : int
    """

    column: FeatureColumn
    setting: str
    method: MethodSettings
    pair: Pair
    number: int
    C: float | str
    seed: int

    @functools.cached_property
    def split(self) -> PairSplit:
        """The rows of the split."""
        return self.column.splits[self.number].of_pair(*self.pair)

    @property
    def place(self) -> Place:
        """Where its outcome stands."""
        return Place(self.column.title, self.setting, self.method.key, self.pair)

    @property
    def title(self) -> str:
        """Its name in messages."""
        place = f"{self.column.title} {' → '.join(self.pair)}, {self.split.name}"
        return f"{place}, {self.setting}, {self.method.name}"

    @property
    def key(self) -> dict[str, Any]:
        """All that determines the outcome. What the method does not use is left out of it.

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

    def seconds(self, width: int) -> float:
        """Return about how long it takes on two cores, from Office-31's and PACS's.

        Parameters
        ----------
        width : int
            Dimensions of the features.
        """
        split, classes = self.split, len(self.column.domains.class_names)
        sources = 0 if self.method.uses == "target" else len(split.source)
        return 1.7e-7 * classes * sources**2 + 6e-8 * len(split.test) * width

    def outcome(self, features: Features, memory: Memory) -> MethodOutcome:
        """Fit, and count the right answers.

        Parameters
        ----------
        features : array of float32, shape (N, D)
        memory : Memory
        """
        try:
            _, outcome = run_method(
                self.method,
                features,
                self.column.domains.labels,
                self.split,
                self.setting,
                C=self.C,
                seed=self.seed,
                memory=memory,
            )
        except DecafError as error:
            raise InputError(f"{self.title}: {error}") from error
        return outcome

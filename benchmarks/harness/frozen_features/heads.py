"""Heads on features: each sees the training rows of a split, and answers its test rows.

A head sees the training rows and nothing else: scaling and C are chosen among these. Its answers to
the test rows are kept, and everything that is reported is counted from them.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

import decaf.heads
from datasets.dataset import Dataset
from decaf.errors import FeatureFileError, SettingError
from decaf.heads import CSearchWarning, LinearSVM, LogisticRegression
from decaf.heads.metrics import mean_per_class_accuracy
from harness.protocol.outcomes import Fit, Outcome, counts_by_class
from harness.protocol.result_store import images_digest, versions
from harness.protocol.run import BenchmarkRun
from harness.protocol.splits import Split

__all__ = ["HeadOutcome", "HeadSettings", "Task", "measure", "paper_heads", "run_head"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

KINDS = ("logreg", "svm")


@dataclass(frozen=True)
class HeadSettings:
    """A head as a row of a table: what it is called and how it is made.

    Attributes
    ----------
    name : str
    kind : {"logreg", "svm"}
    dropout : float
        Share of the activations that are dropped while it is trained.
    C : float, optional
        None to choose it by cross-validation in the training rows.
    Cs : tuple of float, optional
        The values to choose among; the estimator's own when not given.
    folds : int
        Folds of the cross-validation.
    multi_class : {"ovr", "multinomial"}
        How logistic regression takes several classes. Donahue et al. 2014 say nothing of it; the
        library of their time, LIBLINEAR, is one-vs-rest.
    loss : {"squared_hinge", "hinge"}
        Loss of the SVM.
    scale : str
        As `decaf.heads.LogisticRegression` takes it.
    solver : {"batched", "sklearn"}
    """

    name: str
    kind: str
    dropout: float = 0.0
    C: float | None = None
    Cs: tuple[float, ...] | None = None
    folds: int = 5
    multi_class: str = "ovr"
    loss: str = "squared_hinge"
    scale: str = "mean-norm"
    solver: str = "batched"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"head {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.C is None and self.folds < 2:
            raise SettingError(f"folds {self.folds!r}: must be a whole number from 2 on")

    def make(self, *, device: str = "auto") -> Any:
        """Make the estimator, not fitted.

        Parameters
        ----------
        device : str
        """
        shared: dict[str, Any] = {
            "C": "cv" if self.C is None else self.C,
            "Cs": self.Cs,
            "cv": self.folds,
            "dropout": self.dropout,
            "scale": self.scale,
            "solver": self.solver,
            "random_state": 0,
            "device": device,
        }
        if self.kind == "logreg":
            return LogisticRegression(multi_class=self.multi_class, **shared)
        return LinearSVM(loss=self.loss, **shared)

    def key(self) -> dict[str, Any]:
        """Return what determines its answers, as JSON can hold it: the estimator's settings."""
        estimator = self.make()
        settings = {n: v for n, v in estimator.get_params(deep=False).items() if n != "device"}
        if settings["C"] == "cv" and settings["Cs"] is None:
            settings["Cs"] = list(estimator.grid)
            settings["widen"] = True
        return {"kind": self.kind, **settings}


def paper_heads(**settings: Any) -> tuple[HeadSettings, ...]:
    """Return the four rows of Donahue et al. 2014, section 4.1: half of the activations drop.

    Parameters
    ----------
    **settings
        Fields of `HeadSettings` for all of them.

    Examples
    --------
    >>> [head.name for head in paper_heads()]
    ['LogReg', 'LogReg with dropout', 'SVM', 'SVM with dropout']
    """
    heads = []
    for name, kind in (("LogReg", "logreg"), ("SVM", "svm")):
        heads.append(HeadSettings(name, kind, **settings))
        heads.append(HeadSettings(f"{name} with dropout", kind, dropout=0.5, **settings))
    return tuple(heads)


@dataclass(frozen=True, kw_only=True)
class HeadOutcome(Outcome):
    """The outcome of one head on one split; more in `Outcome`.

    Attributes
    ----------
    predictions : tuple of int
        The label given to each test row.
    lead : tuple of float
        By how much the score of the answer exceeds that of the right class, for each test row: 0
        where it is right.
    validation : float or None
        Share of the held-out training rows that the search classified rightly at `C`.
    tried : tuple of float
        The values of C that were searched; empty where none were.
    at_border : bool
        Whether the best of these was the smallest or the largest.
    search_converged : bool
        Whether all fits of the search did.
    """

    predictions: tuple[int, ...]
    lead: tuple[float, ...]
    validation: float | None = None
    tried: tuple[float, ...] = ()
    at_border: bool = False
    search_converged: bool = True

    @property
    def accuracy(self) -> float:
        """Share of all test images that were answered right, in percent."""
        return 100 * (sum(self.right) / sum(self.images))

    @property
    def mean_per_class(self) -> float:
        """Mean over the classes of the share that was answered right, in percent."""
        return 100 * mean_per_class_accuracy(np.array(self.right), np.array(self.images))


@dataclass(frozen=True, eq=False)
class Task:
    """One cell of a benchmark's tables: a head on a layer, over some splits.

    Attributes
    ----------
    group : str
        Source of the features, such as the weights' name.
    layer : str
    head : HeadSettings
    splits : tuple of Split
    outcomes : tuple of HeadOutcome
        One for each split.
    """

    group: str
    layer: str
    head: HeadSettings
    splits: tuple[Split, ...]
    outcomes: tuple[HeadOutcome, ...]

    @property
    def title(self) -> str:
        """Features, layer and head."""
        return ", ".join(filter(None, (self.group, self.layer, self.head.name)))

    def accuracies(self, *, per_class: bool = True) -> npt.NDArray[np.float64]:
        """Return the accuracy on each split, in percent: (splits,) float64.

        Parameters
        ----------
        per_class : bool
            The mean over the classes of each one's accuracy; otherwise the share of all test
            images.
        """
        return np.array([o.mean_per_class if per_class else o.accuracy for o in self.outcomes])


def measure(
    run: BenchmarkRun[Any],
    dataset: Dataset,
    splits: Sequence[Split],
    heads: Sequence[tuple[str, HeadSettings]],
    read: Callable[[str, int, Rows], Floats],
    *,
    fingerprint: str,
    group: str = "",
) -> list[Task]:
    """Run heads on layers over all splits.

    Parameters
    ----------
    run : BenchmarkRun
    dataset : Dataset
    splits : sequence of Split
    heads : sequence of (layer, HeadSettings)
        The tasks, layer by layer.
    read : callable
        Takes a layer, the number of a split and rows of the data set, and returns their features.
    fingerprint : str
        Changes with any row of the features.
    group : str
        Source of the features, for messages and tables.

    Returns
    -------
    list of Task
        In the order of `heads`.

    Raises
    ------
    Stopped
        Where the run is to end early; what is finished is in its store.
    FeatureFileError
        If a row holds NaN or infinity.
    """

    @functools.lru_cache(maxsize=1)
    def rows_of(layer: str, number: int) -> tuple[Floats, Floats]:
        split = splits[number]
        matrix = read(layer, number, np.concatenate([split.train, split.test]))
        return matrix[: len(split.train)], matrix[len(split.train) :]

    def outcome(layer: str, number: int, head: HeadSettings) -> HeadOutcome:
        (X_train, X_test), split = rows_of(layer, number), splits[number]
        y_train, y_test = dataset.labels[split.train], dataset.labels[split.test]
        return run_head(head, X_train, y_train, X_test, y_test, device=run.settings.device)

    fits = {}
    heads_of: dict[str, list[HeadSettings]] = {}
    for layer, head in heads:
        heads_of.setdefault(layer, []).append(head)
    for layer, own_heads in heads_of.items():
        for number, split in enumerate(splits):
            for head in own_heads:
                key = {
                    "features": fingerprint,
                    "layer": layer,
                    "head": head.key(),
                    "split": [images_digest(dataset, rows) for rows in (split.train, split.test)],
                    "versions": versions(("numpy", "scikit-learn", "torch"), decaf.heads),
                }
                title = f"{group} {layer} {head.name}, {split.name}".strip()
                make = partial(outcome, layer, number, head)
                fits[layer, head, number] = Fit(title, key, make)
    made = dict(zip(fits, run.outcomes(list(fits.values()), HeadOutcome), strict=True))
    return [
        Task(
            group,
            layer,
            head,
            tuple(splits),
            tuple(made[layer, head, number] for number in range(len(splits))),
        )
        for layer, head in heads
    ]


def run_head(
    head: HeadSettings,
    X_train: npt.NDArray[np.floating],
    y_train: Rows,
    X_test: npt.NDArray[np.floating],
    y_test: Rows,
    *,
    device: str = "auto",
) -> HeadOutcome:
    """Fit a head to training rows and have it answer the test rows.

    Parameters
    ----------
    head : HeadSettings
    X_train, X_test : array of float, shapes (n, D) and (m, D)
    y_train, y_test : array of int64, shapes (n,) and (m,)
        With the labels of the test rows right answers are counted, and `HeadOutcome.lead` is told.
    device : str

    Returns
    -------
    HeadOutcome

    Raises
    ------
    FeatureFileError
        If a row holds NaN or infinity.
    """
    for name, rows in (("training", X_train), ("test", X_test)):
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise FeatureFileError(
                f"{int(bad.sum())} of {len(rows)} {name} rows hold NaN or infinity, the first is "
                f"row {int(bad.argmax())}; leave images that could not be read out of the splits"
            )
    estimator = head.make(device=device)
    began = time.perf_counter()
    with warnings.catch_warnings():
        # Both are part of the outcome, and reported with it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", CSearchWarning)
        # One image of each class is a point of a curve, and no regression problem.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        estimator.fit(X_train, y_train)
    seconds = time.perf_counter() - began
    scores = np.asarray(estimator.decision_function(X_test), np.float64)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    classes = np.asarray(estimator.classes_)
    best = scores.argmax(axis=1)
    predictions = classes[best].astype(np.int64)
    search = getattr(estimator, "search_", None)
    return HeadOutcome(
        **counts_by_class(predictions, y_test, int(max(classes.max(), y_test.max())) + 1),
        predictions=tuple(predictions.tolist()),
        lead=_lead(scores, best, classes, y_test),
        C=float(estimator.C_),
        validation=None if search is None else float(np.max(search.accuracy)),
        tried=() if search is None else tuple(float(C) for C in search.Cs),
        at_border=search is not None and bool(search.rising),
        converged=bool(np.all(estimator.converged_)),
        search_converged=search is None or bool(np.all(search.converged)),
        seconds=seconds,
    )


def _lead(
    scores: npt.NDArray[np.float64], best: Rows, classes: Rows, y_test: Rows
) -> tuple[float, ...]:
    place = {int(each): number for number, each in enumerate(classes)}
    # A class without training rows has no score, and any answer leads it by nothing known.
    column = np.array([place.get(int(each), -1) for each in y_test], np.int64)
    rows = np.arange(len(scores))
    right = np.where(column >= 0, scores[rows, column], scores[rows, best])
    return tuple(np.round(scores[rows, best] - right, 5).tolist())

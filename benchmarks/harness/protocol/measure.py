"""The protocol of a benchmark: heads × layers × splits, each fitted on training rows alone.

A head sees the training rows of a split and nothing else: scaling and C are chosen among these. Its
answers to the test rows are kept, and everything that is reported is counted from them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

import decaf.heads
from datasets.dataset import Dataset
from decaf.errors import FeatureFileError, SettingError, Stopped
from decaf.heads import CSearchWarning, LinearSVM, LogisticRegression
from harness.protocol.result_store import ResultStore, images_digest, versions
from harness.protocol.splits import Split

__all__ = ["Features", "HeadSettings", "Outcome", "Task", "measure", "run_head"]

Rows = npt.NDArray[np.int64]

KINDS = ("logreg", "svm")


class Features(Protocol):
    """Where the rows of a benchmark come from: a network's layers, or something without a network.

    Attributes
    ----------
    fingerprint : str
        Changes with any row.
    """

    @property
    def fingerprint(self) -> str:
        """What changes with any row."""

    def matrix(self, layer: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return rows of a layer: (len(rows), D) float32.

        Parameters
        ----------
        layer : str
        rows : array of int
        """


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
    seed : int
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
    seed: int = 0

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
            "random_state": self.seed,
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
            settings["Cs"] = list(estimator.default_Cs)
            settings["widen"] = True
        return {"kind": self.kind, **settings}


@dataclass(frozen=True)
class Outcome:
    """What one head answered on one split.

    Attributes
    ----------
    predictions : tuple of int
        The label given to each test row.
    lead : tuple of float
        By how much the score of the answer exceeds that of the right class, for each test row: 0
        where it is right.
    C : float
    validation : float or None
        Share of the held-out training rows that the search classified rightly at `C`.
    tried : tuple of float
        The values of C that were searched; empty where none were.
    at_border : bool
        Whether the best of these was the smallest or the largest.
    widened : int
        How often the search was widened.
    converged : bool
        Whether the fit converged.
    search_converged : bool
        Whether all fits of the search did.
    n_iter : int
    seconds : float
        For the search and the fit.
    """

    predictions: tuple[int, ...]
    lead: tuple[float, ...]
    C: float
    validation: float | None = None
    tried: tuple[float, ...] = ()
    at_border: bool = False
    widened: int = 0
    converged: bool = True
    search_converged: bool = True
    n_iter: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Task:
    """One cell of a benchmark's tables: a head on a layer, over some splits.

    Attributes
    ----------
    group : str
        What the features are of, such as the weights' name.
    layer : str
    head : HeadSettings
    splits : tuple of Split
    outcomes : tuple of Outcome
        One for each split.
    """

    group: str
    layer: str
    head: HeadSettings
    splits: tuple[Split, ...]
    outcomes: tuple[Outcome, ...]


def run_head(
    head: HeadSettings,
    X_train: npt.NDArray[np.floating],
    y_train: Rows,
    X_test: npt.NDArray[np.floating],
    y_test: Rows,
    *,
    device: str = "auto",
) -> Outcome:
    """Fit a head to training rows and have it answer the test rows.

    Parameters
    ----------
    head : HeadSettings
    X_train, X_test : array of float, shapes (n, D) and (m, D)
    y_train, y_test : array of int64, shapes (n,) and (m,)
        The labels of the test rows serve for `Outcome.lead` alone.
    device : str

    Returns
    -------
    Outcome

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
    search = getattr(estimator, "search_", None)
    return Outcome(
        predictions=tuple(classes[best].tolist()),
        lead=_lead(scores, best, classes, y_test),
        C=float(estimator.C_),
        validation=None if search is None else float(np.max(search.accuracy)),
        tried=() if search is None else tuple(float(C) for C in search.Cs),
        at_border=search is not None and bool(search.rising),
        widened=0 if search is None else int(search.widened),
        converged=bool(np.all(estimator.converged_)),
        search_converged=search is None or bool(np.all(search.converged)),
        n_iter=int(np.max(estimator.n_iter_)),
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


def measure(
    dataset: Dataset,
    features: Features,
    splits: Sequence[Split],
    layers: Sequence[str],
    heads: Sequence[HeadSettings] | Callable[[str], Sequence[HeadSettings]],
    *,
    group: str = "",
    store: ResultStore | None = None,
    recompute: bool = False,
    device: str = "auto",
    tell: Callable[[str], Any] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> list[Task]:
    """Run every head on every layer over all splits.

    Parameters
    ----------
    dataset : Dataset
    features : Features
        Row i is image i of the data set.
    splits : sequence of Split
    layers : sequence of str
    heads : sequence of HeadSettings, or callable
        What is called gives the heads of a layer by its name.
    group : str
        What the features are of, for messages and tables.
    store : ResultStore, optional
        Takes what is finished, and gives what an earlier run finished.
    recompute : bool
        Do not take anything from the store.
    device : str
    tell : callable, optional
        Called with a line for each result.
    stopped : callable, optional
        Asked before each fit whether to end.

    Returns
    -------
    list of Task
        Layer by layer, for each in the order of the heads.

    Raises
    ------
    Stopped
        Where `stopped` said so; what is finished is in the store.
    """
    outcomes: dict[tuple[str, int], list[Outcome]] = {}
    of_layer = {layer: heads(layer) if callable(heads) else heads for layer in layers}
    total = len(splits) * sum(map(len, of_layer.values()))
    for layer in layers:
        for split in splits:
            rows = _RowsOfSplit(dataset, features, layer, split)
            for number, head in enumerate(of_layer[layer]):
                if stopped is not None and stopped():
                    raise Stopped("stopped; finished results are kept: the same command goes on")
                key = _key(dataset, features, layer, split, head)
                outcome = None if store is None or recompute else store.get(key, Outcome)
                known = outcome is not None
                if outcome is None:
                    outcome = run_head(head, *rows.arrays(), device=device)
                    if store is not None:
                        store.put(key, outcome)
                outcomes.setdefault((layer, number), []).append(outcome)
                if tell is not None:
                    done = sum(map(len, outcomes.values()))
                    labels = dataset.labels[split.test]
                    tell(
                        f"{done}/{total} {_line(group, layer, split, head, outcome, labels, known)}"
                    )
    return [
        Task(group, layer, head, tuple(splits), tuple(outcomes[layer, number]))
        for layer in layers
        for number, head in enumerate(of_layer[layer])
    ]


class _RowsOfSplit:
    """The matrices of a split at a layer, read when they are first needed."""

    def __init__(self, dataset: Dataset, features: Features, layer: str, split: Split) -> None:
        self._source = (dataset, features, layer, split)
        self._arrays: tuple[Any, ...] = ()

    def arrays(self) -> tuple[Any, ...]:
        """Return X_train, y_train, X_test and y_test."""
        if not self._arrays:
            dataset, features, layer, split = self._source
            matrix = features.matrix(layer, np.concatenate([split.train, split.test]))
            cut = len(split.train)
            labels = dataset.labels
            self._arrays = (matrix[:cut], labels[split.train], matrix[cut:], labels[split.test])
        return self._arrays


def _line(
    group: str,
    layer: str,
    split: Split,
    head: HeadSettings,
    outcome: Outcome,
    labels: Rows,
    known: bool,
) -> str:
    accuracy = 100 * float((np.array(outcome.predictions) == labels).mean())
    text = f"{group} {layer} {head.name}, {split.name}: {accuracy:.1f} % right, C {outcome.C:g}"
    text += ", from the cache" if known else f", {outcome.seconds:.1f} s"
    return text.strip() + ("" if outcome.converged else ", NOT CONVERGED")


def _key(
    dataset: Dataset, features: Features, layer: str, split: Split, head: HeadSettings
) -> dict[str, Any]:
    return {
        "features": features.fingerprint,
        "layer": layer,
        "head": head.key(),
        "split": [images_digest(dataset, rows) for rows in (split.train, split.test)],
        "versions": versions(("numpy", "scikit-learn", "torch"), decaf.heads),
    }

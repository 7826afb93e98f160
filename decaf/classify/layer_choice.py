"""Layer and C of a head, chosen on some images, and what the head then says of others."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.near_copies import count_near_copies
from decaf.classify.report import Candidate, Choice
from decaf.errors import Stopped
from decaf.heads.calibration import Calibration
from decaf.heads.probabilities import head_scores

__all__ = ["Task", "Trial", "best_trial", "choice_of", "try_layers"]

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """Images to choose and fit on, and images to test on.

    Attributes
    ----------
    name : str
        For messages.
    train, test : array of int64
        Places among the usable images. `test` may be empty.
    val : array of int64, optional
        Likewise: layer and C are chosen on these, where there are any, and by cross-validation on
        `train` where there are none.
    groups : sequence of str, optional
        Of the images of `train`: none is on both sides of a fold.
    """

    name: str
    train: Codes
    test: Codes
    val: Codes | None = None
    groups: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Trial:
    """A head fitted to one layer of the training images of a task, with the best C.

    Attributes
    ----------
    candidate : Candidate
    estimator : LogisticRegression or LinearSVM
    calibration : Calibration
    scores : array of float64, shape (tested images, classes)
    notes : tuple of str
        Warnings of the fit.
    near, compared : int
        How many tested images are nearly the same as a training image, of how many.
    """

    candidate: Candidate
    estimator: Any
    calibration: Calibration
    scores: npt.NDArray[np.float64]
    notes: tuple[str, ...]
    near: int = 0
    compared: int = 0


def try_layers(
    tasks: Sequence[Task],
    layers: Sequence[str],
    read: Callable[[str], np.ndarray],
    codes: Codes,
    estimator: Callable[[], Any],
    *,
    tell: Callable[[str], None],
    stop: threading.Event | None,
) -> list[list[Trial]]:
    """Fit a head to each layer for each task. One layer is in memory at a time.

    Nothing of the images that a task tests on is used for its fits.

    Parameters
    ----------
    tasks : sequence of Task
    layers : sequence of str
    read : callable
        Gives the rows of a layer: (n, D) float32.
    codes : array of int64, shape (n,)
        Classes of the images, 0 to K - 1.
    estimator : callable
        Makes an estimator that searches for C.
    tell : callable
        Is told what is being done.
    stop : threading.Event or None
        Set it to end between two fits, by `Stopped`.

    Returns
    -------
    list of list of Trial
        For each task, one a layer.
    """
    trials: list[list[Trial]] = [[] for _ in tasks]
    for number, layer in enumerate(layers, 1):
        X = read(layer)
        for task, found in zip(tasks, trials, strict=True):
            if stop is not None and stop.is_set():
                raise Stopped("stopped before a head was fitted")
            tell(f"{task.name}: {layer} ({number} of {len(layers)})")
            found.append(_try(task, layer, X, codes, estimator))
    return trials


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the best accuracy where layer and C are chosen, of equals the first."""
    return max(trials, key=lambda trial: trial.candidate.accuracy)


def choice_of(task: Task, trials: Sequence[Trial]) -> Choice:
    """Tell what was chosen for a task."""
    best = best_trial(trials).candidate
    candidates = tuple(trial.candidate for trial in trials)
    chosen_on = 0 if task.val is None else len(task.val)
    return Choice(len(task.train), best.layer, best.C, candidates, chosen_on)


def _try(task: Task, layer: str, X: np.ndarray, codes: Codes, make: Callable[[], Any]) -> Trial:
    estimator = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if task.val is None:
            truth = codes[task.train]
            search = estimator.fit(X[task.train], truth, groups=task.groups).search_
        else:
            # One fold: fitted to the training images, tried on those for validation.
            rows = np.concatenate([task.train, task.val])
            places, truth = np.arange(len(rows)), codes[rows]
            estimator.set_params(cv=[(places[: len(task.train)], places[len(task.train) :])])
            search = estimator.fit(X[rows], truth).search_
            estimator = make().set_params(C=float(search.chosen))
            estimator.fit(X[task.train], codes[task.train])
    at = int(np.searchsorted(search.Cs, search.chosen))
    calibration = Calibration.fit(search.decisions, truth)
    scores = np.empty((0, len(estimator.classes_)))
    if len(task.test):
        scores = head_scores(estimator, calibration, X[task.test])
    return Trial(
        Candidate(
            layer,
            float(search.chosen),
            float(search.accuracy[at]),
            float(search.std[at]),
            bool(search.rising),
            bool(search.converged[at] and np.all(estimator.converged_)),
        ),
        estimator,
        calibration,
        scores,
        tuple(dict.fromkeys(str(each.message) for each in caught)),
        *count_near_copies(layer, X[task.test], X[task.train]),
    )

"""Layer and C of a head, chosen on some images, and what the head then says of others."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.held_out import Codes, Task
from decaf.classify.near_copies import count_near_copies
from decaf.errors import Stopped
from decaf.heads.calibration import Calibration, head_scores
from decaf.runtime.memory import available_memory
from decaf.runtime.wording import counted

__all__ = ["Candidate", "Choice", "Trial", "best_trial", "choice_of", "try_layers"]


@dataclass(frozen=True)
class Candidate:
    """A layer, the C that is best for it, and how good that is in cross-validation.

    Attributes
    ----------
    layer : str
    C : float
    accuracy, std : float
        Share of the rows held out that were classified rightly, 0 to 1, and its standard deviation
        over the folds.
    at_border : bool
        C is the smallest or largest of several tried, with accuracy still rising towards it.
    converged : bool
        The fits at this C did.
    curve : tuple of (float, float, float)
        Every C that was tried, ascending, with its accuracy and standard deviation.
    """

    layer: str
    C: float
    accuracy: float
    std: float
    at_border: bool
    converged: bool
    curve: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Choice:
    """A choice among layers and values of C, on some of the images.

    Attributes
    ----------
    images : int
        How many it was chosen and fitted on.
    layer : str
    C : float
    candidates : tuple of Candidate
        One a layer.
    chosen_on : int
        How many other images it was chosen on, where the images came with some for validation; 0
        for cross-validation.
    """

    images: int
    layer: str
    C: float
    candidates: tuple[Candidate, ...]
    chosen_on: int = 0


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
    codes: Codes,
    layers: Sequence[str],
    read: Callable[[str], np.ndarray],
    estimator: Callable[[], Any],
    *,
    tell: Callable[[str], None],
    stop: threading.Event | None,
) -> dict[Task, list[Trial]]:
    """Fit a head to each layer for each task. One layer is in memory at a time.

    Nothing of the images that a task tests on is used for its fits.

    Parameters
    ----------
    tasks : sequence of Task
    codes : array of int64, shape (n,)
        Classes of the images, 0 to K - 1.
    layers : sequence of str
    read : callable
        Gives the rows of a layer: (n, D) float32.
    estimator : callable
        Makes an estimator that searches for C.
    tell : callable
        Is told what is being done.
    stop : threading.Event or None
        Set it to end between two fits, by `Stopped`.

    Returns
    -------
    dict of Task to list of Trial
        For each task, one a layer.
    """
    trials: dict[Task, list[Trial]] = {task: [] for task in tasks}
    for number, layer in enumerate(layers, 1):
        X = read(layer)
        _warn_of_memory(layer, *X.shape)
        for task in tasks:
            if stop is not None and stop.is_set():
                raise Stopped("stopped before a head was fitted")
            tell(f"{task.name}: {layer} ({number} of {len(layers)})")
            trials[task].append(_try(task, layer, X, codes, estimator))
    return trials


def _warn_of_memory(layer: str, n: int, d: int) -> None:
    """Say so beforehand where the fits will hardly fit into memory: a system ends them unasked."""
    # Twice the rows: those of the layer, and those of a task with what the solver keeps of all its
    # folds. Beside them the solver's matrices, of the rows where these are not many more than the
    # dimensions, and what it keeps however few the rows.
    side = n if n <= 2 * d else d
    needed, left = 4 * (2 * n * d + 6 * side**2) + 2**26, available_memory()
    if left is not None and needed > left:
        warnings.warn(
            f"the fits on {layer} of {counted(n, 'image')} take about {needed / 2**30:.2g} GiB of "
            f"memory, {left / 2**30:.2g} GiB are free: if the system ends them, give fewer "
            "images, or a `layer` with fewer values",
            stacklevel=2,
        )


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the best accuracy where layer and C are chosen, of equals the first.

    Parameters
    ----------
    trials : sequence of Trial
        Trials of one task.
    """
    return max(trials, key=lambda trial: trial.candidate.accuracy)


def choice_of(task: Task, trials: Mapping[Task, Sequence[Trial]]) -> Choice:
    """Tell what was chosen for a task.

    Parameters
    ----------
    task : Task
    trials : mapping of Task to sequence of Trial
        Results of `try_layers`.
    """
    best = best_trial(trials[task]).candidate
    candidates = tuple(trial.candidate for trial in trials[task])
    chosen_on = 0 if task.val is None else len(task.val)
    return Choice(len(task.train), best.layer, best.C, candidates, chosen_on)


def _try(task: Task, layer: str, X: np.ndarray, codes: Codes, make: Callable[[], Any]) -> Trial:
    estimator = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if task.val is None:
            truth = codes[task.train]
            every = np.array_equal(task.train, np.arange(len(X)))
            rows = X if every else X[task.train]
            search = estimator.fit(rows, truth, groups=task.groups).search_
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
            tuple(
                zip(
                    *(each.tolist() for each in (search.Cs, search.accuracy, search.std)),
                    strict=True,
                )
            ),
        ),
        estimator,
        calibration,
        scores,
        tuple(dict.fromkeys(str(each.message) for each in caught)),
        *count_near_copies(layer, X[task.test], X[task.train]),
    )

"""The outcome of a fit, its line of progress, and the number for several in a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from decaf.exploration.page import Cell

__all__ = ["Fit", "Outcome", "counts_by_class", "mean_and_std", "mean_interval", "result_cell"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answers of one estimator on the test images of one split, as they are kept.

    Attributes
    ----------
    right, images : tuple of int
        For each class how many test images were answered right, and how many there are.
    answers : str
        SHA-256 of the answers, by which runs can be compared.
    C : float or None
        C of the head, where it has one.
    converged : bool
    seconds : float
        For the search of C and the fit; of a method with its predictions.
    """

    right: tuple[int, ...]
    images: tuple[int, ...]
    answers: str = ""
    C: float | None = None
    converged: bool = True
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


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclass(frozen=True, eq=False)
class Fit(Generic[AnyOutcome]):
    """A fit that is to be made, unless an earlier run has its outcome.

    Attributes
    ----------
    title : str
        Features, row of the table and split, for messages.
    key : mapping
        All that determines the outcome, as JSON can hold it. Fits of one key are made once.
    make : callable
        Fits, and returns the outcome.
    seconds : float
        About how long it takes; 0 where that is not known.
    """

    title: str
    key: Mapping[str, Any]
    make: Callable[[], AnyOutcome]
    seconds: float = 0.0


def counts_by_class(predictions: Rows, truth: Rows, classes: int) -> dict[str, Any]:
    """Return the counts of an `Outcome`.

    Parameters
    ----------
    predictions, truth : array of int64, shape (n,)
        Labels given to the test images, and their own.
    classes : int

    Returns
    -------
    dict
        ``right``, ``images`` and ``answers``.
    """
    return {
        "right": tuple(np.bincount(truth[predictions == truth], minlength=classes).tolist()),
        "images": tuple(np.bincount(truth, minlength=classes).tolist()),
        "answers": hashlib.sha256(predictions.tobytes()).hexdigest(),
    }


def mean_and_std(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """Return mean and standard deviation of a sample (n - 1 in the denominator).

    Parameters
    ----------
    values : sequence of float

    Examples
    --------
    >>> mean_and_std([1.0, 2.0, 3.0])
    (2.0, 1.0)
    >>> mean_and_std([4.0])
    (4.0, None)
    """
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of a sample, by Student's t.

    Parameters
    ----------
    values : sequence of float
        Independent of each other.

    Returns
    -------
    low, high : float
        None where there are fewer than two values.

    Examples
    --------
    >>> [round(end, 2) for end in mean_interval([1.0, 2.0, 3.0])]
    [-0.48, 4.48]
    """
    mean, std = mean_and_std(values)
    if std is None:
        return None
    half = float(t.ppf(0.975, len(values) - 1)) * std / len(values) ** 0.5
    return mean - half, mean + half


def result_cell(
    accuracies: Sequence[float] | npt.NDArray[np.float64], outcomes: Sequence[Outcome]
) -> Cell:
    """Return the cell of a table: mean and spread over splits, and how many fits did not converge.

    Parameters
    ----------
    accuracies : sequence of float
        One for each split.
    outcomes : sequence of Outcome
        All that the accuracies are of.
    """
    stuck = sum(not outcome.converged for outcome in outcomes)
    note = f"{stuck} of {len(outcomes)} fits did not converge" if stuck else ""
    return Cell(*mean_and_std(accuracies), n=len(accuracies), note=note)

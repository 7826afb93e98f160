"""A problem of linear classification, its solution, and the decision values of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decaf.errors import SettingError
from decaf.runtime.wording import counted

__all__ = [
    "LOSSES",
    "FoldScores",
    "LinearDecision",
    "Problem",
    "Solution",
    "check_classes",
    "check_problem",
    "linear_scores",
    "predicted_codes",
]

LOSSES = ("multinomial", "logistic", "hinge", "squared_hinge")
"""`multinomial` couples the classes; the other three are one-vs-rest, one column a class."""

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Problem:
    """Rows, their classes, and how the activations are dropped.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, d)
        Features, scaled but for `factor`, all of them finite.
    codes : ndarray of int64, shape (n,)
        Class of each row, 0 to ``n_classes - 1``.
    n_classes : int
        At least 2. Two classes give one column, positive for class 1, for every loss.
    row_weight : ndarray, shape (n,), optional
        Multiplies C row by row. At least 0.
    dropout : float
        Probability that an activation is dropped while the head is trained, 0 to below 1.
    activations : ndarray, shape (n, d), optional
        The values that dropout acts on, `X` itself by default. For standardised features they are
        the activations divided by the standard deviation, before centring: a dropped activation
        becomes 0, not its mean.
    factor : float
        By which the rows of `X` are still to be multiplied. A solver does it where it works on
        them: a scaled copy of all rows would be a second matrix. 1 with dropout.
    """

    X: np.ndarray
    codes: np.ndarray
    n_classes: int
    row_weight: np.ndarray | None = None
    dropout: float = 0.0
    activations: np.ndarray | None = None
    factor: float = 1.0

    @property
    def n_columns(self) -> int:
        """Number of weight vectors: one a class, one alone for two classes."""
        return 1 if self.n_classes == 2 else self.n_classes

    def take(self, rows: np.ndarray) -> Problem:
        """Return the problem of some of the rows.

        Parameters
        ----------
        rows : ndarray of int64
            Row numbers.
        """
        return replace(
            self,
            X=self.X[rows],
            codes=self.codes[rows],
            row_weight=None if self.row_weight is None else self.row_weight[rows],
            activations=None if self.activations is None else self.activations[rows],
        )


@dataclass(frozen=True)
class Solution:
    """A linear classifier and how near it is to the optimum.

    Attributes
    ----------
    coef : ndarray of float64, shape (K, d)
    intercept : ndarray of float64, shape (K,)
    objective : float
        The value that scikit-learn minimises, ½‖w‖² + C Σ loss, summed over the columns.
    gap : float
        Bound on (objective - optimum) / objective, certified by a point of the dual. With dropout
        it is an estimate, half of what Newton's model still promises; NaN from scikit-learn.
    converged : bool
        Whether `gap` is within the tolerance.
    n_iter : int
        Iterations of the outermost loop.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    gap: float
    converged: bool
    n_iter: int


@dataclass(frozen=True)
class FoldScores:
    """Decision values of the rows held out from one fold.

    Attributes
    ----------
    decisions : ndarray of float32, shape (n_Cs, n_held, K)
    converged : ndarray of bool, shape (n_Cs,)
    """

    decisions: np.ndarray
    converged: np.ndarray


def check_problem(problem: Problem, loss: str, Cs: tuple[float, ...]) -> None:
    """Refuse settings that no solver can serve.

    Parameters
    ----------
    problem : Problem
    loss : str
    Cs : tuple of float

    Raises
    ------
    SettingError
        With every setting that is wrong.
    """
    wrong = []
    rows = problem.X.shape[0] if problem.X.ndim == 2 else -1
    if loss not in LOSSES:
        wrong.append(f"`loss` is {loss!r}; use one of {', '.join(LOSSES)}")
    if not Cs or not all(np.isfinite(C) and C > 0 for C in Cs):
        wrong.append(f"`C` is {list(Cs)}; it must be positive and finite")
    if problem.X.ndim != 2 or not np.issubdtype(problem.X.dtype, np.floating):
        wrong.append(f"`X` is {problem.X.dtype} of shape {problem.X.shape}; give floats in 2-d")
    if problem.codes.shape != (rows,):
        wrong.append(
            f"`codes` has shape {problem.codes.shape}; give one for each of {counted(rows, 'row')}"
        )
    elif rows and not 0 <= problem.codes.min() <= problem.codes.max() < problem.n_classes:
        wrong.append(f"`codes` must lie in 0 to {problem.n_classes - 1}")
    if problem.n_classes < 2:
        wrong.append(f"`n_classes` is {problem.n_classes}; it takes two to tell them apart")
    weight = problem.row_weight
    if weight is not None and (weight.shape != (rows,) or not (weight >= 0).all()):
        wrong.append("`row_weight` must be one number of at least 0 for each row")
    if not 0 <= problem.dropout < 1:
        wrong.append(f"`dropout` is {problem.dropout}; it must be at least 0 and below 1")
    if problem.dropout and problem.factor != 1:
        wrong.append("`factor` must be 1 with `dropout`: give rows that are scaled")
    if problem.activations is not None and problem.activations.shape != problem.X.shape:
        wrong.append(
            f"`activations` has shape {problem.activations.shape}, `X` has {problem.X.shape}"
        )
    if wrong:
        raise SettingError("; ".join(wrong))


def check_classes(codes: np.ndarray, n_classes: int) -> None:
    """Refuse a problem without a row of some class.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Of rows that all count.
    n_classes : int

    Raises
    ------
    SettingError
    """
    missing = np.flatnonzero(np.bincount(codes, minlength=n_classes) == 0)
    if len(missing):
        raise SettingError(
            f"no row (of weight above 0) is of class {', '.join(map(str, missing[:5]))}; "
            "number the classes that are there, from 0 on"
        )


def linear_scores(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return ``X @ coef.T + intercept`` in float64, without a float64 copy of all of `X`.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, n_features)
    coef : ndarray of float64, shape (K, n_features)
    intercept : ndarray of float64, shape (K,)

    Returns
    -------
    ndarray of float64, shape (n, K)
    """
    scores = np.empty((len(X), len(coef)))
    step = max(1, _BLOCK_BYTES // (8 * max(1, X.shape[1])))
    for start in range(0, len(X), step):
        rows = X[start : start + step].astype(np.float64, copy=False)
        scores[start : start + step] = rows @ coef.T + intercept
    return scores


def predicted_codes(decisions: np.ndarray) -> np.ndarray:
    """Return the class of each row from its decision values.

    Parameters
    ----------
    decisions : ndarray, shape (n, K) or (n, 1)
        One column means two classes, the second where it is above 0.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    if decisions.shape[1] == 1:
        return (decisions[:, 0] > 0).astype(np.int64)
    best: np.ndarray = decisions.argmax(axis=1)
    return best


class LinearDecision(ABC):
    """Decision values and classes from the scores of a linear classifier.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        In ascending order.
    """

    classes_: np.ndarray

    @abstractmethod
    def _scores(self, X: Any) -> np.ndarray:
        """Return the decision values of rows, one column for two classes: (n, K)."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the decision values of rows.

        Parameters
        ----------
        X : array-like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, K), or (n,) for two classes
            The class of the largest value is predicted; of two classes the second where the value
            is above 0.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row.

        Parameters
        ----------
        X : array-like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,)
            Classes, of the type of `classes_`.
        """
        codes = predicted_codes(self._scores(X))
        classes: np.ndarray = self.classes_[codes]
        return classes

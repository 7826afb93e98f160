"""A problem for the solvers and its results: `Problem`, `Solution`, `FoldScores`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from decaf.errors import SettingError

__all__ = ["LOSSES", "FoldScores", "Problem", "Solution", "check", "with_missing_classes"]

LOSSES = ("multinomial", "logistic", "hinge", "squared_hinge")
"""`multinomial` couples the classes; the other three are one-vs-rest, one column a class."""


@dataclass(frozen=True)
class Problem:
    """Rows, their classes, and how the activations are dropped.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, d)
        Features, already scaled, all of them finite.
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
    """

    X: np.ndarray
    codes: np.ndarray
    n_classes: int
    row_weight: np.ndarray | None = None
    dropout: float = 0.0
    activations: np.ndarray | None = None

    @property
    def n_columns(self) -> int:
        """Number of weight vectors: one a class, one alone for two classes."""
        return 1 if self.n_classes == 2 else self.n_classes


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
        it is an estimate, half of what Newton's model still promises.
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


def check(problem: Problem, loss: str, Cs: tuple[float, ...]) -> None:
    """Refuse settings that no solver here can serve.

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
        wrong.append(f"loss is {loss!r}; use one of {', '.join(LOSSES)}")
    if not Cs or not all(np.isfinite(C) and C > 0 for C in Cs):
        wrong.append(f"C is {list(Cs)}; it must be positive and finite")
    if problem.X.ndim != 2 or not np.issubdtype(problem.X.dtype, np.floating):
        wrong.append(f"X is {problem.X.dtype} of shape {problem.X.shape}; give floats in 2-d")
    if problem.codes.shape != (rows,):
        wrong.append(f"codes have shape {problem.codes.shape}; give one of each of {rows} rows")
    elif rows and not 0 <= problem.codes.min() <= problem.codes.max() < problem.n_classes:
        wrong.append(f"codes must lie in 0 to {problem.n_classes - 1}")
    if problem.n_classes < 2:
        wrong.append(f"n_classes is {problem.n_classes}; it takes two to tell them apart")
    weight = problem.row_weight
    if weight is not None and (weight.shape != (rows,) or not (weight >= 0).all()):
        wrong.append("row_weight must be one number of at least 0 for each row")
    if not 0 <= problem.dropout < 1:
        wrong.append(f"dropout is {problem.dropout}; it must be at least 0 and below 1")
    if problem.activations is not None and problem.activations.shape != problem.X.shape:
        wrong.append(f"activations have shape {problem.activations.shape}, X has {problem.X.shape}")
    if wrong:
        raise SettingError("; ".join(wrong))


def with_missing_classes(
    decisions: np.ndarray, present: np.ndarray, n_classes: int, loss: str, n_rows: int
) -> np.ndarray:
    """Return decision values of all classes, from those of the classes with rows to learn from.

    A class that has no row cannot be learned. Its value is the one that a column of nothing but
    -1 tends to: -1 for the hinge losses, and for the others, whose free intercept would go to -∞,
    that of half a row among all.

    Parameters
    ----------
    decisions : ndarray, shape (..., K')
        Decision values of the classes that are present; one column for two of them, positive for
        the second, and none for one alone.
    present : ndarray of int64
        Their codes, in order.
    n_classes : int
    loss : str
    n_rows : int
        Rows in the training part.

    Returns
    -------
    ndarray of float32, shape (..., K)
    """
    hinge = loss in ("hinge", "squared_hinge")
    low = -1.0 if hinge else math.log(0.5 / (n_rows + 0.5))
    if n_classes == 2:  # one of the two alone
        return np.full((*decisions.shape[:-1], 1), low if present[0] == 0 else -low, np.float32)
    if len(present) == 1:
        seen = np.full((*decisions.shape[:-1], 1), -low)
    elif len(present) == 2:
        share = 0.5 if loss == "multinomial" else 1.0
        seen = np.concatenate([-share * decisions, share * decisions], -1)
    else:
        seen = decisions
    full = np.full((*decisions.shape[:-1], n_classes), low, np.float32)
    if loss == "multinomial":
        full += np.logaddexp.reduce(seen.astype(np.float64), axis=-1, keepdims=True)
    full[..., present] = seen
    return full

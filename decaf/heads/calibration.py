"""From decision values to probabilities: `Calibration`, and what a fitted head says of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from decaf.errors import InputError
from decaf.runtime.wording import counted

__all__ = ["Calibration", "head_scores", "sharpness", "softmax"]


@dataclass(frozen=True)
class Calibration:
    """The softmax of decision values times a number: temperature scaling.

    The number is what makes the probabilities of held-out rows most likely (Guo et al. 2017, "On
    calibration of modern neural networks", sec. 4.2, where 1/a is called the temperature; for two
    classes Platt 1999 without his offset). There is no offset on purpose: the order of the classes
    stays, and the most probable class is the one that the head predicts.

    Attributes
    ----------
    a : float
        Above 0.
    """

    a: float

    @classmethod
    def fit(cls, decisions: np.ndarray, codes: np.ndarray) -> Calibration:
        """Fit to decision values of rows that the head had not seen.

        Parameters
        ----------
        decisions : ndarray, shape (n, K), or (n,) or (n, 1) for two classes
            As `CSearch.decisions` has them. Rows with NaN (never held out) are left out.
        codes : ndarray of int, shape (n,)
            Place of each row's class in the head's ``classes_``.

        Returns
        -------
        Calibration

        Raises
        ------
        InputError
            If no row is left, or a code is not a class.
        """
        scores = _columns(np.asarray(decisions, np.float64))
        codes = np.asarray(codes)
        if codes.shape != (len(scores),):
            raise InputError(
                f"{counted(len(scores), 'row')} of decisions, but codes of shape {codes.shape}"
            )
        known = np.isfinite(scores).all(axis=1)
        scores, codes = scores[known], codes[known]
        if not len(scores):
            raise InputError("no row of decisions to calibrate with: all of them are NaN")
        if codes.min() < 0 or codes.max() >= scores.shape[1]:
            raise InputError(f"codes must lie in 0 to {scores.shape[1] - 1}")
        return cls(_best_factor(scores, codes))

    def probabilities(self, decisions: np.ndarray) -> np.ndarray:
        """Turn decision values into probabilities.

        Parameters
        ----------
        decisions : ndarray, shape (n, K), or (n,) or (n, 1) for two classes

        Returns
        -------
        ndarray of float64, shape (n, n_classes)
        """
        return softmax(self.a * _columns(np.asarray(decisions, np.float64)))


def head_scores(estimator: Any, calibration: Calibration | None, X: np.ndarray) -> np.ndarray:
    """Return what a fitted head says of rows.

    Parameters
    ----------
    estimator : LogisticRegression or LinearSVM
    calibration : Calibration or None
    X : ndarray of float, shape (n, D)

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Probabilities; scores of a head that has neither calibration nor probabilities of its own.
    """
    if calibration is None and hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(X), np.float64)
    scores = np.asarray(estimator.decision_function(X), np.float64)
    if calibration is not None:
        return calibration.probabilities(scores)
    # Of two classes there is one score, which is that of the second.
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits (n, classes), in float64.

    Parameters
    ----------
    logits : ndarray, shape (n, classes)
    """
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return chances


def _columns(decisions: np.ndarray) -> np.ndarray:
    """Return one column a class: the single column of two classes is the second's against 0."""
    single = decisions[:, None] if decisions.ndim == 1 else decisions
    if single.shape[1] > 1:
        return single
    return np.hstack([np.zeros_like(single), single])


def _best_factor(scores: np.ndarray, codes: np.ndarray) -> float:
    """Return the factor that makes the classes of rows most likely.

    Where all rows are classified rightly it would grow for ever. So the targets are not quite
    certain, as Platt's (1999, sec. 2.2) are not: a share of 1 in n + 1 is spread over all classes.
    """
    n = len(scores)
    doubt = 1 / (n + 1)
    targets = (1 - doubt) * scores[np.arange(n), codes] + doubt * scores.mean(axis=1)
    size = float(np.abs(scores - scores.mean(axis=1, keepdims=True)).max())
    if size == 0:
        return 1.0
    # In units of the largest score. For the order of the classes the factor stays above 0: so
    # little that the likelihood is that of a factor of 0 to one part in 10^9, and enough that
    # float64 tells scores apart that differ by 1e-6 of the largest.
    return sharpness(scores, float(targets.mean()), 1e-9 / size, 1e12 / size)


def sharpness(scores: np.ndarray, target: float, least: float, most: float) -> float:
    """Find the inverse of the temperature: the a that minimises the mean of -Σ_k t_k log p_k.

    With p = softmax(a s) and targets t, this is the mean of log Σ_k exp(a s_k) - a Σ_k t_k s_k,
    convex in a. Its derivative, the mean of E_p[s] - Σ_k t_k s_k, grows with a: the root is sought.

    Parameters
    ----------
    scores : ndarray of float64, shape (n, K)
        The s of each row.
    target : float
        Mean over the rows of Σ_k t_k s_k.
    least, most : float
        The ends of the search, above 0; returned where the root lies beyond.
    """

    def slope(log: float) -> float:
        return float((softmax(math.exp(log) * scores) * scores).sum(axis=1).mean()) - target

    low, high = math.log(least), math.log(most)
    if slope(low) >= 0:
        return least
    if slope(high) <= 0:
        return most
    return math.exp(brentq(slope, low, high, xtol=1e-12))

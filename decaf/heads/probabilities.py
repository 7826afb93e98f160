"""Probabilities of classes, or scores, from a head's decision values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from decaf.heads.calibration import Calibration

__all__ = ["head_scores", "softmax"]


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

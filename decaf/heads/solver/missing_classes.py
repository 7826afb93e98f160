"""Classes without a row in the training part of a fold: what to say of them."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["spread"]


def spread(
    decisions: np.ndarray, present: np.ndarray, n_classes: int, loss: str, n_rows: int
) -> np.ndarray:
    """Return decision values of all classes, from those of the classes that were there.

    A class that has no row cannot be learned. Its value is the one that a column of nothing but
    -1 tends to: -1 for the hinge losses, and for the others, whose free intercept would go to -∞,
    that of half a row among all.

    Parameters
    ----------
    decisions : ndarray, shape (..., K')
        Of the classes that are present; one column for two of them, positive for the second, and
        none for one alone.
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

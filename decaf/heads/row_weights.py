"""How much each row counts when a head is fitted: weights of samples, and of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from decaf.errors import InputError, SettingError

__all__ = ["check_sample_weight", "row_weights"]


def check_sample_weight(sample_weight: Any, n: int) -> np.ndarray:
    """Check the weights that a user gives rows.

    Parameters
    ----------
    sample_weight : array-like, shape (n,), or float
    n : int
        Number of rows.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    InputError
        If they are not numbers from 0 on, one for each row, some above 0.
    """
    try:
        weight = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"sample_weight must be numbers, got {sample_weight!r:.80}") from None
    if weight.ndim == 0:
        weight = np.full(n, weight)
    if weight.shape != (n,):
        raise InputError(f"sample_weight has shape {weight.shape}; give one for each of {n} rows")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        raise InputError(
            f"sample_weight must be numbers of at least 0, got {weight[wrong[0]]:g} for row "
            f"{wrong[0]} ({len(wrong)} such rows)"
        )
    if not weight.any():
        raise InputError("sample_weight is zero for all rows: none is left to learn from")
    return weight


def row_weights(
    class_weight: Any,
    classes: np.ndarray,
    codes: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray | None:
    """Return what C is multiplied by for each row: its own weight times that of its class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray, shape (n_classes,)
        Those that have a row of weight above 0.
    codes : ndarray of int64, shape (n,)
        Place of each row's class among them.
    y : ndarray, shape (n,)
        The rows' classes.
    weight : ndarray of float64, shape (n,), optional
        The rows' own.

    Returns
    -------
    ndarray of float64, shape (n,), or None
        None where it is 1 for all rows.

    Raises
    ------
    SettingError
        If a class has no weight above 0.
    """
    if class_weight is None:
        return weight
    if class_weight == "balanced" and weight is not None:
        rows = np.bincount(codes, weight, len(classes))
        of_class = weight.sum() / (len(classes) * rows)
    else:
        counted = y if weight is None else y[weight > 0]
        of_class = compute_class_weight(class_weight, classes=classes, y=counted)
    wrong = np.flatnonzero(~(np.isfinite(of_class) & (of_class > 0)))
    if len(wrong):
        name, number = classes[wrong[0]], of_class[wrong[0]]
        raise SettingError(
            f"class_weight must be numbers above 0, got {number:g} for class {name!s:.60}; "
            "to leave a class out, leave its rows out"
        )
    weights: np.ndarray = of_class[codes].astype(np.float64)
    return weights if weight is None else weights * weight

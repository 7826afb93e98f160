"""Checks of what a user gives a head or a method: settings, features, weights of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from decaf.errors import InputError, SettingError
from decaf.images.listing.labels import is_missing
from decaf.runtime.wording import counted

__all__ = [
    "check_finite",
    "check_labels",
    "check_sample_weight",
    "is_number",
    "row_weights",
    "wrong_choice",
    "wrong_number",
]


def is_number(value: Any) -> bool:
    """Tell whether a setting is a finite number.

    Parameters
    ----------
    value : object
    """
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and math.isfinite(value)


def wrong_choice(name: str, value: Any, choices: Sequence[str]) -> list[str]:
    """Say what is wrong with a setting that must be one of some texts.

    Parameters
    ----------
    name : str
        The setting's name, for the message.
    value : object
    choices : sequence of str

    Returns
    -------
    list of str
        One sentence, or none.
    """
    if value in choices:
        return []
    return [f"`{name}` must be one of {', '.join(choices)}, got {value!r}"]


def wrong_number(
    name: str, value: Any, *, whole: bool = False, above: int = 0, other: str = ""
) -> list[str]:
    """Say what is wrong with a setting that must be a number.

    Parameters
    ----------
    name : str
        The setting's name, for the message.
    value : object
    whole : bool
        Whether it must be a whole number.
    above : int
        The number must be greater.
    other : str
        A text that it may be instead.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    right = is_number(value) and (isinstance(value, (int, np.integer)) or not whole)
    if (isinstance(value, str) and value == other) or (right and value > above):
        return []
    kind, instead = "a whole number" if whole else "a number", other and f", or {other!r}"
    return [f"`{name}` must be {kind} above {above}{instead}, got {value!r}"]


def check_labels(y: Any) -> None:
    """Refuse rows without a label, and labels that are texts and numbers both.

    Parameters
    ----------
    y : array-like

    Raises
    ------
    InputError
        With the number of rows, and the first of them.
    """
    labels = np.asarray(y, object) if isinstance(y, (list, tuple)) else np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "OfUS":
        return
    missing = [row for row, label in enumerate(labels.tolist()) if is_missing(label)]
    if missing:
        raise InputError(
            f"y has no label for {len(missing)} of {counted(len(labels), 'row')} "
            f"({_some(missing)}): leave "
            "them out"
        )
    texts = [row for row, label in enumerate(labels.tolist()) if isinstance(label, str)]
    if 0 < len(texts) < len(labels):
        raise InputError(
            f"y has texts in {len(texts)} of {counted(len(labels), 'row')} ({_some(texts)}) and "
            "numbers in "
            "the others: give one kind of label"
        )


def _some(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")


def check_finite(X: np.ndarray, name: str = "X") -> None:
    """Refuse rows with NaN or infinity.

    Parameters
    ----------
    X : ndarray of float, shape (n, n_features)
    name : str
        Name of the rows in the message.

    Raises
    ------
    InputError
        With the number of bad rows, and the first of them.
    """
    bad: list[int] = []
    for start in range(0, len(X), 1024):
        finite = np.isfinite(X[start : start + 1024]).all(axis=1)
        bad += (start + np.flatnonzero(~finite)).tolist()
    if bad:
        raise InputError(
            f"{name} contains NaN or infinity in {len(bad)} of {counted(len(X), 'row')} "
            f"({_some(bad)}): "
            "images that could not be read have no features; leave their rows out, as "
            "FeatureFile.to_xy does"
        )


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
        weight = np.array(sample_weight, np.float64)  # a copy: pandas gives what cannot be written
    except (TypeError, ValueError):
        raise InputError(f"`sample_weight` must be numbers, got {sample_weight!r:.80}") from None
    if weight.ndim == 0:
        weight = np.full(n, weight)
    if weight.shape != (n,):
        raise InputError(
            f"`sample_weight` has shape {weight.shape}; give one for each of {counted(n, 'row')}"
        )
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        raise InputError(
            f"`sample_weight` must be numbers of at least 0, got {weight[wrong[0]]:g} for row "
            f"{wrong[0]} ({len(wrong)} such rows)"
        )
    if not weight.any():
        raise InputError("`sample_weight` is zero for all rows: none is left to learn from")
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
        weighed = y if weight is None else y[weight > 0]
        of_class = compute_class_weight(class_weight, classes=classes, y=weighed)
    wrong = np.flatnonzero(~(np.isfinite(of_class) & (of_class > 0)))
    if len(wrong):
        name, number = classes[wrong[0]], of_class[wrong[0]]
        raise SettingError(
            f"`class_weight` must be numbers above 0, got {number:g} for class {name!s:.60}; "
            "to leave a class out, leave its rows out"
        )
    weights: np.ndarray = of_class[codes].astype(np.float64)
    return weights if weight is None else weights * weight

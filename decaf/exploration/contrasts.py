"""The units that tell one class from another, exact for a linear head: weight × activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.errors import HeadError, InputError

__all__ = ["ClassMeans", "UnitContrasts", "class_means", "unit_contrasts"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """What a head sees of its classes: the mean activations of each.

    Attributes
    ----------
    activations : array of float64, shape (K, D)
        NaN for a class without images.
    weights : array of float64, shape (K, D)
        The head's. Of two classes the first has zeros.
    shape : tuple of int
        Shape of a row in its layer: (D,), (channels, rows, columns), with the crops before it where
        there are several.
    """

    activations: Floats
    weights: Floats
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class UnitContrasts:
    """How much each unit tells class a from class b.

    Attributes
    ----------
    margin : float
        By how much more the head prefers a to b for images of a than for images of b, in the mean:
        the sum of the contributions of all units.
    units : array of int64, shape (top,)
        The units that contribute most, the greatest first: places in a vector, channels of a map.
    contribution : array of float64, shape (top,)
    a, b : array of float64, shape (top,)
        Mean activation in images of either class (over the places of a map).
    """

    margin: float
    units: npt.NDArray[np.int64]
    contribution: Floats
    a: Floats
    b: Floats


def class_means(
    head: Any, X: npt.ArrayLike, codes: npt.ArrayLike, shape: tuple[int, ...]
) -> ClassMeans:
    """Average the activations of each class of a linear head, as the head sees them.

    Parameters
    ----------
    head : LogisticRegression or LinearSVM
        Fitted.
    X : array of float, shape (n, D)
    codes : array of int, shape (n,)
        Place of each row's class in the head's ``classes_``; -1 for none of them.
    shape : tuple of int
        Shape of a row in its layer.

    Returns
    -------
    ClassMeans

    Raises
    ------
    HeadError
        For features of another width.
    """
    rows, given = np.asarray(X), np.asarray(codes, np.int64)
    if rows.shape[1] != head.n_features_in_ or int(np.prod(shape)) != rows.shape[1]:
        raise HeadError(
            f"features of {rows.shape[1]} numbers in the shape {shape}; the head takes "
            f"{head.n_features_in_}"
        )
    count = len(head.classes_)
    means = np.full((count, rows.shape[1]), np.nan)
    for code in range(count):
        of_class = rows[given == code]
        if len(of_class):
            if head.scaling_.name == "unit-norm":
                of_class = head.scaling_.apply(of_class)
            means[code] = of_class.mean(axis=0, dtype=np.float64)
    weights = np.asarray(head.coef_, np.float64)
    if len(weights) == 1:  # of two classes the one score is that of the second
        weights = np.vstack([np.zeros_like(weights), weights])
    return ClassMeans(means, weights, tuple(shape))


def unit_contrasts(means: ClassMeans, a: int, b: int, *, top: int = 10) -> UnitContrasts:
    """Say which units tell a class from another.

    A linear head prefers a to b by s_a - s_b = Σ_u (w_a - w_b)_u x_u + const. The mean of that over
    images of a, less the mean over images of b, is Σ_u (w_a - w_b)_u (x̄_a - x̄_b)_u: each unit's
    term is its contribution, and nothing is approximated. Of a map the terms of a channel, of
    several crops those of a unit, are added up.

    Parameters
    ----------
    means : ClassMeans
    a, b : int
        Two classes.
    top : int
        How many units to return.

    Returns
    -------
    UnitContrasts

    Raises
    ------
    InputError
        If they are one class, or one that has no images.
    """
    count = len(means.activations)
    if a == b or not (0 <= a < count and 0 <= b < count):
        raise InputError(f"classes {a} and {b}: expected two different ones from 0 to {count - 1}")
    if np.isnan(means.activations[[a, b]]).any():
        raise InputError(f"classes {a} and {b}: there are no images of one of them")
    difference = means.activations[a] - means.activations[b]
    terms = (means.weights[a] - means.weights[b]) * difference
    contribution = _by_unit(terms, means.shape).sum(axis=(0, 2))
    order = np.argsort(-contribution, kind="stable")[:top]
    return UnitContrasts(
        float(terms.sum()),
        order,
        contribution[order],
        _by_unit(means.activations[a], means.shape).mean(axis=(0, 2))[order],
        _by_unit(means.activations[b], means.shape).mean(axis=(0, 2))[order],
    )


def _by_unit(row: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a row as (crops, units, places)."""
    crops = shape[0] if len(shape) in (2, 4) else 1
    inner = shape[1:] if len(shape) in (2, 4) else shape
    return row.reshape(crops, inner[0], -1)

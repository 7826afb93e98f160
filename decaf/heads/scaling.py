"""How features are scaled before a head is fitted: a choice that is recorded with the head.

Features of different layers have rows of very different norms, and the same C means something else
for each. A scaling brings them to one size, so that one grid of C serves all layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decaf.errors import SettingError

__all__ = ["SCALES", "Scaling", "fit_scaling", "mean_square_norm"]

SCALES = ("none", "mean-norm", "unit-norm", "standard")

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Scaling:
    """A scaling as it was learned from training rows: ``(x - mean) / std``, ``factor * x``, ….

    Attributes
    ----------
    name : {"none", "mean-norm", "unit-norm", "standard"}
    factor : float
        Factor of every value: 1 but for ``"mean-norm"``.
    mean, std : ndarray of float64, shape (n_features,), or None
        Mean and standard deviation of each feature, for ``"standard"`` alone; ``std`` is 1 where a
        feature is constant.
    """

    name: str
    factor: float = 1.0
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Scale rows.

        Parameters
        ----------
        X : ndarray of float32 or float64, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n, n_features)
            Scaled rows of the same type; `X` itself where there is nothing to do.
        """
        if self.name == "unit-norm":
            return _unit_rows(X)
        if self.name == "standard":
            assert self.mean is not None
            assert self.std is not None
            return _scaled(X, 1 / self.std, self.mean)
        if self.factor == 1:
            return X
        if self.factor > float(np.finfo(X.dtype).max):  # of rows of subnormal numbers
            return _scaled(X, np.array([self.factor]), None)
        scaled: np.ndarray = X * X.dtype.type(self.factor)
        return scaled

    def activations(self, X: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """Return the part of the scaled rows that dropout acts on.

        A dropped activation is 0 before anything is subtracted from it, so that for standardised
        features it is the activation over the standard deviation, not centred.

        Parameters
        ----------
        X, scaled : ndarray, shape (n, n_features)
            Rows before and after `apply`.

        Returns
        -------
        ndarray, shape (n, n_features)
        """
        if self.name != "standard":
            return scaled
        assert self.std is not None
        return _scaled(X, 1 / self.std, None)

    def fold(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn a linear function of scaled rows into the same function of the rows as they are.

        Rows that are scaled one by one to norm 1 cannot be folded in; the function stays one of
        unit rows.

        Parameters
        ----------
        coef : ndarray of float64, shape (K, n_features)
        intercept : ndarray of float64, shape (K,)

        Returns
        -------
        tuple of ndarray
            The same shapes.
        """
        # coef · (x - mean)/std + intercept = (coef/std) · x + (intercept - (coef/std) · mean)
        if self.name == "standard":
            assert self.mean is not None
            assert self.std is not None
            coef = coef / self.std
            return coef, intercept - coef @ self.mean
        return coef * self.factor, intercept


def fit_scaling(name: str, X: np.ndarray, weight: np.ndarray | None = None) -> Scaling:
    """Learn a scaling from training rows of any type, in float64.

    Parameters
    ----------
    name : {"none", "mean-norm", "unit-norm", "standard"}
        ``"mean-norm"``: one factor for all, so that the root mean square of the rows' Euclidean
        norms is 1. ``"unit-norm"``: each row to Euclidean norm 1; a row of zeros stays.
        ``"standard"``: each feature to mean 0 and variance 1; a constant feature becomes 0.
    X : ndarray of float32 or float64, shape (n, n_features)
    weight : ndarray of float64, shape (n,), optional
        Weight of each row in all means: 2 counts for a row that is there twice.

    Returns
    -------
    Scaling

    Raises
    ------
    SettingError
        For another name.
    """
    if name not in SCALES:
        raise SettingError(f"scale must be one of {', '.join(SCALES)}, got {name!r}")
    if name == "mean-norm":
        return Scaling(name, factor=_norm_factor(X, weight))
    if name == "standard":
        mean, std = _moments(X, weight)
        return Scaling(name, mean=mean, std=std)
    return Scaling(name)


def _blocks(X: np.ndarray) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (8 * max(1, X.shape[1])))
    return [slice(start, start + step) for start in range(0, len(X), step)]


def mean_square_norm(X: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the mean of the rows' squared Euclidean norms, computed in float64.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, n_features)
    weight : ndarray of float64, shape (n,), optional
        Weight of each row.

    Returns
    -------
    float
        1 where all rows are zero; never 0.
    """
    return max((1 / _norm_factor(X, weight)) ** 2, float(np.finfo(np.float64).tiny))


def _norm_factor(X: np.ndarray, weight: np.ndarray | None) -> float:
    # Relative to the largest value, so that squares neither overflow nor vanish.
    largest = max(float(X.max(initial=0)), -float(X.min(initial=0)))
    if largest == 0:
        return 1.0
    total = sum(
        float(_weighted(np.square(X[block].astype(np.float64) / largest), weight, block).sum())
        for block in _blocks(X)
    )
    if total == 0:  # what is not zero has no weight
        return 1.0
    # Finite also for the smallest numbers, whose inverse is not.
    size = largest * float(np.sqrt(total / _count(X, weight)))
    return min(1 / size, float(np.finfo(np.float64).max))


def _moments(X: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    n, width = len(X), X.shape[1]
    count = _count(X, weight)
    mean = np.zeros(width)
    for block in _blocks(X):
        mean += _weighted(X[block], weight, block).sum(axis=0, dtype=np.float64)
    mean /= count
    variance = np.zeros(width)
    for block in _blocks(X):
        variance += _weighted(np.square(X[block] - mean), weight, block).sum(axis=0)
    std: np.ndarray = np.sqrt(variance / count)
    # What a constant feature has after rounding: at most n·eps·|mean| of error in its mean.
    constant = std <= 10 * n * np.finfo(np.float64).eps * np.abs(mean)
    std[constant] = 1
    return mean, std


def _weighted(values: np.ndarray, weight: np.ndarray | None, block: slice) -> np.ndarray:
    """Multiply what was made of a block of rows by the weights of these rows."""
    return values if weight is None else values * weight[block, None]


def _count(X: np.ndarray, weight: np.ndarray | None) -> float:
    return len(X) if weight is None else float(weight.sum())


def _scaled(X: np.ndarray, factors: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    scaled = np.empty_like(X)
    for block in _blocks(X):
        rows = X[block] if mean is None else X[block] - mean
        scaled[block] = rows * factors
    return scaled


def _unit_rows(X: np.ndarray) -> np.ndarray:
    scaled = np.empty_like(X)
    for block in _blocks(X):
        rows = X[block].astype(np.float64)
        largest = np.abs(rows).max(axis=1, initial=0, keepdims=True)
        rows /= np.where(largest == 0, 1, largest)
        norms = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
        scaled[block] = rows / np.where(norms == 0, 1, norms)
    return scaled

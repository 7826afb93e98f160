"""How alike two sets of features of the same images are: by rows, by geometry, by neighbours.

The measures do not ask that both have the same dimensions, but for the cosine of rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError
from decaf.exploration.neighbours import check_finite, chosen_layer
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.images import path_text
from decaf.runtime.settings import one_of, refuse
from decaf.runtime.wording import counted

__all__ = ["METRICS", "Dissimilarities", "linear_cka", "rdm", "shared_neighbours"]

Floats = npt.NDArray[np.float64]

METRICS = ("correlation", "cosine", "euclidean")
"""The metrics of `rdm`."""

_MOST_ROWS = 20_000  # whose matrix of 8-byte numbers takes 3.2 GB


@dataclass(frozen=True, eq=False)
class Dissimilarities:
    """A representational dissimilarity matrix: how far the features of any two images are apart.

    Attributes
    ----------
    values : array of float64, shape (n, n)
        Symmetric, with zeros on the diagonal; NaN where a row has no direction.
    layer : str
    metric : str
    rows : array of int64, shape (n,)
        Rows of the feature file.
    paths : tuple of str
        Names of their images.

    References
    ----------
    N. Kriegeskorte, M. Mur, P. Bandettini: Representational similarity analysis, Frontiers in
    Systems Neuroscience 2, 2008.
    """

    values: Floats = field(repr=False)
    layer: str
    metric: str
    rows: npt.NDArray[np.int64] = field(repr=False)
    paths: tuple[str, ...] = field(repr=False)

    def spearman(self, other: Dissimilarities | npt.ArrayLike) -> float:
        """Return the rank correlation with another matrix of the same images in the same order.

        Parameters
        ----------
        other : Dissimilarities or array, shape (n, n)
            Also one of a brain area or of people's judgements.

        Returns
        -------
        float
            Spearman's ρ over the pairs of different images; NaN where one has no differences.

        Raises
        ------
        SettingError
            For a matrix of another size or of other images, or one with NaN.
        """
        from scipy.stats import spearmanr

        theirs = other.values if isinstance(other, Dissimilarities) else np.asarray(other, float)
        if theirs.shape != self.values.shape:
            raise SettingError(
                f"a matrix of shape {theirs.shape}, expected one of the same images, "
                f"{self.values.shape}"
            )
        if isinstance(other, Dissimilarities) and other.paths != self.paths:
            pairs = zip(self.paths, other.paths, strict=True)
            place = next(place for place, (a, b) in enumerate(pairs) if a != b)
            raise SettingError(
                f"the matrices are of other images: number {place} is {self.paths[place]!r} in "
                f"one, {other.paths[place]!r} in the other"
            )
        above = np.triu_indices(len(self.values), 1)
        a, b = self.values[above], theirs[above]
        if np.isnan(a).any() or np.isnan(b).any():
            raise SettingError("a matrix holds NaN: an image whose features have no direction")
        if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
            return float("nan")
        return float(spearmanr(a, b).statistic)


def rdm(
    features: str | bytes | os.PathLike[str] | FeatureFile,
    layer: str | None = None,
    *,
    metric: Literal["correlation", "cosine", "euclidean"] = "correlation",
    rows: npt.ArrayLike | None = None,
) -> Dissimilarities:
    """Compute the representational dissimilarity matrix of a layer.

    Parameters
    ----------
    features : path or FeatureFile
    layer : str, optional
        By default the last that the file holds; maps are flattened.
    metric : {"correlation", "cosine", "euclidean"}
        One minus Pearson's correlation, one minus the cosine, or the distance.
    rows : array of int, optional
        Rows of the file, in the order wanted; by default all with features.

    Returns
    -------
    Dissimilarities

    Raises
    ------
    SettingError
        For a layer, metric or row that cannot be used, or too many rows: the matrix of 20,000 takes
        3.2 GB.
    FeatureFileError
        For features that are not finite.
    """
    refuse(one_of("metric", metric, METRICS))
    with opened_features(features) as file:
        name = chosen_layer(file, layer)
        ok = np.flatnonzero(file.ok)
        wanted = ok if rows is None else np.atleast_1d(np.asarray(rows, np.int64))
        wrong = wanted[~np.isin(wanted, ok)]
        if len(wrong):
            raise SettingError(f"{file.path}: row {wrong[0]} is not there, or has no features")
        if not len(wanted):
            raise InputError(
                f"{file.path}: none of its {counted(len(file), 'image')} could be read"
            )
        if len(wanted) > _MOST_ROWS:
            raise SettingError(
                f"{file.path}: {len(wanted)} rows make a matrix of {len(wanted)}²; name at "
                f"most {_MOST_ROWS} `rows`"
            )
        values = file[name][wanted].reshape(len(wanted), -1).astype(np.float64)
        check_finite(file, name, wanted, values)
        paths = tuple(path_text(file.path_bytes[row]) for row in wanted)
    return Dissimilarities(_distances(values, metric), name, metric, wanted, paths)


def _distances(rows: Floats, metric: str) -> Floats:
    if metric == "euclidean":
        # Centred, ‖a - b‖² = ‖a‖² + ‖b‖² - 2 a·b loses fewest digits.
        rows = rows - rows.mean(axis=0)
        squares = (rows**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    else:
        if metric == "correlation":
            rows = rows - rows.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            units = rows / np.where(norms > 0, norms, np.nan)
            distances = np.clip(1 - units @ units.T, 0, 2)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, np.where(np.isnan(np.diag(distances)), np.nan, 0))
    result: Floats = distances
    return result


def linear_cka(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the linear centred kernel alignment of two sets of features of the same images.

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of the columns centred, in Frobenius norms: 1 for features that differ by
    a rotation and a scale.

    Parameters
    ----------
    a, b : array, shapes (n, p) and (n, q)

    Returns
    -------
    float
        NaN where one of them does not vary.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton: Similarity of neural network representations
    revisited, ICML 2019, equation 5.
    """
    X, Y = (np.asarray(each, np.float64) for each in (a, b))
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    if len(X) <= min(X.shape[1], Y.shape[1]):
        # ‖YᵀX‖² is the sum of XXᵀ ∘ YYᵀ, which are smaller where there are fewer rows.
        K, L = X @ X.T, Y @ Y.T
        between = float((K * L).sum())
        within = float(np.linalg.norm(K) * np.linalg.norm(L))
    else:
        between = float(np.linalg.norm(Y.T @ X) ** 2)
        within = float(np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y))
    return between / within if within > 0 else float("nan")


def shared_neighbours(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Floats:
    """Return which share of the nearest rows of each image is the same in two lists.

    Parameters
    ----------
    a, b : array of int, shape (n, k)
        The nearest of each image; -1 where there are no more.

    Returns
    -------
    array of float64, shape (n,)
        NaN where an image has none.
    """
    same = ((a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)).any(axis=2).sum(axis=1)
    there = (a >= 0).sum(axis=1)
    result: Floats = np.where(there > 0, same / np.maximum(there, 1), np.nan)
    return result

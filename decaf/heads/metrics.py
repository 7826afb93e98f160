"""Measures of a classifier's predictions, in numpy alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError
from decaf.runtime.wording import counted

__all__ = ["mean_per_class_accuracy", "ranks", "wilson_interval"]

Labels = npt.NDArray[np.integer]


def ranks(scores: npt.NDArray[np.floating], labels: Labels) -> npt.NDArray[np.int64]:
    """Return the place of the right class among the answers to each image, 0 for the first.

    Equal scores are ordered by class number, the lower first, so that the answer is the same
    everywhere, and so that a network that gives all classes the same score is right by chance only.

    Parameters
    ----------
    scores : array of float, shape (N, C)
        One for each image and class: logits or probabilities; only their order counts.
    labels : array of int, shape (N,)
        The right classes, 0 to C - 1.

    Returns
    -------
    array of int64, shape (N,)

    Raises
    ------
    SettingError
        If the shapes do not belong together, a label is no class, or a score is NaN.

    Examples
    --------
    >>> ranks(np.array([[0.1, 0.6, 0.3], [0.5, 0.5, 0.0]]), np.array([2, 1])).tolist()
    [1, 1]
    """
    classes = scores.shape[-1]
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise SettingError(
            f"labels of {labels.min()} to {labels.max()} where there are {classes} classes"
        )
    if scores.shape != (len(labels), scores.shape[-1]):
        raise SettingError(f"scores of shape {scores.shape} for {counted(len(labels), 'label')}")
    if np.isnan(scores).any():
        raise SettingError("scores hold NaN, which has no order")
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    better = (scores > right) | ((scores == right) & before)
    ranks: npt.NDArray[np.int64] = better.sum(axis=1, dtype=np.int64)
    return ranks


def mean_per_class_accuracy(
    right: npt.NDArray[np.integer], images: npt.NDArray[np.integer]
) -> float:
    """Return the mean over classes of the share of images answered right.

    Classes count alike however many images they have; those without images do not count.

    Parameters
    ----------
    right, images : array of int, shape (C,)
        How many images of each class were answered right, and how many there are.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    SettingError
        If no class has an image.
    """
    there = images > 0
    if not there.any():
        raise SettingError("there is no accuracy of no images")
    return float((right[there] / images[there]).mean())


def wilson_interval(right: float, tested: float) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score method.

    Unlike the usual ± 1.96 standard errors it stays within 0 and 1 and is sensible for few images
    and for shares near the ends.

    Parameters
    ----------
    right, tested : float
        ``right`` of ``tested`` images; not whole numbers where images in groups say less than as
        many others (`decaf.classify.estimate.independent_images`).

    Returns
    -------
    tuple of float
        Lower and upper end, 0 to 1.

    References
    ----------
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).

    Examples
    --------
    >>> [round(end, 3) for end in wilson_interval(29, 35)]
    [0.673, 0.919]
    """
    if not 0 <= right <= tested or tested < 1:
        raise SettingError(f"{right} of {tested} is no share")
    # The shares p within z standard errors of the measured one, (p̂ - p)² = z² p (1 - p) / n, are
    # those between the roots of a quadratic in p.
    z = 1.959963984540054
    share = right / tested
    scale = 1 + z * z / tested
    middle = (share + z * z / (2 * tested)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / tested + z * z / (4 * tested * tested))
    return max(0.0, middle - half), min(1.0, middle + half)

"""What is measured of a classifier's answers, in numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError

__all__ = ["mean_per_class_accuracy", "ranks"]

Labels = npt.NDArray[np.integer]


def ranks(scores: npt.NDArray[np.floating], labels: Labels) -> npt.NDArray[np.int64]:
    """Return the place of the right class among the answers to each image, 0 for the first.

    Equal scores are ordered by class number, the lower first, so that the answer is the same
    everywhere, and so that a network that gives all classes the same score is right by chance only.

    Parameters
    ----------
    scores : array of float, shape (N, C)
        One for each image and class: logits or probabilities, of which only the order counts.
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
        raise SettingError(f"scores of shape {scores.shape} for {len(labels)} labels")
    if np.isnan(scores).any():
        raise SettingError("scores hold NaN, of which there is no order")
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    better = (scores > right) | ((scores == right) & before)
    found: npt.NDArray[np.int64] = better.sum(axis=1, dtype=np.int64)
    return found


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

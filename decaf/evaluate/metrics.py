"""What is measured of a classifier's answers, in numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError

__all__ = ["confusion_matrix", "mean_per_class_accuracy", "ranks", "top_k_error"]

Labels = npt.NDArray[np.integer]


def ranks(scores: npt.NDArray[np.floating], labels: Labels) -> npt.NDArray[np.int64]:
    """Give the place of the right class among the answers to each image, 0 for the first.

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
    _check_labels(labels, scores.shape[-1])
    if scores.shape != (len(labels), scores.shape[-1]):
        raise SettingError(f"scores of shape {scores.shape} for {len(labels)} labels")
    if np.isnan(scores).any():
        raise SettingError("scores hold NaN, of which there is no order")
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    better = (scores > right) | ((scores == right) & before)
    found: npt.NDArray[np.int64] = better.sum(axis=1, dtype=np.int64)
    return found


def top_k_error(places: npt.NDArray[np.int64], k: int) -> float:
    """Give the share of images whose right class is not among the first `k` answers.

    Parameters
    ----------
    places : array of int64, shape (N,)
        What `ranks` gave.
    k : int
        At least 1.

    Returns
    -------
    float
        0 to 1; Krizhevsky et al. 2012, sec. 1 ("top-1 and top-5 error rates").

    Raises
    ------
    SettingError
        If there are no images, or `k` is below 1.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, got {k}")
    if len(places) == 0:
        raise SettingError("there is no error rate of no images")
    return int((places >= k).sum()) / len(places)


def confusion_matrix(labels: Labels, answers: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Count the images of each class by the answer to them.

    Parameters
    ----------
    labels, answers : array of int, shape (N,)
        0 to `classes` - 1.
    classes : int

    Returns
    -------
    array of int64, shape (classes, classes)
        A row for each right class, a column for each answer.

    Raises
    ------
    SettingError
        If a label or an answer is no class, or they are not equally many.
    """
    if len(labels) != len(answers):
        raise SettingError(f"{len(answers)} answers for {len(labels)} labels")
    _check_labels(labels, classes)
    _check_labels(answers, classes)
    counts = np.bincount(labels.astype(np.int64) * classes + answers, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def mean_per_class_accuracy(
    right: npt.NDArray[np.integer], images: npt.NDArray[np.integer]
) -> float:
    """Give the mean over classes of the share of images answered right.

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


def _check_labels(labels: Labels, classes: int) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise SettingError(
            f"labels of {labels.min()} to {labels.max()} where there are {classes} classes"
        )

"""How good a classifier is on images that it was neither chosen nor fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decaf.classify.held_out import Codes, Mask
from decaf.classify.layer_choice import Choice
from decaf.heads.metrics import mean_per_class_accuracy, wilson_interval

Values = npt.NDArray[np.floating[Any]]

__all__ = ["Estimate", "Mistake", "estimate_of", "independent_images", "sums_of_groups"]


@dataclass(frozen=True)
class Mistake:
    """An image of the test that was given a wrong class.

    Attributes
    ----------
    path : str
    truth, answer : str
        Its class, and the one that it was given.
    probability : float
        Probability of the answer.
    """

    path: str
    truth: str
    answer: str
    probability: float


@dataclass(frozen=True, eq=False)
class Estimate:
    """How good the classifier is on images that it was neither chosen nor fitted on.

    Attributes
    ----------
    method : {"held-out", "cross-validation", "split"}
        One share of the images is kept for the test; or all images are tested in turn, each by a
        classifier that was chosen and fitted without its fold; or the images came divided.
    folds : int
        1 where a share was held out.
    images, right : int
        Tested images, and how many of them were given their class.
    accuracy : float
        0 to 1.
    interval : tuple of float
        95 % interval of the accuracy (Wilson); that of the cross-validation is approximate. Where
        images are in groups it is that of as many independent images as say as much.
    mean_per_class_accuracy : float
        0 to 1: the mean over the classes that were tested.
    baseline : float
        The accuracy of always naming the class that has most images.
    baseline_class : str
    confusion : array of int64, shape (classes, classes)
        How many images of a class (row) were given which class (column).
    untested : tuple of str
        Classes with no image in the test.
    mistakes : tuple of Mistake
        The most confident first.
    choices : tuple of Choice
        Choices for the test: one, or one a fold.
    """

    method: str
    folds: int
    images: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    mean_per_class_accuracy: float
    baseline: float
    baseline_class: str
    confusion: Codes
    untested: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    choices: tuple[Choice, ...]


def estimate_of(
    truth: Codes,
    answers: Codes,
    confidence: npt.NDArray[np.floating],
    *,
    class_names: tuple[str, ...],
    largest: int,
    paths: list[str],
    folds: int,
    choices: tuple[Choice, ...],
    divided: bool = False,
    groups: Sequence[str] | None = None,
) -> Estimate:
    """Sum up the answers to the tested images.

    Parameters
    ----------
    truth, answers : array of int64, shape (n,)
        Places in `class_names`.
    confidence : array of float, shape (n,)
        Probability of each answer.
    class_names : tuple of str
    largest : int
        The class with most images to fit to.
    paths : list of str
        Paths of the tested images.
    folds : int
        1 where a share was held out.
    choices : tuple of Choice
    divided : bool
        Whether the images came divided.
    groups : sequence of str, optional
        The group of each tested image.

    Returns
    -------
    Estimate
    """
    confusion = np.zeros((len(class_names), len(class_names)), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    tested = confusion.sum(axis=1)
    right = int(confusion.trace())
    independent = (
        float(len(truth)) if groups is None else independent_images(truth == answers, groups)
    )
    wrong = np.flatnonzero(truth != answers)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return Estimate(
        method="split" if divided else "held-out" if folds == 1 else "cross-validation",
        folds=folds,
        images=len(truth),
        right=right,
        accuracy=right / len(truth),
        interval=wilson_interval(right / len(truth) * independent, independent),
        mean_per_class_accuracy=mean_per_class_accuracy(confusion.diagonal(), tested),
        baseline=float((truth == largest).mean()),
        baseline_class=class_names[largest],
        confusion=confusion,
        untested=tuple(class_names[code] for code in np.flatnonzero(tested == 0).tolist()),
        mistakes=tuple(
            Mistake(
                paths[place],
                class_names[truth[place]],
                class_names[answers[place]],
                float(confidence[place]),
            )
            for place in wrong.tolist()
        ),
        choices=choices,
    )


def sums_of_groups(values: Values, groups: Sequence[str] | None) -> Values:
    """Add up values of images that are in one group.

    Parameters
    ----------
    values : array of float, shape (n,)
    groups : sequence of str, optional
        The group of each, an empty text where it is in none; by default none is in any.

    Returns
    -------
    array of float64, shape (groups,)
        An image in no group counts as a group of its own.

    Examples
    --------
    >>> sums_of_groups(np.array([1.0, 2.0, 4.0, 8.0]), ["a", "", "a", ""]).tolist()
    [2.0, 8.0, 5.0]
    """
    if groups is None:
        return np.asarray(values, np.float64)
    # No group is called as an image is here: the names of groups begin with a letter.
    names = [f"g{group}" if group else f"{at}" for at, group in enumerate(groups)]
    _, place = np.unique(names, return_inverse=True)
    return np.bincount(place, values).astype(np.float64)


def independent_images(right: Mask, groups: Sequence[str]) -> float:
    """Tell how many independent images would say as much of the accuracy as images in groups.

    With e_g the sum of (right - p) over group g of G, the variance of p = Σ right / n is
    G / (G - 1) Σ e_g² / n²; that of m independent images is p (1 - p) / m. Returned is the m for
    which they are equal: n where images of a group are as unlike as others, about G where all of
    a group are right or wrong together.

    Parameters
    ----------
    right : array of bool, shape (n,)
        Whether each tested image was answered rightly.
    groups : sequence of str
        The group of each, an empty text where it is in none.

    Returns
    -------
    float
        1 to n; G where there is nothing to tell it from, since all are right, or none.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. (1977), section 9A.2; Kish, Survey Sampling (1965).

    Examples
    --------
    >>> round(independent_images(np.repeat([True, False] * 8, 5), [*"aaaaabbbbb"] * 8), 1)
    1.0
    """
    share = float(right.mean())
    errors = sums_of_groups(right - share, groups)
    count = len(errors)
    if count == 1 or share in (0.0, 1.0):
        return float(count)
    variance = count / (count - 1) * float(errors @ errors) / len(right) ** 2
    independent = share * (1 - share) / variance if variance else math.inf
    return min(max(independent, 1.0), float(len(right)))

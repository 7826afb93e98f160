"""The rule by which fine-tuning is kept: whether one of two classifiers is better on images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binomtest

from decaf.classify.estimate import independent_images, sums_of_groups
from decaf.heads.calibration import sharpness
from decaf.heads.metrics import wilson_interval

__all__ = ["Accuracy", "Trial", "best_step", "sign_test"]

# The search for a temperature goes from the inverse of this to this, for logits of deviation 1.
_SHARPEST = 1e3


@dataclass(frozen=True)
class Accuracy:
    """A share of images named rightly, and how surely.

    Attributes
    ----------
    right, images : int
    calibrated_loss : float
        Mean cross-entropy in nats, at the temperature that suits the classifier best; see `Trial`.
    independent : float, optional
        How many independent images say as much, where the images are in groups
        (`decaf.classify.estimate.independent_images`); by default all of them.
    """

    right: int
    images: int
    calibrated_loss: float
    independent: float | None = None

    @property
    def percent(self) -> float:
        """The share in percent."""
        return 100 * self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval in percent, by Wilson's score method.

        Examples
        --------
        >>> [round(end, 1) for end in Accuracy(29, 35, 0.5).interval]
        [67.3, 91.9]
        """
        images = self.images if self.independent is None else self.independent
        low, high = wilson_interval(self.right / self.images * images, images)
        return 100 * low, 100 * high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} % ({low:.1f} to {high:.1f})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "right": self.right,
            "images": self.images,
            "percent": self.percent,
            "interval": list(self.interval),
            "calibrated_loss": self.calibrated_loss,
            **({} if self.independent is None else {"independent": self.independent}),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Accuracy:
        """Make it of what `to_dict` returned.

        Parameters
        ----------
        values : dict
        """
        independent = values.get("independent")
        return cls(values["right"], values["images"], values["calibrated_loss"], independent)


@dataclass(frozen=True, eq=False)
class Trial:
    """The answers of a classifier to some images.

    Attributes
    ----------
    right : ndarray of bool, shape (N,)
        Whether it was named rightly.
    losses : ndarray of float64, shape (N,)
        Cross-entropy in nats, of logits that were divided by the temperature that suits them best
        (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2), so that
        classifiers are compared in how well they tell classes apart, not in how sure of themselves
        they are. For the choice of the temperature each label counts for (N + 1) / (N + 2), and the
        rest is the other classes' (after Platt 1999, "Probabilistic Outputs for Support Vector
        Machines"): one that names all of few images rightly is no oracle.
    groups : sequence of str, optional
        Groups of the images, an empty text where one is in none.
    """

    right: np.ndarray
    losses: np.ndarray
    groups: Sequence[str] | None = None

    @classmethod
    def of(
        cls, logits: np.ndarray, labels: np.ndarray, groups: Sequence[str] | None = None
    ) -> Trial:
        """Try a classifier.

        Parameters
        ----------
        logits : ndarray of float, shape (N, classes)
        labels : ndarray of int, shape (N,)
        groups : sequence of str, optional

        Examples
        --------
        >>> trial = Trial.of(np.array([[3.0, 0.0], [9.0, 0.0], [6.0, 0.0]]), np.array([0, 0, 1]))
        >>> trial.right
        array([ True,  True, False])
        """
        logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
        images, classes = logits.shape
        ahead = logits - np.take_along_axis(logits, labels[:, None], axis=1)
        ahead /= ahead.std() or 1.0
        # Of what the labels leave, the other classes have equal parts.
        pull = ahead.sum(axis=1).mean() / (images + 2) / max(1, classes - 1)

        factor = sharpness(ahead, float(pull), 1 / _SHARPEST, _SHARPEST)
        return cls(logits.argmax(axis=1) == labels, logsumexp(factor * ahead, axis=1), groups)

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy over all images."""
        independent = None if self.groups is None else independent_images(self.right, self.groups)
        loss = float(self.losses.mean())
        return Accuracy(int(self.right.sum()), len(self.right), loss, independent)

    def beats(self, other: Trial) -> bool:
        """Tell whether it is better than another on the same images, by what can be believed.

        It names more of them rightly, and its loss is lower by more than the standard error of the
        difference (the one-standard-error rule of Breiman et al. 1984, section 3.4.3, for images in
        pairs). The first alone says little where the images are few and this is the best of several
        states; the loss uses every image, also those that both name alike. Berta et al.
        2025, "Rethinking Early Stopping: Refine, Then Calibrate", choose states by this loss. Of
        images in groups the standard error is that of groups.

        Parameters
        ----------
        other : Trial
        """
        gains = other.losses - self.losses
        # Of G groups with e_g the sum of (gain - mean): √(G / (G - 1) Σ e_g²) / N (Cochran 1977,
        # section 9A.2), which is the deviation / √N where each image is a group.
        sums = sums_of_groups(gains - gains.mean(), self.groups)
        count = len(sums)
        error = (
            math.sqrt(count / (count - 1) * float(sums @ sums)) / len(gains)
            if count > 1
            else math.inf
        )
        return bool(self.right.sum() > other.right.sum() and gains.mean() > error)


def sign_test(one: np.ndarray, other: np.ndarray, groups: Sequence[str] | None = None) -> float:
    """Return how likely so large a difference is between classifiers that are equally good.

    McNemar's test in its exact form: of the images that one alone names rightly and the other
    alone, each kind has the same chance; two-sided. Of images in groups, the groups are counted of
    which one names more rightly.

    Parameters
    ----------
    one, other : ndarray of bool, shape (N,)
        Whether each image was named rightly.
    groups : sequence of str, optional
        Groups of the images.

    Returns
    -------
    float
        1 where they differ on no image.

    Examples
    --------
    >>> sign_test(np.array([True] * 6), np.array([False] * 6))
    0.03125
    """
    ahead = sums_of_groups(one.astype(np.float64) - other, groups)
    first, second = int((ahead > 0).sum()), int((ahead < 0).sum())
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def best_step(history: list[dict[str, float]]) -> int:
    """Find the step whose weights were kept; see `Schedule.validated`.

    Parameters
    ----------
    history : list of dict
        The rows of the log.
    """
    validations = [row for row in history if "val_loss" in row]
    best = min(
        validations,
        key=lambda row: (row["val_top1_error"], row["step"] > 0, row["val_loss"], row["step"]),
    )
    return int(best["step"])

"""Labels that are likely wrong, ranked by what classifiers say that have not seen the image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.heads import Calibration, LogisticRegression
from decaf.runtime.settings import one_of, refuse

__all__ = ["LabelErrors", "held_out_probabilities", "rank_label_errors"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Method = Literal["confident-learning", "self-confidence"]


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Labels from the likeliest wrong to the likeliest right.

    Attributes
    ----------
    order : array of int64, shape (m,)
        Places of the images, the likeliest wrong label first; images that were never held out are
        not among them.
    proposed : array of int64, shape (m,)
        The class that each is likelier of, in the same order.
    score : array of float64, shape (m,)
        The probability of the given label, in the same order.
    likely : int
        How many of the first are likely wrong by the method's own rule.
    method : str
    """

    order: Codes
    proposed: Codes
    score: Floats
    likely: int
    method: str


def held_out_probabilities(
    X: npt.ArrayLike, codes: npt.ArrayLike, *, like: Any = None, groups: Any = None, seed: int = 0
) -> Floats:
    """Return what heads say of images that they have not seen: cross-validation over five folds.

    Parameters
    ----------
    X : array of float, shape (n, D)
    codes : array of int, shape (n,)
        Class of each row, 0 to K - 1; all of them are there.
    like : LogisticRegression or LinearSVM, optional
        A head whose settings and C are taken, that which it was fitted with where it is fitted; by
        default logistic regression, with C chosen by the same cross-validation.
    groups : sequence of str, optional
        Rows that belong together, such as copies: none is on both sides of a fold.
    seed : int
        Of the folds.

    Returns
    -------
    array of float64, shape (n, K)
        Calibrated probabilities; NaN for the only row, or group, of a class.

    Raises
    ------
    InputError
        If there are not two classes, or none has two rows.
    """
    head: Any = LogisticRegression("cv") if like is None else type(like)(**like.get_params())
    C = getattr(like, "C_", getattr(like, "C", "cv"))
    if C != "cv":
        head.set_params(C="cv", Cs=[float(C)])
    head.set_params(cv=5, random_state=seed)
    codes = np.asarray(codes, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of C, which is not what is looked for here
        search = head.fit(X, codes, groups=groups).search_
    probabilities = Calibration.fit(search.decisions, codes).probabilities(search.decisions)
    return np.asarray(probabilities)


def rank_label_errors(
    probabilities: npt.ArrayLike, codes: npt.ArrayLike, *, method: Method = "confident-learning"
) -> LabelErrors:
    """Rank labels by how likely they are wrong.

    Self-confidence is the probability of the given label; a label is likely wrong where another
    class has more. Confident learning takes for likely wrong what is off the diagonal of the
    confident joint: another class j has a probability of at least t_j, the mean that images
    labelled j have for j, and of those classes that reach their t the given one is not the most
    probable. These come first. Either way the least self-confident come first: on photographs
    whose labels were changed at random that finds more of them than the margin to the next class,
    which is small of images that are merely difficult, too (``benchmarks/label_errors.py``).

    Parameters
    ----------
    probabilities : array of float, shape (n, K)
        Of classifiers that have not seen the image; rows with NaN are left out.
    codes : array of int, shape (n,)
        The labels that are given.
    method : {"confident-learning", "self-confidence"}

    Returns
    -------
    LabelErrors

    Raises
    ------
    SettingError
        For another method.
    InputError
        If there are not as many labels as rows, labels of no class, or fewer than two classes.

    References
    ----------
    Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels",
    JAIR 2021, equations 1 and 2, and section 3.2.
    """
    refuse(one_of("method", method, get_args(Method)))
    chances, given = np.asarray(probabilities, np.float64), np.asarray(codes, np.int64)
    if chances.ndim != 2 or chances.shape[1] < 2 or given.shape != (len(chances),):
        raise InputError(
            f"probabilities of shape {chances.shape} and labels of shape {given.shape}; expected "
            "(n, K) of two classes or more, and (n,)"
        )
    if len(given) and not 0 <= given.min() <= given.max() < chances.shape[1]:
        raise InputError(f"labels must lie in 0 to {chances.shape[1] - 1}")
    places = np.flatnonzero(np.isfinite(chances).all(axis=1))
    chances, given = chances[places], given[places]
    each = np.arange(len(given))
    own = chances[each, given]
    others = chances.copy()
    others[each, given] = -np.inf
    proposed = others.argmax(axis=1) if len(given) else given
    if method == "self-confidence":
        wrong = own < others[each, proposed]
    else:
        wrong = _off_diagonal(chances, given)
    order = np.lexsort((own, ~wrong))
    return LabelErrors(places[order], proposed[order], own[order], int(wrong.sum()), method)


def _off_diagonal(chances: Floats, given: Codes) -> npt.NDArray[np.bool_]:
    """Tell which images are off the diagonal of the confident joint."""
    counts = np.bincount(given, minlength=chances.shape[1])
    sums = np.zeros(chances.shape[1])
    np.add.at(sums, given, chances[np.arange(len(given)), given])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(chances >= thresholds - 1e-12, chances, -np.inf)
    counted = np.isfinite(confident).any(axis=1)
    off: npt.NDArray[np.bool_] = counted & (confident.argmax(axis=1) != given)
    return off

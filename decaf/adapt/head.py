"""The head on top of a method: the classifier of rows as the method represents them."""

from __future__ import annotations

from typing import Any

import numpy as np

from decaf.heads.problem import LinearDecision, linear_scores

__all__ = ["HEADS", "NearestNeighbour", "TrainedLinear", "fit_head"]

HEADS = ("svm", "logreg", "1nn")

_BLOCK_BYTES = 1 << 26


class NearestNeighbour:
    """The class of the nearest training row, by Euclidean distance.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        In ascending order.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> NearestNeighbour:
        """Keep the rows.

        Parameters
        ----------
        X : ndarray of float32 or float64, shape (n, k)
        y : ndarray, shape (n,)

        Returns
        -------
        self
        """
        self.classes_, codes = np.unique(y, return_inverse=True)
        # In the order of the classes: of two rows equally near, the one of the first class counts.
        order = np.argsort(codes, kind="stable")
        self._codes = codes[order]
        self._rows = X[order].astype(np.float64)
        # Distances do not change with the origin; from the mean they lose fewer digits.
        self._mean = self._rows.mean(axis=0)
        self._rows -= self._mean
        self._norms = np.square(self._rows).sum(axis=1)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the class of each row.

        Parameters
        ----------
        X : ndarray, shape (n, k)

        Returns
        -------
        ndarray, shape (n,)
            Classes, of the type of `classes_`.
        """
        nearest = np.empty(len(X), np.int64)
        step = max(1, _BLOCK_BYTES // (8 * (len(self._rows) + X.shape[1])))
        for start in range(0, len(X), step):
            rows = X[start : start + step] - self._mean
            # ‖x - r‖² less ‖x‖², which is the same for all r.
            nearest[start : start + step] = (self._norms - 2 * rows @ self._rows.T).argmin(axis=1)
        classes: np.ndarray = self.classes_[self._codes[nearest]]
        return classes


class TrainedLinear(LinearDecision):
    """A linear classifier whose coefficients a method has found itself.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
    coef : ndarray of float64, shape (K, k)
        One row a class, one alone for two classes.
    intercept : ndarray of float64, shape (K,)
    C : float
        The C with which it was trained.
    """

    def __init__(
        self, classes: np.ndarray, coef: np.ndarray, intercept: np.ndarray, C: float
    ) -> None:
        self.classes_, self.coef_, self.intercept_, self.C_ = classes, coef, intercept, C

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return linear_scores(X, self.coef_, self.intercept_)


def fit_head(head: str, X: np.ndarray, y: np.ndarray, *, C: float | str, random_state: Any) -> Any:
    """Fit a head to rows as a method represents them.

    Parameters
    ----------
    head : {"svm", "logreg", "1nn"}
        `decaf.heads.LinearSVM`, `decaf.heads.LogisticRegression`, `NearestNeighbour`.
    X : ndarray of float32 or float64, shape (n, k)
    y : ndarray, shape (n,)
        Classes.
    C : float or "cv"
        C of the first two, for rows whose root mean square norm is 1 (``scale="mean-norm"``);
        ``"cv"`` chooses it by cross-validation among these rows.
    random_state : int, RandomState or None
        Seed of the folds.

    Returns
    -------
    LinearSVM, LogisticRegression or NearestNeighbour
    """
    if head == "1nn":
        return NearestNeighbour().fit(X, y)
    from decaf.heads import LinearSVM, LogisticRegression

    kind = LinearSVM if head == "svm" else LogisticRegression
    return kind(C, random_state=random_state).fit(X, y)

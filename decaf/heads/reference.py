"""scikit-learn's own solvers behind decaf's heads: the reference for the batched one.

Both minimise, over the rows x_i with weights r_i,

    1/2 ||w||² + C Σ_i r_i loss(w · x_i + b)

for each class against the rest, or for all classes together where the loss is multinomial. The
intercept b of the hinge losses is penalised like w, as scikit-learn's LinearSVC does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

__all__ = ["ReferenceFit", "fit_reference", "linear_scores", "objective"]

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class ReferenceFit:
    """A classifier that scikit-learn has fitted.

    Attributes
    ----------
    coef : ndarray of float64, shape (K, n_features)
        One row a class; one in all for two classes.
    intercept : ndarray of float64, shape (K,)
    converged : bool
    n_iter : int
        Iterations for the class that took most.
    """

    coef: np.ndarray
    intercept: np.ndarray
    converged: bool
    n_iter: int


def fit_reference(
    X: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    loss: str,
    Cs: Sequence[float],
    *,
    row_weight: np.ndarray | None = None,
    tol: float = 1e-5,
    max_iter: int = 1000,
    seed: int = 0,
) -> Iterator[ReferenceFit]:
    """Fit with scikit-learn, one C after the other, each from the optimum of the one before.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, n_features)
        LinearSVC makes copies in float64.
    codes : ndarray of int64, shape (n,)
        Classes 0 to `n_classes` - 1, all of them there.
    n_classes : int
    loss : {"multinomial", "logistic", "hinge", "squared_hinge"}
    Cs : sequence of float
    row_weight : ndarray of float64, shape (n,), optional
    tol : float
        For the hinge losses scikit-learn's. For the logistic ones relative to the largest component
        of the gradient at zero, which makes it independent of the features' scale.
    max_iter : int
    seed : int
        Seed of the order in which LinearSVC visits rows.

    Yields
    ------
    ReferenceFit
        For each C.
    """
    if loss in ("hinge", "squared_hinge"):
        for C in Cs:
            model = LinearSVC(loss=loss, C=C, tol=tol, max_iter=max_iter, random_state=seed)
            yield _fitted([model], X, [codes], row_weight)
        return
    targets = [codes]
    if loss == "logistic" and n_classes > 2:
        targets = [(codes == code).astype(np.int64) for code in range(n_classes)]
    gradient = _largest_gradient(X, codes, n_classes, loss, row_weight)
    models = [
        LogisticRegression(tol=tol * gradient, max_iter=max_iter, warm_start=True) for _ in targets
    ]
    for C in Cs:
        for model in models:
            model.set_params(C=C)
        yield _fitted(models, X, targets, row_weight)


def _fitted(
    models: list[Any], X: np.ndarray, targets: list[np.ndarray], row_weight: np.ndarray | None
) -> ReferenceFit:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for model, target in zip(models, targets, strict=True):
            model.fit(X, target, sample_weight=row_weight)
    for entry in caught:
        if not issubclass(entry.category, ConvergenceWarning):
            warnings.warn(entry.message, stacklevel=3)
    return ReferenceFit(
        np.vstack([model.coef_ for model in models]).astype(np.float64),
        np.concatenate([np.atleast_1d(model.intercept_) for model in models]).astype(np.float64),
        not any(issubclass(entry.category, ConvergenceWarning) for entry in caught),
        max(int(np.max(model.n_iter_)) for model in models),
    )


def _largest_gradient(
    X: np.ndarray, codes: np.ndarray, n_classes: int, loss: str, row_weight: np.ndarray | None
) -> float:
    """Return the largest component of the gradient of the mean loss at w = 0, b at its best."""
    weight = np.ones(len(X)) if row_weight is None else row_weight
    weight = weight / weight.sum()
    one_hot = codes[:, None] == np.arange(n_classes)
    shares = weight @ one_hot
    residual = (weight[:, None] * (shares - one_hot)).T.astype(X.dtype)
    largest = float(np.abs(residual @ X).max(initial=0))
    return largest if largest > 0 else 1.0


def linear_scores(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return ``X @ coef.T + intercept`` in float64, without a float64 copy of all of `X`.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, n_features)
    coef : ndarray of float64, shape (K, n_features)
    intercept : ndarray of float64, shape (K,)

    Returns
    -------
    ndarray of float64, shape (n, K)
    """
    scores = np.empty((len(X), len(coef)))
    step = max(1, _BLOCK_BYTES // (8 * max(1, X.shape[1])))
    for start in range(0, len(X), step):
        rows = X[start : start + step].astype(np.float64, copy=False)
        scores[start : start + step] = rows @ coef.T + intercept
    return scores


def objective(
    X: np.ndarray,
    codes: np.ndarray,
    n_classes: int,
    loss: str,
    C: float,
    coef: np.ndarray,
    intercept: np.ndarray,
    *,
    row_weight: np.ndarray | None = None,
) -> float:
    """Compute what is minimised, in float64, summed over the classes.

    Parameters
    ----------
    X, codes, n_classes, loss, row_weight
        As in `fit_reference`.
    C : float
    coef : ndarray of float64, shape (K, n_features)
    intercept : ndarray of float64, shape (K,)

    Returns
    -------
    float
    """
    scores = linear_scores(X, coef, intercept)
    penalty = 0.5 * float(np.square(coef).sum())
    if loss == "multinomial" and n_classes > 2:
        losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(X)), codes]
    else:
        positive = codes[:, None] == (np.arange(n_classes) if n_classes > 2 else [1])
        margins = np.where(positive, scores, -scores)
        if loss in ("hinge", "squared_hinge"):
            penalty += 0.5 * float(np.square(intercept).sum())
            short = np.maximum(0, 1 - margins)
            losses = (short if loss == "hinge" else np.square(short)).sum(axis=1)
        else:
            losses = np.logaddexp(0, -margins).sum(axis=1)
    weight = np.ones(len(X)) if row_weight is None else row_weight
    return penalty + C * float(weight @ losses)
